//! The state file.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod support;

use std::fs;
use std::path::Path;

use seaway::discovery::{Announcement, Discovery, MembersFile};
use seaway_discovery_mock::{MockDiscovery, Server};
use support::{ONE, THREE, TWO, Watcher, addr, client, member, run, soon, until};

async fn open(path: &Path) -> (Server, MockDiscovery) {
    let server = Server::builder().state(path).bind("127.0.0.1:0").await.unwrap();
    let client = client(server.local_addr());
    (server, client)
}

async fn complaint(path: &Path) -> String {
    let opened = Server::builder().state(path).bind("127.0.0.1:0").await;
    opened.unwrap_err().to_string()
}

#[tokio::test]
async fn what_was_entered_is_there_in_the_next_run_and_what_was_announced_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("members.toml");
    let entered = [
        member(ONE).exported(true).label("zone", "a \"b\"\n[c]"),
        member(TWO).available(false),
        member("1.255.3"),
    ];
    let (server, discovery) = open(&path).await;
    for member in &entered {
        discovery.put(member.clone()).await.unwrap();
    }
    let me = Announcement::new(addr(ONE), run(7)).available(false).label("tier", "x");
    discovery.announce(&me).await.unwrap();
    server.shutdown().await.unwrap();

    let (_server, discovery) = open(&path).await;
    assert_eq!(discovery.members().await.unwrap(), entered);
}

#[tokio::test]
async fn an_entry_is_in_the_file_before_it_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("members.toml");
    let (server, discovery) = open(&path).await;
    for address in [ONE, TWO] {
        discovery.put(member(address)).await.unwrap();
        assert!(fs::read_to_string(&path).unwrap().contains(&format!("\"{address}\"")));
    }
    discovery.set_exported(addr(ONE), true).await.unwrap();
    assert!(fs::read_to_string(&path).unwrap().contains("exported = true"));
    discovery.remove(addr(ONE)).await.unwrap();
    assert!(!fs::read_to_string(&path).unwrap().contains(ONE));
    // As when the process is killed.
    drop(server);
    let (_server, discovery) = open(&path).await;
    assert_eq!(discovery.members().await.unwrap(), [member(TWO)]);
}

#[tokio::test]
async fn what_is_changed_within_the_process_is_kept_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("members.toml");
    let (server, _) = open(&path).await;
    server.members().put(member(ONE)).unwrap();
    until("the file", || fs::read_to_string(&path).unwrap().contains(ONE)).await;
    server.members().put(member(TWO)).unwrap();
    server.shutdown().await.unwrap();
    assert!(fs::read_to_string(&path).unwrap().contains(TWO));
}

#[tokio::test]
async fn a_node_can_read_the_file_itself() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("members.toml");
    let (_server, discovery) = open(&path).await;
    discovery.put(member(ONE).label("zone", "a")).await.unwrap();
    let first = MembersFile::open(&path).watch().await.unwrap().next().await;
    assert!(
        matches!(
            &first,
            Some(seaway::discovery::Event::Snapshot { members, .. })
                if *members == [member(ONE).label("zone", "a")]
        ),
        "{first:?}"
    );
}

#[tokio::test]
async fn a_broken_file_is_an_error_that_names_the_line_and_leaves_it_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("members.toml");
    let entry = "[[member]]\naddress = \"1.1.1\"\nnetwork = \"127.0.0.1:1\"\n";
    for (text, wrong) in [
        ("[[member]]\naddress = \"1.1.1\"\nnetwork = nonsense\n".to_owned(), "line 3: "),
        ([entry, entry].concat(), "line 5: 1.1.1 is already a member by line 2"),
        (entry.replace("127.0.0.1:1", "nowhere"), "line 2: 1.1.1: a network address is host:port"),
    ] {
        fs::write(&path, &text).unwrap();
        let said = complaint(&path).await;
        assert!(said.contains(wrong) && said.contains("members.toml"), "{said}");
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
    let said = complaint(&folder.path().join("no/such/folder.toml")).await;
    assert!(said.contains("no/such/folder.toml"), "{said}");
}

#[tokio::test]
async fn what_cannot_be_kept_is_refused_in_words_and_kept_once_it_can_be() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("inner");
    fs::create_dir(&inner).unwrap();
    let path = inner.join("members.toml");
    let (_server, discovery) = open(&path).await;
    fs::rename(&inner, folder.path().join("away")).unwrap();
    let error = discovery.put(member(ONE)).await.unwrap_err();
    assert!(error.to_string().contains("was not kept"), "{error}");
    fs::rename(folder.path().join("away"), &inner).unwrap();
    until("the file", || fs::read_to_string(&path).unwrap().contains(ONE)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_changes_at_once_leave_the_last_state_and_at_no_time_half_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("members.toml");
    let (server, discovery) = open(&path).await;
    // So many that writing them takes a while.
    for id in 0..200 {
        server.members().put(member(&format!("1.2.{id}")).label("x", "y".repeat(400))).unwrap();
    }
    discovery.put(member(ONE)).await.unwrap();
    let mut watcher = Watcher::new(&discovery).await;
    let mut tasks = tokio::task::JoinSet::new();
    for id in 1..=20 {
        let discovery = discovery.clone();
        tasks.spawn(async move {
            discovery.put(member(&format!("1.1.{id}"))).await.unwrap();
            discovery.set_exported(addr(&format!("1.1.{id}")), true).await.unwrap();
        });
    }
    while !tasks.is_empty() {
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.ends_with('\n') && text.matches("[[member]]").count() > 200);
        tokio::task::yield_now().await;
        if let Some(done) = tasks.try_join_next() {
            done.unwrap();
        }
    }
    let is_done = |watcher: &Watcher| watcher.members.values().filter(|m| m.exported).count() == 20;
    watcher.until("all changes", is_done).await;
    server.shutdown().await.unwrap();
    let (_server, discovery) = open(&path).await;
    assert_eq!(discovery.members().await.unwrap(), watcher.all());
}

#[tokio::test]
async fn the_members_of_a_server_that_is_gone_can_be_served_by_the_next() {
    let (server, _) = support::server().await;
    server.members().put(member(THREE)).unwrap();
    let members = server.members().clone();
    server.shutdown().await.unwrap();
    let server = Server::builder().members(members).bind("127.0.0.1:0").await.unwrap();
    let all = soon("the members", client(server.local_addr()).members()).await.unwrap();
    assert_eq!(all, [member(THREE)]);
}
