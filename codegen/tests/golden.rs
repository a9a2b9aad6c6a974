//! What is generated, line by line. `BLESS=1 cargo test -p seaway-codegen --test golden` writes the
//! files in `golden/` anew; then look at what changed.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use support::Package;

const FILES: [&str; 3] = ["everything.proto", "elsewhere.proto", "short.proto"];

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn package() -> Package {
    let files = FILES.map(|name| (name, fs::read_to_string(golden(name)).unwrap()));
    let files = files.each_ref().map(|(name, text)| (*name, text.as_str()));
    Package::new(&files)
}

#[track_caller]
fn assert_golden(package: &Package, generated: &str) {
    let text = package.read(package.out(generated));
    let path = golden(generated);
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, &text).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    for (at, (expected, text)) in expected.lines().zip(text.lines()).enumerate() {
        assert_eq!(text, expected, "{}:{}", path.display(), at + 1);
    }
    assert_eq!(text.lines().count(), expected.lines().count(), "{}", path.display());
}

#[test]
fn the_long_form_makes_types_names_and_a_module_for_each_service() {
    let package = package();
    package.compile(&FILES).unwrap();
    assert_golden(&package, "everything.rs");
    assert_golden(&package, "elsewhere.below.rs");
}

#[test]
fn the_short_form_makes_the_items_of_a_service_beside_the_types() {
    let package = package();
    package.compile(&FILES).unwrap();
    assert_golden(&package, "short.rs");
}

#[test]
fn the_order_in_which_files_are_given_changes_nothing() {
    let (one, other) = (package(), package());
    one.compile(&FILES).unwrap();
    other.compile(&["short.proto", "everything.proto", "elsewhere.proto", "short.proto"]).unwrap();
    assert_eq!(one.generated(), other.generated());
    for name in one.generated() {
        assert_eq!(one.read(one.out(&name)), other.read(other.out(&name)), "{name}");
    }
}

#[test]
fn generated_code_names_nothing_outside_but_the_door_of_seaway_and_core() {
    let package = package();
    package.compile(&FILES).unwrap();
    for name in package.generated() {
        let text = package.read(package.out(&name));
        let paths = text.match_indices("::").filter(|(at, _)| {
            // A path that begins with `::`.
            let before = text[..*at].chars().next_back().unwrap_or(' ');
            !before.is_alphanumeric() && before != '_' && before != '>'
        });
        for (at, _) in paths {
            let rest = &text[at..];
            // Of `std`, prost itself names its maps.
            let known = ["::seaway::rt::", "::core::", "::std::collections::HashMap"];
            assert!(known.iter().any(|known| rest.starts_with(known)), "{}", &rest[..40]);
        }
    }
}
