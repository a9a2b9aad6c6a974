//! Keeps the house in the shape that ARCHITECTURE.md describes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const LINES_MAX: usize = 500;
/// Where code is that people write.
const FOLDERS: [&str; 16] = [
    "src",
    "tests",
    "examples",
    "bench/src",
    "bench/instructions/src",
    "bench/routing/src",
    "docs/guide",
    "codegen/src",
    "codegen/tests",
    "discovery-mock/src",
    "discovery-mock/tests",
    "harbor/src",
    "harbor/tests",
    "pbrpc/src",
    "pbrpc/tests",
    "testproto/src",
];

/// Files that must not reach clocks, tasks and sockets; what lies in their folders is held by them.
const PURE: [&str; 12] = [
    "discovery/labels.rs",
    "discovery/member.rs",
    "discovery/view.rs",
    "handshake.rs",
    "link/account.rs",
    "link/outbox.rs",
    "link/state.rs",
    "node/picture.rs",
    "pair.rs",
    "relay/places.rs",
    "routing.rs",
    "wire.rs",
];
/// Pure files that read what a peer has sent.
const DECODERS: [&str; 2] = ["handshake.rs", "wire.rs"];

#[test]
fn a_module_names_only_modules_on_lower_floors() {
    let floors = floors(&read(&root().join("ARCHITECTURE.md")));
    let mut wrong = Vec::new();
    for file in sources() {
        let path = module_path(&file);
        let [module, ..] = path.as_slice() else { continue };
        let own = floors[module];
        for named in modules_named(&read(&src().join(&file)), path.len()) {
            if named != *module && floors.get(&named).is_none_or(|floor| *floor >= own) {
                wrong.push(format!("src/{file} (floor {own}) names {named}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_module_has_its_floor() {
    let floors = floors(&read(&root().join("ARCHITECTURE.md")));
    let listed: BTreeSet<&String> = floors.keys().collect();
    let paths: Vec<_> = sources().iter().map(|file| module_path(file)).collect();
    let there: BTreeSet<&String> = paths.iter().filter_map(|path| path.first()).collect();
    assert_eq!(listed, there, "left: in ARCHITECTURE.md; right: in src");
}

#[test]
fn every_file_says_what_it_is_and_is_short() {
    let mut wrong = Vec::new();
    for folder in FOLDERS {
        for file in files(&root().join(folder), "rs") {
            let text = read(&file);
            if text.starts_with("// This file is @generated") {
                continue;
            }
            let name = file.strip_prefix(root()).unwrap().display();
            // Tests beside the code are described by the file that they test.
            if !text.starts_with("//!") && !file.ends_with("tests.rs") {
                wrong.push(format!("{name} does not begin with a `//!` line"));
            }
            let lines = text.lines().count();
            if lines > LINES_MAX {
                wrong.push(format!("{name} has {lines} lines; {LINES_MAX} are the most"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn pure_files_are_held_to_it_by_clippy() {
    for file in PURE {
        let denied = denied_lints(&read(&src().join(file)));
        let mut wanted = vec!["clippy::disallowed_methods", "clippy::disallowed_types"];
        if DECODERS.contains(&file) {
            wanted.push("clippy::indexing_slicing");
        }
        for lint in wanted {
            assert!(denied.iter().any(|denied| denied == lint), "src/{file} does not deny {lint}");
        }
    }
}

#[test]
fn links_in_documents_lead_somewhere() {
    let mut wrong = Vec::new();
    let root = root();
    let mut documents = files(&root.join("docs"), "md");
    documents.extend(
        ["README", "ARCHITECTURE", "CONTRIBUTING", "CHANGELOG", "bench/README"]
            .map(|name| root.join(name).with_extension("md")),
    );
    for document in documents {
        for link in links(&read(&document)) {
            if !document.parent().unwrap().join(&link).exists() {
                wrong.push(format!("{}: {link}", document.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn examples_are_numbered_and_run_before_a_merge() {
    let (manifest, run) = (read(&root().join("Cargo.toml")), read(&root().join(".ci/run")));
    let entries = fs::read_dir(root().join("examples")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut there: Vec<_> = names.filter(|name| name != "template").collect();
    there.sort();
    for (number, file) in (1..).zip(there) {
        let name = file.trim_end_matches(".rs").trim_start_matches(&format!("{number:02}_"));
        let listed =
            format!("[[example]]\nname = \"{name}\"\npath = \"examples/{number:02}_{name}");
        assert!(manifest.contains(&listed), "examples/{file} is not in Cargo.toml by its number");
        let step = format!("cargo run --locked --example {name}\n");
        assert!(run.contains(&step), ".ci/run does not run {file}");
    }
}

#[test]
fn the_page_of_each_package_begins_with_an_example() {
    for package in [".", "codegen", "discovery-mock", "harbor", "pbrpc"] {
        let text = read(&root().join(package).join("src/lib.rs"));
        let is_code = |line: &str| ["//! ```", "//! ```no_run"].contains(&line);
        assert!(text.lines().take(12).any(is_code), "{package}");
    }
}

// What the checks above rest on.

#[test]
fn modules_are_seen_however_they_are_named() {
    let text = "
        use crate::addr::LogicalAddr;
        use crate::{clock::{Clock, millis}, wire};
        fn f(x: crate::link::Link) -> super::super::net::Door { super::sibling() }
        // crate::comments is a comment
        /// as is [`crate::Docs`]
        fn g() -> crate::Facade {}
        pub(crate) struct Plain;
        #[cfg(test)]
        mod tests { use crate::node::Node; }
    ";
    let expected = ["Facade", "addr", "clock", "link", "net", "wire"].map(str::to_owned);
    assert_eq!(modules_named(text, 2), BTreeSet::from(expected));
    assert_eq!(modules_named("use super::router::Router;", 1), BTreeSet::from(["router".into()]));
}

#[test]
fn links_are_seen_except_in_code() {
    let text = "[a](docs/a.md#part) [b](https://b) [c](#c)\n```\n[d](d)\n```\n`[e](e)` [f](f.rs)";
    assert_eq!(links(text), ["docs/a.md", "f.rs"]);
}

#[test]
fn floors_are_read_from_the_drawing() {
    let text = "```text\n 2  wire   bytes\n 1  addr   names\n```\n 3  not in the drawing";
    let expected = [("addr".to_owned(), 1), ("wire".to_owned(), 2)];
    assert_eq!(floors(text), BTreeMap::from(expected));
}

/// The floors as they are drawn: ` 5  link  what it is`, in the first block of text.
fn floors(text: &str) -> BTreeMap<String, u32> {
    let drawing = text.split("```text").nth(1).unwrap().split("```").next().unwrap();
    let floor = |line: &str| {
        let mut words = line.split_whitespace();
        Some((words.next()?.parse().ok()?, words.next()?.to_owned()))
    };
    drawing.lines().filter_map(floor).map(|(floor, module)| (module, floor)).collect()
}

/// The modules at the top of the crate that a file names, by `crate::` or by so many `super::` as
/// it takes from `depth` modules down.
fn modules_named(text: &str, depth: usize) -> BTreeSet<String> {
    let lines = text.lines().map(|line| line.split("//").next().unwrap().trim());
    let code: String = lines.flat_map(|line| [line, " "]).collect();
    let code = code.split("#[cfg(test)] mod ").next().unwrap();
    let up = "super::".repeat(depth);
    let mut named = BTreeSet::new();
    for prefix in ["crate::", &up] {
        for (at, _) in code.match_indices(prefix) {
            // `$crate::`, `pub(in super::…)` and a longer word end in it, too.
            let before = code[..at].chars().next_back().unwrap_or(' ');
            if !before.is_alphanumeric() && !"_:$".contains(before) {
                named.extend(first_words(&code[at + prefix.len()..]));
            }
        }
    }
    named
}

/// `a::b` gives `a`; `{a::{b, c}, d}` gives `a` and `d`.
fn first_words(path: &str) -> Vec<String> {
    let word = |text: &str| {
        let word = text.trim().split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap();
        word.to_owned()
    };
    let Some(list) = path.strip_prefix('{') else { return vec![word(path)] };
    let (mut depth, mut words, mut is_first) = (0, Vec::new(), true);
    for (at, c) in list.char_indices() {
        if is_first && c.is_alphabetic() {
            words.push(word(&list[at..]));
            is_first = false;
        }
        match c {
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            '{' => depth += 1,
            ',' if depth == 0 => is_first = true,
            _ => {}
        }
    }
    words
}

/// The lints that a file denies for itself and all below it.
fn denied_lints(text: &str) -> Vec<String> {
    let attributes = text.lines().filter_map(|line| line.strip_prefix("#![deny("));
    let lists = attributes.filter_map(|rest| rest.strip_suffix(")]"));
    lists.flat_map(|list| list.split(',')).map(|lint| lint.trim().to_owned()).collect()
}

/// Where the links of a document lead, if that is in this repository.
fn links(text: &str) -> Vec<String> {
    let prose: String = text.split("```").step_by(2).collect();
    let prose: String = prose.split('`').step_by(2).collect();
    let targets = prose.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next());
    let paths = targets.filter(|target| !target.contains("://")).map(|target| {
        let (path, _anchor) = target.split_once('#').unwrap_or((target, ""));
        path.to_owned()
    });
    paths.filter(|path| !path.is_empty()).collect()
}

/// All files of the library but its root and its tests, relative to `src`.
fn sources() -> Vec<String> {
    let all = files(&src(), "rs").into_iter();
    let names = all.map(|file| file.strip_prefix(src()).unwrap().to_str().unwrap().to_owned());
    let is_test = |name: &String| name.split('/').any(|part| part.starts_with("tests"));
    names.filter(|name| name != "lib.rs" && !is_test(name)).collect()
}

/// `link/state.rs` is `link`, `state`.
fn module_path(file: &str) -> Vec<String> {
    file.trim_end_matches(".rs").split('/').map(str::to_owned).collect()
}

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn src() -> PathBuf {
    root().join("src")
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
