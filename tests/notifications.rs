//! Calls that want no reply.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod support;

use std::time::Duration;

use seaway::{Builder, Code, Context, Limit, LogicalAddr, Method, Reason, Status, Undeliverable};
use support::events::{Gate, Heard, events};
use support::{COUNT, Cluster, ECHO, Number, Text, addr, number, soon, text, until};

fn listening(builder: Builder) -> (Builder, Heard<Undeliverable>) {
    let (say, heard) = events();
    (builder.on_undeliverable(move |notice| say.say(notice)), heard)
}

/// What came back must be a notification of this method.
fn assert_bounced(
    notice: Undeliverable,
    whose: LogicalAddr,
    what: Method<Text, Text>,
    why: Reason,
    from: Option<LogicalAddr>,
) {
    let Undeliverable::Bounced { address, message, method, name, reason, hop, .. } = notice else {
        panic!("{notice}")
    };
    assert_eq!((address, message, method), (whose, None, Some(what.id())));
    assert_eq!(name, Some(what.name()));
    assert_eq!((reason, hop), (why, from));
}

#[tokio::test]
async fn a_notification_is_handled_once_and_nothing_comes_back() {
    let cluster = Cluster::new();
    let (builder, mut undeliverable) = listening(cluster.builder("1.1.1"));
    let caller = builder.start().await.unwrap();
    let (say, mut heard) = events();
    let handler = move |cx: Context, request: Number| {
        say.say((cx.peer(), cx.metadata("key").map(str::to_owned), request.number));
        async move { Ok(request) }
    };
    let callee = cluster.builder("1.2.1").on_call(COUNT, handler).start().await.unwrap();
    for n in 0..100 {
        let request = caller.call(addr("1.2.1"), COUNT, number(n)).metadata("key", "value");
        soon("acceptance", request.notify()).await.unwrap();
    }
    for n in 0..100 {
        heard.expect((addr("1.1.1"), Some("value".to_owned()), n)).await;
    }
    // Requests start in order, so nothing of the notifications can come after this.
    soon("the reply", caller.call(addr("1.2.1"), COUNT, number(100))).await.unwrap();
    assert_eq!(heard.rest().len(), 1);
    assert_eq!((caller.stats().accepted, callee.stats().handled), (100, 100));
    assert_eq!((callee.stats().requests, caller.stats().replies_stray), (101, 0));
    assert_eq!(undeliverable.rest(), []);
}

#[tokio::test]
async fn a_notification_is_accepted_before_its_handler_is_done() {
    let cluster = Cluster::new();
    let caller = cluster.node("1.1.1").await;
    let gate = Gate::closed();
    let (door, (say, mut heard)) = (gate.clone(), events());
    let handler = move |_, request: Text| {
        let (door, say) = (door.clone(), say.clone());
        async move {
            door.pass().await;
            say.say(request.text.clone());
            Ok(request)
        }
    };
    let _callee = cluster.builder("1.2.1").on_call(ECHO, handler).start().await.unwrap();
    soon("acceptance", caller.call(addr("1.2.1"), ECHO, text("hi")).notify()).await.unwrap();
    gate.open();
    heard.expect("hi".to_owned()).await;
}

#[tokio::test]
async fn a_notification_whose_handler_says_no_is_counted() {
    let cluster = Cluster::new();
    let (builder, mut undeliverable) = listening(cluster.builder("1.1.1"));
    let caller = builder.start().await.unwrap();
    let say_no = |_, _| async { Err(Status::new(Code::NotFound, "no")) };
    let callee = cluster.builder("1.2.1").on_call(ECHO, say_no).start().await.unwrap();
    caller.call(addr("1.2.1"), ECHO, text("")).notify().await.unwrap();
    until("the failure", || callee.stats().notifications_failed == 1).await;
    // It was handled: nothing bounces, and no reply comes.
    soon("the status", caller.call(addr("1.2.1"), ECHO, text(""))).await.unwrap_err();
    assert_eq!((callee.stats().handled, caller.stats().bounced), (1, 0));
    assert_eq!(undeliverable.rest(), []);
}

