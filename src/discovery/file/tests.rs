use std::fs;

use tempfile::TempDir;

use super::*;

/// A file in a folder of its own, both gone with it.
struct Scratch {
    _folder: TempDir,
    path: PathBuf,
}

impl Scratch {
    fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let scratch = Self { path: folder.path().join("members.toml"), _folder: folder };
        scratch.write(text);
        scratch
    }

    /// As a careful writer does it.
    fn write(&self, text: impl AsRef<[u8]>) {
        let draft = self.path.with_extension("draft");
        fs::write(&draft, text).unwrap();
        fs::rename(&draft, &self.path).unwrap();
    }

    fn poller(&self) -> Poller {
        let members = parse(&read(&self.path).unwrap()).unwrap();
        Poller::new(MembersFile::open(&self.path), members)
    }
}

fn entry(address: &str) -> String {
    format!("[[member]]\naddress = \"{address}\"\nnetwork = \"127.0.0.1:7001\"\n")
}

fn member(address: &str) -> Member {
    Member::new(address.parse().unwrap(), "127.0.0.1:7001")
}

/// What the poller says after enough looks for a file that is left alone.
fn settle(poller: &mut Poller) -> Vec<Event> {
    (0..4).filter_map(|_| poller.poll()).collect()
}

fn problem(event: &Event) -> &str {
    let Event::Problem(text) = event else { panic!("{event:?}") };
    text
}

#[tokio::test]
async fn labels_of_a_builder_are_warned_of_once() {
    let logs = tempfile::NamedTempFile::new().unwrap();
    let log =
        tracing_subscriber::fmt().with_ansi(false).with_writer(Arc::new(logs.reopen().unwrap()));
    let _here = tracing::subscriber::set_default(log.finish());
    let file = MembersFile::open("members.toml");
    let me = Announcement::new(LogicalAddr::new(1, 1, 1), Incarnation::from_bits(1));
    file.announce(&me).await.unwrap();
    assert_eq!(fs::read_to_string(&logs).unwrap(), "");
    let labelled = me.label("zone", "a");
    for _ in 0..2 {
        file.announce(&labelled).await.unwrap();
    }
    let told = fs::read_to_string(&logs).unwrap();
    assert_eq!(told.matches("labels of the builder reach no peer").count(), 1, "{told}");
}

#[test]
fn every_field_is_read_and_most_may_be_left_out() {
    let text = r#"
        # a comment
        [[member]]
        address = "1.1.1"
        network = "[::1]:7001"
        exported = true
        available = false
        labels = { zone = "a", tier = "x" }

        [[member]]
        address = "1.255.1"
        network = "127.0.0.1:7001"
    "#;
    let first = Member::new("1.1.1".parse().unwrap(), "[::1]:7001")
        .exported(true)
        .available(false)
        .label("zone", "a")
        .label("tier", "x");
    assert_eq!(parse(text), Ok(vec![first, member("1.255.1")]));
    assert_eq!(parse(""), Ok(vec![]));
}

#[test]
fn each_mistake_is_told_with_its_line_and_what_to_do() {
    let twice = entry("1.1.1") + &entry("1.1.2") + &entry("1.1.1");
    for (text, line, hint) in [
        ("[[member]]\naddress = \"1.1\"\nnetwork = \"a:1\"", 2, "three parts"),
        ("[[member]]\nnetwork = \"a:1\"", 1, "missing field `address`"),
        ("[[member]]\naddress = \"1.1.1\"", 1, "missing field `network`"),
        (
            "[[member]]\naddress = \"1.1.1\"\nnetwork = \"a\"",
            2,
            "1.1.1: a network address is host:port",
        ),
        ("\n[[member]]\nadress = \"1.1.1\"", 3, "unknown field `adress`, expected one of"),
        ("\n[[members]]\n", 2, "unknown field `members`, expected `member`"),
        ("[[member]]\naddress = 1.1.1", 2, ""),
        ("[[member]]\naddress = \"1.1.1\nnetwork = \"a:1\"", 2, ""),
        ("[[member]]\naddress = \"1.1.1\"\nnetwork = \"a:1\"\nexported = \"yes\"", 4, "boolean"),
        (twice.as_str(), 8, "already a member by line 2; remove one of them"),
    ] {
        let error = parse(text).unwrap_err();
        assert!(error.starts_with(&format!("line {line}: ")), "{text}\n{error}");
        assert!(error.contains(hint), "{text}\n{error}");
        assert!(!error.contains('\n'), "{text}\n{error}");
    }
}

#[test]
fn a_change_is_told_once_when_the_file_is_left_alone() {
    let file = Scratch::new(&entry("1.1.1"));
    let mut poller = file.poller();
    assert_eq!(settle(&mut poller), []);

    file.write(entry("1.1.1") + &entry("1.1.2"));
    assert_eq!(poller.poll(), None, "it may still be written");
    let all = vec![member("1.1.1"), member("1.1.2")];
    assert_eq!(poller.poll(), Some(Event::Snapshot { revision: 1, members: all }));
    assert_eq!(settle(&mut poller), []);

    file.write("# nothing new\n".to_owned() + &entry("1.1.1") + &entry("1.1.2"));
    assert_eq!(settle(&mut poller), []);
}

