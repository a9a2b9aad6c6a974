//! What becomes of the messages in a connection that breaks.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod support;

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use seaway::{Builder, Config, Stats};
use support::messages::{Line, TO, losses, number};
use support::proxy::{Cut, Flow, MESSAGE, RPC};
use support::{addr, soon, text};

/// Bytes of a number's frame, at least.
const FRAME_BYTES: usize = 44;

#[tokio::test]
async fn p03_a_loss_is_told_as_a_bound_and_then_exactly() {
    let line = Line::new().await;
    line.send(0..5).await;
    line.inbox.until_len(5).await;
    line.proxy.inward(MESSAGE, Flow::Swallow);
    line.send(5..15).await;
    soon("the loss", line.proxy.until_swallowed(MESSAGE, 10 * FRAME_BYTES)).await;
    line.proxy.inward(MESSAGE, Flow::Pass);
    line.proxy.cut(Cut::Reset);
    let [(at_most, None)] = losses(&line.notices.until_len(1).await)[..] else {
        panic!("not a bound: {:?}", line.notices.all());
    };
    assert!((10..=15).contains(&at_most), "at most {at_most}");
    assert_eq!(line.sender.stats().lost, at_most);

    line.send(15..16).await;
    assert_eq!(line.inbox.until_len(6).await, [0, 1, 2, 3, 4, 15]);
    let told = losses(&line.notices.until_len(2).await);
    assert_eq!(told, [(at_most, None), (at_most, Some(10))]);
    assert_eq!(line.sender.stats().lost, 10);
}

/// Sends five messages that come back, and swallows what comes back.
async fn swallow_bounces(line: &Line) {
    line.send(0..1).await;
    line.inbox.until_len(1).await;
    line.proxy.outward(RPC, Flow::Swallow);
    for _ in 0..5 {
        line.sender.send(addr(TO), &text("nobody handles it")).await.unwrap();
    }
    soon("the bounces", line.proxy.until_swallowed(RPC, 5 * FRAME_BYTES)).await;
}

#[tokio::test]
async fn p03_a_bounce_that_is_lost_with_its_connection_counts_as_a_loss() {
    let line = Line::new().await;
    swallow_bounces(&line).await;
    line.proxy.outward(RPC, Flow::Pass);
    line.proxy.cut(Cut::Reset);
    line.notices.until_len(1).await;
    line.send(1..2).await;
    line.inbox.until_len(2).await;
    let told = losses(&line.notices.until_len(2).await);
    assert_eq!(told.last().and_then(|loss| loss.1), Some(5), "{told:?}");
    let stats = line.settled().await;
    assert_eq!((stats.bounced, stats.lost), (0, 5));
}

#[tokio::test]
async fn p03_a_bounce_lost_after_its_message_lane_was_settled_counts_as_a_loss() {
    let line = Line::new().await;
    swallow_bounces(&line).await;
    // The message lane alone: its bounces may still come on the other one.
    line.proxy.cut_lane(MESSAGE, Cut::Reset);
    line.notices.until_len(1).await;
    line.send(1..2).await;
    line.inbox.until_len(2).await;
    line.notices.until_len(2).await;
    // Now they cannot.
    line.proxy.outward(RPC, Flow::Pass);
    line.proxy.cut_lane(RPC, Cut::Reset);
    line.notices.until("the bounces to be lost", |all| losses(all).contains(&(5, Some(5)))).await;
    line.send(2..3).await;
    line.inbox.until_len(3).await;
    let stats = line.settled().await;
    assert_eq!((stats.bounced, stats.lost), (0, 5));
}

