use std::fs;
use std::path::Path;

use super::*;

/// What every file of a harbor has at least.
const LEAST: &str =
    "address = \"1.255.1\"\ndiscovery = { kind = \"file\", path = \"members.toml\" }\n";
const SECRET: &str = "correct horse battery staple, and more";

/// Reads a file of this text.
async fn read(text: &str) -> Result<(Document, Settings), Mistake> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("harbor.toml");
    fs::write(&path, text).unwrap();
    let source = Source::read(&path)?;
    let document = source.document()?;
    let settings = Settings::new(&document, &source).await?;
    Ok((document, settings))
}

/// What is said of a file with a mistake, behind its name.
async fn mistake(text: &str) -> String {
    let said = match read(text).await {
        Ok((_, settings)) => panic!("taken for right: {text}\n{settings}"),
        Err(mistake) => mistake.to_string(),
    };
    match said.split_once("harbor.toml, ") {
        Some((_, said)) => said.to_owned(),
        None => said,
    }
}

#[tokio::test]
async fn a_mistake_is_told_with_its_line_and_the_remedy() {
    let cases = [
        // Where nothing stands, no line can be told.
        ("", "there is no discovery: add `[discovery]`"),
        (
            "[discovery]\nkind = \"file\"\npath = \"m\"\n",
            "there is no address: add `address = \"group.255.id\"`",
        ),
        ("address = \"1.255.1\"\n", "there is no discovery: add `[discovery]`"),
        // What is no TOML.
        (
            "address = 1.255.1",
            "line 1, column 16: invalid float, expected nothing; text must be in quotes",
        ),
        ("\naddress = \"1.255.1", "line 2, column 19: invalid basic string, expected `\"`"),
        ("log = info", "line 1, column 7: invalid float, expected `inf`; text must be in quotes"),
        ("log = \"info\"\nlog = \"warn\"", "line 2, column 1: duplicate key: remove one"),
        // What is not known, or of another type.
        (
            "adress = \"1.255.1\"",
            "line 1, column 1: unknown field `adress`, expected one of `address`",
        ),
        ("streams_max = 5", "; it belongs under `[limits]`"),
        ("address = 5", "line 1, column 11: invalid type: integer, expected a string"),
        (
            "shutdown_within_ms = \"30 s\"",
            "column 22: invalid type: string, expected a whole number, such as",
        ),
        ("insecure_remote = 1", "column 19: invalid type: integer, expected a boolean"),
        ("labels = { zone = 1 }", "column 19: invalid type: integer, expected a string"),
        ("discovery = \"m.toml\"", "column 13: invalid type: string, expected a table with `kind`"),
        // The address.
        (
            "address = \"1.255\"",
            "line 1, column 11: a logical address has three parts, group.type.id",
        ),
        (
            "address = \"1.2.3\"\n[discovery]\nkind = \"file\"\npath = \"m\"",
            "line 1, column 11: `address` is 1.2.3, an ordinary node's; a harbor's has the type 255, as 1.255.3",
        ),
        (
            "address = \"9999.255.1\"",
            "line 1, column 11: the group of a logical address is 1 to 4095",
        ),
    ];
    for (text, wanted) in cases {
        let said = mistake(text).await;
        assert!(said.contains(wanted), "{text:?}: {said}");
    }
}

#[tokio::test]
async fn a_mistake_in_a_table_is_told_with_its_line_and_the_remedy() {
    let cases = [
        // Engines.
        ("[discovery]\npath = \"m\"", "line 2, column 1: missing field `kind`: add it"),
        (
            "[discovery]\nkind = \"etcd\"",
            "line 3, column 8: there is no discovery of kind \"etcd\": it is \"mock\" or \"file\"",
        ),
        (
            "[discovery]\nkind = \"mock\"",
            "line 2, column 1: a discovery of kind \"mock\" has an address: add",
        ),
        (
            "[discovery]\nkind = \"file\"",
            "line 2, column 1: a discovery of kind \"file\" has a path: add",
        ),
        (
            "[discovery]\nkind = \"mock\"\naddress = \"here\"",
            "line 4, column 11: a network address is host:port",
        ),
        (
            "[discovery]\nkind = \"mock\"\naddress = \"a:1\"\npath = \"m\"",
            "line 5, column 8: a discovery of kind \"mock\" has no path: remove it",
        ),
        (
            "[discovery]\nkind = \"file\"\naddress = \"a:1\"\npath = \"m\"",
            "line 4, column 11: a discovery of kind \"file\" has no address: remove it",
        ),
        (
            "[discovery]\nkind = \"file\"\nfile = \"m\"",
            "line 4, column 1: unknown field `file`, expected one of `kind`",
        ),
        (
            "discovery = { kind = \"file\", path = \"m\" }\n[harbors]\nkind = \"nats\"",
            "line 4, column 8: there is no discovery of kind \"nats\"",
        ),
    ];
    for (text, wanted) in cases {
        let said = mistake(&format!("address = \"1.255.1\"\n{text}")).await;
        assert!(said.contains(wanted), "{text:?}: {said}");
    }
}

