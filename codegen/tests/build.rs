//! As a build script: the environment, what cargo is told, options of prost, imports.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod support;

use std::path::Path;
use std::process::{Command, Output};

use support::Package;

const M: &str = "syntax = 'proto3'; package a; message M {}";

/// Compiles a package in a process of its own: this test again, which finds in its environment that
/// it is the build script.
fn build_script(package: &Package, test: &str, environment: &[(&str, &str)]) -> Output {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env("OUT_DIR", package.out(""))
        .env("PROTO", package.proto(""))
        .envs(environment.iter().copied())
        .output()
        .unwrap()
}

/// The folder of the .proto files, if this is the build script.
fn is_build_script() -> Option<std::path::PathBuf> {
    std::env::var_os("PROTO").map(Into::into)
}

fn text(output: &Output) -> String {
    String::from_utf8([&output.stdout[..], &output.stderr[..]].concat()).unwrap()
}

#[test]
fn cargo_is_told_of_files_imports_lock_file_and_environment() {
    const NAME: &str = "cargo_is_told_of_files_imports_lock_file_and_environment";
    if let Some(proto) = is_build_script() {
        return seaway_codegen::compile([proto.join("a.proto")]).unwrap();
    }
    let import = "syntax = 'proto3'; package a; import 'deep/b.proto'; import \
                  'google/protobuf/any.proto'; import 'seaway/options.proto'; message M {}";
    let package = Package::new(&[
        ("a.proto", import),
        ("deep/b.proto", &M.replace("package a", "package b")),
    ]);
    package.write("seaway.lock", "");
    let output = build_script(&package, NAME, &[]);
    let text = text(&output);
    assert!(output.status.success(), "{text}");
    let told: Vec<_> = text.lines().filter_map(|line| line.split_once("cargo::")).collect();
    let told: Vec<_> = told.into_iter().map(|(_, told)| told.to_owned()).collect();
    let file = |name| format!("rerun-if-changed={}", package.proto(name).display());
    let expected = [
        file("seaway.lock"),
        file("a.proto"),
        file("deep/b.proto"),
        "rerun-if-env-changed=SEAWAY_LOCK".to_owned(),
    ];
    assert_eq!(told, expected);
}

#[test]
fn a_lock_file_that_does_not_exist_is_not_watched() {
    const NAME: &str = "a_lock_file_that_does_not_exist_is_not_watched";
    if let Some(proto) = is_build_script() {
        return seaway_codegen::compile([proto.join("a.proto")]).unwrap();
    }
    let text = text(&build_script(&Package::of(M), NAME, &[]));
    assert!(text.contains("a.proto") && !text.contains("seaway.lock"), "{text}");
}

#[test]
fn the_environment_names_the_package_whose_lock_file_is_written() {
    const NAME: &str = "the_environment_names_the_package_whose_lock_file_is_written";
    if let Some(proto) = is_build_script() {
        return seaway_codegen::compile([proto.join("a.proto")]).unwrap();
    }
    let package = Package::of(M);
    let lock = package.proto("seaway.lock");
    for (named, is_written) in [("", false), ("other", false), ("chat-server", true)] {
        let environment = [("SEAWAY_LOCK", named), ("CARGO_PKG_NAME", "chat-server")];
        let output = build_script(&package, NAME, &environment);
        assert!(output.status.success(), "{}", text(&output));
        assert_eq!(lock.exists(), is_written, "{named}");
    }
    assert!(package.read(lock).contains("\nmessage a.M = 0x"));
}

#[test]
fn options_of_prost_can_be_set() {
    let package = Package::of(
        "syntax = 'proto3'; package a; message M { bytes raw = 1; map<string, string> map = 2; }",
    );
    let config = package.config().prost(|prost| {
        prost.bytes(["."]).btree_map(["."]).type_attribute(".a.M", "#[derive(Eq, PartialOrd)]")
    });
    package.compile_with(config, &["a.proto"]).unwrap();
    let text = package.read(package.out("a.rs"));
    assert!(text.contains("pub raw: ::seaway::rt::prost::bytes::Bytes"), "{text}");
    assert!(text.contains("BTreeMap<"), "{text}");
    assert!(text.contains("#[derive(Eq, PartialOrd)]"), "{text}");
}

#[test]
fn what_has_an_extern_path_is_not_generated_and_not_named_again() {
    let common = "syntax = 'proto3'; package common.v1;
        message Thing { message Part {} } message Other {} enum Kind { NONE = 0; }";
    let own = "syntax = 'proto3'; package own; import 'common.proto';
        message Mine { common.v1.Thing thing = 1; }
        service S {
          rpc A(common.v1.Thing) returns (common.v1.Thing.Part);
          rpc B(common.v1.Other) returns (Mine);
        }";
    for path in ["::common_types::v1", "crate::v1", "common_types::v1"] {
        let package = Package::new(&[("common.proto", common), ("own.proto", own)]);
        let config = package.config().prost(|prost| prost.extern_path(".common.v1", path));
        package.compile_with(config, &["own.proto"]).unwrap();
        let own = package.read(package.out("own.rs"));
        let method = format!("::Method<{path}::Thing,{path}::thing::Part>");
        assert!(own.replace(['\n', ' '], "").replace(",>", ">").contains(&method), "{own}");
        assert!(own.contains("::Message for Mine"), "{own}");
        let common = package.out("common.v1.rs");
        assert!(!common.exists() || package.read(&common).lines().count() == 1);
    }
}

