//! What is in the chapters and the README and is no doc test: files, and their order.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use std::fs;
use std::path::Path;

use seaway::discovery::{Discovery, Event, MembersFile};

const TEMPLATE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/template");
const CHAPTERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src");

fn read(folder: &str, file: &str) -> String {
    fs::read_to_string(Path::new(folder).join(file)).unwrap()
}

/// The chapters that there are, as files.
fn chapters() -> Vec<String> {
    let files = fs::read_dir(CHAPTERS).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let mut chapters: Vec<_> = names.filter(|name| name != "SUMMARY.md").collect();
    chapters.sort();
    chapters
}

/// The blocks of a chapter that are in a language.
fn blocks(chapter: &str, language: &str) -> Vec<String> {
    blocks_of(&read(CHAPTERS, chapter), language)
}

/// The blocks of a text that are in a language.
fn blocks_of(text: &str, language: &str) -> Vec<String> {
    let (mut blocks, mut block) = (Vec::new(), None::<String>);
    for line in text.lines() {
        match &mut block {
            None if line == format!("```{language}") => block = Some(String::new()),
            None => {}
            Some(_) if line == "```" => blocks.extend(block.take()),
            Some(block) => *block += &format!("{line}\n"),
        }
    }
    blocks
}

/// The lines that are not empty: between the blocks of a chapter empty ones get lost.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.is_empty())
}

#[test]
fn the_first_chapter_is_the_template() {
    assert_eq!(blocks("first.md", "toml"), [read(TEMPLATE, "Cargo.toml")]);
    assert_eq!(blocks("first.md", "proto"), [read(TEMPLATE, "proto/chat.proto")]);
    let rust = blocks("first.md", "rust");
    let [build, main @ ..] = rust.as_slice() else { panic!("no code") };
    assert_eq!(*build, read(TEMPLATE, "build.rs"));
    let (main, template) = (main.concat(), read(TEMPLATE, "src/main.rs"));
    for (said, there) in lines(&main).zip(lines(&template)) {
        assert_eq!(said, there);
    }
    assert_eq!(lines(&main).count(), lines(&template).count());
}

#[test]
fn the_service_of_the_readme_is_the_one_that_its_code_is_tested_with() {
    let guide = env!("CARGO_MANIFEST_DIR");
    let said = blocks_of(&read(guide, "../../README.md"), "proto");
    assert_eq!(said, [read(guide, "proto/game.proto")]);
}

#[test]
fn each_chapter_is_in_the_summary_and_its_code_in_the_doc_tests() {
    let summary = read(CHAPTERS, "SUMMARY.md");
    let tested = read(env!("CARGO_MANIFEST_DIR"), "lib.rs");
    for chapter in chapters() {
        assert!(summary.contains(&format!("({chapter})")), "{chapter} is not in the summary");
        let is_tested = tested.contains(&format!("include_str!(\"src/{chapter}\")"));
        assert!(is_tested || chapter == "first.md", "the code of {chapter} is not tested");
    }
}

#[test]
fn each_link_to_a_file_leads_to_one() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let pages = [root.clone(), root.join("docs"), CHAPTERS.into()].map(|folder| {
        let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
        files.filter(|path| path.extension().is_some_and(|kind| kind == "md")).collect::<Vec<_>>()
    });
    let mut links = 0;
    for page in pages.concat() {
        let text = fs::read_to_string(&page).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next()) {
            if !link.is_empty() && !link.contains("://") {
                let there = page.parent().unwrap().join(link);
                assert!(there.exists(), "{}: {link} leads nowhere", page.display());
                links += 1;
            }
        }
    }
    assert!(links > 20, "only {links} links were found");
}

#[test]
fn each_proto_file_compiles() {
    let folder = tempfile::tempdir().unwrap();
    for chapter in chapters() {
        for proto in blocks(&chapter, "proto") {
            let path = folder.path().join("guide.proto");
            fs::write(&path, proto).unwrap();
            let compiled = seaway_codegen::configure().out_dir(folder.path()).compile([path]);
            compiled.unwrap_or_else(|error| panic!("{chapter}: {error}"));
        }
    }
}

#[tokio::test]
async fn the_members_file_is_one() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let [members] = <[String; 1]>::try_from(blocks("discovery.md", "toml")).unwrap();
    fs::write(&file, members).unwrap();
    let mut watch = MembersFile::open(file.path()).watch().await.unwrap();
    let Some(Event::Snapshot { members, .. }) = watch.next().await else { panic!("no members") };
    let addresses: Vec<_> = members.iter().map(|member| member.address.to_string()).collect();
    assert_eq!(addresses, ["1.1.1", "1.7.1"]);
}
