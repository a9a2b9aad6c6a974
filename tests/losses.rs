//! What becomes of the messages in a connection that breaks.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod support;

use std::time::Duration;

use seaway::Node;
use support::messages::{losses, number, record, settled};
use support::proxy::{Cut, Flow, MESSAGE, Proxy, RPC};
use support::recorder::{Recorder, until};
use support::{Cluster, addr, soon, text};

const FROM: &str = "1.1.1";
const TO: &str = "1.2.1";

/// Bytes of a number's frame, at least.
const FRAME_BYTES: usize = 44;

#[tokio::test]
async fn p03_a_loss_is_told_as_a_bound_and_then_exactly() {
    let cluster = Cluster::new();
    let (sender, notices) = cluster.sender(FROM).await;
    let (builder, proxy) = cluster.proxied(TO).await;
    let inbox = Recorder::new();
    let _receiver = record(builder, &inbox).start().await.unwrap();
    for n in 0..5 {
        sender.send(addr(TO), &number(n)).await.unwrap();
    }
    inbox.until_len(5).await;
    proxy.inward(MESSAGE, Flow::Swallow);
    for n in 5..15 {
        sender.send(addr(TO), &number(n)).await.unwrap();
    }
    soon("the loss", proxy.until_swallowed(MESSAGE, 10 * FRAME_BYTES)).await;
    proxy.inward(MESSAGE, Flow::Pass);
    proxy.cut(Cut::Reset);
    let [(at_most, None)] = losses(&notices.until_len(1).await)[..] else {
        panic!("not a bound: {:?}", notices.all());
    };
    assert!((10..=15).contains(&at_most), "at most {at_most}");
    assert_eq!(sender.stats().lost, at_most);

    sender.send(addr(TO), &number(15)).await.unwrap();
    assert_eq!(inbox.until_len(6).await, [0, 1, 2, 3, 4, 15]);
    let told = losses(&notices.until_len(2).await);
    assert_eq!(told, [(at_most, None), (at_most, Some(10))]);
    assert_eq!(sender.stats().lost, 10);
}

#[tokio::test]
async fn p03_a_bounce_that_is_lost_with_its_connection_counts_as_a_loss() {
    let cluster = Cluster::new();
    let (sender, notices) = cluster.sender(FROM).await;
    let (builder, proxy) = cluster.proxied(TO).await;
    let inbox = Recorder::new();
    let _receiver = record(builder, &inbox).start().await.unwrap();
    sender.send(addr(TO), &number(0)).await.unwrap();
    inbox.until_len(1).await;
    proxy.outward(RPC, Flow::Swallow);
    for _ in 0..5 {
        sender.send(addr(TO), &text("nobody handles it")).await.unwrap();
    }
    soon("the bounces", proxy.until_swallowed(RPC, 5 * FRAME_BYTES)).await;
    proxy.outward(RPC, Flow::Pass);
    proxy.cut(Cut::Reset);
    notices.until_len(1).await;
    sender.send(addr(TO), &number(1)).await.unwrap();
    inbox.until_len(2).await;
    let told = losses(&notices.until_len(2).await);
    assert_eq!(told.last().and_then(|loss| loss.1), Some(5), "{told:?}");
    let stats = settled(&sender, &inbox).await;
    assert_eq!((stats.bounced, stats.lost), (0, 5));
}

#[tokio::test]
async fn p03_a_bounce_lost_after_its_message_lane_was_settled_counts_as_a_loss() {
    let cluster = Cluster::new();
    let (sender, notices) = cluster.sender(FROM).await;
    let (builder, proxy) = cluster.proxied(TO).await;
    let inbox = Recorder::new();
    let _receiver = record(builder, &inbox).start().await.unwrap();
    sender.send(addr(TO), &number(0)).await.unwrap();
    inbox.until_len(1).await;
    proxy.outward(RPC, Flow::Swallow);
    for _ in 0..5 {
        sender.send(addr(TO), &text("nobody handles it")).await.unwrap();
    }
    soon("the bounces", proxy.until_swallowed(RPC, 5 * FRAME_BYTES)).await;
    // The message lane alone: its bounces may still come on the other one.
    proxy.cut_lane(MESSAGE, Cut::Reset);
    notices.until_len(1).await;
    sender.send(addr(TO), &number(1)).await.unwrap();
    inbox.until_len(2).await;
    notices.until_len(2).await;
    // Now they cannot.
    proxy.outward(RPC, Flow::Pass);
    proxy.cut_lane(RPC, Cut::Reset);
    notices.until("the bounces to be lost", |all| losses(all).contains(&(5, Some(5)))).await;
    sender.send(addr(TO), &number(2)).await.unwrap();
    inbox.until_len(3).await;
    let stats = settled(&sender, &inbox).await;
    assert_eq!((stats.bounced, stats.lost), (0, 5));
}

