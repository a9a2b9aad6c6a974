//! Nodes of different groups: what they say to each other goes over harbors.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod support;

#[path = "harbors/calls.rs"]
mod calls;
#[path = "harbors/clusters.rs"]
mod clusters;
#[path = "harbors/drains.rs"]
mod drains;
#[path = "harbors/errors.rs"]
mod errors;
#[path = "harbors/groups.rs"]
mod groups;
#[path = "harbors/hostile.rs"]
mod hostile;
#[path = "harbors/impostors.rs"]
mod impostors;
#[path = "harbors/kills.rs"]
mod kills;
#[path = "harbors/leaving.rs"]
mod leaving;
#[path = "harbors/limits.rs"]
mod limits;
#[path = "harbors/paths.rs"]
mod paths;
#[path = "harbors/queues.rs"]
mod queues;
#[path = "support/raw/mod.rs"]
mod raw;
#[path = "harbors/strangers.rs"]
mod strangers;
#[path = "harbors/streams.rs"]
mod streams;
#[path = "harbors/takeovers.rs"]
mod takeovers;
#[path = "harbors/windows.rs"]
mod windows;
#[path = "harbors/world.rs"]
mod world;

use std::sync::Arc;
use std::time::Duration;

use seaway::{Node, Reason};
use support::messages::{number, record};
use support::recorder::Recorder;
use support::{Cluster, ECHO, Number, addr, not_sent, soon, text, timed, until};
use tokio::sync::Semaphore;

/// Two groups with harbors; all see the same discovery.
async fn harbors(cluster: &Cluster, addresses: &[&str]) -> Vec<Node> {
    let mut nodes = Vec::new();
    for address in addresses {
        nodes.push(cluster.node(address).await);
    }
    nodes
}

#[tokio::test]
async fn a_call_crosses_two_harbors() {
    let cluster = Cluster::empty();
    let _harbors = harbors(&cluster, &["1.255.1", "2.255.1"]).await;
    let caller = cluster.node("1.1.1").await;
    let callee = cluster.echo("2.1.1").await;
    let reply = soon("the reply", caller.call(addr("2.1.1"), ECHO, text("far"))).await;
    assert_eq!(reply, Ok(text("far")));
    assert_eq!(callee.stats().requests, 1);
}

#[tokio::test]
async fn p02_messages_cross_two_harbors_in_order() {
    let cluster = Cluster::empty();
    let harbors = harbors(&cluster, &["1.255.1", "2.255.1"]).await;
    let sender = cluster.node("1.1.1").await;
    let inbox = Recorder::new();
    let _receiver = record(cluster.builder("2.1.1"), &inbox).start().await.unwrap();
    for n in 0..10_000 {
        soon("room", sender.send(addr("2.1.1"), &number(n))).await.unwrap();
    }
    until("all have come", || inbox.len() == 10_000).await;
    assert_eq!(inbox.all(), (0..10_000).collect::<Vec<_>>());
    assert_eq!(harbors[0].stats().relayed_bounced, 0);
    let report = sender.shutdown(Duration::from_secs(1)).await;
    assert!(report.is_clean(), "{report:?}");
}

/// Run again as a child, this is the child's part.
#[test]
fn a_harbor_in_a_process_of_its_own_ends_with_its_parent() {
    support::process::be_a_child();
    let parent = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    parent.block_on(async {
        let mut world = world::World::new(&["1.255.1"]).await;
        world.start().await;
        let harbor = world.harbors.remove("1.255.1").unwrap();
        assert!(harbor.abandon().await.success());
    });
}

#[tokio::test]
async fn p16_a_node_that_stops_hears_what_became_of_its_messages_beyond_harbors() {
    let cluster = Cluster::empty();
    let _harbors = harbors(&cluster, &["1.255.1", "2.255.1"]).await;
    let sender = cluster.node("1.1.1").await;
    let (held, begun) = (Arc::new(Semaphore::new(0)), Recorder::new());
    let (gate, inbox) = (Arc::clone(&held), begun.clone());
    let receiver = cluster.builder("2.1.1").on_message(move |_, message: Number| {
        let gate = Arc::clone(&gate);
        inbox.add(message.number);
        async move { drop(gate.acquire().await) }
    });
    let receiver = receiver.start().await.unwrap();
    sender.send(addr("2.1.1"), &number(1)).await.unwrap();
    begun.until_len(1).await;

    let stopping = tokio::spawn(async move { sender.shutdown(Duration::from_secs(5)).await });
    let draining = async {
        while not_sent(receiver.call(addr("1.1.1"), ECHO, text("?")).await).0 != Reason::Draining {}
    };
    soon("the word that it stops", draining).await;
    held.add_permits(1);
    let (report, took) = timed("the end", stopping).await;
    let report = report.unwrap();
    assert!(report.is_clean(), "{report:?}");
    assert!(took < Duration::from_secs(3), "it waited in vain for {took:?}");
}

#[tokio::test]
async fn p16_a_harbor_that_stops_waits_for_no_source_that_is_gone() {
    let cluster = Cluster::empty();
    let harbors = harbors(&cluster, &["1.255.1", "2.255.1"]).await;
    let sender = cluster.node("1.1.1").await;
    let (_receiver, inbox) = cluster.inbox("2.1.1").await;
    sender.send(addr("2.1.1"), &number(1)).await.unwrap();
    inbox.until_len(1).await;
    let within = Duration::from_secs(2);
    // It stays a member.
    sender.shutdown(within).await;
    // The way to whom it sent to goes now.
    harbors[1].shutdown(within).await;
    let report = harbors[0].shutdown(within).await;
    assert!(report.is_clean(), "{report:?}");
}