/// Sends numbers and cuts what carries them, each time that it stands; `is_mixed`: each number
/// with a message that comes back.
async fn send_through_cuts(line: &Line, cuts: u64, is_mixed: bool) {
    let proxy = &line.proxy;
    let (mut sent, mut cut, mut since) = (0, 0, 0);
    while cut < cuts {
        line.send(sent..sent + 1).await;
        if is_mixed {
            let message = text("nobody handles it");
            soon("room", line.sender.send(addr(TO), &message)).await.unwrap();
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
            // Not faster than connections come about, or all of it is sent between two cuts.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// What is sent only to bring a connection about.
const MARK: u64 = 1 << 40;

/// Makes new connections, so that all accounts of older ones are closed, and waits until each
/// message has had one end.
async fn settle(line: &Line) {
    let Line { sender, proxy, inbox, .. } = line;
    let (rpc, message) = (proxy.made(RPC), proxy.made(MESSAGE));
    proxy.cut(Cut::Fin);
    let is_exact = || {
        let Stats { accepted, bounced, lost, .. } = sender.stats();
        accepted == inbox.len() as u64 + bounced + lost
    };
    soon("every message to have one end", async {
        for mark in MARK.. {
            let is_new = proxy.made(RPC) > rpc && proxy.made(MESSAGE) > message;
            let is_through = inbox.all().last().is_some_and(|last| *last >= MARK);
            if is_new && is_through && is_exact() {
                return;
            }
            // What it is on may be cut as well, and only the next connection closes that account.
            if !is_new || !is_through || proxy.open(MESSAGE) == 0 {
                sender.try_send(addr(TO), &number(mark)).ok();
            }
            // Marks are no load.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// What was handled, without the marks.
fn handled(line: &Line) -> Vec<u64> {
    line.inbox.all().into_iter().filter(|n| *n < MARK).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p01_p02_p03_across_broken_connections_nothing_is_twice_late_or_unaccounted_for() {
    let line = Line::new().await;
    send_through_cuts(&line, 40, false).await;
    settle(&line).await;
    assert!(handled(&line).is_sorted_by(|a, b| a < b), "twice or out of order");
    let (stats, made) = (line.sender.stats(), line.proxy.made(MESSAGE));
    assert!(made >= 40, "cut only {made} times");
    assert_eq!((stats.bounced, line.receiver.stats().handled), (0, line.inbox.len() as u64));
    let told = losses(&line.notices.all());
    let exactly = told.iter().filter_map(|(_, exactly)| *exactly).sum::<u64>();
    assert_eq!(exactly, stats.lost, "{told:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p03_across_broken_connections_what_comes_back_is_counted_once() {
    let line = Line::new().await;
    send_through_cuts(&line, 40, true).await;
    settle(&line).await;
    let told = line.notices.all();
    let came_back = told.len() - losses(&told).len();
    let stats = line.sender.stats();
    assert!(stats.bounced > 1_000, "only {} came back", stats.bounced);
    assert_eq!(came_back as u64, stats.bounced);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p01_p02_p03_cut_behind_any_byte_a_connection_leaves_an_exact_account() {
    const CUTS: usize = 200;
    /// No more than a handshake has, in either direction.
    const HANDSHAKE_BYTES: usize = 130;
    let quick = |builder: Builder| {
        let mut config = Config::default();
        config.backoff_min = Duration::from_millis(1);
        config.backoff_max = Duration::from_millis(5);
        builder.config(config)
    };
    let line = Line::with(quick, quick).await;
    let mut random = StdRng::seed_from_u64(7);
    let (mut next, mut lossy) = (0, 0);
    for cut in 0..CUTS {
        // Much goes only to the receiver, and on the message lane.
        let (lane, is_inward, bytes_max) = [
            (MESSAGE, true, 8_000),
            (MESSAGE, false, HANDSHAKE_BYTES),
            (RPC, true, HANDSHAKE_BYTES),
            (RPC, false, HANDSHAKE_BYTES),
        ][cut % 4];
        let bytes = random.random_range(1..bytes_max);
        let how = if random.random() { Cut::Fin } else { Cut::Reset };
        let (made, lost) = (line.proxy.made(lane), line.sender.stats().lost);
        line.proxy.cut_behind(lane, is_inward, bytes, how);
        line.proxy.cut(Cut::Fin);
        // The one that is cut, and the one after it.
        while line.proxy.made(lane) < made + 2 {
            line.send(next..next + 1).await;
            next += 1;
            tokio::task::yield_now().await;
        }
        settle(&line).await;
        assert!(handled(&line).is_sorted_by(|a, b| a < b), "{cut}: twice or out of order");
        lossy += usize::from(line.sender.stats().lost > lost);
    }
    assert!(lossy > CUTS / 4, "only {lossy} cuts lost anything");
}
