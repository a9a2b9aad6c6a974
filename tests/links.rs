//! Links: when connections come to be, how a dead peer is known, how one that is back is reached.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod support;

use std::future::IntoFuture;
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use seaway::{CallError, Config, Doubt, LogicalAddr, Node, StopCause};
use support::messages::{losses, notice, number, record, settled};
use support::proxy::{Cut, Flow, MESSAGE, Proxy, RPC};
use support::recorder::{Recorder, until};
use support::{Cluster, ECHO, Text, addr, soon, text};
use tokio::task::JoinHandle;

const FROM: &str = "1.1.1";
const TO: &str = "1.2.1";

/// What promises call three times the bound: the machine that tests may be starved.
fn at_most(took: Duration, bound: Duration) {
    assert!(took < bound * 3, "took {took:?} where {bound:?} is promised");
}

/// A call in a task of its own, with more time than any test.
fn call(node: &Node, to: &str) -> JoinHandle<Result<Text, CallError>> {
    let (node, to) = (node.clone(), addr(to));
    tokio::spawn(
        async move { node.call(to, ECHO, text("hi")).within(Duration::from_secs(60)).await },
    )
}

fn is_connection_lost(outcome: &Result<Text, CallError>) -> bool {
    matches!(outcome, Err(CallError::MaybeDone { cause: Doubt::ConnectionLost, .. }))
}

/// A node behind a proxy whose calls never end, and a recorder of those that began.
async fn silent_callee(cluster: &Cluster) -> (Node, Proxy, Recorder<()>) {
    let (builder, proxy) = cluster.proxied(TO).await;
    let began = Recorder::new();
    let begin = began.clone();
    let builder = builder.on_call(ECHO, move |_, _| {
        begin.add(());
        std::future::pending()
    });
    (builder.start().await.unwrap(), proxy, began)
}

// Lazy.

#[tokio::test]
async fn p12_no_connection_exists_before_the_first_use() {
    let cluster = Cluster::empty();
    let caller = cluster.node(FROM).await;
    let (builder, proxy) = cluster.proxied(TO).await;
    let callee = builder.on_call(ECHO, |_, request| async move { Ok(request) });
    let callee = callee.start().await.unwrap();
    // Another node does its work meanwhile, so time passes for these two.
    let third = cluster.echo("1.2.2").await;
    soon("the reply", caller.call(addr("1.2.2"), ECHO, text("hi")).into_future()).await.unwrap();
    assert_eq!((proxy.made(RPC), proxy.made(MESSAGE)), (0, 0));
    assert_eq!(callee.stats().accepted_connections, 0);
    drop(third);
}

#[tokio::test]
async fn p12_calls_alone_need_no_message_lane_and_messages_bring_both() {
    let cluster = Cluster::empty();
    let (sender, _) = cluster.sender(FROM).await;
    let (builder, proxy) = cluster.proxied(TO).await;
    let inbox = Recorder::new();
    let receiver = record(builder, &inbox).on_call(ECHO, |_, request| async move { Ok(request) });
    let _receiver = receiver.start().await.unwrap();
    soon("the reply", sender.call(addr(TO), ECHO, text("hi")).into_future()).await.unwrap();
    assert_eq!((proxy.made(RPC), proxy.made(MESSAGE)), (1, 0));
    sender.send(addr(TO), &number(1)).await.unwrap();
    inbox.until_len(1).await;
    assert_eq!((proxy.made(RPC), proxy.made(MESSAGE)), (1, 1));
}

#[tokio::test]
async fn p12_both_ends_use_the_one_connection_of_a_lane() {
    let cluster = Cluster::empty();
    let (builder, proxy) = cluster.proxied(FROM).await;
    let inbox = Recorder::new();
    let one = record(builder, &inbox).start().await.unwrap();
    let (builder, other_proxy) = cluster.proxied(TO).await;
    let other = record(builder, &inbox).start().await.unwrap();
    one.send(addr(TO), &number(1)).await.unwrap();
    inbox.until_len(1).await;
    other.send(addr(FROM), &number(2)).await.unwrap();
    assert_eq!(inbox.until_len(2).await, [1, 2]);
    assert_eq!(proxy.made(RPC) + proxy.made(MESSAGE), 0, "the way back is another connection");
    assert_eq!((other_proxy.made(RPC), other_proxy.made(MESSAGE)), (1, 1));
}

