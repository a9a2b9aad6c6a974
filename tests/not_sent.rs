//! What a failed call says: that it was not sent, or that it may be done.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod support;

use std::time::Duration;

use seaway::discovery::Member;
use seaway::{CallError, Code, Config, Doubt, Method, Reason};
use support::events::events;
use support::{
    COUNT, Cluster, ECHO, Number, Text, addr, not_sent, number, soon, text, timed, until,
};
use tokio::task::JoinSet;

/// A text that makes a request of exactly this many bytes: eight for the method, one for the tag,
/// three for the length.
fn request_of(bytes: usize) -> Text {
    text(&"x".repeat(bytes - 12))
}

#[tokio::test]
async fn p04_an_unknown_method_is_not_sent() {
    let cluster = Cluster::new();
    let caller = cluster.node("1.1.1").await;
    let callee = cluster.echo("1.2.1").await;
    let outcome = soon("the refusal", caller.call(addr("1.2.1"), COUNT, number(1))).await;
    let text_of_it = "call of test.Echo/Count to 1.2.1 did not run: the method is not served there";
    assert_eq!(outcome.clone().unwrap_err().to_string(), text_of_it);
    assert_eq!(not_sent(outcome).0, Reason::Unimplemented);
    assert_eq!(callee.stats().requests, 0);
    // The link lives.
    let reply = soon("the reply", caller.call(addr("1.2.1"), ECHO, text("hi"))).await;
    assert_eq!(reply, Ok(text("hi")));
    assert_eq!(caller.stats().dialed, 1);
}

#[tokio::test]
async fn p04_a_request_that_does_not_decode_is_not_handled_and_safe_to_retry() {
    const ECHO_OF_NUMBER: Method<Number, Number> = Method::new(ECHO.name());
    let cluster = Cluster::new();
    let caller = cluster.node("1.1.1").await;
    let callee = cluster.echo("1.2.1").await;
    let outcome = soon("the refusal", caller.call(addr("1.2.1"), ECHO_OF_NUMBER, number(1))).await;
    let (reason, detail) = not_sent(outcome);
    assert_eq!(reason, Reason::Malformed);
    assert!(detail.contains("wire type"), "{detail}");
    assert_eq!((callee.stats().requests, callee.stats().requests_refused), (0, 1));
}

#[tokio::test]
async fn p04_a_call_to_nobody_in_discovery_is_not_sent() {
    let cluster = Cluster::empty();
    let caller = cluster.node("1.1.1").await;
    let outcome = soon("the refusal", caller.call(addr("1.2.1"), ECHO, text("hi"))).await;
    let text_of_it = "call of test.Echo/Echo to 1.2.1 did not run: discovery has no such member";
    assert_eq!(outcome.clone().unwrap_err().to_string(), text_of_it);
    assert_eq!(not_sent(outcome).0, Reason::NotAMember);
}

#[tokio::test]
async fn p04_a_call_to_another_group_is_not_sent_and_says_what_is_missing() {
    let cluster = Cluster::new();
    let caller = cluster.node("1.1.1").await;
    let outcome = soon("the refusal", caller.call(addr("2.1.1"), ECHO, text("hi"))).await;
    let text_of_it = "call of test.Echo/Echo to 2.1.1 did not run: no way leads there \
                      (no harbor of group 1 is known)";
    assert_eq!(outcome.unwrap_err().to_string(), text_of_it);
    // One that does not run is waited for.
    cluster.discovery.put(Member::new(addr("1.255.1"), "127.0.0.1:1")).unwrap();
    until("the harbor", || caller.all_members().iter().any(|m| m.address.is_harbor())).await;
    let call = caller.call(addr("2.1.1"), ECHO, text("hi")).within(Duration::from_millis(300));
    assert_eq!(not_sent(soon("the deadline", call).await).0, Reason::Expired);
}

