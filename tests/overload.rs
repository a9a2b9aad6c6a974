//! What is too much is refused at once, and what is slow holds up nobody else.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod support;

use std::future::pending;
use std::time::Duration;

use seaway::{CallError, Code, Config, Context, Limit, Method, Node, Reason, Status};
use support::events::{Gate, events};
use support::{
    COUNT, Cluster, ECHO, Number, Text, addr, not_sent, number, soon, text, timed, until,
};
use tokio::task::JoinSet;

/// At once: long before any deadline.
const AT_ONCE: Duration = Duration::from_millis(500);

type Calls = JoinSet<Result<Text, CallError>>;

/// A node that waits at the gate before it echoes texts, and echoes numbers at once.
async fn gated(cluster: &Cluster, config: Config, limit: Option<Limit>) -> (Node, Gate) {
    let gate = Gate::closed();
    let door = gate.clone();
    let wait = move |_, request: Text| {
        let door = door.clone();
        async move {
            door.pass().await;
            Ok(request)
        }
    };
    let mut builder = cluster.builder("1.2.1").config(config).on_call(ECHO, wait);
    builder = builder.on_call(COUNT, |_, request| async { Ok(request) });
    if let Some(limit) = limit {
        builder = builder.limit(ECHO.name(), limit);
    }
    (builder.start().await.unwrap(), gate)
}

fn patient(caller: &Node, request: Text) -> seaway::ReplyFuture<'static, Text, Text> {
    caller.call(addr("1.2.1"), ECHO, request).within(Duration::from_secs(60)).detached()
}

/// Whose limit it is, and which, is said.
#[track_caller]
fn assert_busy<R: std::fmt::Debug>(outcome: Result<R, CallError>, whose: &str) {
    assert_eq!(not_sent(outcome), (Reason::Busy, whose.to_owned()));
}

/// Calls that wait at the callee's gate: this many.
async fn occupy(caller: &Node, callee: &Node, places: u64, request: &Text) -> Calls {
    let mut calls = JoinSet::new();
    for _ in 0..places {
        calls.spawn(patient(caller, request.clone()).into_future());
    }
    until("all requests", || callee.stats().requests == places).await;
    calls
}

/// Makes one call more, which must be refused at once with this reason.
async fn expect_busy(caller: &Node, why: &str) {
    let (refused, took) = timed("the refusal", patient(caller, text("one more"))).await;
    assert_busy(refused, why);
    assert!(took < AT_ONCE, "took {took:?}");
}

/// Waits for the replies, which must all be this.
async fn expect_all(calls: Calls, expected: &Text) {
    for reply in soon("all replies", calls.join_all()).await {
        assert!(reply.as_ref() == Ok(expected), "{:?}", reply.map(|reply| reply.text.len()));
    }
}

#[tokio::test]
async fn p11_of_one_source_the_4097th_request_is_refused_at_once() {
    let cluster = Cluster::new();
    let mut config = Config::default();
    config.calls_max = 5_000;
    let caller = cluster.builder("1.1.1").config(config).start().await.unwrap();
    let other = cluster.node("1.1.2").await;
    let (callee, gate) = gated(&cluster, Config::default(), None).await;
    let calls = occupy(&caller, &callee, 4_096, &text("hi")).await;
    expect_busy(
        &caller,
        "the callee handles no more at once than 4096 requests of one peer, its `requests_max`",
    )
    .await;
    assert_eq!(callee.stats().requests_refused, 1);
    // Another source has its own places.
    soon("the reply", other.call(addr("1.2.1"), COUNT, number(1))).await.unwrap();
    gate.open();
    expect_all(calls, &text("hi")).await;
    assert_eq!(soon("the reply", patient(&caller, text("now"))).await, Ok(text("now")));
}

#[tokio::test]
async fn p08_of_one_peer_the_4097th_pending_call_is_refused_at_once() {
    let cluster = Cluster::new();
    let caller = cluster.node("1.1.1").await;
    let (callee, gate) = gated(&cluster, Config::default(), None).await;
    let calls = occupy(&caller, &callee, 4_096, &text("hi")).await;
    expect_busy(
        &caller,
        "this node waits for no more than 4096 replies of 1.2.1 at once, its `calls_max`",
    )
    .await;
    // The caller itself refused it.
    assert_eq!(callee.stats().requests_refused, 0);
    gate.open();
    expect_all(calls, &text("hi")).await;
    assert_eq!(soon("the reply", patient(&caller, text("now"))).await, Ok(text("now")));
}

