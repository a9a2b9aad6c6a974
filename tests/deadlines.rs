//! Calls end by their deadlines, which travel with them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod support;

use std::future::pending;
use std::time::Duration;

use seaway::{CallError, Code, Config, Context, Doubt, Method, Reason, Status};
use support::events::events;
use support::{COUNT, Cluster, ECHO, Number, Text, addr, not_sent, number, soon, text, timed};
use tokio::task::JoinSet;

/// Three times what is promised: a machine may be busy.
const GRACE: Duration = Duration::from_millis(150);
const NEVER: Method<Text, Text> = Method::new("test.Deadlines/Never");
const VIA: Method<Text, Number> = Method::new("test.Deadlines/Via");
const MS_LEFT: Method<Text, Number> = Method::new("test.Deadlines/MsLeft");

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[track_caller]
fn assert_doubt_at_deadline<R: std::fmt::Debug>(outcome: Result<R, CallError>) {
    assert!(
        matches!(outcome, Err(CallError::MaybeDone { cause: Doubt::Deadline, .. })),
        "{outcome:?}"
    );
}

async fn ms_left(cx: Context, _: Text) -> Result<Number, Status> {
    Ok(number(u64::try_from(cx.time_left().unwrap().as_millis()).unwrap()))
}

#[tokio::test]
async fn p05_a_call_ends_by_its_deadline() {
    let cluster = Cluster::new();
    let caller = cluster.node("1.1.1").await;
    let builder = cluster.builder("1.2.1").on_call(NEVER, |_, _| pending());
    let _callee = builder.start().await.unwrap();
    let call = caller.call(addr("1.2.1"), NEVER, text("")).within(ms(200));
    let (outcome, took) = timed("the deadline", call).await;
    assert_doubt_at_deadline(outcome);
    assert!(took >= ms(199) && took <= ms(200) + GRACE, "took {took:?}");
}

#[tokio::test]
async fn p05_without_within_the_configured_time_counts() {
    let cluster = Cluster::new();
    let mut config = Config::default();
    config.call_timeout = ms(200);
    let caller = cluster.builder("1.1.1").config(config).start().await.unwrap();
    let builder = cluster.builder("1.2.1").on_call(NEVER, |_, _| pending());
    let _callee = builder.on_call(MS_LEFT, ms_left).start().await.unwrap();
    let left = soon("the reply", caller.call(addr("1.2.1"), MS_LEFT, text(""))).await.unwrap();
    assert!(left.number > 0 && left.number <= 200, "{left:?}");
    let (outcome, took) = timed("the deadline", caller.call(addr("1.2.1"), NEVER, text(""))).await;
    assert_doubt_at_deadline(outcome);
    assert!(took >= ms(199) && took <= ms(200) + GRACE, "took {took:?}");
}

#[tokio::test]
async fn p05_each_of_many_calls_ends_by_its_own_deadline() {
    let cluster = Cluster::new();
    let caller = cluster.node("1.1.1").await;
    let builder = cluster.builder("1.2.1").on_call(NEVER, |_, _| pending());
    let _callee = builder.start().await.unwrap();
    let mut calls = JoinSet::new();
    // Neither rising nor falling.
    for n in 0..500 {
        let within = ms(100 + (n * 7919) % 500);
        let call = caller.call(addr("1.2.1"), NEVER, text("")).within(within).detached();
        calls.spawn(async move { (within, timed("the deadline", call).await) });
    }
    for (within, (outcome, took)) in soon("all deadlines", calls.join_all()).await {
        assert_doubt_at_deadline(outcome);
        // The node's clock counts whole milliseconds.
        assert!(took + ms(1) >= within && took <= within + GRACE, "{within:?} took {took:?}");
    }
}

#[tokio::test]
async fn p05_time_left_travels_with_the_request() {
    let cluster = Cluster::new();
    let caller = cluster.node("1.1.1").await;
    let _callee = cluster.builder("1.2.1").on_call(MS_LEFT, ms_left).start().await.unwrap();
    let call = caller.call(addr("1.2.1"), MS_LEFT, text("")).within(ms(10_000));
    let left = soon("the reply", call).await.unwrap();
    assert!(left.number > 8_000 && left.number <= 10_000, "{left:?}");
}

#[tokio::test]
async fn p05_a_nested_call_gets_no_more_than_its_handler_has_left() {
    let cluster = Cluster::new();
    let caller = cluster.node("1.1.1").await;
    let via = |cx: Context, _| async move {
        let node = cx.node();
        // Uses up 100 ms of the 1,000, then asks for far more than is left.
        node.call(addr("1.3.1"), NEVER, text("")).within(ms(100)).await.unwrap_err();
        let call = node.call(addr("1.3.1"), MS_LEFT, text("")).within(ms(60_000));
        call.await.map_err(|error| Status::new(Code::Aborted, error.to_string()))
    };
    let _via = cluster.builder("1.2.1").on_call(VIA, via).start().await.unwrap();
    let builder = cluster.builder("1.3.1").on_call(NEVER, |_, _| pending());
    let _last = builder.on_call(MS_LEFT, ms_left).start().await.unwrap();
    let call = caller.call(addr("1.2.1"), VIA, text("")).within(ms(1_000));
    let left = soon("the reply", call).await.unwrap();
    assert!(left.number > 0 && left.number <= 900, "{left:?}");
}

