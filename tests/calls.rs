//! Calls between nodes: what comes back, and in which ways a call can be made.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use seaway::discovery::Member;
use seaway::{CallError, Code, Doubt, Incarnation, Limit, Method, Reason, StartError, Status};
use support::events::{Gate, events};
use support::{COUNT, Cluster, ECHO, Number, Text, addr, not_sent, number, soon, text, until};
use tokio::task::JoinSet;

#[tokio::test]
async fn a_call_by_address_is_answered() {
    let cluster = Cluster::new();
    let caller = cluster.node("1.1.1").await;
    let _callee = cluster.echo("1.2.1").await;
    let reply = soon("the reply", caller.call(addr("1.2.1"), ECHO, text("hi"))).await;
    assert_eq!(reply, Ok(text("hi")));
}

#[tokio::test]
async fn a_handler_is_told_who_calls() {
    let cluster = Cluster::new();
    let caller = cluster.node("1.1.1").await;
    let builder = cluster.builder("1.2.1");
    let builder = builder.on_call(ECHO, |cx, _| async move { Ok(text(&cx.peer().to_string())) });
    let _callee = builder.start().await.unwrap();
    let reply = soon("the reply", caller.call(addr("1.2.1"), ECHO, text(""))).await;
    assert_eq!(reply, Ok(text("1.1.1")));
}

#[tokio::test]
async fn each_status_reaches_the_caller_with_code_text_and_details() {
    let cluster = Cluster::new();
    let caller = cluster.node("1.1.1").await;
    let say_no = |_, request: Number| async move {
        let byte = u8::try_from(request.number).unwrap();
        let code = Code::from_number(byte);
        Err(Status::new(code, format!("no, {code:?} — ö")).with_details(vec![0, byte]))
    };
    let _callee = cluster.builder("1.2.1").on_call(COUNT, say_no).start().await.unwrap();
    for byte in 1..=16 {
        let outcome =
            soon("the status", caller.call(addr("1.2.1"), COUNT, number(byte.into()))).await;
        let Err(error @ CallError::Status(_)) = outcome else { panic!("{byte}: {outcome:?}") };
        assert!(!error.is_safe_to_retry(), "{byte}: the handler has run");
        let CallError::Status(status) = error else { unreachable!() };
        assert_eq!(status.code().number(), byte);
        assert_eq!(status.text(), format!("no, {:?} — ö", status.code()));
        assert_eq!(status.details()[..], [0, byte]);
    }
    assert_eq!(caller.stats().calls_answered, 16);
}

#[tokio::test]
async fn a_status_too_large_for_a_frame_comes_without_its_details() {
    let cluster = Cluster::new();
    let caller = cluster.node("1.1.1").await;
    let say_no = |_, _| async {
        let text = "ö".repeat(3000);
        Err(Status::new(Code::Aborted, text).with_details(vec![7; 2 << 20]))
    };
    let _callee = cluster.builder("1.2.1").on_call(ECHO, say_no).start().await.unwrap();
    let outcome = soon("the status", caller.call(addr("1.2.1"), ECHO, text(""))).await;
    // Of the text 4 KiB come: 2,048 letters of two bytes.
    let expected = Status::new(Code::Aborted, "ö".repeat(2048));
    assert_eq!(outcome, Err(CallError::Status(expected)));
}

#[tokio::test]
async fn a_status_text_too_large_for_a_small_frame_is_cut() {
    let cluster = Cluster::new();
    let caller = cluster.node("1.1.1").await;
    let mut config = seaway::Config::default();
    config.frame_bytes_max = 1 << 10;
    let say_no = |_, _| async { Err(Status::new(Code::Aborted, "ö".repeat(3000))) };
    let builder = cluster.builder("1.2.1").config(config).on_call(ECHO, say_no);
    let _callee = builder.start().await.unwrap();
    let outcome = soon("the status", caller.call(addr("1.2.1"), ECHO, text(""))).await;
    let expected = Status::new(Code::Aborted, "ö".repeat(510));
    assert_eq!(outcome, Err(CallError::Status(expected)));
}

