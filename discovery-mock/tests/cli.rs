//! The binary, as a person or a script uses it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod support;

use std::fs;

use support::process::{Process, complaint, output, printed};
use support::{ONE, TWO, addr, client, member, soon, until};

const HERE: &str = "127.0.0.1:7001";

#[tokio::test]
async fn members_are_added_listed_set_and_removed() {
    let (_server, at) = Process::serve("127.0.0.1:0", &[]).await;
    let at = at.to_string();
    assert_eq!(printed(&["list", "--server", &at]).await, "");

    let add = ["add", TWO, HERE, "--exported", "--label", "zone=a", "--label", "x=1=2"];
    let added = printed(&[&add[..], &["--server", &at]].concat()).await;
    assert_eq!(added, "1.2.1 127.0.0.1:7001 available exported x=1=2 zone=a\n");
    printed(&["add", ONE, HERE, "--server", &at]).await;
    let listed = printed(&["list", "--server", &at]).await;
    assert_eq!(listed, format!("1.1.1 127.0.0.1:7001 available\n{added}"));

    let set = ["set", TWO, "--available", "false", "--exported", "false", "--network", "db:1"];
    let set = printed(&[&set[..], &["--server", &at]].concat()).await;
    assert_eq!(set, "1.2.1 db:1 unavailable x=1=2 zone=a\n");
    let set = printed(&["set", TWO, "--available", "true", "--server", &at]).await;
    assert_eq!(set, "1.2.1 db:1 available x=1=2 zone=a\n");

    let remove = ["remove", TWO, "--server", &at];
    assert_eq!(printed(&remove).await, "1.2.1 is removed\n");
    assert_eq!(printed(&remove).await, "1.2.1 was not a member\n");
    assert_eq!(printed(&["list", "--server", &at]).await, "1.1.1 127.0.0.1:7001 available\n");
}

#[tokio::test]
async fn the_list_as_json_has_every_field() {
    let (_server, at) = Process::serve("127.0.0.1:0", &[]).await;
    let wanted = member(ONE).exported(true).label("zone", "\"a\"\n");
    client(at).put(wanted.clone()).await.unwrap();
    let json = printed(&["list", "--json", "--server", &at.to_string()]).await;
    let read: Vec<seaway::discovery::Member> = serde_json::from_str(&json).unwrap();
    assert_eq!(read, [wanted]);
}

#[tokio::test]
async fn each_change_is_a_line_of_watch_until_it_is_interrupted() {
    let (_server, at) = Process::serve("127.0.0.1:0", &[]).await;
    let discovery = client(at);
    discovery.put(member(ONE)).await.unwrap();
    let mut watch = Process::run(&["watch", "--server", &at.to_string()]);
    assert_eq!(watch.line().await, "added 1.1.1 127.0.0.1:7001 available");
    discovery.put(member(TWO).label("zone", "a")).await.unwrap();
    assert_eq!(watch.line().await, "added 1.2.1 127.0.0.1:7001 available zone=a");
    discovery.set_available(addr(TWO), false).await.unwrap();
    assert_eq!(watch.line().await, "changed 1.2.1 127.0.0.1:7001 unavailable zone=a");
    discovery.remove(addr(ONE)).await.unwrap();
    assert_eq!(watch.line().await, "removed 1.1.1");
    watch.signal("INT");
    assert_eq!(watch.code().await, Some(0));
}

#[tokio::test]
async fn a_watch_goes_on_with_what_changed_while_the_server_was_away() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("members.toml");
    let state = ["--state", path.to_str().unwrap()];
    let (mut server, at) = Process::serve("127.0.0.1:0", &state).await;
    for address in [ONE, TWO] {
        client(at).put(member(address)).await.unwrap();
    }
    let mut watch = Process::run(&["watch", "--server", &at.to_string()]);
    assert_eq!(watch.line().await, "added 1.1.1 127.0.0.1:7001 available");
    assert_eq!(watch.line().await, "added 1.2.1 127.0.0.1:7001 available");
    server.kill().await;
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace(ONE, "1.3.1")).unwrap();
    let (_server, _) = Process::serve(&at.to_string(), &state).await;
    assert_eq!(watch.line().await, "removed 1.1.1");
    assert_eq!(watch.line().await, "added 1.3.1 127.0.0.1:7001 available");
}