#[tokio::test]
async fn p05_a_nested_call_without_within_gets_what_its_handler_has_left() {
    let cluster = Cluster::new();
    let caller = cluster.node("1.1.1").await;
    let via = |cx: Context, _| async move {
        let node = cx.node();
        let call = node.call(addr("1.3.1"), MS_LEFT, text(""));
        call.await.map_err(|error| Status::new(Code::Aborted, error.to_string()))
    };
    let _via = cluster.builder("1.2.1").on_call(VIA, via).start().await.unwrap();
    let _last = cluster.builder("1.3.1").on_call(MS_LEFT, ms_left).start().await.unwrap();
    // Less than the default of 5 s.
    let call = caller.call(addr("1.2.1"), VIA, text("")).within(ms(2_000));
    let left = soon("the reply", call).await.unwrap();
    assert!(left.number > 0 && left.number <= 2_000, "{left:?}");
}

#[tokio::test]
async fn p05_a_handler_is_dropped_when_its_deadline_passes() {
    let cluster = Cluster::new();
    let caller = cluster.node("1.1.1").await;
    let (say, mut heard) = events();
    let handler = move |_, _| {
        let dropped = say.on_drop("dropped");
        async move {
            let _dropped = dropped;
            pending().await
        }
    };
    let _callee = cluster.builder("1.2.1").on_call(NEVER, handler).start().await.unwrap();
    let call = caller.call(addr("1.2.1"), NEVER, text("")).within(ms(100));
    let ((), took) = timed("the drop", async {
        tokio::join!(async { assert_doubt_at_deadline(call.await) }, heard.expect("dropped"));
    })
    .await;
    assert!(took <= ms(100) + GRACE, "took {took:?}");
}

#[tokio::test]
async fn p05_what_has_expired_is_not_started() {
    let cluster = Cluster::new();
    let absent = cluster.absent("1.2.1");
    let caller = cluster.node("1.1.1").await;
    let (say, mut heard) = events();
    let handler = move |_, request: Number| {
        say.say(request.number);
        async move { Ok(request) }
    };
    let long =
        tokio::spawn(caller.call(addr("1.2.1"), COUNT, number(0)).within(ms(15_000)).detached());
    let mut short = JoinSet::new();
    for n in 1..=50 {
        short.spawn(caller.call(addr("1.2.1"), COUNT, number(n)).within(ms(50 + n)).detached());
    }
    for outcome in soon("the deadlines", short.join_all()).await {
        assert_eq!(not_sent(outcome).0, Reason::Expired);
    }
    let _callee = absent.builder().on_call(COUNT, handler).start().await.unwrap();
    assert_eq!(soon("the reply", long).await.unwrap(), Ok(number(0)));
    soon("the reply", caller.call(addr("1.2.1"), COUNT, number(99))).await.unwrap();
    // Requests start in order: the expired ones would be between these two.
    assert_eq!(heard.rest(), [0, 99]);
}

#[tokio::test]
async fn p05_a_call_without_time_is_not_even_dialled_for() {
    let cluster = Cluster::new();
    let caller = cluster.node("1.1.1").await;
    let callee = cluster.echo("1.2.1").await;
    let call = caller.call(addr("1.2.1"), ECHO, text("")).within(Duration::ZERO);
    assert_eq!(not_sent(soon("the refusal", call).await).0, Reason::Expired);
    soon("the reply", caller.call(addr("1.2.1"), ECHO, text(""))).await.unwrap();
    assert_eq!(callee.stats().requests, 1);
}

#[tokio::test]
async fn p05_the_wait_for_room_ends_by_the_deadline() {
    let cluster = Cluster::new();
    let mut config = Config::default();
    (config.frame_bytes_max, config.outbox_bytes_max) = (16 << 10, 16 << 10);
    let _absent = cluster.absent("1.2.1");
    let caller = cluster.builder("1.1.1").config(config).start().await.unwrap();
    let large = text(&"x".repeat(16_000));
    let _first =
        tokio::spawn(caller.call(addr("1.2.1"), ECHO, large.clone()).within(ms(60_000)).detached());
    tokio::task::yield_now().await;
    let call = caller.call(addr("1.2.1"), ECHO, large).within(ms(200));
    let (outcome, took) = timed("the deadline", call).await;
    let (reason, detail) = not_sent(outcome);
    assert_eq!(reason, Reason::Full);
    assert!(detail.contains("cannot connect"), "{detail}");
    assert!(took >= ms(199) && took <= ms(200) + GRACE, "took {took:?}");
}

#[tokio::test]
async fn p05_a_deadline_far_away_is_none_that_has_passed() {
    let cluster = Cluster::new();
    let caller = cluster.node("1.1.1").await;
    let _callee = cluster.echo("1.2.1").await;
    let day = Duration::from_secs(24 * 60 * 60);
    for within in [day * 20, day * 30, day * 45, day * 60, day * 20_000, Duration::MAX] {
        let call = caller.call(addr("1.2.1"), ECHO, text("hi")).within(within);
        assert_eq!(soon("the reply", call).await, Ok(text("hi")), "{within:?}");
    }
}