#[tokio::test]
async fn p04_a_call_larger_than_a_frame_is_not_sent() {
    let cluster = Cluster::new();
    let caller = cluster.node("1.1.1").await;
    let _callee = cluster.echo("1.2.1").await;
    let largest = request_of(1 << 20);
    let reply = soon("the reply", caller.call(addr("1.2.1"), ECHO, largest.clone())).await;
    assert_eq!(reply, Ok(largest));
    let larger = request_of((1 << 20) + 1);
    let outcome = soon("the refusal", caller.call(addr("1.2.1"), ECHO, larger)).await;
    let (reason, detail) = not_sent(outcome);
    assert_eq!(reason, Reason::TooLarge);
    assert!(detail.contains("1048577") && detail.contains("1048576"), "{detail}");
}

#[tokio::test]
async fn p04_a_call_larger_than_the_peers_frames_is_not_sent_and_the_link_lives() {
    let cluster = Cluster::new();
    let caller = cluster.node("1.1.1").await;
    let mut config = Config::default();
    config.frame_bytes_max = 64 << 10;
    let builder = cluster.builder("1.2.1").config(config);
    let builder = builder.on_call(ECHO, |_, request| async { Ok(request) });
    let _callee = builder.start().await.unwrap();
    let call = |bytes| soon("the outcome", caller.call(addr("1.2.1"), ECHO, request_of(bytes)));
    // First while nobody knows what the link takes, then when it is known.
    for _ in 0..2 {
        let (reason, detail) = not_sent(call((64 << 10) + 1).await);
        assert_eq!(reason, Reason::TooLarge);
        assert!(detail.contains("65536"), "{detail}");
        call(64 << 10).await.unwrap();
    }
    assert_eq!(caller.stats().dialed, 1);
}

#[tokio::test]
async fn p04_a_call_to_a_peer_that_does_not_run_ends_with_the_reason_and_does_no_harm() {
    let cluster = Cluster::new();
    let absent = cluster.absent("1.2.1");
    let caller = cluster.node("1.1.1").await;
    let within = Duration::from_millis(300);
    let call = caller.call(addr("1.2.1"), ECHO, text("hi")).within(within);
    let (outcome, took) = timed("the deadline", call).await;
    let (reason, detail) = not_sent(outcome);
    assert_eq!(reason, Reason::Expired);
    assert!(detail.contains("cannot connect") && detail.contains(&absent.network), "{detail}");
    assert!(
        took + Duration::from_millis(1) >= within && took <= within + Duration::from_millis(150),
        "took {took:?}"
    );
    // Once it runs it is reached.
    let builder = absent.builder().on_call(ECHO, |_, request| async { Ok(request) });
    let callee = builder.start().await.unwrap();
    let reply = soon("the reply", caller.call(addr("1.2.1"), ECHO, text("now"))).await;
    assert_eq!(reply, Ok(text("now")));
    assert_eq!(callee.stats().requests, 1, "the expired one must not arrive");
}

#[tokio::test]
async fn p04_calls_in_flight_when_the_connection_is_lost_are_in_doubt_at_once() {
    let cluster = Cluster::new();
    let caller = cluster.node("1.1.1").await;
    let (say, mut heard) = events();
    let handler = move |_, _: Text| {
        say.say(());
        std::future::pending()
    };
    let callee = cluster.builder("1.2.1").on_call(ECHO, handler).start().await.unwrap();
    let mut calls = JoinSet::new();
    for _ in 0..100 {
        let call = caller.call(addr("1.2.1"), ECHO, text("hi")).within(Duration::from_secs(60));
        calls.spawn(call.detached());
    }
    for _ in 0..100 {
        heard.any().await;
    }
    drop(callee);
    let (outcomes, took) = timed("all outcomes", calls.join_all()).await;
    assert!(took <= Duration::from_millis(600), "took {took:?}");
    for outcome in outcomes {
        let Err(error @ CallError::MaybeDone { .. }) = outcome else { panic!("{outcome:?}") };
        assert!(!error.is_safe_to_retry());
        assert!(matches!(error, CallError::MaybeDone { cause: Doubt::ConnectionLost, .. }));
        assert_eq!(error.to_string().matches("lost").count(), 1, "{error}");
    }
    assert_eq!(caller.stats().calls_maybe_done, 100);
}

