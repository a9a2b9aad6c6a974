//! What holds for calls between two nodes holds between two groups.

use std::future::pending;
use std::time::Duration;

use seaway::{CallError, Code, Context, Doubt, Method, Node, Reason, Status, Undeliverable};
use tokio::sync::mpsc;

use crate::groups::Groups;
use crate::support::events::{Gate, events};
use crate::support::{COUNT, ECHO, Number, Text, addr, not_sent, number, soon, text, timed, until};
use crate::world::{FROM, TO};

/// Three times what is promised: a machine may be busy.
const GRACE: Duration = Duration::from_millis(150);
const NEVER: Method<Text, Text> = Method::new("test.Calls/Never");
const VIA: Method<Text, Text> = Method::new("test.Calls/Via");
const MS_LEFT: Method<Text, Number> = Method::new("test.Calls/MsLeft");

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[tokio::test]
async fn p05_time_at_a_harbor_counts_and_what_expires_there_is_not_started() {
    let groups = Groups::new().await;
    let (builder, proxy) = groups.cluster.proxied(TO).await;
    proxy.refuse(true);
    let left = |cx: Context, _| async move {
        Ok(number(u64::try_from(cx.time_left().unwrap().as_millis()).unwrap()))
    };
    let callee = builder.on_call(MS_LEFT, left).on_call(ECHO, |_, request| async { Ok(request) });
    let callee = callee.start().await.unwrap();
    let long = groups.sender.call(addr(TO), MS_LEFT, text("")).within(ms(10_000));
    let long = tokio::spawn(long.detached());
    until("it to be underway", || groups.harbors[1].stats().relayed == 1).await;
    let short = groups.sender.call(addr(TO), ECHO, text("")).within(ms(300));
    let (outcome, took) = timed("the deadline", short).await;
    assert!(outcome.is_err(), "{outcome:?}");
    assert!(took >= ms(299) && took <= ms(300) + GRACE, "took {took:?}");
    proxy.refuse(false);
    let left = soon("the reply", long).await.unwrap().unwrap();
    assert!(left.number <= 10_000 - 299, "{left:?}");
    assert_eq!(callee.stats().requests, 1, "what had expired was started");
}

#[tokio::test]
async fn p05_p06_a_deadline_ends_a_call_and_its_handler_beyond_harbors() {
    let groups = Groups::new().await;
    let (said, mut heard) = events();
    let callee = groups.cluster.builder(TO).on_call(NEVER, move |_, _| {
        let dropped = said.on_drop("dropped");
        async move {
            let _dropped = dropped;
            pending().await
        }
    });
    let _callee = callee.start().await.unwrap();
    let call = groups.sender.call(addr(TO), NEVER, text("")).within(ms(300));
    let (outcome, took) = timed("the deadline", call).await;
    let is_doubt = matches!(outcome, Err(CallError::MaybeDone { cause: Doubt::Deadline, .. }));
    assert!(is_doubt, "{outcome:?}");
    assert!(took >= ms(299) && took <= ms(300) + GRACE, "took {took:?}");
    heard.expect("dropped").await;
}

#[tokio::test]
async fn p06_a_dropped_call_cancels_its_handler_and_what_that_calls_beyond_harbors() {
    let groups = Groups::new().await;
    let (said, mut heard) = events();
    let nested = said.clone();
    let via = groups.cluster.builder(TO).on_call(VIA, move |cx: Context, request| {
        let dropped = said.on_drop("dropped");
        async move {
            let _dropped = dropped;
            // Back to the group that it came from.
            let outcome = cx.node().call(addr("1.1.2"), NEVER, request).await;
            outcome.map_err(|error| Status::new(Code::Aborted, error.to_string()))
        }
    });
    let _via = via.start().await.unwrap();
    let last = groups.cluster.builder("1.1.2").on_call(NEVER, move |_, _| {
        let dropped = nested.on_drop("nested dropped");
        nested.say("started");
        async move {
            let _dropped = dropped;
            pending().await
        }
    });
    let _last = last.start().await.unwrap();
    let call = groups.sender.call(addr(TO), VIA, text("")).within(ms(60_000));
    let call = tokio::spawn(call.detached());
    heard.expect("started").await;
    call.abort();
    heard.expect("dropped").await;
    heard.expect("nested dropped").await;
}

#[tokio::test]
async fn p06_a_cancel_reaches_a_callee_beyond_harbors_that_drains() {
    let groups = Groups::new().await;
    let (said, mut heard) = events();
    let callee = groups.cluster.builder(TO).on_call(NEVER, move |_, _| {
        let dropped = said.on_drop("dropped");
        said.say("started");
        async move {
            let _dropped = dropped;
            pending().await
        }
    });
    let callee = callee.start().await.unwrap();
    let call = groups.sender.call(addr(TO), NEVER, text("")).within(ms(60_000));
    let call = tokio::spawn(call.detached());
    heard.expect("started").await;
    let stopping = tokio::spawn(async move { callee.shutdown(ms(60_000)).await });
    let told = || groups.harbors[1].try_send(addr(TO), &number(1));
    let is_told = || told().is_err_and(|error| error.reason == Reason::Draining);
    until("the harbor to know", is_told).await;
    call.abort();
    heard.expect("dropped").await;
    assert!(soon("the end", stopping).await.unwrap().is_clean());
}