#[test]
fn a_file_that_is_half_written_counts_when_it_is_whole() {
    let file = Scratch::new(&entry("1.1.1"));
    let mut poller = file.poller();
    settle(&mut poller);

    // In place, as a careless writer does it, with a look at each step: half of it is broken.
    let whole = entry("1.1.1") + &entry("1.1.2");
    for written in [0, whole.len() / 3, whole.len() - 9, whole.len()] {
        fs::write(&file.path, &whole[..written]).unwrap();
        assert_eq!(poller.poll(), None, "{written} bytes are written");
    }
    let members = vec![member("1.1.1"), member("1.1.2")];
    assert_eq!(settle(&mut poller), [Event::Snapshot { revision: 1, members }]);
}

#[test]
fn a_broken_file_is_told_once_and_the_last_good_members_stay() {
    let file = Scratch::new(&entry("1.1.1"));
    let mut poller = file.poller();

    file.write("[[member]]\naddress = 7\n");
    let told = settle(&mut poller);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(problem(&told[0]).contains("members.toml: line 2: "), "{told:?}");

    file.write(entry("1.1.1"));
    assert_eq!(settle(&mut poller), [], "the members are what they were");
    file.write("member = 7");
    assert_eq!(settle(&mut poller).len(), 1, "broken again");
}

#[test]
fn a_file_that_vanishes_is_told_once_and_read_when_it_is_back() {
    let file = Scratch::new(&entry("1.1.1"));
    let mut poller = file.poller();
    settle(&mut poller);

    fs::remove_file(&file.path).unwrap();
    let told = settle(&mut poller);
    assert_eq!(told.len(), 1, "{told:?}");
    problem(&told[0]);

    file.write(entry("1.1.2"));
    let members = vec![member("1.1.2")];
    assert_eq!(settle(&mut poller), [Event::Snapshot { revision: 1, members }]);
}

#[test]
fn a_file_that_was_away_and_is_as_before_can_vanish_again() {
    let file = Scratch::new(&entry("1.1.1"));
    let (mut poller, aside) = (file.poller(), file.path.with_extension("aside"));
    settle(&mut poller);
    for _ in 0..2 {
        fs::rename(&file.path, &aside).unwrap();
        assert_eq!(settle(&mut poller).len(), 1);
        fs::rename(&aside, &file.path).unwrap();
        assert_eq!(settle(&mut poller), []);
    }
}

#[test]
fn what_is_no_text_no_file_or_too_large_is_refused() {
    let file = Scratch::new("");
    file.write(b"# fine\n\xff");
    assert_eq!(read(&file.path), Err("line 2: this is not UTF-8 text".to_owned()));

    let folder = file.path.parent().unwrap();
    assert_eq!(read(folder), Err("it is not a file".to_owned()));

    File::options().write(true).open(&file.path).unwrap().set_len(FILE_BYTES_MAX + 1).unwrap();
    assert_eq!(read(&file.path), Err("it is larger than 16 MiB".to_owned()));
}

#[tokio::test]
async fn a_watch_that_begins_with_a_bad_file_fails_and_says_why() {
    let file = Scratch::new("[[member]]\nadress = \"1.1.1\"\n");
    let error = MembersFile::open(&file.path).watch().await.unwrap_err().to_string();
    assert!(error.contains("members.toml: line 2: unknown field `adress`"), "{error}");
    let error = MembersFile::open("/nowhere/members.toml").watch().await.unwrap_err().to_string();
    assert!(error.starts_with("members file /nowhere/members.toml: "), "{error}");
}

#[tokio::test(start_paused = true)]
async fn p17_a_watcher_learns_of_changes_and_keeps_its_members_while_the_file_is_broken() {
    let file = Scratch::new(&entry("1.1.1"));
    let discovery = MembersFile::open(&file.path);
    let mut watch = discovery.watch().await.unwrap();
    let members = vec![member("1.1.1")];
    assert_eq!(watch.next().await, Some(Event::Snapshot { revision: 1, members }));

    file.write("[[member]");
    problem(&watch.next().await.unwrap());

    file.write(entry("1.1.2"));
    let members = vec![member("1.1.2")];
    assert_eq!(watch.next().await, Some(Event::Snapshot { revision: 2, members: members.clone() }));

    // A second watch goes on counting.
    let mut second = discovery.watch().await.unwrap();
    assert_eq!(second.next().await, Some(Event::Snapshot { revision: 3, members }));
}

#[tokio::test]
async fn dropping_the_watch_ends_the_polling() {
    let file = Scratch::new(&entry("1.1.1"));
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    let mut watch = MembersFile::open(&file.path).watch().await.unwrap();
    watch.next().await.unwrap();
    assert!(tasks() > before);
    drop(watch);
    let ended = async {
        while tasks() > before {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), ended).await.unwrap();
}
