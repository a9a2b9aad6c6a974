//! Whoever gives a call up ends its work, wherever that is.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod support;

use std::future::{Future, pending};
use std::time::Duration;

use seaway::{CallError, Code, Context, Doubt, Limit, Method, Node, Reason, Request, Status};
use support::events::{Gate, Heard, Say, events};
use support::{COUNT, Cluster, ECHO, Text, addr, number, soon, text, timed, until};
use tokio::task::JoinHandle;

const VIA: Method<Text, Text> = Method::new("test.Cancellation/Via");

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A handler that says when it starts and when it is dropped, and does nothing else.
fn idle(say: &Say<&'static str>) -> impl Future<Output = Result<Text, Status>> + Send + use<> {
    let dropped = say.on_drop("dropped");
    let say = say.clone();
    async move {
        let _dropped = dropped;
        say.say("started");
        pending().await
    }
}

/// Makes the call in a task of its own and waits until its handler has started.
async fn begin(
    call: Request<'_, Text, Text>,
    heard: &mut Heard<&'static str>,
) -> JoinHandle<Result<Text, CallError>> {
    let call = tokio::spawn(call.detached());
    heard.expect("started").await;
    call
}

/// Waits for what is to be said long before any deadline.
async fn expect_at_once(heard: &mut Heard<&'static str>, what: &'static str) {
    let ((), took) = timed(what, heard.expect(what)).await;
    assert!(took < Duration::from_secs(1), "took {took:?}: that was the deadline");
}

/// A caller 1.1.1, and a callee 1.2.1 whose handler is idle.
async fn idlers() -> (Node, Node, Heard<&'static str>) {
    let cluster = Cluster::new();
    let caller = cluster.node("1.1.1").await;
    let (say, heard) = events();
    let builder = cluster.builder("1.2.1").on_call(ECHO, move |_, _| idle(&say));
    (caller, builder.start().await.unwrap(), heard)
}

#[tokio::test]
async fn p06_dropping_a_calls_future_drops_the_handlers() {
    let (caller, callee, mut heard) = idlers().await;
    let call = begin(caller.call(addr("1.2.1"), ECHO, text("")), &mut heard).await;
    call.abort();
    expect_at_once(&mut heard, "dropped").await;
    assert_eq!((caller.stats().calls_cancelled, callee.stats().requests), (1, 1));
}

#[tokio::test]
async fn p06_a_deadline_that_passes_drops_the_handlers_future() {
    let (caller, _callee, mut heard) = idlers().await;
    let call = caller.call(addr("1.2.1"), ECHO, text("")).within(ms(100));
    let outcome = soon("the deadline", call).await;
    assert!(matches!(outcome, Err(CallError::MaybeDone { cause: Doubt::Deadline, .. })));
    heard.expect("started").await;
    heard.expect("dropped").await;
}

#[tokio::test]
async fn p06_the_end_of_the_caller_drops_the_handlers_future() {
    let (caller, _callee, mut heard) = idlers().await;
    let call = begin(caller.call(addr("1.2.1"), ECHO, text("")), &mut heard).await;
    // The call holds no node: this ends it.
    drop(caller);
    heard.expect("dropped").await;
    call.abort();
}

#[tokio::test]
async fn p06_a_cancelled_call_to_oneself_drops_its_handler() {
    let cluster = Cluster::new();
    let (say, mut heard) = events();
    let builder = cluster.builder("1.1.1").on_call(ECHO, move |_, _| idle(&say));
    let node = builder.start().await.unwrap();
    let call = begin(node.call(addr("1.1.1"), ECHO, text("")), &mut heard).await;
    call.abort();
    heard.expect("dropped").await;
}