#[test]
fn one_type_can_have_an_extern_path() {
    let package = Package::of(
        "syntax = 'proto3'; package a; message M {} message N { message P {} }
        service S { rpc A(M) returns (N.P); }",
    );
    let config = package.config().prost(|prost| prost.extern_path(".a.M", "::other::M"));
    package.compile_with(config, &["a.proto"]).unwrap();
    let text = package.read(package.out("a.rs"));
    assert!(text.contains("Method<::other::M, super::n::P>"), "{text}");
    assert!(!text.contains("Message for ::other::M") && !text.contains("Message for M "), "{text}");
    assert!(text.contains("Message for n::P"), "{text}");
}

#[test]
fn several_short_forms_in_one_run_do_not_clash() {
    let short = "syntax = 'proto3'; message request { part p = 1; message part {} }
        message response { part p = 1; } message part {}";
    let package =
        Package::new(&[("one.proto", short), ("two.proto", short), ("deep/three.proto", short)]);
    package.compile(&["one.proto", "two.proto", "deep/three.proto"]).unwrap();
    assert_eq!(package.generated(), ["one.rs", "three.rs", "two.rs"]);
    for name in ["one", "two", "three"] {
        let text = package.read(package.out(&format!("{name}.rs")));
        assert!(text.contains(&format!("\"{name}.{name}/call\"")), "{text}");
        assert!(text.contains(&format!("\"{name}.request.part\"")), "{text}");
    }
}

#[test]
fn a_short_form_can_be_imported() {
    let short = "syntax = 'proto3'; message request {} message response {}\n// The end.";
    let long = "syntax = 'proto3'; package long; import 'deep/short.proto';
        message M { short.request request = 1; }";
    let package = Package::new(&[("deep/short.proto", short), ("long.proto", long)]);
    package.compile(&["long.proto"]).unwrap();
    assert_eq!(package.generated(), ["long.rs", "short.rs"]);
    assert!(package.read(package.out("long.rs")).contains("super::short::Request"));
}

#[test]
fn a_file_with_a_package_or_a_service_is_of_the_long_form() {
    let package = Package::new(&[(
        "a.proto",
        "syntax = 'proto3'; package b; message request {} message response {}",
    )]);
    package.compile(&["a.proto"]).unwrap();
    assert_eq!(package.generated(), ["b.rs"]);
    assert!(!package.read(package.out("b.rs")).contains("Service"));
}

#[test]
fn imports_are_found_in_include_folders() {
    let package = Package::new(&[
        ("shared/b.proto", "syntax = 'proto3'; package b; message B {}"),
        ("own/a.proto", "syntax = 'proto3'; package a; import 'b.proto'; message A { b.B b = 1; }"),
    ]);
    let config = package.config().include(package.proto("own")).include(package.proto("shared"));
    package.compile_with(config, &["own/a.proto"]).unwrap();
    assert_eq!(package.generated(), ["a.rs", "b.rs"]);
}

#[test]
fn imports_are_named_from_the_topmost_folder_of_the_files() {
    let package = Package::new(&[
        ("deep/a.proto", "syntax = 'proto3'; package a; import 'deep/b.proto'; message A {}"),
        ("deep/b.proto", "syntax = 'proto3'; package b; message B {}"),
        ("top.proto", "syntax = 'proto3'; package top; import 'deep/a.proto'; message T {}"),
    ]);
    package.compile(&["deep/a.proto", "deep/b.proto", "top.proto"]).unwrap();
    assert_eq!(package.generated(), ["a.rs", "b.rs", "top.rs"]);
}

#[test]
fn a_copy_of_the_options_among_the_files_does_no_harm() {
    let options = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto/seaway/options.proto");
    let options = std::fs::read_to_string(options).unwrap();
    let text = "syntax = 'proto3'; package a; import 'seaway/options.proto';
        message M { option (seaway.message_id) = 12; }";
    let package = Package::new(&[("seaway/options.proto", &options), ("a.proto", text)]);
    package.compile(&["a.proto", "seaway/options.proto"]).unwrap();
    assert_eq!(package.generated(), ["a.rs"]);
    assert!(package.read(package.out("a.rs")).contains("MessageId::new(12)"));
}

#[test]
fn a_file_without_anything_makes_no_code() {
    let package = Package::of("syntax = 'proto3';\nimport public 'google/protobuf/any.proto';");
    package.compile(&["a.proto"]).unwrap();
    assert_eq!(package.generated(), Vec::<String>::new());
}