#[tokio::test]
async fn what_a_node_does_not_take_is_told_with_the_line_that_says_it() {
    let many: String = (0..40).map(|n| format!("key{n} = \"value\"\n")).collect();
    let long = "x".repeat(65);
    let cases = [
        (format!("deployment = \"{long}\""), "line 3, column 14: `deployment` is"),
        (
            "deployment = \"\"".to_owned(),
            "line 3, column 14: `deployment` is \"\"; it must be 1 to 64",
        ),
        (format!("version_label = \"{long}\""), "line 3, column 17: `version_label` is"),
        ("listen = \"7001\"".to_owned(), "line 3, column 10: a network address is host:port"),
        (
            "listen = \"127.0.0.1:0\"".to_owned(),
            "line 3, column 10: a network address is host:port with a port from 1",
        ),
        (
            "listen = \"0.0.0.0:7001\"".to_owned(),
            "line 3, column 10: who reaches this address could act as any node: add a key",
        ),
        (
            "log = \"seaway=loud\"".to_owned(),
            "line 3, column 7: the log filter \"seaway=loud\" is none",
        ),
        (format!("[labels]\n{many}"), "line 3, column 1: a member has at most 32 labels, not 40"),
        (
            "[limits]\nheartbeat = 1".to_owned(),
            "line 4, column 1: there is no limit \"heartbeat\": remove it, or take one of frame_bytes_max",
        ),
        (
            "[limits]\nheartbeat_ms = 1".to_owned(),
            "line 4, column 1: `heartbeat` is 1ms; it must be 100ms to 60s",
        ),
        (
            "[limits]\ncalls_max = -1".to_owned(),
            "line 4, column 13: invalid value: integer, expected a whole number",
        ),
        (
            "[limits]\ncalls_max = 0".to_owned(),
            "line 4, column 1: `calls_max` is 0; it must be at least 1",
        ),
        (
            "[limits]\nframe_bytes_max = \"1 MiB\"".to_owned(),
            "line 4, column 19: invalid type: string, expected a whole number, such as 1_048_576",
        ),
        // The queue is too small for what was said: the line is told where that was.
        (
            "[limits]\nframe_bytes_max = 33_554_432".to_owned(),
            "line 4, column 1: `outbox_bytes_max` is 16777216; it must be at least 33554432",
        ),
        (
            "[limits]\nbackoff_max_ms = 1".to_owned(),
            "line 4, column 1: `backoff_max` is 1ms; it must be at least 50ms",
        ),
    ];
    for (text, wanted) in cases {
        let said = mistake(&format!("{LEAST}{text}")).await;
        assert!(said.contains(wanted), "{text:?}: {said}");
    }
}

#[tokio::test]
async fn a_key_that_is_none_is_told_with_its_line_and_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let short = folder.path().join("short");
    fs::write(&short, "short\n").unwrap();
    let binary = folder.path().join("binary");
    fs::write(&binary, [0xff; 64]).unwrap();
    let file = |path: &Path| format!("[[keys]]\nlabel = \"a\"\nsecret_file = {path:?}");
    let twice = format!("{0}{0}", format!("[[keys]]\nlabel = \"a\"\nsecret = \"{SECRET}\"\n"));
    let cases = [
        (
            "[keys]\nlabel = \"a\"".to_owned(),
            "line 3, column 1: invalid type: map, expected a list: write `[[keys]]`",
        ),
        (
            "[[keys]]\nsecret_file = \"x\"".to_owned(),
            "line 3, column 1: missing field `label`: add it",
        ),
        (
            "[[keys]]\nlabel = \"a\"".to_owned(),
            "line 3, column 1: key \"a\": it has no secret: add `secret_file",
        ),
        (
            file(&folder.path().join("gone")),
            "line 3, column 1: key \"a\": cannot read its secret from ",
        ),
        (file(&binary), "did not contain valid UTF-8; `openssl rand -hex 32` makes one"),
        (
            file(&short),
            "line 3, column 1: key \"a\": the secret of a cluster key must be at least 32 random bytes, not 5; `openssl",
        ),
        (
            format!("[[keys]]\nlabel = \"\"\nsecret = \"{SECRET}\""),
            "line 3, column 1: key \"\": the label of a cluster key must be 1 to 32 bytes",
        ),
        (
            format!("[[keys]]\nlabel = \"a\"\nsecret = \"{SECRET}\"\nsecret_file = \"x\""),
            "line 3, column 1: key \"a\": it has `secret` and `secret_file`: remove one",
        ),
        (
            "[[keys]]\nlabel = \"a\"\nsecret = \"(hidden)\"".to_owned(),
            "line 3, column 1: key \"a\": the secret was hidden when this was printed: put it in again",
        ),
        (twice, "line 6, column 1: the cluster key label \"a\" is used twice"),
    ];
    for (text, wanted) in cases {
        let said = mistake(&format!("{LEAST}{text}")).await;
        assert!(said.contains(wanted), "{text:?}: {said}");
    }
}