#[tokio::test]
async fn a_reply_too_large_for_a_frame_is_an_error_that_says_so() {
    let cluster = Cluster::new();
    let caller = cluster.node("1.1.1").await;
    let builder = cluster.builder("1.2.1");
    let builder = builder.on_call(ECHO, |_, _| async { Ok(text(&"x".repeat(1 << 20))) });
    let _callee = builder.start().await.unwrap();
    let outcome = soon("the status", caller.call(addr("1.2.1"), ECHO, text(""))).await;
    let Err(CallError::Status(status)) = outcome else { panic!("{outcome:?}") };
    assert_eq!(status.code(), Code::ResourceExhausted);
    // One byte of status, one of tag, three of length.
    assert!(status.text().contains("1048581 bytes"), "{status}");
    assert!(status.text().contains("takes 1048576"), "{status}");
}

#[tokio::test]
async fn a_reply_of_another_type_leaves_the_caller_in_doubt() {
    const COUNT_AS_TEXT: Method<Number, Text> = Method::new(COUNT.name());
    let cluster = Cluster::new();
    let caller = cluster.node("1.1.1").await;
    let builder = cluster.builder("1.2.1").on_call(COUNT, |_, request| async move { Ok(request) });
    let _callee = builder.start().await.unwrap();
    let outcome = soon("the outcome", caller.call(addr("1.2.1"), COUNT_AS_TEXT, number(7))).await;
    let Err(CallError::MaybeDone { cause, .. }) = outcome else { panic!("{outcome:?}") };
    assert_eq!(cause, Doubt::Reply);
}

#[tokio::test]
async fn a_callback_fires_once_with_the_reply() {
    let cluster = Cluster::new();
    let caller = cluster.node("1.1.1").await;
    let _callee = cluster.echo("1.2.1").await;
    let (say, mut heard) = events();
    let _handle =
        caller.call(addr("1.2.1"), ECHO, text("hi")).callback(move |outcome| say.say(outcome));
    heard.expect(Ok(text("hi"))).await;
    // The callback and with it its voice are gone: nothing more can come.
    assert!(heard.is_over().await);
}

#[tokio::test]
async fn a_cancelled_callback_does_not_fire_and_its_handler_is_dropped() {
    let cluster = Cluster::new();
    let caller = cluster.node("1.1.1").await;
    let (say, mut heard) = events();
    let handler = move |_, _| {
        let say = say.clone();
        async move {
            let _dropped = say.on_drop("dropped");
            say.say("started");
            std::future::pending().await
        }
    };
    let _callee = cluster.builder("1.2.1").on_call(ECHO, handler).start().await.unwrap();
    let (fired, mut fires) = events();
    let handle =
        caller.call(addr("1.2.1"), ECHO, text("hi")).callback(move |outcome| fired.say(outcome));
    heard.expect("started").await;
    handle.cancel();
    heard.expect("dropped").await;
    assert!(fires.is_over().await);
    assert_eq!(caller.stats().calls_cancelled, 1);
}

#[tokio::test]
async fn detached_calls_run_side_by_side_in_a_join_set() {
    let cluster = Cluster::new();
    let caller = cluster.node("1.1.1").await;
    let (gate, all) = (Gate::closed(), Arc::new(AtomicU64::new(0)));
    let (door, arrived) = (gate.clone(), Arc::clone(&all));
    let handler = move |_, request: Number| {
        let door = door.clone();
        arrived.fetch_add(1, Ordering::Relaxed);
        async move {
            door.pass().await;
            Ok(number(request.number * 2))
        }
    };
    let _callee = cluster.builder("1.2.1").on_call(COUNT, handler).start().await.unwrap();
    let mut calls = JoinSet::new();
    for n in 0..100 {
        calls.spawn(caller.call(addr("1.2.1"), COUNT, number(n)).detached());
    }
    // Nobody is answered before all have come.
    until("all calls", || all.load(Ordering::Relaxed) == 100).await;
    gate.open();
    let replies = soon("all replies", calls.join_all()).await;
    let sum: u64 = replies.into_iter().map(|reply| reply.unwrap().number).sum();
    assert_eq!(sum, 2 * (0..100).sum::<u64>());
}