#[tokio::test]
async fn a_refused_notification_comes_back_with_its_method() {
    const ECHO_OF_NUMBER: Method<Number, Number> = Method::new(ECHO.name());
    const UNKNOWN: Method<Text, Text> = Method::new("test.Notifications/Unknown");
    let cluster = Cluster::new();
    let (builder, mut undeliverable) = listening(cluster.builder("1.1.1"));
    let caller = builder.start().await.unwrap();
    let gate = Gate::closed();
    let door = gate.clone();
    let handler = move |_, request: Text| {
        let door = door.clone();
        async move {
            door.pass().await;
            Ok(request)
        }
    };
    let builder = cluster.builder("1.2.1").on_call(ECHO, handler);
    let callee = builder.limit(ECHO.name(), Limit::concurrent(2)).start().await.unwrap();
    let to = addr("1.2.1");
    caller.call(to, UNKNOWN, text("")).notify().await.unwrap();
    assert_bounced(undeliverable.any().await, to, UNKNOWN, Reason::Unimplemented, Some(to));
    caller.call(to, ECHO_OF_NUMBER, number(1)).notify().await.unwrap();
    assert_bounced(undeliverable.any().await, to, ECHO, Reason::Malformed, Some(to));
    for _ in 0..3 {
        caller.call(to, ECHO, text("")).notify().await.unwrap();
    }
    assert_bounced(undeliverable.any().await, to, ECHO, Reason::Busy, Some(to));
    gate.open();
    // The account is whole: five accepted, two handled, three bounced.
    let caller_has = caller.stats();
    assert_eq!((caller_has.accepted, caller_has.bounced, caller_has.lost), (5, 3, 0));
    assert_eq!((callee.stats().handled, callee.stats().requests_refused), (2, 3));
    let by_reason = [(Reason::Busy, 1), (Reason::Unimplemented, 1), (Reason::Malformed, 1)];
    assert_eq!(caller.bounced_by_reason(), by_reason);
    assert_eq!(undeliverable.rest(), []);
}

#[tokio::test]
async fn p03_a_notification_that_never_left_comes_back_at_its_deadline() {
    let cluster = Cluster::new();
    let _absent = cluster.absent("1.2.1");
    let (builder, mut undeliverable) = listening(cluster.builder("1.1.1"));
    let caller = builder.start().await.unwrap();
    let to = addr("1.2.1");
    let request = caller.call(to, ECHO, text("")).within(Duration::from_millis(200));
    request.notify().await.unwrap();
    assert_bounced(undeliverable.any().await, to, ECHO, Reason::Expired, None);
    assert_eq!((caller.stats().accepted, caller.stats().bounced), (1, 1));
}

#[tokio::test]
async fn a_notification_that_cannot_be_sent_is_not_accepted() {
    let cluster = Cluster::new();
    let (builder, mut undeliverable) = listening(cluster.builder("1.1.1"));
    let caller = builder.start().await.unwrap();
    let _callee = cluster.echo("1.2.1").await;
    let large = text(&"x".repeat(1 << 20));
    let refused = [
        (addr("1.2.1"), large, Duration::from_secs(1), Reason::TooLarge),
        (addr("1.2.1"), text(""), Duration::ZERO, Reason::Expired),
        (addr("1.9.1"), text(""), Duration::from_secs(1), Reason::NotAMember),
    ];
    for (to, request, within, why) in refused {
        let error = caller.call(to, ECHO, request).within(within).notify().await.unwrap_err();
        assert_eq!((error.to, error.reason), (to.into(), why));
    }
    assert_eq!(caller.stats().accepted, 0);
    assert_eq!(undeliverable.rest(), []);
}

#[tokio::test]
async fn a_notification_to_oneself_is_handled() {
    let cluster = Cluster::new();
    let (say, mut heard) = events();
    let handler = move |_, request: Text| {
        say.say(request.text.clone());
        async move { Ok(request) }
    };
    let node = cluster.builder("1.1.1").on_call(ECHO, handler).start().await.unwrap();
    node.call(addr("1.1.1"), ECHO, text("hi")).notify().await.unwrap();
    heard.expect("hi".to_owned()).await;
}