/// Sends numbers and cuts what carries them, each time that it stands;
/// `is_mixed`: each number with a message that comes back.
async fn send_through_cuts(sender: &Node, proxy: &Proxy, cuts: u64, is_mixed: bool) {
    let (mut sent, mut cut, mut since) = (0, 0, 0);
    while cut < cuts {
        soon("room", sender.send(addr(TO), &number(sent))).await.unwrap();
        if is_mixed {
            soon("room", sender.send(addr(TO), &text("nobody handles it"))).await.unwrap();
        }
        (sent, since) = (sent + 1, since + 1);
        if since > 200 && (proxy.open(RPC), proxy.open(MESSAGE)) == (1, 1) {
            match cut % 4 {
                0 => proxy.cut(Cut::Reset),
                1 => proxy.cut(Cut::Fin),
                2 => proxy.cut_lane(MESSAGE, Cut::Reset),
                _ => proxy.cut_lane(MESSAGE, Cut::Fin),
            }
            (cut, since) = (cut + 1, 0);
        }
        if sent % 16 == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// What is sent only to bring a connection about.
const MARK: u64 = 1 << 40;

/// Makes new connections, so that all accounts of older ones are closed, and looks whether they are
/// right.
async fn settle(sender: &Node, proxy: &Proxy, inbox: &Recorder<u64>) {
    let (rpc, message) = (proxy.made(RPC), proxy.made(MESSAGE));
    proxy.cut(Cut::Fin);
    soon("new connections", async {
        for mark in MARK.. {
            let is_new = proxy.made(RPC) > rpc && proxy.made(MESSAGE) > message;
            if is_new && inbox.all().last().is_some_and(|last| *last >= MARK) {
                return;
            }
            sender.try_send(addr(TO), &number(mark)).ok();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let ended = || {
        let stats = sender.stats();
        inbox.len() as u64 + stats.bounced + stats.lost
    };
    until("every message to have an end", || sender.stats().accepted <= ended()).await;
    assert_eq!(sender.stats().accepted, ended(), "counted twice: {:?}", sender.stats());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p01_p02_p03_across_broken_connections_nothing_is_twice_late_or_unaccounted_for() {
    let cluster = Cluster::new();
    let (sender, notices) = cluster.sender(FROM).await;
    let (builder, proxy) = cluster.proxied(TO).await;
    let inbox = Recorder::new();
    let receiver = record(builder, &inbox).start().await.unwrap();
    send_through_cuts(&sender, &proxy, 40, false).await;
    settle(&sender, &proxy, &inbox).await;
    let handled: Vec<u64> = inbox.all().into_iter().filter(|n| *n < MARK).collect();
    assert!(handled.is_sorted_by(|a, b| a < b), "twice or out of order");
    let stats = sender.stats();
    assert!(proxy.made(MESSAGE) >= 40, "cut only {} times", proxy.made(MESSAGE));
    assert_eq!((stats.bounced, receiver.stats().handled), (0, inbox.len() as u64));
    let exactly = losses(&notices.all()).iter().filter_map(|(_, exactly)| *exactly).sum::<u64>();
    assert_eq!(exactly, stats.lost, "{:?}", losses(&notices.all()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p03_across_broken_connections_what_comes_back_is_counted_once() {
    let cluster = Cluster::new();
    let (sender, notices) = cluster.sender(FROM).await;
    let (builder, proxy) = cluster.proxied(TO).await;
    let inbox = Recorder::new();
    let _receiver = record(builder, &inbox).start().await.unwrap();
    send_through_cuts(&sender, &proxy, 40, true).await;
    settle(&sender, &proxy, &inbox).await;
    let told = notices.all();
    let came_back = told.len() - losses(&told).len();
    let stats = sender.stats();
    assert!(stats.bounced > 1_000, "only {} came back", stats.bounced);
    assert_eq!(came_back as u64, stats.bounced);
}