#[tokio::test]
async fn p11_of_one_source_16_mib_of_requests_are_in_flight_and_no_more() {
    let cluster = Cluster::new();
    let caller = cluster.node("1.1.1").await;
    let (callee, gate) = gated(&cluster, Config::default(), None).await;
    // A method, a tag and a length before it: a frame of 1 MiB.
    let large = text(&"x".repeat((1 << 20) - 12));
    let calls = occupy(&caller, &callee, 16, &large.clone()).await;
    let refused = soon("the refusal", patient(&caller, large.clone())).await;
    assert_busy(
        refused,
        "the callee handles no more at once than 16777216 bytes of requests of one peer, its `request_bytes_max`",
    );
    gate.open();
    for reply in soon("all replies", calls.join_all()).await {
        assert_eq!(reply.unwrap().text.len(), large.text.len());
    }
    soon("the reply", patient(&caller, large)).await.unwrap();
}

#[tokio::test]
async fn p11_a_method_at_its_limit_refuses_one_more_at_once() {
    let cluster = Cluster::new();
    let caller = cluster.node("1.1.1").await;
    let limit = Limit::concurrent(3);
    let (callee, gate) = gated(&cluster, Config::default(), Some(limit)).await;
    let calls = occupy(&caller, &callee, 3, &text("hi")).await;
    expect_busy(&caller, "the callee handles no more at once than 3 of this method, its `Limit`")
        .await;
    // Other methods are not concerned.
    soon("the reply", caller.call(addr("1.2.1"), COUNT, number(1))).await.unwrap();
    gate.open();
    expect_all(calls, &text("hi")).await;
    assert_eq!(soon("the reply", patient(&caller, text("now"))).await, Ok(text("now")));
}