/// Calls a handler that hands its context to a task outside, which tells when it is cancelled.
async fn watched(cluster: &Cluster, does_defer: bool) -> (Node, Node, Heard<&'static str>) {
    let caller = cluster.node("1.1.1").await;
    let (say, heard) = events();
    let handler = move |cx: Context, _| {
        let say = say.clone();
        async move {
            let replier = does_defer.then(|| cx.defer::<Text>());
            let context = cx.clone();
            say.say("started");
            tokio::spawn(async move {
                assert!(!context.is_cancelled());
                context.cancelled().await;
                assert!(context.is_cancelled());
                say.say("cancelled");
                drop(replier);
            });
            if does_defer { Err(Status::deferred()) } else { pending().await }
        }
    };
    let callee = cluster.builder("1.2.1").on_call(ECHO, handler).start().await.unwrap();
    (caller, callee, heard)
}

#[tokio::test]
async fn p06_dropping_a_calls_future_cancels_the_context() {
    let (caller, _callee, mut heard) = watched(&Cluster::new(), false).await;
    let call = begin(caller.call(addr("1.2.1"), ECHO, text("")), &mut heard).await;
    call.abort();
    expect_at_once(&mut heard, "cancelled").await;
}

#[tokio::test]
async fn p06_a_deadline_that_passes_cancels_the_context() {
    let (caller, _callee, mut heard) = watched(&Cluster::new(), false).await;
    let call = caller.call(addr("1.2.1"), ECHO, text("")).within(ms(100));
    soon("the deadline", call).await.unwrap_err();
    heard.expect("started").await;
    heard.expect("cancelled").await;
}

#[tokio::test]
async fn p06_a_deferred_request_is_cancelled_although_its_handler_is_done() {
    let (caller, _callee, mut heard) = watched(&Cluster::new(), true).await;
    let call = begin(caller.call(addr("1.2.1"), ECHO, text("")), &mut heard).await;
    call.abort();
    expect_at_once(&mut heard, "cancelled").await;
}

#[tokio::test]
async fn p06_a_deferred_request_is_cancelled_when_its_caller_is_gone() {
    let (caller, _callee, mut heard) = watched(&Cluster::new(), true).await;
    let call = begin(caller.call(addr("1.2.1"), ECHO, text("")), &mut heard).await;
    drop(caller);
    expect_at_once(&mut heard, "cancelled").await;
    call.abort();
}

#[tokio::test]
async fn p06_nested_calls_are_cancelled_with_their_handler() {
    let cluster = Cluster::new();
    let caller = cluster.node("1.1.1").await;
    let via = |cx: Context, request| async move {
        let node = cx.node();
        node.call(addr("1.3.1"), ECHO, request).await.map_err(|_| Status::new(Code::Aborted, ""))
    };
    let via = cluster.builder("1.2.1").on_call(VIA, via).start().await.unwrap();
    let (say, mut heard) = events();
    let builder = cluster.builder("1.3.1").on_call(ECHO, move |_, _| idle(&say));
    let _last = builder.start().await.unwrap();
    let call = begin(caller.call(addr("1.2.1"), VIA, text("")), &mut heard).await;
    call.abort();
    expect_at_once(&mut heard, "dropped").await;
    assert_eq!(via.stats().calls_cancelled, 1);
}

#[tokio::test]
async fn p06_nested_calls_with_a_callback_are_cancelled_with_their_handler() {
    let cluster = Cluster::new();
    let caller = cluster.node("1.1.1").await;
    let (fired, mut fires) = events();
    let via = move |cx: Context, request| {
        let fired = fired.clone();
        async move {
            cx.node().call(addr("1.3.1"), ECHO, request).callback(move |_| fired.say("fired"));
            pending().await
        }
    };
    let via = cluster.builder("1.2.1").on_call(VIA, via).start().await.unwrap();
    let (say, mut heard) = events();
    let builder = cluster.builder("1.3.1").on_call(ECHO, move |_, _| idle(&say));
    let _last = builder.start().await.unwrap();
    let call = begin(caller.call(addr("1.2.1"), VIA, text("")), &mut heard).await;
    call.abort();
    expect_at_once(&mut heard, "dropped").await;
    drop(via);
    assert_eq!(fires.rest(), [] as [&str; 0]);
}