#[tokio::test]
async fn both_signals_end_the_server_in_good_order() {
    for signal in ["INT", "TERM"] {
        let (mut server, at) = Process::serve("127.0.0.1:0", &[]).await;
        let _watch = seaway::discovery::Discovery::watch(&client(at)).await.unwrap();
        server.signal(signal);
        assert_eq!(server.code().await, Some(0), "{signal}");
    }
}

#[tokio::test]
async fn members_outlive_a_server_that_was_killed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("members.toml");
    let state = ["--state", path.to_str().unwrap()];
    let (mut server, at) = Process::serve("127.0.0.1:0", &state).await;
    printed(&["add", ONE, HERE, "--server", &at.to_string()]).await;
    server.kill().await;
    let (_server, at) = Process::serve("127.0.0.1:0", &state).await;
    assert_eq!(client(at).members().await.unwrap(), [member(ONE)]);
}

#[tokio::test]
async fn a_failure_has_an_exit_code_and_says_what_to_do() {
    let (_server, at) = Process::serve("127.0.0.1:0", &[]).await;
    let at = &at.to_string();
    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("broken.toml");
    fs::write(&broken, "[[member]]\naddress = 1\n").unwrap();
    let broken = broken.to_str().unwrap();
    let cases: &[(&[&str], &str)] = &[
        (&["list", "--server", "127.0.0.1:1"], "start `seaway-discovery-mock serve --listen 127"),
        (&["watch", "--server", "127.0.0.1:1"], "start `seaway-discovery-mock serve --listen 127"),
        (&["list", "--server", "nonsense"], "host:port"),
        (&["set", ONE, "--available", "true", "--server", at], "add it to discovery first"),
        (&["add", ONE, "nowhere", "--server", at], "a network address is host:port"),
        (&["add", "1.1", HERE, "--server", at], "1.1"),
        (&["add", ONE, HERE, "--label", "zone", "--server", at], "a label is KEY=VALUE"),
        (&["set", ONE, "--server", at], "--available <true|false>"),
        (&["serve", "--listen", at], "give the server another address"),
        (&["serve", "--listen", "0.0.0.0:0"], "--insecure-remote"),
        (&["serve", "--listen", "127.0.0.1:0", "--state", broken], "line 2: "),
        (&[], "Usage:"),
    ];
    for (args, wanted) in cases {
        let said = complaint(args).await;
        assert!(said.contains(wanted), "{args:?}: {said}");
    }
}

#[tokio::test]
async fn help_describes_every_subcommand() {
    let help = printed(&["--help"]).await;
    for subcommand in ["serve", "list", "add", "remove", "set", "watch"] {
        assert!(help.contains(&format!("\n  {subcommand} ")), "{help}");
        let more = printed(&[subcommand, "--help"]).await;
        let (about, options) = more.split_once("\n\nUsage: ").unwrap();
        assert!(about.len() > 20 && options.contains("127.0.0.1:8110"), "{more}");
    }
    assert!(help.contains("MockDiscovery::connect"), "{help}");
}

#[tokio::test]
async fn a_reader_that_has_seen_enough_does_not_make_it_panic() {
    let (_server, at) = Process::serve("127.0.0.1:0", &[]).await;
    let discovery = client(at);
    discovery.put(member(ONE)).await.unwrap();
    let mut watch = Process::run(&["watch", "--server", &at.to_string()]);
    watch.line().await;
    watch.close();
    discovery.put(member(TWO)).await.unwrap();
    assert_eq!(watch.code().await, Some(1));
}

#[tokio::test]
async fn a_node_that_goes_by_another_process_is_told_like_any_other() {
    let (_server, at) = Process::serve("127.0.0.1:0", &[]).await;
    let (member, builder) = support::builder(ONE, client(at));
    let network = member.network.clone();
    printed(&["add", ONE, &network, "--server", &at.to_string()]).await;
    let node = builder.start().await.unwrap();
    let shown = format!("incarnation {}", node.incarnation());
    assert!(printed(&["list", "--server", &at.to_string()]).await.contains(&shown));
    printed(&["set", ONE, "--exported", "true", "--server", &at.to_string()]).await;
    until("the change", || node.all_members().iter().any(|member| member.exported)).await;
    printed(&["remove", ONE, "--server", &at.to_string()]).await;
    assert_eq!(soon("the end", node.stopped()).await, seaway::StopCause::Removed);
    let version = output(&["--version"]).await;
    assert!(version.status.success());
}