#[tokio::test]
async fn metadata_and_traces_cross_harbors() {
    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let groups = Groups::new().await;
    let callee = groups.cluster.builder(TO).on_call(ECHO, |cx: Context, _| async move {
        let trace = cx.trace_parent().unwrap_or_default();
        Ok(text(&format!("{} {trace}", cx.metadata("tenant").unwrap())))
    });
    let _callee = callee.start().await.unwrap();
    let call = groups.sender.call(addr(TO), ECHO, text("")).metadata("tenant", "eu");
    let reply = soon("the reply", call.trace_parent(PARENT)).await.unwrap().text;
    // The same trace, with another parent.
    assert!(reply.starts_with("eu 00-0af7651916cd43dd8448eb211c80319c-"), "{reply}");
}

#[tokio::test]
async fn p03_a_notification_is_handled_beyond_harbors_or_comes_back() {
    let groups = Groups::new().await;
    let (said, mut heard) = events();
    let callee = groups.cluster.builder(TO).on_call(COUNT, move |_, request: Number| {
        said.say(request.number);
        async { Ok(number(0)) }
    });
    let callee = callee.start().await.unwrap();
    for n in 0..100 {
        let notification = groups.sender.call(addr(TO), COUNT, number(n)).notify();
        soon("room", notification).await.unwrap();
    }
    for n in 0..100 {
        heard.expect(n).await;
    }
    soon("room", groups.sender.call(addr(TO), ECHO, text("")).notify()).await.unwrap();
    let told = groups.notices.until_len(1).await;
    let is_refused = |notice: &Undeliverable| {
        matches!(notice, Undeliverable::Bounced { reason: Reason::Unimplemented, message: None, hop, .. }
            if *hop == Some(addr(TO)))
    };
    assert!(is_refused(&told[0]), "{told:?}");
    let report = groups.sender.shutdown(ms(5_000)).await;
    assert!(report.is_clean(), "{report:?}");
    let stats = groups.sender.stats();
    assert_eq!((stats.accepted, stats.bounced, stats.lost), (101, 1, 0));
    assert_eq!(callee.stats().handled, 100);
}

#[tokio::test]
async fn p21_replies_errors_and_panics_cross_harbors() {
    let groups = Groups::new().await;
    let (moves, mut game) = mpsc::channel(16);
    let callee = groups.cluster.builder(TO).on_call(ECHO, move |cx: Context, request: Text| {
        let moves = moves.clone();
        async move {
            match &*request.text {
                "no" => {
                    Err(Status::new(Code::NotFound, "no such thing").with_details(&b"details"[..]))
                }
                "panic" => panic!("on purpose"),
                _ => {
                    moves.send((request, cx.defer())).await.ok();
                    Err(Status::deferred())
                }
            }
        }
    });
    let callee = callee.start().await.unwrap();
    let play = async {
        while let Some((request, replier)) = game.recv().await {
            replier.reply(Ok(request)).await;
        }
    };
    let call =
        |what: &str| soon("the reply", groups.sender.call(addr(TO), ECHO, text(what)).detached());
    let ask = async {
        assert_eq!(call("later").await, Ok(text("later")));
        let Err(CallError::Status(no)) = call("no").await else { panic!("no status") };
        assert_eq!(
            (no.code(), no.text(), &no.details()[..]),
            (Code::NotFound, "no such thing", &b"details"[..])
        );
        let Err(CallError::Status(failed)) = call("panic").await else { panic!("no status") };
        assert_eq!(failed.code(), Code::Internal);
        assert_eq!(call("again").await, Ok(text("again")));
    };
    tokio::select! {
        () = ask => {}
        () = play => panic!("the callee is gone"),
    }
    assert_eq!(callee.stats().panics, 1);
}

#[tokio::test]
async fn p04_an_unknown_method_beyond_harbors_is_safe_to_retry() {
    let groups = Groups::new().await;
    let _callee = groups.cluster.echo(TO).await;
    let call = groups.sender.call(addr(TO), NEVER, text("")).within(ms(60_000));
    assert_eq!(not_sent(soon("the refusal", call).await).0, Reason::Unimplemented);
    assert!(soon("the reply", groups.sender.call(addr(TO), ECHO, text(""))).await.is_ok());
}

#[tokio::test]
async fn p10_a_handler_that_never_ends_delays_no_other_source_beyond_harbors() {
    let groups = Groups::new().await;
    let gate = Gate::closed();
    let (said, mut heard) = events();
    let pass = gate.clone();
    let receiver = groups.cluster.builder(TO).on_message(move |cx: Context, message: Number| {
        let (gate, said) = (pass.clone(), said.clone());
        async move {
            said.say((cx.peer(), message.number));
            if cx.peer() == addr(FROM) {
                gate.pass().await;
            }
        }
    });
    let receiver = receiver.on_call(ECHO, |_, request| async { Ok(request) });
    let _receiver = receiver.start().await.unwrap();
    let other: Node = groups.cluster.node("1.1.2").await;
    soon("room", groups.sender.send(addr(TO), &number(1))).await.unwrap();
    heard.expect((addr(FROM), 1)).await;
    soon("room", groups.sender.send(addr(TO), &number(2))).await.unwrap();
    // Another source, and calls of the same one.
    for n in 0..100 {
        soon("room", other.send(addr(TO), &number(n))).await.unwrap();
        heard.expect((addr("1.1.2"), n)).await;
    }
    let call = groups.sender.call(addr(TO), ECHO, text("hi"));
    assert_eq!(soon("the reply", call).await, Ok(text("hi")));
    gate.open();
    heard.expect((addr(FROM), 2)).await;
}
