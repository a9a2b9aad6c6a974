//! Links: when connections come to be, how a dead peer is known, how one that is back is reached.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod support;

use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use seaway::{Builder, CallError, Config, Doubt, LogicalAddr, MessageId, Node, StopCause};
use support::messages::{FROM, Line, TO, losses, number, record};
use support::proxy::{Cut, Flow, MESSAGE, Proxy, RPC};
use support::recorder::Recorder;
use support::{Cluster, ECHO, Text, addr, soon, text, until};
use tokio::task::JoinHandle;

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

/// Dead within 300 ms of silence.
fn quick(builder: Builder) -> Builder {
    let mut config = Config::default();
    config.heartbeat = Duration::from_millis(100);
    builder.config(config)
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
    soon("the reply", caller.call(addr("1.2.2"), ECHO, text("hi"))).await.unwrap();
    assert_eq!((proxy.made(RPC), proxy.made(MESSAGE)), (0, 0));
    assert_eq!(callee.stats().accepted_connections, 0);
    drop(third);
}

#[tokio::test]
async fn p12_calls_alone_need_no_message_lane_and_messages_bring_both() {
    let echo = |builder: Builder| builder.on_call(ECHO, |_, request| async move { Ok(request) });
    let line = Line::with(|sender| sender, echo).await;
    let call = line.sender.call(addr(TO), ECHO, text("hi"));
    soon("the reply", call).await.unwrap();
    assert_eq!((line.proxy.made(RPC), line.proxy.made(MESSAGE)), (1, 0));
    line.send(1..2).await;
    line.inbox.until_len(1).await;
    assert_eq!((line.proxy.made(RPC), line.proxy.made(MESSAGE)), (1, 1));
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

/// Two nodes send to each other at once, this one first; what is between them in the end?
async fn dial_each_other(first: usize) {
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
    let sending = [first, 1 - first].map(|me| {
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
    for round in 0..1_000 {
        dial_each_other(round % 2).await;
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
    let line = Line::new().await;
    line.send(0..1).await;
    line.inbox.until_len(1).await;
    line.proxy.stall(true);
    line.send(1..100).await;
    // The fault is a time that passes.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    line.proxy.stall(false);
    assert!(line.inbox.until_len(100).await.iter().copied().eq(0..100));
    assert_eq!((line.proxy.made(RPC), line.proxy.made(MESSAGE)), (1, 1), "it was given up");
    assert_eq!(line.notices.all(), []);
}

#[tokio::test]
async fn p13_an_idle_link_is_kept_alive_by_heartbeats() {
    let line = Line::with(quick, quick).await;
    line.send(0..1).await;
    line.inbox.until_len(1).await;
    // The fault is a silence: ten times as long as it takes to be dead.
    tokio::time::sleep(Duration::from_secs(3)).await;
    line.send(1..2).await;
    line.inbox.until_len(2).await;
    assert_eq!((line.proxy.made(RPC), line.proxy.made(MESSAGE)), (1, 1));
}

#[tokio::test]
async fn p13_a_message_lane_that_nobody_reads_is_no_sign_of_death() {
    const STUCK: MessageId = MessageId::new(1);
    let stuck = |receiver: Builder| {
        let receiver = quick(receiver).on_call(ECHO, |_, request| async move { Ok(request) });
        receiver.on_bytes(STUCK, |_, _| std::future::pending())
    };
    let line = Line::with(quick, stuck).await;
    let body = vec![0; 60_000];
    let mut full_since = Instant::now();
    // Full for longer than it takes to be dead: the buffers of the system fill up, too.
    while full_since.elapsed() < Duration::from_millis(500) {
        if line.sender.try_send_bytes(addr(TO), STUCK, &body).is_ok() {
            full_since = Instant::now();
        }
        tokio::task::yield_now().await;
    }
    soon("a reply", line.sender.call(addr(TO), ECHO, text("hi"))).await.unwrap();
    assert_eq!((line.proxy.made(RPC), line.proxy.made(MESSAGE)), (1, 1), "it was given up");
}

// Return.

#[tokio::test]
async fn p14_the_first_message_after_a_broken_idle_connection_brings_a_new_one() {
    let line = Line::new().await;
    for (n, how) in [Cut::Reset, Cut::Fin, Cut::Reset].into_iter().enumerate() {
        line.send(n as u64..n as u64 + 1).await;
        line.inbox.until_len(n + 1).await;
        line.proxy.cut(how);
        // Nothing was in it that could be lost, but the sender cannot know.
        line.notices
            .until("the loss", |all| losses(all).iter().filter(|loss| loss.1.is_none()).count() > n)
            .await;
    }
    let began = Instant::now();
    line.send(3..4).await;
    assert_eq!(line.inbox.until_len(4).await, [0, 1, 2, 3]);
    at_most(began.elapsed(), Duration::from_secs(1));
    assert_eq!(line.settled().await.lost, 0);
}

#[tokio::test]
async fn p14_a_peer_that_lets_connections_in_again_is_reached_within_a_second() {
    let line = Line::new().await;
    line.proxy.refuse(true);
    line.send(0..1).await;
    // Long enough for the pauses to have become as long as they get.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let began = Instant::now();
    line.proxy.refuse(false);
    assert_eq!(line.inbox.until_len(1).await, [0]);
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
    let patient = |sender: Builder| {
        let mut config = Config::default();
        config.message_timeout = Duration::from_secs(60);
        sender.config(config)
    };
    let line = Line::with(patient, |receiver| receiver).await;
    let Line { proxy, .. } = &line;
    line.send(0..5).await;
    line.inbox.until_len(5).await;
    proxy.inward(MESSAGE, Flow::Swallow);
    line.send(5..8).await;
    soon("the loss", proxy.until_swallowed(MESSAGE, 3 * 44)).await;
    // Of the next connection only the CHALLENGE comes back: the receiver takes it for a session.
    proxy.inward(MESSAGE, Flow::Pass);
    let swallowed = proxy.swallowed(MESSAGE);
    proxy.outward(MESSAGE, Flow::First);
    proxy.cut_lane(MESSAGE, Cut::Reset);
    line.notices.until_len(1).await;
    line.send(8..9).await;
    soon("the READY", proxy.until_swallowed(MESSAGE, swallowed + 1)).await;
    proxy.outward(MESSAGE, Flow::Pass);
    proxy.cut_lane(MESSAGE, Cut::Reset);
    assert_eq!(line.inbox.until_len(6).await, [0, 1, 2, 3, 4, 8]);
    assert_eq!(line.settled().await.lost, 3);
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
