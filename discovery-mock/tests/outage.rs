//! Nodes while the server is stopped, killed, frozen and started again.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod support;

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use seaway::discovery::{Announcement, Discovery, Event};
use seaway::{CallError, Node, Reason, StartError, StopCause};
use seaway_discovery_mock::Server;
use support::process::Process;
use support::{
    ONE, THREE, TWO, Watcher, addr, builder, client, knows, member, node, reaches, run, server,
    soon, until,
};

/// Two nodes that have talked, and the server that they know each other from.
async fn two(server: &Server) -> (Node, Node) {
    let discovery = client(server.local_addr());
    let one = node(ONE, &discovery).await;
    let two = node(TWO, &discovery).await;
    until("each other", || knows(&one, TWO) && knows(&two, ONE)).await;
    reaches(&one, TWO).await.unwrap();
    (one, two)
}

async fn with_state(at: impl Into<String>, path: &Path) -> Server {
    Server::builder().state(path).bind(at).await.unwrap()
}

/// Both nodes know and reach each other.
async fn go_on(one: &Node, two: &Node) {
    assert!(knows(one, TWO) && knows(two, ONE));
    reaches(one, TWO).await.unwrap();
    reaches(two, ONE).await.unwrap();
}

/// A node at another server joins the first one's members.
async fn newcomer(at: SocketAddr) -> Node {
    let (member, builder) = builder(THREE, client(at));
    client(at).put(member).await.unwrap();
    builder.start().await.unwrap()
}

#[tokio::test]
async fn p17_with_its_state_a_server_that_is_stopped_and_started_is_hardly_missed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("members.toml");
    let server = with_state("127.0.0.1:0", &path).await;
    let at = server.local_addr();
    let (one, two) = two(&server).await;

    server.shutdown().await.unwrap();
    go_on(&one, &two).await;

    let server = with_state(at.to_string(), &path).await;
    let all_available = || server.members().members().iter().all(|member| member.available);
    until("both watchers", || server.watchers() == 2).await;
    let three = newcomer(at).await;
    until("the newcomer", || knows(&one, THREE) && knows(&two, THREE)).await;
    reaches(&one, THREE).await.unwrap();
    reaches(&three, TWO).await.unwrap();
    // Nobody was taken for dead, and the runs are known again.
    let announced = || {
        assert!(all_available());
        server.members().members().iter().all(|member| member.incarnation.is_some())
    };
    until("all announcements", announced).await;
    go_on(&one, &two).await;
}

#[tokio::test]
async fn p17_who_is_removed_while_the_server_is_away_is_told_when_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("members.toml");
    let server = with_state("127.0.0.1:0", &path).await;
    let at = server.local_addr();
    let (one, two) = two(&server).await;
    server.shutdown().await.unwrap();

    // The same members at a server that the nodes do not know.
    let elsewhere = with_state("127.0.0.1:0", &path).await;
    assert!(client(elsewhere.local_addr()).remove(addr(TWO)).await.unwrap());
    elsewhere.shutdown().await.unwrap();
    go_on(&one, &two).await;

    let _server = with_state(at.to_string(), &path).await;
    until("the removal", || !knows(&one, TWO)).await;
    let outcome = reaches(&one, TWO).await;
    assert!(matches!(outcome, Err(CallError::NotSent { reason: Reason::NotAMember, .. })));
    assert_eq!(soon("the end", two.stopped()).await, StopCause::Removed);
    assert!(knows(&one, ONE));
}

#[tokio::test]
async fn p17_a_server_that_lost_its_members_is_not_believed_until_it_says_who_is_gone() {
    let (server, _) = server().await;
    let at = server.local_addr();
    let (one, two) = two(&server).await;
    server.shutdown().await.unwrap();
    go_on(&one, &two).await;

    let server = Server::bind(at.to_string()).await.unwrap();
    until("both watchers", || server.watchers() == 2).await;
    go_on(&one, &two).await;
    let three = newcomer(at).await;
    until("the newcomer", || knows(&one, THREE) && knows(&two, THREE)).await;
    go_on(&one, &two).await;

    // Entered again, all is as before: they are announced, and a removal counts.
    for node in [&one, &two] {
        let network = node.local_addr().to_string();
        let member = seaway::discovery::Member::new(node.address(), network);
        server.members().put(member).unwrap();
    }
    let is_announced =
        || server.members().members().iter().filter(|m| m.incarnation.is_some()).count() == 3;
    until("the announcements", is_announced).await;
    until("the others", || knows(&three, ONE)).await;
    reaches(&one, THREE).await.unwrap();
    server.members().remove(addr(TWO));
    assert_eq!(soon("the end", two.stopped()).await, StopCause::Removed);
    until("the removal", || !knows(&one, TWO)).await;
}