/// A callee whose handler starts an idle task with `cx.spawn` and then returns or waits.
async fn spawners(waits: bool) -> (Node, Node, Heard<&'static str>) {
    let cluster = Cluster::new();
    let caller = cluster.node("1.1.1").await;
    let (say, heard) = events();
    let handler = move |cx: Context, request| {
        let say = say.clone();
        async move {
            cx.spawn(idle(&say));
            if waits { pending().await } else { Ok(request) }
        }
    };
    let callee = cluster.builder("1.2.1").on_call(ECHO, handler).start().await.unwrap();
    (caller, callee, heard)
}

#[tokio::test]
async fn p06_a_task_of_the_context_is_dropped_with_the_call() {
    let (caller, _callee, mut heard) = spawners(true).await;
    let call = begin(caller.call(addr("1.2.1"), ECHO, text("")), &mut heard).await;
    call.abort();
    expect_at_once(&mut heard, "dropped").await;
}

#[tokio::test]
async fn p06_a_task_of_the_context_outlives_the_handler_until_the_deadline() {
    let (caller, _callee, mut heard) = spawners(false).await;
    let call = caller.call(addr("1.2.1"), ECHO, text("hi")).within(ms(300));
    let (reply, took) = timed("the reply", call).await;
    assert_eq!(reply, Ok(text("hi")));
    heard.expect("started").await;
    let ((), after) = timed("the drop", heard.expect("dropped")).await;
    let took = took + after;
    assert!(took + ms(5) >= ms(300) && took <= ms(300 + 150), "took {took:?}");
}

#[tokio::test]
async fn p05_calls_of_a_task_of_the_context_have_the_handlers_deadline() {
    let cluster = Cluster::new();
    let caller = cluster.node("1.1.1").await;
    let handler = |cx: Context, _| async move {
        let node = cx.node();
        let left = cx.spawn(async move { node.call(addr("1.3.1"), COUNT, number(0)).await });
        let left = left.await.unwrap().unwrap();
        left.map(|left| text(&left.number.to_string())).map_err(|_| Status::new(Code::Aborted, ""))
    };
    let _via = cluster.builder("1.2.1").on_call(VIA, handler).start().await.unwrap();
    let left = |cx: Context, _| async move {
        Ok(number(u64::try_from(cx.time_left().unwrap().as_millis()).unwrap()))
    };
    let _last = cluster.builder("1.3.1").on_call(COUNT, left).start().await.unwrap();
    let call = caller.call(addr("1.2.1"), VIA, text("")).within(ms(2_000));
    let left: u64 = soon("the reply", call).await.unwrap().text.parse().unwrap();
    assert!(left > 0 && left <= 2_000, "{left}");
}

#[tokio::test]
async fn p06_a_call_dropped_before_it_was_sent_never_arrives() {
    let cluster = Cluster::new();
    let absent = cluster.absent("1.2.1");
    let caller = cluster.node("1.1.1").await;
    for n in 0..100 {
        let call = caller.call(addr("1.2.1"), COUNT, number(n));
        // Polled once, then dropped.
        tokio::time::timeout(Duration::ZERO, call).await.unwrap_err();
    }
    assert_eq!(caller.stats().calls_cancelled, 100);
    let (say, mut heard) = events();
    let handler = move |_, request: support::Number| {
        say.say(request.number);
        async move { Ok(request) }
    };
    let _callee = absent.builder().on_call(COUNT, handler).start().await.unwrap();
    soon("the reply", caller.call(addr("1.2.1"), COUNT, number(100))).await.unwrap();
    assert_eq!(heard.rest(), [100]);
}

#[tokio::test]
async fn p06_a_request_that_was_never_awaited_is_not_sent() {
    let cluster = Cluster::new();
    let caller = cluster.node("1.1.1").await;
    let callee = cluster.echo("1.2.1").await;
    drop(caller.call(addr("1.2.1"), ECHO, text("")));
    drop(caller.call(addr("1.2.1"), ECHO, text("")).detached());
    soon("the reply", caller.call(addr("1.2.1"), ECHO, text(""))).await.unwrap();
    assert_eq!((caller.stats().calls, callee.stats().requests), (1, 1));
}

