//! `docs/promises.md` names the tests that prove each promise: all of them, and none that does not
//! exist.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// How many promises there are.
const PROMISES: u32 = 22;
/// Words with which a promise says that it is not, or not wholly, kept yet.
const LATER: &str = "*Waits for*";

/// The names of tests by the number of their promise.
type Tests = BTreeMap<u32, BTreeSet<String>>;

/// The numbers that a name such as `p01_p02_nothing_is_late` begins with.
fn promises_of(name: &str) -> Vec<u32> {
    let number = |part: &str| part.strip_prefix('p').filter(|part| part.len() == 2)?.parse().ok();
    name.split('_').map_while(number).collect()
}

/// The folders of sources: those of the library, and those of the packages beside it.
fn source_folders() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let beside = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
    let packages = beside.filter(|path| path.join("Cargo.toml").is_file());
    let all = packages.chain([root.to_owned()]);
    all.flat_map(|package| [package.join("src"), package.join("tests")])
        .filter(|folder| folder.is_dir())
        .collect()
}

/// The functions in the sources whose names begin with a promise, and all others.
fn tests_in_sources() -> (Tests, BTreeSet<String>) {
    let (mut tests, mut others) = (Tests::new(), BTreeSet::new());
    let mut folders = source_folders();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                for name in functions(&fs::read_to_string(path).unwrap()) {
                    let promises = promises_of(&name);
                    for promise in &promises {
                        tests.entry(*promise).or_default().insert(name.clone());
                    }
                    if promises.is_empty() {
                        others.insert(name);
                    }
                }
            }
        }
    }
    (tests, others)
}

/// The names of the functions in a source file.
fn functions(source: &str) -> Vec<String> {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let lines = source.lines().map(str::trim_start).filter(|line| !line.starts_with("//"));
    let names = lines.filter_map(|line| line.split_once("fn ")).map(|(_, rest)| rest);
    names.map(|rest| rest.chars().take_while(|letter| is_part(*letter)).collect()).collect()
}

/// What the document lists under "What proves them": a line for each promise, and names between
/// backquotes in it and in the lines below it.
fn listed() -> BTreeMap<u32, (bool, BTreeSet<String>)> {
    let document = include_str!("../docs/promises.md");
    let (_, list) = document.split_once("## What proves them\n").expect("no list of tests");
    let mut listed: BTreeMap<u32, (bool, BTreeSet<String>)> = BTreeMap::new();
    let mut current = 0;
    for line in list.lines().take_while(|line| !line.starts_with("## ")) {
        if let Some((number, _)) = line.strip_prefix("- **P").and_then(|rest| rest.split_once("**"))
        {
            current = number.parse().expect("a number behind P");
            assert!(!listed.contains_key(&current), "P{current} stands twice");
        }
        if current > 0 {
            let (is_later, names) = listed.entry(current).or_default();
            *is_later |= line.contains(LATER);
            names.extend(line.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    listed
}

/// The list as it ought to stand in the document.
fn list_of(promise: u32, names: &BTreeSet<String>) -> String {
    let names: Vec<_> = names.iter().map(|name| format!("  `{name}`")).collect();
    format!("- **P{promise}**\n{}", names.join("\n"))
}

#[test]
fn each_promise_lists_the_tests_that_prove_it_and_no_others() {
    let (tests, others) = tests_in_sources();
    let listed = listed();
    for promise in 1..=PROMISES {
        let mut expected = tests.get(&promise).cloned().unwrap_or_default();
        let (_, names) = &listed.get(&promise).unwrap_or_else(|| panic!("P{promise} is missing"));
        // Names without a promise's number may help to prove it, if they exist.
        expected.extend(names.iter().filter(|name| others.contains(*name)).cloned());
        let missing: Vec<_> = expected.difference(names).collect();
        let unknown: Vec<_> = names.difference(&expected).collect();
        assert!(
            missing.is_empty() && unknown.is_empty(),
            "P{promise}: not listed: {missing:?}; listed and not there: {unknown:?}; it should be\n{}",
            list_of(promise, &expected),
        );
    }
    let beyond: Vec<_> = tests.keys().chain(listed.keys()).filter(|p| **p > PROMISES).collect();
    assert!(beyond.is_empty(), "no such promises: {beyond:?}");
}

#[test]
fn a_promise_without_a_test_says_what_it_waits_for() {
    for (promise, (is_later, names)) in listed() {
        assert!(is_later || !names.is_empty(), "P{promise} is neither proven nor put off");
    }
}