#[tokio::test]
async fn p17_a_server_that_is_killed_and_started_again_goes_on_with_the_same_nodes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("members.toml");
    let state = ["--state", path.to_str().unwrap()];
    let (mut process, at) = Process::serve("127.0.0.1:0", &state).await;
    let discovery = client(at);
    let (one, two) = (node(ONE, &discovery).await, node(TWO, &discovery).await);
    until("each other", || knows(&one, TWO) && knows(&two, ONE)).await;
    let mut watcher = Watcher::new(&discovery).await;
    for _ in 0..2 {
        process.kill().await;
        watcher.until("the loss", |watcher| !watcher.problems.is_empty()).await;
        go_on(&one, &two).await;
        let began = Instant::now();
        process = Process::serve(&at.to_string(), &state).await.0;
        // Pauses of at most 2 s.
        assert!(matches!(watcher.next().await, Event::Snapshot { .. }));
        assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
        assert_eq!(watcher.members.len(), 2);
        assert!(watcher.members.values().all(|member| member.available));
        watcher.problems.clear();
    }
    let three = newcomer(at).await;
    until("the newcomer", || knows(&one, THREE) && knows(&two, THREE)).await;
    reaches(&three, ONE).await.unwrap();
}

#[tokio::test]
async fn p17_a_server_that_is_frozen_is_missed_within_seconds_and_caught_up_with() {
    let (process, at) = Process::serve("127.0.0.1:0", &[]).await;
    let discovery = client(at);
    let (one, two) = (node(ONE, &discovery).await, node(TWO, &discovery).await);
    until("each other", || knows(&one, TWO) && knows(&two, ONE)).await;
    let mut watcher = Watcher::new(&discovery).await;
    process.signal("STOP");
    let began = Instant::now();
    watcher.until("the loss", |watcher| !watcher.problems.is_empty()).await;
    // Silent for 4 s.
    assert!(began.elapsed() < Duration::from_secs(12), "{:?}", began.elapsed());
    go_on(&one, &two).await;
    process.signal("CONT");
    newcomer(at).await;
    until("the newcomer", || knows(&one, THREE) && knows(&two, THREE)).await;
    go_on(&one, &two).await;
}

#[tokio::test]
async fn p17_a_node_that_the_server_does_not_know_does_not_start_and_says_so() {
    let (_server, discovery) = server().await;
    discovery.put(member(TWO)).await.unwrap();
    let (_, builder) = builder(ONE, discovery);
    let error = builder.start().await.unwrap_err();
    assert!(matches!(error, StartError::NotAMember(who) if who == addr(ONE)), "{error:?}");
    assert!(error.to_string().contains("1.1.1 is not in discovery"), "{error}");
}

#[tokio::test]
async fn p17_a_node_does_not_start_without_the_server_and_says_how_to_start_that() {
    let (server, discovery) = server().await;
    server.shutdown().await.unwrap();
    let (_, builder) = builder(ONE, discovery);
    let error = soon("an error", builder.start()).await.unwrap_err();
    let said = error.to_string();
    assert!(said.contains("start `seaway-discovery-mock serve"), "{said}");
}

#[tokio::test]
async fn p17_a_node_that_is_removed_at_the_server_stops_itself() {
    let (server, discovery) = server().await;
    let (one, two) = two(&server).await;
    assert!(discovery.remove(addr(TWO)).await.unwrap());
    assert_eq!(soon("the end", two.stopped()).await, StopCause::Removed);
    until("the removal", || !knows(&one, TWO)).await;
}

#[tokio::test]
async fn p15_p17_a_run_that_the_server_knows_to_be_older_stops() {
    let (server, discovery) = server().await;
    let (one, two) = two(&server).await;
    let newer = run(two.incarnation().bits() + 1);
    discovery.announce(&Announcement::new(addr(TWO), newer)).await.unwrap();
    assert_eq!(soon("the end", two.stopped()).await, StopCause::Superseded(newer));
    assert!(knows(&one, TWO));
}

#[tokio::test]
async fn p16_a_node_that_shuts_down_is_unavailable_at_the_server_and_still_a_member() {
    let (server, discovery) = server().await;
    let (_one, two) = two(&server).await;
    let mut watcher = Watcher::new(&discovery).await;
    two.shutdown(Duration::from_secs(5)).await;
    watcher.until("the end", |watcher| !watcher.members[&addr(TWO)].available).await;
    assert_eq!(discovery.members().await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_node_that_dies_without_a_word_becomes_unavailable_by_its_ttl() {
    let (server, discovery) = server().await;
    let (one, builder) = builder(ONE, discovery.clone());
    discovery.put(one).await.unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = { runtime }.worker_threads(1).enable_all().build().unwrap();
    let node = runtime.spawn(builder.start()).await.unwrap().unwrap();
    runtime.shutdown_background();
    let began = Instant::now();
    let is_available = || server.members().members()[0].available;
    assert!(is_available());
    until("the end of its ttl", || !is_available()).await;
    let took = began.elapsed();
    // It had announced itself just before, for 10 s; looked for every 250 ms.
    assert!((9..=20).contains(&took.as_secs()), "{took:?}");
    drop(node);
}

#[tokio::test]
async fn revisions_go_on_where_the_server_before_left_off() {
    let (server, discovery) = server().await;
    let at = server.local_addr();
    for n in 0..100 {
        let port = 1 + n;
        discovery
            .put(seaway::discovery::Member::new(addr(ONE), format!("a:{port}")))
            .await
            .unwrap();
    }
    let mut watcher = Watcher::new(&discovery).await;
    let before = watcher.revision;
    server.shutdown().await.unwrap();
    let _server = Server::bind(at.to_string()).await.unwrap();
    watcher.until("the next server", |watcher| watcher.revision > before).await;
    assert_eq!(watcher.problems.len(), 1);
}