#[tokio::test]
async fn p04_a_peer_removed_from_discovery_gets_no_new_call() {
    let cluster = Cluster::new();
    let caller = cluster.node("1.1.1").await;
    let callee = cluster.echo("1.2.1").await;
    soon("the reply", caller.call(addr("1.2.1"), ECHO, text("hi"))).await.unwrap();
    cluster.discovery.remove(addr("1.2.1"));
    soon("the stop", callee.stopped()).await;
    let outcome = soon("the outcome", caller.call(addr("1.2.1"), ECHO, text("hi"))).await;
    assert_eq!(not_sent(outcome).0, Reason::NotAMember);
}

/// A message that encodes to more bytes than it says.
#[derive(Debug, Default)]
struct Liar;

impl Liar {
    const BYTES: usize = 100;
}

impl prost::Message for Liar {
    fn encode_raw(&self, buf: &mut impl bytes::BufMut) {
        prost::encoding::bytes::encode(1, &vec![0; Self::BYTES - 2], buf);
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire: prost::encoding::WireType,
        buf: &mut impl bytes::Buf,
        context: prost::encoding::DecodeContext,
    ) -> Result<(), prost::DecodeError> {
        prost::encoding::skip_field(wire, tag, buf, context)
    }

    fn encoded_len(&self) -> usize {
        Self::BYTES - 1
    }

    fn clear(&mut self) {}
}

impl seaway::Message for Liar {
    const NAME: &'static str = "test.Liar";
}

const LYING: &str = "its `encoded_len` says fewer bytes than it encodes to";

#[tokio::test]
async fn p04_a_request_that_encodes_to_more_than_it_says_is_not_sent() {
    const ECHO_OF_LIAR: Method<Liar, Text> = Method::new(ECHO.name());
    let cluster = Cluster::new();
    let (caller, callee) = (cluster.node("1.1.1").await, cluster.echo("1.2.1").await);
    let outcome = soon("the error", caller.call(addr("1.2.1"), ECHO_OF_LIAR, Liar)).await;
    assert_eq!(not_sent(outcome), (Reason::TooLarge, LYING.to_owned()));
    let reply = soon("the reply", caller.call(addr("1.2.1"), ECHO, text("hi"))).await;
    assert_eq!(reply, Ok(text("hi")));
    assert_eq!(callee.stats().requests, 1);
}

#[tokio::test]
async fn a_message_that_encodes_to_more_than_it_says_is_not_accepted() {
    let cluster = Cluster::new();
    let (sender, (_receiver, inbox)) = (cluster.node("1.1.1").await, cluster.inbox("1.2.1").await);
    let error = sender.try_send(addr("1.2.1"), &Liar).unwrap_err();
    assert_eq!((error.reason, error.detail.as_str()), (Reason::TooLarge, LYING));
    sender.try_send(addr("1.2.1"), &number(1)).unwrap();
    assert_eq!(inbox.until_len(1).await, [1]);
    assert_eq!(sender.stats().accepted, 1);
}

#[tokio::test]
async fn a_reply_that_encodes_to_more_than_it_says_is_an_error_at_once() {
    const LIE: Method<Text, Liar> = Method::new(ECHO.name());
    let cluster = Cluster::new();
    let callee = cluster.builder("1.2.1").on_call(LIE, |_, _| async { Ok(Liar) });
    let _callee = callee.start().await.unwrap();
    let caller = cluster.node("1.1.1").await;
    let outcome = soon("the error", caller.call(addr("1.2.1"), ECHO, text("hi"))).await;
    let Err(CallError::Status(status)) = outcome else { panic!("{outcome:?}") };
    assert_eq!((status.code(), status.text()), (Code::Internal, &*format!("the reply: {LYING}")));
}
