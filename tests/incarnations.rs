//! Two nodes of one address that live at the same time.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod support;

use std::time::Duration;

use seaway::discovery::{InProcess, Member};
use seaway::{Node, StopCause};
use support::{COUNT, ECHO, addr, number, soon, text};
use tokio::task::JoinHandle;
use tokio::time::interval;

const PEER: &str = "1.1.1";
const TWIN: &str = "1.2.1";

/// Starts a node that says of itself who it is; each has a view of the members of its own.
async fn start(address: &str, name: &'static str, others: &[(&str, String)]) -> (Node, InProcess) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let discovery = InProcess::new();
    let me = listener.local_addr().unwrap().to_string();
    for (address, network) in others.iter().cloned().chain([(address, me)]) {
        discovery.put(Member::new(addr(address), network)).unwrap();
    }
    let builder = Node::builder(address).discovery(discovery.clone()).listener(listener);
    let builder = builder.on_call(ECHO, move |_, _| async move { Ok(text(name)) });
    let builder = builder.on_call(COUNT, |_, request| async { Ok(request) });
    (builder.start().await.unwrap(), discovery)
}

/// Calls the peer all the time, as long as the node lives.
fn keep_calling(node: &Node) -> JoinHandle<()> {
    let node = node.clone();
    tokio::spawn(async move {
        let mut pace = interval(Duration::from_millis(5));
        loop {
            pace.tick().await;
            // Whoever is the older one is refused.
            let call = node.call(addr(PEER), COUNT, number(1)).within(Duration::from_millis(500));
            call.await.ok();
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p15_of_two_that_live_at_once_the_older_stops_and_the_newer_serves() {
    let (peer, members) = start(PEER, "peer", &[]).await;
    let at = [(PEER, peer.local_addr().to_string())];
    let mut twins =
        [("first", start(TWIN, "first", &at).await), ("second", start(TWIN, "second", &at).await)];
    // Which is the later run is chance within a millisecond.
    twins.sort_by_key(|(_, (node, _))| node.incarnation());
    let [(_, (older, _of_older)), (name, (newer, _of_newer))] = twins;
    members.put(Member::new(addr(TWIN), newer.local_addr().to_string())).unwrap();
    let calling = [keep_calling(&older), keep_calling(&newer)];
    // Both are young, so each may take its clock to be behind, once.
    let cause = soon("the older one's end", older.stopped()).await;
    assert!(matches!(cause, StopCause::Superseded(_)), "{cause:?}");

    // From now on nothing changes hands any more.
    let served = async || soon("a reply", peer.call(addr(TWIN), ECHO, text("who?"))).await;
    assert_eq!(served().await, Ok(text(name)));
    let made = |node: &Node| node.stats().accepted_connections + node.stats().dialed;
    let before = made(&peer);
    for _ in 0..200 {
        assert_eq!(served().await, Ok(text(name)));
    }
    assert_eq!(made(&peer), before, "sessions came and went");
    assert!(before <= 10, "{before} sessions until one had stopped");
    calling.iter().for_each(JoinHandle::abort);
}
