//! Many calls at once, and nodes that come, meet and go while calls are made.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use seaway::{CallError, Config, Node, Reason, StopCause};
use support::events::{Gate, Say, events};
use support::{COUNT, Cluster, ECHO, Text, addr, not_sent, number, soon, text, timed, until};
use tokio::task::JoinSet;

/// Makes the next call of a chain from the callback of the one before; `Busy` is tried again.
fn next_call(node: Node, left: Arc<AtomicU64>, done: Say<()>) {
    if left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_err() {
        return done.say(());
    }
    again(node, left, done);
}

fn again(node: Node, left: Arc<AtomicU64>, done: Say<()>) {
    let caller = node.clone();
    node.call(addr("1.1.1"), COUNT, number(7)).callback(move |outcome| match outcome {
        Ok(reply) => {
            assert_eq!(reply, number(7));
            next_call(caller, left, done);
        }
        Err(CallError::NotSent { reason: Reason::Busy, .. }) => again(caller, left, done),
        Err(error) => panic!("{error}"),
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn chains_of_callbacks_all_finish_although_the_callee_starts_later() {
    const CHAINS: usize = 500;
    let cluster = Cluster::empty();
    let callee = cluster.absent("1.1.1");
    let caller = cluster.node("1.2.1").await;
    let left = Arc::new(AtomicU64::new(100_000));
    let (done, mut chains) = events();
    for _ in 0..CHAINS {
        next_call(caller.clone(), Arc::clone(&left), done.clone());
    }
    let builder = callee.builder().on_call(COUNT, |_, request| async { Ok(request) });
    let callee = builder.start().await.unwrap();
    for _ in 0..CHAINS {
        chains.any().await;
    }
    assert_eq!(callee.stats().requests, 100_000);
    assert_eq!(caller.stats().calls_answered, 100_000);
    // What is removed from discovery stops, and is not called any more.
    cluster.discovery.remove(addr("1.1.1"));
    assert_eq!(soon("the stop", callee.stopped()).await, StopCause::Removed);
    let outcome = soon("the refusal", caller.call(addr("1.1.1"), COUNT, number(7))).await;
    assert_eq!(not_sent(outcome).0, Reason::NotAMember);
    cluster.discovery.remove(addr("1.2.1"));
    assert_eq!(soon("the stop", caller.stopped()).await, StopCause::Removed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn tasks_that_call_one_after_another_all_finish() {
    let cluster = Cluster::new();
    let caller = cluster.node("1.1.1").await;
    let callee = cluster.echo("1.2.1").await;
    let left = Arc::new(AtomicU64::new(100_000));
    let mut tasks = JoinSet::new();
    for _ in 0..25 {
        let (caller, left) = (caller.clone(), Arc::clone(&left));
        tasks.spawn(async move {
            let take = |n: u64| n.checked_sub(1);
            while let Ok(n) = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take) {
                let request = text(&n.to_string());
                let reply = caller.call(addr("1.2.1"), ECHO, request.clone()).await;
                assert_eq!(reply, Ok(request));
            }
        });
    }
    soon("all tasks", tasks.join_all()).await;
    assert_eq!((callee.stats().requests, caller.stats().dialed), (100_000, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_call_is_counted_under_one_outcome() {
    let cluster = Cluster::empty();
    let mut config = Config::default();
    (config.frame_bytes_max, config.outbox_bytes_max) = (16 << 10, 16 << 10);
    let caller = cluster.builder("1.1.1").config(config).start().await.unwrap();
    let _callee = cluster.echo("1.2.1").await;
    let large = text(&"x".repeat(10_000));
    let mut calls = JoinSet::new();
    for n in 0..2_000_u64 {
        let to = addr(if n % 10 == 0 { "1.9.1" } else { "1.2.1" });
        let within = Duration::from_millis(if n % 7 == 0 { 1 } else { 10_000 });
        let call = caller.call(to, ECHO, large.clone()).within(within).detached();
        // Some are dropped: unpolled, in line for room, on their way, or answered.
        let patience = Duration::from_millis(if n % 3 == 0 { n % 50 } else { 20_000 });
        calls.spawn(async move { tokio::time::timeout(patience, call).await.is_ok() });
    }
    let ended = soon("all calls", calls.join_all()).await;
    let ended = u64::try_from(ended.iter().filter(|is_done| **is_done).count()).unwrap();
    let stats = caller.stats();
    let (not_sent, in_doubt) = (stats.calls_not_sent, stats.calls_maybe_done);
    assert_eq!(stats.calls_answered + not_sent + in_doubt, ended, "{stats:?}");
    assert_eq!(ended + stats.calls_cancelled, stats.calls, "{stats:?}");
    assert!(stats.calls_cancelled > 0 && not_sent >= 100 && stats.calls_answered > 0, "{stats:?}");
}

#[tokio::test]
async fn p16_a_node_removed_while_a_handler_is_at_work_still_replies() {
    let cluster = Cluster::empty();
    let caller = cluster.node("1.2.1").await;
    let gate = Gate::closed();
    let door = gate.clone();
    let handler = move |_, request: Text| {
        let door = door.clone();
        async move {
            door.pass().await;
            Ok(request)
        }
    };
    let callee = cluster.builder("1.1.1").on_call(ECHO, handler).start().await.unwrap();
    let call = tokio::spawn(caller.call(addr("1.1.1"), ECHO, text("hi")).detached());
    until("the request", || callee.stats().requests == 1).await;
    cluster.discovery.remove(addr("1.1.1"));
    until("the removal", || caller.all_members().len() == 1).await;
    let mut stopped = std::pin::pin!(callee.stopped());
    let early = tokio::time::timeout(Duration::from_millis(200), stopped.as_mut()).await;
    assert!(early.is_err(), "stopped before its handler was done");
    gate.open();
    assert_eq!(soon("the reply", call).await.unwrap(), Ok(text("hi")));
    assert_eq!(soon("the stop", stopped).await, StopCause::Removed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn p12_first_messages_both_ways_at_once_arrive_once_over_one_session_per_lane() {
    for round in 0..30 {
        let cluster = Cluster::empty();
        let (say, mut heard) = events();
        let node = async |address: &str| {
            let (for_messages, for_calls) = (say.clone(), say.clone());
            let builder = cluster.builder(address);
            let builder = builder.on_message(move |cx: seaway::Context, message: Text| {
                for_messages.say((cx.peer().to_string(), message.text));
                async {}
            });
            let builder = builder.on_call(ECHO, move |cx, request| {
                for_calls.say((cx.peer().to_string(), request.text.clone()));
                async { Ok(request) }
            });
            builder.start().await.unwrap()
        };
        let (low, high) = (node("1.1.1").await, node("1.2.1").await);
        until("both members", || low.all_members().len() == 2).await;
        let first = |from: &Node, to: &str| {
            let (from, to) = (from.clone(), addr(to));
            tokio::spawn(async move {
                from.send(to, &text("message")).await.unwrap();
                from.call(to, ECHO, text("call")).await
            })
        };
        let began = std::time::Instant::now();
        let (up, down) = (first(&low, "1.2.1"), first(&high, "1.1.1"));
        assert_eq!(soon("the reply", up).await.unwrap(), Ok(text("call")), "round {round}");
        assert_eq!(soon("the reply", down).await.unwrap(), Ok(text("call")), "round {round}");
        let mut seen = Vec::new();
        for _ in 0..4 {
            seen.push(heard.any().await);
        }
        let took = began.elapsed();
        assert!(took < Duration::from_secs(3), "round {round} took {took:?}");
        seen.sort();
        let of = |from: &str, what: &str| (from.to_owned(), what.to_owned());
        let expected = [
            of("1.1.1", "call"),
            of("1.1.1", "message"),
            of("1.2.1", "call"),
            of("1.2.1", "message"),
        ];
        assert_eq!(seen, expected, "round {round}");
        // One connection of each of the two lanes was let in and kept.
        let (low, high) = (low.stats(), high.stats());
        assert_eq!(low.accepted_connections + high.accepted_connections, 2, "round {round}");
        assert_eq!((low.dialed + high.dialed, low.lost + high.lost), (2, 0), "round {round}");
        assert_eq!(heard.rest(), [], "round {round}");
    }
}

#[tokio::test]
async fn p13_calls_in_flight_to_a_node_that_shuts_down_end_at_once() {
    let cluster = Cluster::empty();
    let caller = cluster.node("1.1.1").await;
    let builder = cluster.builder("1.2.1").on_call(ECHO, |_, _| std::future::pending());
    let callee = builder.start().await.unwrap();
    let mut calls = JoinSet::new();
    for _ in 0..100 {
        let call = caller.call(addr("1.2.1"), ECHO, text("")).within(Duration::from_secs(60));
        calls.spawn(call.detached());
    }
    until("all requests", || callee.stats().requests == 100).await;
    let within = Duration::from_millis(100);
    let (report, took) = timed("the shutdown", callee.shutdown(within)).await;
    assert_eq!(report.requests_abandoned, 100);
    assert!(
        took + Duration::from_millis(1) >= within && took < Duration::from_secs(3),
        "took {took:?}"
    );
    let (outcomes, took) = timed("all outcomes", calls.join_all()).await;
    assert!(took < Duration::from_millis(600), "took {took:?}");
    for outcome in outcomes {
        assert!(matches!(outcome, Err(CallError::MaybeDone { .. })), "{outcome:?}");
    }
}