#[tokio::test]
async fn p11_methods_of_different_types_share_one_limit() {
    let cluster = Cluster::new();
    let caller = cluster.node("1.1.1").await;
    let gate = Gate::closed();
    let door = gate.clone();
    let wait = move |_, request: Text| {
        let door = door.clone();
        async move {
            door.pass().await;
            Ok(request)
        }
    };
    let limit = Limit::concurrent(1);
    let builder = cluster.builder("1.2.1").on_call(ECHO, wait);
    let builder = builder.on_call(COUNT, |_, request| async { Ok(request) });
    let builder = builder.limit(ECHO.name(), limit.clone()).limit(COUNT.name(), limit);
    let callee = builder.start().await.unwrap();
    let first = tokio::spawn(patient(&caller, text("hi")));
    until("the first request", || callee.stats().requests == 1).await;
    let refused = soon("the refusal", caller.call(addr("1.2.1"), COUNT, number(1))).await;
    assert_busy(refused, "the callee handles no more at once than 1 of this method, its `Limit`");
    gate.open();
    assert_eq!(soon("the reply", first).await.unwrap(), Ok(text("hi")));
    let reply = soon("the reply", caller.call(addr("1.2.1"), COUNT, number(1))).await;
    assert_eq!(reply, Ok(number(1)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn p11_whoever_has_its_reply_finds_its_place_free() {
    let cluster = Cluster::new();
    let caller = cluster.node("1.1.1").await;
    let handler = |_, request: Number| async move {
        if request.number.is_multiple_of(2) {
            tokio::task::yield_now().await;
        }
        if request.number.is_multiple_of(3) {
            return Err(Status::new(Code::NotFound, "no"));
        }
        Ok(request)
    };
    let builder = cluster.builder("1.2.1").on_call(COUNT, handler);
    let _callee = builder.limit(COUNT.name(), Limit::concurrent(1)).start().await.unwrap();
    let one_by_one = async {
        for n in 0..5_000 {
            match caller.call(addr("1.2.1"), COUNT, number(n)).await {
                Ok(reply) => assert_eq!(reply, number(n)),
                Err(CallError::Status(status)) => assert_eq!(status.code(), Code::NotFound),
                Err(error) => panic!("{n}: {error}"),
            }
        }
    };
    soon("all calls", one_by_one).await;
}

#[tokio::test]
async fn p11_notifications_hold_permits_too() {
    let cluster = Cluster::new();
    let caller = cluster.node("1.1.1").await;
    let (callee, gate) = gated(&cluster, Config::default(), Some(Limit::concurrent(1))).await;
    caller.call(addr("1.2.1"), ECHO, text("first")).notify().await.unwrap();
    until("the notification", || callee.stats().requests == 1).await;
    let refused = soon("the refusal", patient(&caller, text("second"))).await;
    assert_busy(refused, "the callee handles no more at once than 1 of this method, its `Limit`");
    gate.open();
    let answered = async { while patient(&caller, text("third")).await.is_err() {} };
    soon("the permit", answered).await;
}

#[tokio::test]
async fn p10_a_call_back_to_the_caller_completes() {
    const VIA: Method<Text, Text> = Method::new("test.Overload/Via");
    let cluster = Cluster::new();
    // Each calls the other back until the text is long enough.
    let ping = |cx: Context, request: Text| async move {
        if request.text.len() >= 20 {
            return Ok(request);
        }
        let longer = text(&format!("{}x", request.text));
        let back = cx.node().call(cx.peer(), VIA, longer).await;
        back.map_err(|error| Status::new(Code::Aborted, error.to_string()))
    };
    let first = cluster.builder("1.1.1").on_call(VIA, ping).start().await.unwrap();
    let _second = cluster.builder("1.2.1").on_call(VIA, ping).start().await.unwrap();
    let reply = soon("the reply", first.call(addr("1.2.1"), VIA, text(""))).await;
    assert_eq!(reply.unwrap().text.len(), 20);
}

#[tokio::test]
async fn p10_a_call_back_from_a_message_handler_completes() {
    let cluster = Cluster::new();
    let first = cluster.echo("1.1.1").await;
    let (say, mut heard) = events();
    let call_back = move |cx: Context, message: Text| {
        let say = say.clone();
        async move {
            let back = cx.node().call(cx.peer(), ECHO, message).await;
            say.say(back);
        }
    };
    let _second = cluster.builder("1.2.1").on_message(call_back).start().await.unwrap();
    first.send(addr("1.2.1"), &text("hi")).await.unwrap();
    heard.expect(Ok(text("hi"))).await;
}

#[tokio::test]
async fn p10_a_message_handler_that_never_completes_delays_no_call() {
    let cluster = Cluster::new();
    let caller = cluster.echo("1.1.1").await;
    let (say, mut heard) = events();
    let stuck = move |_, _: Text| {
        say.say("stuck");
        pending()
    };
    let builder = cluster.builder("1.2.1").on_message(stuck);
    let callee = builder.on_call(COUNT, |_, request| async { Ok(request) }).start().await.unwrap();
    for _ in 0..100 {
        caller.send(addr("1.2.1"), &text("never handled")).await.unwrap();
    }
    heard.expect("stuck").await;
    // Requests and replies, both ways, for ten times as long as it takes to be declared dead.
    let began = std::time::Instant::now();
    let mut slowest = Duration::ZERO;
    let mut pace = tokio::time::interval(Duration::from_millis(5));
    while began.elapsed() < Duration::from_secs(30) {
        pace.tick().await;
        let there = timed("a reply", caller.call(addr("1.2.1"), COUNT, number(1))).await;
        let back = timed("a reply", callee.call(addr("1.1.1"), ECHO, text("hi"))).await;
        assert_eq!((there.0, back.0), (Ok(number(1)), Ok(text("hi"))));
        slowest = slowest.max(there.1).max(back.1);
    }
    assert!(slowest < AT_ONCE, "took {slowest:?}");
    // One connection of each lane, and never another: no heartbeat was missed either.
    assert_eq!((caller.stats().dialed, heard.rest().len()), (2, 0));
}

#[tokio::test]
async fn p10_a_request_handler_that_never_completes_delays_no_other() {
    let cluster = Cluster::new();
    let caller = cluster.node("1.1.1").await;
    let (callee, _closed) = gated(&cluster, Config::default(), None).await;
    let mut stuck = JoinSet::new();
    for _ in 0..1_000 {
        stuck.spawn(patient(&caller, text("hi")));
    }
    until("1,000 requests", || callee.stats().requests == 1_000).await;
    for _ in 0..100 {
        let call = caller.call(addr("1.2.1"), COUNT, number(1));
        let (reply, took) = timed("a reply", call).await;
        assert_eq!(reply, Ok(number(1)));
        assert!(took < AT_ONCE, "took {took:?}");
    }
}