#[tokio::test]
async fn requests_start_in_the_order_in_which_they_were_made() {
    let cluster = Cluster::new();
    let caller = cluster.node("1.1.1").await;
    let (say, mut heard) = events();
    let handler = move |_, request: Number| {
        say.say(request.number);
        async move { Ok(request) }
    };
    let _callee = cluster.builder("1.2.1").on_call(COUNT, handler).start().await.unwrap();
    let mut calls = JoinSet::new();
    for n in 0..1000 {
        calls.spawn(caller.call(addr("1.2.1"), COUNT, number(n)).detached());
    }
    for reply in soon("all replies", calls.join_all()).await {
        reply.unwrap();
    }
    assert_eq!(heard.rest(), (0..1000).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_deferred_reply_comes_from_another_task() {
    let cluster = Cluster::new();
    let caller = cluster.node("1.1.1").await;
    let handler = |cx: seaway::Context, request: Text| async move {
        let replier = cx.defer();
        tokio::spawn(async move {
            tokio::task::yield_now().await;
            replier.reply(Ok(request)).await;
        });
        Err(Status::deferred())
    };
    let _callee = cluster.builder("1.2.1").on_call(ECHO, handler).start().await.unwrap();
    let reply = soon("the reply", caller.call(addr("1.2.1"), ECHO, text("later"))).await;
    assert_eq!(reply, Ok(text("later")));
}

#[tokio::test]
async fn a_deferred_reply_dropped_unanswered_is_internal_at_once() {
    let cluster = Cluster::new();
    let caller = cluster.node("1.1.1").await;
    let handler = |cx: seaway::Context, _| async move {
        let replier = cx.defer::<Text>();
        tokio::spawn(async move { drop(replier) });
        Ok(text("not looked at"))
    };
    let _callee = cluster.builder("1.2.1").on_call(ECHO, handler).start().await.unwrap();
    let call = caller.call(addr("1.2.1"), ECHO, text("")).within(Duration::from_secs(60));
    let outcome = soon("the outcome", call).await;
    let Err(CallError::Status(status)) = outcome else { panic!("{outcome:?}") };
    assert_eq!(status.code(), Code::Internal);
}

#[tokio::test]
async fn the_second_replier_of_a_request_says_nothing() {
    let cluster = Cluster::new();
    let caller = cluster.node("1.1.1").await;
    let handler = |cx: seaway::Context, _| async move {
        let (first, second) = (cx.defer(), cx.defer());
        second.reply(Ok(text("second"))).await;
        first.reply(Ok(text("first"))).await;
        Err(Status::deferred())
    };
    let _callee = cluster.builder("1.2.1").on_call(ECHO, handler).start().await.unwrap();
    let reply = soon("the reply", caller.call(addr("1.2.1"), ECHO, text(""))).await;
    assert_eq!(reply, Ok(text("first")));
    assert_eq!(caller.stats().replies_stray, 0);
}

#[tokio::test]
async fn two_handlers_for_one_method_are_refused_by_name() {
    let cluster = Cluster::new();
    let builder = cluster.builder("1.1.1");
    let builder = builder.on_call(ECHO, |_, request| async { Ok(request) });
    let error =
        builder.on_call(ECHO, |_, request| async { Ok(request) }).start().await.unwrap_err();
    let StartError::Clash { id, first, second } = &error else { panic!("{error}") };
    assert_eq!((*id, &first[..], &second[..]), (ECHO.id(), ECHO.name(), ECHO.name()));
    assert_eq!(error.to_string(), "test.Echo/Echo has two handlers: remove one");
}

#[tokio::test]
async fn a_limit_on_a_method_that_is_not_served_is_refused() {
    let cluster = Cluster::new();
    let builder = cluster.builder("1.1.1").on_call(ECHO, |_, request| async { Ok(request) });
    let limited = builder.limit("test.Echo/Ehco", Limit::concurrent(1));
    let error = limited.start().await.unwrap_err();
    assert!(
        matches!(&error, StartError::LimitOnNothing(name) if name == "test.Echo/Ehco"),
        "{error}"
    );
}

#[tokio::test]
async fn a_call_to_oneself_is_answered() {
    let cluster = Cluster::new();
    let node = cluster.echo("1.1.1").await;
    let reply = soon("the reply", node.call(addr("1.1.1"), ECHO, text("hi"))).await;
    assert_eq!(reply, Ok(text("hi")));
    assert_eq!(node.stats().requests, 1);
}

#[tokio::test]
async fn a_node_that_goes_on_as_a_later_run_still_hears_itself() {
    let (cluster, elsewhere) = (Cluster::empty(), Cluster::empty());
    let node = cluster.echo("1.1.1").await;
    let own_call = || async { soon("the reply", node.call(addr("1.1.1"), ECHO, text("hi"))).await };
    assert_eq!(own_call().await, Ok(text("hi")));
    // A peer that knows a later run refuses this one, which is young and takes the next number.
    let peer = elsewhere.echo("1.2.1").await;
    let later = Incarnation::from_start(4_000_000_000_000, 7);
    let network = node.local_addr().to_string();
    elsewhere.discovery.put(Member::new(addr("1.1.1"), network).incarnation(later)).unwrap();
    until("the later run", || peer.all_members().len() == 2).await;
    cluster.discovery.put(Member::new(addr("1.2.1"), peer.local_addr().to_string())).unwrap();
    until("the peer", || node.all_members().len() == 2).await;
    soon("the reply", node.call(addr("1.2.1"), ECHO, text("hi"))).await.unwrap();
    assert!(node.incarnation() > later);

    assert_eq!(own_call().await, Ok(text("hi")));
    node.send(addr("1.1.1"), &number(1)).await.unwrap();
    until("the bounce", || node.stats().bounced == 1).await;
}

#[tokio::test]
async fn a_call_to_oneself_is_held_to_limits_and_outlives_panics() {
    let cluster = Cluster::new();
    let gate = Gate::closed();
    let door = gate.clone();
    let handler = move |_, request: Text| {
        let door = door.clone();
        async move {
            assert!(!request.text.is_empty(), "an empty text");
            door.pass().await;
            Ok(request)
        }
    };
    let builder = cluster.builder("1.1.1").on_call(ECHO, handler);
    let node = builder.limit(ECHO.name(), Limit::concurrent(1)).start().await.unwrap();
    let panicked = soon("the outcome", node.call(addr("1.1.1"), ECHO, text(""))).await;
    assert!(matches!(panicked, Err(CallError::Status(status)) if status.code() == Code::Internal));
    let first = tokio::spawn(node.call(addr("1.1.1"), ECHO, text("first")).detached());
    until("the first handler", || node.stats().requests == 2).await;
    let second = soon("the refusal", node.call(addr("1.1.1"), ECHO, text("second"))).await;
    assert_eq!(not_sent(second).0, Reason::Busy);
    gate.open();
    assert_eq!(soon("the reply", first).await.unwrap(), Ok(text("first")));
}

#[tokio::test]
async fn a_thousand_nested_calls_to_oneself_need_no_stack() {
    let cluster = Cluster::new();
    let count_down = |cx: seaway::Context, request: Number| async move {
        if request.number == 0 {
            return Ok(number(0));
        }
        let node = cx.node();
        let deeper = node.call(node.address(), COUNT, number(request.number - 1)).await;
        deeper
            .map(|reply| number(reply.number + 1))
            .map_err(|error| Status::new(Code::Aborted, error.to_string()))
    };
    let node = cluster.builder("1.1.1").on_call(COUNT, count_down).start().await.unwrap();
    let call = node.call(addr("1.1.1"), COUNT, number(1000)).within(Duration::from_secs(15));
    assert_eq!(soon("the reply", call).await, Ok(number(1000)));
    assert_eq!(node.stats().requests, 1001);
}
