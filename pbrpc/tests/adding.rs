//! Adding a file to `proto/` is all it takes to add a service: done in a copy of this package.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::path::Path;
use std::process::Command;

/// What is added: a service of each form, and a message.
const FILES: [(&str, &str); 2] = [
    (
        "greeting.proto",
        "syntax = 'proto3'; message request {} message response { string msg = 1; }",
    ),
    (
        "deep.proto",
        "syntax = 'proto3'; package deep.down; message M {} service Well { rpc Call(M) returns (M); }",
    ),
];

/// What uses it.
const EXAMPLE: &str = "//! Uses what was added.
use seaway_pbrpc::{deep, greeting};
fn main() {
    println!(\"{} {}\", greeting::CALL.name(), deep::down::well::CALL.name());
    drop(greeting::Server::new(Polite));
}
struct Polite;
impl greeting::Service for Polite {
    async fn call(
        &self,
        _: &seaway::Context,
        _: greeting::Request,
    ) -> Result<greeting::Response, seaway::Status> {
        Ok(greeting::Response { msg: \"good morning\".into() })
    }
}
";

#[test]
fn a_file_in_proto_is_all_that_a_service_takes() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = package.parent().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path();
    for name in ["build.rs", "src/lib.rs", "src/ready.rs", "proto/echo.proto", "proto/health.proto"]
    {
        put(&copy.join(name), &fs::read_to_string(package.join(name)).unwrap());
    }
    fs::copy(root.join("Cargo.lock"), copy.join("Cargo.lock")).unwrap();
    put(&copy.join("Cargo.toml"), &manifest(root));
    for (name, text) in FILES {
        put(&copy.join("proto").join(name), text);
    }
    put(&copy.join("examples/added.rs"), EXAMPLE);

    // With what has been built already: beside this test, which is in `debug/deps`.
    let test = std::env::current_exe().unwrap();
    let target = test.ancestors().nth(3).unwrap();
    let output = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--offline", "--example", "added", "--target-dir"])
        .arg(target)
        .current_dir(copy)
        .output()
        .unwrap();
    let (said, errors) = (String::from_utf8(output.stdout), String::from_utf8(output.stderr));
    assert_eq!(
        said.unwrap(),
        "greeting.greeting/call deep.down.Well/Call\n",
        "{}",
        errors.unwrap()
    );
}

/// The manifest of this package, outside of its workspace.
fn manifest(root: &Path) -> String {
    let own = fs::read_to_string(root.join("pbrpc/Cargo.toml")).unwrap();
    let own = own.replace("\"../", "\"@/").replace("\"..\"", "\"@\"");
    let own = own.replace('@', root.to_str().unwrap());
    let shared = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let (shared, _) = shared.split_once("\n[package]").unwrap();
    let members = shared.lines().filter(|line| !line.starts_with("members"));
    format!("{}\n{own}", members.collect::<Vec<_>>().join("\n"))
}

fn put(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}