/// Two nodes send to each other at once; what is between them in the end?
async fn dial_each_other() {
    const EACH: u64 = 5;
    let cluster = Cluster::empty();
    let (mut nodes, mut proxies, mut inboxes) = (Vec::new(), Vec::new(), Vec::new());
    let addresses = [FROM, TO];
    for address in addresses {
        let (builder, proxy) = cluster.proxied(address).await;
        let inbox = Recorder::new();
        nodes.push(record(builder, &inbox).start().await.unwrap());
        proxies.push(proxy);
        inboxes.push(inbox);
    }
    for node in &nodes {
        until("both members", || node.all_members().len() == 2).await;
    }
    let began = Instant::now();
    let sending = [0, 1].map(|me: usize| {
        let (node, to) = (nodes[me].clone(), addr(addresses[1 - me]));
        tokio::spawn(async move {
            for n in 0..EACH {
                node.send(to, &number(n)).await.unwrap();
            }
        })
    });
    for sending in sending {
        soon("the sends", sending).await.unwrap();
    }
    for inbox in &inboxes {
        assert_eq!(inbox.until_len(5).await, [0, 1, 2, 3, 4]);
    }
    let open = |lane| proxies[0].open(lane) + proxies[1].open(lane);
    until("one session per lane", || open(RPC) == 1 && open(MESSAGE) == 1).await;
    at_most(began.elapsed(), Duration::from_secs(1));
    for node in &nodes {
        let stats = node.stats();
        assert_eq!((stats.accepted, stats.bounced, stats.lost), (EACH, 0, 0));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p12_nodes_that_dial_each_other_at_once_end_with_one_session_per_lane() {
    for _ in 0..200 {
        dial_each_other().await;
    }
}

// Dead peers.

#[tokio::test]
async fn p13_a_connection_that_is_closed_or_reset_fails_its_calls_at_once() {
    for how in [Cut::Reset, Cut::Fin] {
        let cluster = Cluster::empty();
        let caller = cluster.node(FROM).await;
        let (_callee, proxy, began) = silent_callee(&cluster).await;
        let call = call(&caller, TO);
        began.until_len(1).await;
        let cut = Instant::now();
        proxy.cut(how);
        let outcome = soon("the end of the call", call).await.unwrap();
        at_most(cut.elapsed(), Duration::from_millis(200));
        assert!(is_connection_lost(&outcome), "{how:?}: {outcome:?}");
    }
}

#[tokio::test]
async fn p13_a_peer_that_falls_silent_fails_its_calls_after_three_heartbeats() {
    let cluster = Cluster::empty();
    let caller = cluster.node(FROM).await;
    let (_callee, proxy, began) = silent_callee(&cluster).await;
    let call = call(&caller, TO);
    began.until_len(1).await;
    let stalled = Instant::now();
    proxy.stall(true);
    let outcome = soon("the end of the call", call).await.unwrap();
    let took = stalled.elapsed();
    assert!(is_connection_lost(&outcome), "{outcome:?}");
    at_most(took, Duration::from_secs(4));
    assert!(took > Duration::from_millis(1_900), "given up after {took:?}");
}

#[tokio::test]
async fn p13_a_silence_of_a_second_and_a_half_is_survived() {
    let cluster = Cluster::empty();
    let (sender, notices) = cluster.sender(FROM).await;
    let (builder, proxy) = cluster.proxied(TO).await;
    let inbox = Recorder::new();
    let _receiver = record(builder, &inbox).start().await.unwrap();
    sender.send(addr(TO), &number(0)).await.unwrap();
    inbox.until_len(1).await;
    proxy.stall(true);
    for n in 1..100 {
        sender.send(addr(TO), &number(n)).await.unwrap();
    }
    // The fault is a time that passes.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    proxy.stall(false);
    assert!(inbox.until_len(100).await.iter().copied().eq(0..100));
    assert_eq!((proxy.made(RPC), proxy.made(MESSAGE)), (1, 1), "it was given up");
    assert_eq!(notices.all(), []);
}

#[tokio::test]
async fn p13_an_idle_link_is_kept_alive_by_heartbeats() {
    let cluster = Cluster::empty();
    let mut config = Config::default();
    config.heartbeat = Duration::from_millis(100);
    let inbox = Recorder::new();
    let (builder, proxy) = cluster.proxied(TO).await;
    let _receiver = record(builder.config(config.clone()), &inbox).start().await.unwrap();
    let sender = cluster.builder(FROM).config(config).start().await.unwrap();
    sender.send(addr(TO), &number(0)).await.unwrap();
    inbox.until_len(1).await;
    // Ten times as long as it takes to be dead.
    tokio::time::sleep(Duration::from_secs(3)).await;
    sender.send(addr(TO), &number(1)).await.unwrap();
    inbox.until_len(2).await;
    assert_eq!((proxy.made(RPC), proxy.made(MESSAGE)), (1, 1));
}

#[tokio::test]
async fn p13_a_message_lane_that_nobody_reads_is_no_sign_of_death() {
    let cluster = Cluster::empty();
    let mut config = Config::default();
    config.heartbeat = Duration::from_millis(100);
    let (builder, proxy) = cluster.proxied(TO).await;
    let receiver = builder.config(config.clone());
    let receiver = receiver.on_call(ECHO, |_, request| async move { Ok(request) });
    let receiver = receiver.on_bytes(seaway::MessageId::new(1), |_, _| std::future::pending());
    let _receiver = receiver.start().await.unwrap();
    let sender = cluster.builder(FROM).config(config).start().await.unwrap();
    let body = bytes::Bytes::from(vec![0; 60_000]);
    let until_full = async {
        let mut full = 0;
        while full < 50 {
            let sent = sender.try_send_bytes(addr(TO), seaway::MessageId::new(1), &body);
            full = if sent.is_ok() { 0 } else { full + 1 };
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    soon("the lane to be full", until_full).await;
    soon("a reply", sender.call(addr(TO), ECHO, text("hi")).into_future()).await.unwrap();
    assert_eq!((proxy.made(RPC), proxy.made(MESSAGE)), (1, 1), "it was given up");
}

// Return.

#[tokio::test]
async fn p14_the_first_message_after_a_broken_idle_connection_brings_a_new_one() {
    let cluster = Cluster::empty();
    let (sender, notices) = cluster.sender(FROM).await;
    let (builder, proxy) = cluster.proxied(TO).await;
    let inbox = Recorder::new();
    let _receiver = record(builder, &inbox).start().await.unwrap();
    for (n, how) in [Cut::Reset, Cut::Fin, Cut::Reset].into_iter().enumerate() {
        sender.send(addr(TO), &number(n as u64)).await.unwrap();
        inbox.until_len(n + 1).await;
        proxy.cut(how);
        // Nothing was in it that could be lost, but the sender cannot know.
        notices
            .until("the loss", |all| losses(all).iter().filter(|loss| loss.1.is_none()).count() > n)
            .await;
    }
    let began = Instant::now();
    sender.send(addr(TO), &number(3)).await.unwrap();
    assert_eq!(inbox.until_len(4).await, [0, 1, 2, 3]);
    at_most(began.elapsed(), Duration::from_secs(1));
    assert_eq!(settled(&sender, &inbox).await.lost, 0);
}

#[tokio::test]
async fn p14_a_peer_that_lets_connections_in_again_is_reached_within_a_second() {
    let cluster = Cluster::empty();
    let (sender, _) = cluster.sender(FROM).await;
    let (builder, proxy) = cluster.proxied(TO).await;
    let inbox = Recorder::new();
    let _receiver = record(builder, &inbox).start().await.unwrap();
    proxy.refuse(true);
    sender.send(addr(TO), &number(0)).await.unwrap();
    // Long enough for the pauses to have become as long as they get.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let began = Instant::now();
    proxy.refuse(false);
    assert_eq!(inbox.until_len(1).await, [0]);
    at_most(began.elapsed(), Duration::from_secs(1));
}

fn bind(address: SocketAddr) -> Option<TcpListener> {
    TcpListener::bind(address).ok()
}

#[tokio::test]
async fn p14_p15_a_peer_that_restarts_on_its_port_is_reached_within_a_second() {
    let cluster = Cluster::empty();
    let (receiver, inbox) = cluster.inbox(TO).await;
    let (sender, _) = cluster.sender(FROM).await;
    let (network, first) = (receiver.local_addr(), receiver.incarnation());
    sender.send(addr(TO), &number(0)).await.unwrap();
    inbox.until_len(1).await;
    receiver.shutdown(Duration::from_secs(1)).await;
    until("the port to be free", || bind(network).is_some()).await;

    let inbox = Recorder::new();
    let builder = Node::builder(TO).discovery(cluster.discovery.clone());
    let builder = builder.listener(bind(network).unwrap());
    let receiver = record(builder, &inbox).start().await.unwrap();
    let began = Instant::now();
    let sent = async {
        while sender.send(addr(TO), &number(1)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        inbox.until_len(1).await
    };
    assert_eq!(soon("the message", sent).await, [1]);
    at_most(began.elapsed(), Duration::from_secs(1));
    assert!(receiver.incarnation() > first);
}

#[tokio::test]
async fn p14_a_change_of_address_cancels_an_attempt_that_hangs() {
    let cluster = Cluster::empty();
    let mut config = Config::default();
    config.handshake_timeout = Duration::from_secs(60);
    config.message_timeout = Duration::from_secs(60);
    let sender = cluster.builder(FROM).config(config).start().await.unwrap();
    // Accepts, and says nothing.
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let right = listener.local_addr().unwrap().to_string();
    let wrong = mute.local_addr().unwrap().to_string();
    cluster.discovery.put(seaway::discovery::Member::new(addr(TO), wrong)).unwrap();
    until("the member", || sender.all_members().len() == 2).await;
    sender.send(addr(TO), &number(0)).await.unwrap();
    // The attempt has come as far as it gets.
    let hung = tokio::task::spawn_blocking(move || mute.accept().unwrap());
    let _hung = soon("the attempt", hung).await.unwrap();

    let began = Instant::now();
    cluster.discovery.set_network(addr(TO), right).unwrap();
    let inbox = Recorder::new();
    let builder = Node::builder(TO).discovery(cluster.discovery.clone()).listener(listener);
    let _receiver = record(builder, &inbox).start().await.unwrap();
    assert_eq!(inbox.until_len(1).await, [0]);
    at_most(began.elapsed(), Duration::from_secs(1));
}

#[tokio::test]
async fn p14_p15_a_peer_that_moves_is_reached_at_its_new_address() {
    let cluster = Cluster::empty();
    let (old, inbox) = cluster.inbox(TO).await;
    let (sender, _) = cluster.sender(FROM).await;
    sender.send(addr(TO), &number(0)).await.unwrap();
    inbox.until_len(1).await;

    let builder = cluster.builder(TO);
    let inbox = Recorder::new();
    let new = record(builder, &inbox).start().await.unwrap();
    assert_eq!(soon("the old one's end", old.stopped()).await, StopCause::Moved);
    let began = Instant::now();
    soon("room", sender.send(addr(TO), &number(1))).await.unwrap();
    assert_eq!(inbox.until_len(1).await, [1]);
    at_most(began.elapsed(), Duration::from_secs(1));
    assert!(new.incarnation() > old.incarnation());
}

// Accounts across handshakes that fail.

#[tokio::test]
async fn p03_a_loss_becomes_exact_also_when_the_first_new_connection_fails() {
    let cluster = Cluster::empty();
    let notices = Recorder::new();
    let mut config = Config::default();
    config.message_timeout = Duration::from_secs(60);
    let builder = notice(cluster.builder(FROM), &notices).config(config);
    let sender = builder.start().await.unwrap();
    let (builder, proxy) = cluster.proxied(TO).await;
    let inbox = Recorder::new();
    let _receiver = record(builder, &inbox).start().await.unwrap();
    for n in 0..5 {
        sender.send(addr(TO), &number(n)).await.unwrap();
    }
    inbox.until_len(5).await;
    proxy.inward(MESSAGE, Flow::Swallow);
    for n in 5..8 {
        sender.send(addr(TO), &number(n)).await.unwrap();
    }
    soon("the loss", proxy.until_swallowed(MESSAGE, 3 * 44)).await;
    // Of the next connection only the CHALLENGE comes back: the receiver takes it for a session.
    proxy.inward(MESSAGE, Flow::Pass);
    let swallowed = proxy.swallowed(MESSAGE);
    proxy.outward(MESSAGE, Flow::First);
    proxy.cut_lane(MESSAGE, Cut::Reset);
    notices.until_len(1).await;
    sender.send(addr(TO), &number(8)).await.unwrap();
    soon("the READY", proxy.until_swallowed(MESSAGE, swallowed + 1)).await;
    proxy.outward(MESSAGE, Flow::Pass);
    proxy.cut_lane(MESSAGE, Cut::Reset);
    assert_eq!(inbox.until_len(6).await, [0, 1, 2, 3, 4, 8]);
    assert_eq!(settled(&sender, &inbox).await.lost, 3);
}

/// The type of addresses is what discovery and nodes share.
#[tokio::test]
async fn a_node_knows_its_peers_from_discovery() {
    let cluster = Cluster::empty();
    let node = cluster.node(FROM).await;
    cluster.absent(TO);
    until("both", || node.all_members().len() == 2).await;
    let addresses: Vec<LogicalAddr> =
        node.all_members().iter().map(|member| member.address).collect();
    assert_eq!(addresses, [addr(FROM), addr(TO)]);
}