/// Blocks its thread when dropped, as long as the other end of the channel is there.
struct SlowDrop(std::sync::mpsc::Receiver<()>, Say<&'static str>);

impl Drop for SlowDrop {
    fn drop(&mut self) {
        self.1.say("dropping");
        self.0.recv().ok();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn p06_a_cancelled_call_keeps_its_permit_until_its_work_has_ended() {
    let cluster = Cluster::new();
    let caller = cluster.node("1.1.1").await;
    let (say, mut heard) = events();
    let (end, work) = std::sync::mpsc::channel();
    let work = std::sync::Mutex::new(Some(SlowDrop(work, say.clone())));
    let handler = move |_, request| {
        let work = work.lock().unwrap().take();
        let say = say.clone();
        async move {
            let Some(_work) = work else { return Ok(request) };
            say.say("started");
            pending().await
        }
    };
    let builder = cluster.builder("1.2.1").on_call(ECHO, handler);
    let _callee = builder.limit(ECHO.name(), Limit::concurrent(1)).start().await.unwrap();
    let call = begin(caller.call(addr("1.2.1"), ECHO, text("")), &mut heard).await;
    call.abort();
    heard.expect("dropping").await;
    let refused = soon("the refusal", caller.call(addr("1.2.1"), ECHO, text(""))).await;
    assert_eq!(support::not_sent(refused).0, Reason::Busy);
    drop(end);
    let answered = async { while caller.call(addr("1.2.1"), ECHO, text("")).await.is_err() {} };
    soon("the permit", answered).await;
}

#[tokio::test]
async fn p06_a_deferred_request_keeps_its_permit_until_its_replier_is_gone() {
    let cluster = Cluster::new();
    let caller = cluster.node("1.1.1").await;
    let gate = Gate::closed();
    let door = gate.clone();
    let handler = move |cx: Context, request: Text| {
        let door = door.clone();
        async move {
            if request.text == "now" {
                return Ok(request);
            }
            let replier = cx.defer::<Text>();
            tokio::spawn(async move {
                door.pass().await;
                drop(replier);
            });
            Err(Status::deferred())
        }
    };
    let builder = cluster.builder("1.2.1").on_call(ECHO, handler);
    let callee = builder.limit(ECHO.name(), Limit::concurrent(1)).start().await.unwrap();
    let first = tokio::spawn(caller.call(addr("1.2.1"), ECHO, text("later")).detached());
    until("the first request", || callee.stats().requests == 1).await;
    first.abort();
    for _ in 0..10 {
        let refused = soon("the refusal", caller.call(addr("1.2.1"), ECHO, text("now"))).await;
        assert_eq!(support::not_sent(refused).0, Reason::Busy);
    }
    gate.open();
    let answered = async { while caller.call(addr("1.2.1"), ECHO, text("now")).await.is_err() {} };
    soon("the permit", answered).await;
}

#[tokio::test]
async fn p07_a_late_reply_completes_no_other_call() {
    let cluster = Cluster::new();
    let caller = cluster.node("1.1.1").await;
    let (late, mut repliers) = events();
    // Those for "late" are answered only after their caller has gone.
    let handler = move |cx: Context, request: Text| {
        let late = late.clone();
        async move {
            late.say((request, cx.defer::<Text>()));
            Err(Status::deferred())
        }
    };
    let _callee = cluster.builder("1.2.1").on_call(ECHO, handler).start().await.unwrap();
    for round in 0..200 {
        let first = tokio::spawn(caller.call(addr("1.2.1"), ECHO, text("late")).detached());
        let (_, late) = repliers.any().await;
        first.abort();
        until("the end of the call", || caller.stats().calls_cancelled == round + 1).await;
        // It takes the place of the first.
        let second = tokio::spawn(caller.call(addr("1.2.1"), ECHO, text("mine")).detached());
        let (request, mine) = repliers.any().await;
        late.reply(Ok(text("not yours"))).await;
        mine.reply(Ok(request)).await;
        assert_eq!(soon("the reply", second).await.unwrap(), Ok(text("mine")));
    }
    assert_eq!(caller.stats().replies_stray, 200);
}