#[tokio::test]
async fn p20_a_secret_is_in_no_mistake_and_nowhere_printed() {
    let key = |secret: &str| format!("[[keys]]\nlabel = \"a\"\nsecret = {secret}\n");
    let wrong = [
        key(SECRET),
        key(&format!("\"{SECRET}")),
        key(&format!("[\"{SECRET}\"]")),
        key(&format!("\"{SECRET}\\q\"")),
        key(&format!("\"{SECRET}\" battery")),
        key("8675309867530986753"),
        format!("keys = \"{SECRET}, expected {SECRET}\""),
        format!("keys = [\"{SECRET}\"]"),
        format!("{}secret = \"{SECRET}\"", key(&format!("\"{SECRET}\""))),
        format!("{}secret_file = \"x\"", key(&format!("\"{SECRET}\""))),
        format!("{}[limits]\ncalls_max = 0", key(&format!("\"{SECRET}\""))),
    ];
    for text in wrong {
        let said = mistake(&format!("{LEAST}{text}")).await;
        assert!(!said.contains("battery") && !said.contains("8675309"), "{text:?}: {said}");
    }
    let (document, settings) =
        read(&format!("{LEAST}{}", key(&format!("\"{SECRET}\"")))).await.unwrap();
    let builder = settings.builder().unwrap();
    let printed = toml::to_string(&settings.complete(&document)).unwrap();
    assert!(printed.contains("secret = \"(hidden)\""), "{printed}");
    let printed = format!("{printed} {document:?} {settings:?} {settings} {builder:?}");
    assert!(!printed.contains("battery"), "{printed}");
}

#[tokio::test]
async fn what_is_printed_says_everything_and_reads_back_as_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    fs::write(&secret, format!("{SECRET}\n")).unwrap();
    let some = format!(
        "{LEAST}listen = \"127.0.0.1:7255\"\nlog = \"warn,seaway=debug\"\nlabels = {{ zone = \"a\" }}\n\
         shutdown_within_ms = 1_500\n[harbors]\nkind = \"mock\"\naddress = \"localhost:8110\"\n\
         [limits]\nheartbeat_ms = 250\n[[keys]]\nlabel = \"2026-11\"\nsecret_file = {secret:?}\n"
    );
    for text in [LEAST, &some] {
        let (document, settings) = read(text).await.unwrap();
        let all = settings.complete(&document);
        let printed = toml::to_string(&all).unwrap();
        let (again, same) = read(&printed).await.unwrap();
        assert_eq!(again, all, "{printed}");
        assert_eq!(format!("{same:?}"), format!("{settings:?}"));
        assert_eq!(toml::to_string(&same.complete(&again)).unwrap(), printed);
        for said in
            LIMITS.iter().map(|(name, _)| *name).chain(["deployment", "stats_every_ms", "log"])
        {
            assert!(printed.contains(&format!("\n{said} = ")), "{said} is not in {printed}");
        }
    }
}

#[tokio::test]
async fn nothing_said_twice_is_done_twice() {
    let text = format!("{LEAST}harbors = {{ kind = \"file\", path = \"members.toml\" }}");
    let (_, settings) = read(&text).await.unwrap();
    assert!(settings.harbors.is_none(), "one discovery would be watched twice: {settings}");
}

#[test]
fn the_files_in_the_documentation_are_some() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("harbor.toml");
    for (told, mark) in [("src/lib.rs", "//! "), ("../docs/deploying.md", "")] {
        let told = Path::new(env!("CARGO_MANIFEST_DIR")).join(told);
        let told = fs::read_to_string(told).unwrap().replace(mark, "");
        let (_, text) = told.split_once("```toml\n").unwrap();
        let (text, _) = text.split_once("```\n").unwrap();
        fs::write(&path, text.replace("//!", "")).unwrap();
        let document = Source::read(&path).unwrap().document().unwrap();
        assert!(document.harbors.is_some() && document.keys.len() == 1, "{text}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let said = Source::read(Path::new("nowhere.toml")).unwrap_err().to_string();
    assert!(said.starts_with("nowhere.toml: ") && said.contains("--config"), "{said}");
}
