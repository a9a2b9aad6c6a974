//! One-way messages: order, backpressure, and what becomes of those that do not arrive.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod support;

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use seaway::{Config, Message, MessageId, Reason, Report, Undeliverable};
use support::messages::{notice, number, record};
use support::recorder::Recorder;
use support::{Cluster, Number, addr, soon, text, until};
use tokio::sync::Notify;

const FROM: &str = "1.1.1";
const TO: &str = "1.2.1";

/// What messages that did not arrive are told as.
fn texts(notices: &[Undeliverable]) -> Vec<String> {
    notices.iter().map(ToString::to_string).collect()
}

fn reason_of(outcome: Result<(), seaway::SendError>) -> Option<Reason> {
    outcome.err().map(|error| error.reason)
}

fn short_lived(limit: Duration) -> Config {
    let mut config = Config::default();
    config.message_timeout = limit;
    config
}

// Order.

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p02_messages_are_handled_in_the_order_in_which_they_were_accepted() {
    let cluster = Cluster::new();
    let (_receiver, inbox) = cluster.inbox(TO).await;
    let (sender, _) = cluster.sender(FROM).await;
    for n in 0..20_000 {
        soon("room", sender.send(addr(TO), &number(n))).await.unwrap();
    }
    let handled = inbox.until_len(20_000).await;
    assert!(handled.iter().copied().eq(0..20_000), "out of order");
}

#[tokio::test]
async fn p02_a_message_waits_for_the_handler_of_the_one_before() {
    let cluster = Cluster::new();
    let (sender, _) = cluster.sender(FROM).await;
    let (began, ended) = (Recorder::new(), Recorder::new());
    let (begin, end) = (began.clone(), ended.clone());
    let receiver = cluster.builder(TO).on_message(move |_, message: Number| {
        assert_eq!(begin.len(), end.len(), "two handlers at once");
        begin.add(message.number);
        let end = end.clone();
        async move {
            for _ in 0..3 {
                tokio::task::yield_now().await;
            }
            end.add(message.number);
        }
    });
    let receiver = receiver.start().await.unwrap();
    for n in 0..200 {
        sender.send(addr(TO), &number(n)).await.unwrap();
    }
    assert!(ended.until_len(200).await.iter().copied().eq(0..200));
    assert_eq!(receiver.stats().panics, 0);
}

#[tokio::test]
async fn messages_of_different_senders_are_handled_side_by_side() {
    let cluster = Cluster::new();
    let (slow, _) = cluster.sender("1.1.1").await;
    let (quick, _) = cluster.sender("1.1.2").await;
    let began = Recorder::new();
    let begin = began.clone();
    let receiver = cluster.builder(TO).on_message(move |context, _: Number| {
        begin.add(context.peer());
        let is_stuck = context.peer() == addr("1.1.1");
        async move {
            if is_stuck {
                std::future::pending::<()>().await;
            }
        }
    });
    let _receiver = receiver.start().await.unwrap();
    slow.send(addr(TO), &number(0)).await.unwrap();
    began.until_len(1).await;
    for n in 0..10 {
        quick.send(addr(TO), &number(n)).await.unwrap();
    }
    let began = began.until_len(11).await;
    assert_eq!(began.iter().filter(|peer| **peer == addr("1.1.2")).count(), 10);
}

/// A handler's future that is done at once, and says when it is dropped; that of message 1 panics.
struct Dropped(u64, Recorder<u64>);

impl Future for Dropped {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }
}

impl Drop for Dropped {
    fn drop(&mut self) {
        self.1.add(self.0);
        assert_ne!(self.0, 1, "as the test wants");
    }
}

#[tokio::test]
async fn p21_what_a_handler_holds_is_dropped_when_it_is_done_and_a_panic_then_costs_no_other_message()
 {
    let cluster = Cluster::new();
    let (sender, _) = cluster.sender(FROM).await;
    let dropped = Recorder::new();
    let drops = dropped.clone();
    let receiver = cluster
        .builder(TO)
        .on_message(move |_, message: Number| Dropped(message.number, drops.clone()));
    let receiver = receiver.start().await.unwrap();
    for (n, len) in (0..4).zip(1..) {
        sender.send(addr(TO), &number(n)).await.unwrap();
        // Before the next one comes.
        assert!(dropped.until_len(len).await.iter().copied().eq(0..=n));
    }
    assert_eq!(receiver.stats().panics, 1);
    assert_eq!(receiver.stats().handled, 4);
}

#[tokio::test]
async fn p21_a_handler_that_panics_does_not_hold_up_the_next_message() {
    let cluster = Cluster::new();
    let (sender, notices) = cluster.sender(FROM).await;
    let handled = Recorder::new();
    let handle = handled.clone();
    let receiver = cluster.builder(TO).on_message(move |_, message: Number| {
        let handle = handle.clone();
        async move {
            assert_ne!(message.number, 1, "as the test wants");
            handle.add(message.number);
        }
    });
    let receiver = receiver.start().await.unwrap();
    for n in 0..3 {
        sender.send(addr(TO), &number(n)).await.unwrap();
    }
    assert_eq!(handled.until_len(2).await, [0, 2]);
    assert_eq!(receiver.stats().panics, 1);
    assert_eq!(receiver.stats().handled, 3, "one that panicked was handled");
    assert_eq!(notices.all(), []);
}

// Kinds of messages.

#[tokio::test]
async fn bytes_arrive_as_they_are_up_to_the_frame_limit() {
    let cluster = Cluster::new();
    let (sender, _) = cluster.sender(FROM).await;
    let arrived = Recorder::new();
    let arrive = arrived.clone();
    let receiver = cluster.builder(TO).on_bytes(MessageId::new(7), move |_, bytes| {
        arrive.add(bytes);
        async {}
    });
    let _receiver = receiver.start().await.unwrap();
    let limit = Config::default().frame_bytes_max;
    let mut bodies = vec![Bytes::new(), Bytes::from_static(b"seaway")];
    bodies.extend([64 << 10, limit - 1, limit].map(|len| Bytes::from(vec![0xa5; len])));
    for body in &bodies {
        sender.send_bytes(addr(TO), MessageId::new(7), body).await.unwrap();
    }
    soon("room", async {
        while sender.try_send_bytes(addr(TO), MessageId::new(7), &bodies[1]).is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    bodies.push(bodies[1].clone());
    assert!(arrived.until_len(6).await == bodies, "bytes differ");
}

#[tokio::test]
async fn a_message_larger_than_a_frame_is_refused_and_not_accepted() {
    let cluster = Cluster::new();
    let (_receiver, _) = cluster.inbox(TO).await;
    let (sender, _) = cluster.sender(FROM).await;
    let body = Bytes::from(vec![0; Config::default().frame_bytes_max + 1]);
    let outcome = sender.send_bytes(addr(TO), MessageId::new(7), &body).await;
    assert_eq!(reason_of(outcome), Some(Reason::TooLarge));
    assert_eq!(sender.stats().accepted, 0);
}

#[tokio::test]
async fn messages_to_oneself_arrive_in_order_and_bounce_like_others() {
    let cluster = Cluster::new();
    let (inbox, notices) = (Recorder::new(), Recorder::new());
    let builder = notice(record(cluster.builder(FROM), &inbox), &notices);
    let node = builder.start().await.unwrap();
    for n in 0..5_000 {
        soon("room", node.send(addr(FROM), &number(n))).await.unwrap();
    }
    assert!(inbox.until_len(5_000).await.iter().copied().eq(0..5_000));
    node.send(addr(FROM), &text("nobody handles it")).await.unwrap();
    let expected = "message test.Text to 1.1.1 came back: no handler for it is registered there";
    assert_eq!(texts(&notices.until_len(1).await), [expected]);
}

// What is not accepted.

#[tokio::test]
async fn a_message_to_nobody_is_refused_at_once() {
    let cluster = Cluster::new();
    let (sender, _) = cluster.sender(FROM).await;
    let stranger = sender.send(addr("1.9.9"), &number(0)).await.unwrap_err();
    assert_eq!(
        stranger.to_string(),
        "message test.Number to 1.9.9 was not accepted: discovery has no such member"
    );
    let elsewhere = sender.try_send(addr("9.9.9"), &number(0)).unwrap_err();
    assert_eq!((stranger.reason, elsewhere.reason), (Reason::NotAMember, Reason::NoRoute));
    let bytes = sender.try_send_bytes(addr("1.9.9"), MessageId::new(7), b"").unwrap_err();
    assert_eq!(bytes.what, "message 7");
    assert_eq!(sender.stats().accepted, 0);
}

#[tokio::test]
async fn p16_a_node_that_stops_accepts_no_message() {
    let cluster = Cluster::new();
    let (_receiver, _) = cluster.inbox(TO).await;
    let (sender, _) = cluster.sender(FROM).await;
    sender.shutdown(Duration::from_secs(1)).await;
    let outcome = sender.send(addr(TO), &number(0)).await;
    assert_eq!(reason_of(outcome), Some(Reason::Draining));
}

// What comes back.

#[tokio::test]
async fn p03_a_message_that_nobody_handles_comes_back_from_there() {
    let cluster = Cluster::new();
    let (_receiver, inbox) = cluster.inbox(TO).await;
    let (sender, notices) = cluster.sender(FROM).await;
    sender.send_bytes(addr(TO), MessageId::new(99), &Bytes::new()).await.unwrap();
    let expected = Undeliverable::Bounced {
        address: addr(TO),
        message: Some(MessageId::new(99)),
        method: None,
        name: None,
        reason: Reason::UnknownMessage,
        detail: String::new(),
        hop: Some(addr(TO)),
    };
    assert_eq!(notices.until_len(1).await, [expected]);
    sender.send(addr(TO), &number(1)).await.unwrap();
    assert_eq!(inbox.until_len(1).await, [1], "the link lives");
}

#[tokio::test]
async fn p03_a_message_that_does_not_decode_comes_back() {
    let cluster = Cluster::new();
    let (_receiver, inbox) = cluster.inbox(TO).await;
    let (sender, notices) = cluster.sender(FROM).await;
    let id = Number::ID;
    sender.send_bytes(addr(TO), id, &Bytes::from_static(&[0xff; 3])).await.unwrap();
    let expected = format!("message {id} to 1.2.1 came back: {}", Reason::Malformed);
    assert_eq!(texts(&notices.until_len(1).await), [expected]);
    assert_eq!(inbox.len(), 0);
}

#[tokio::test]
async fn p03_a_message_whose_deadline_passes_in_the_outbox_comes_back() {
    let cluster = Cluster::new();
    let absent = cluster.absent(TO);
    let limit = Duration::from_millis(300);
    let notices = Recorder::new();
    let builder = notice(cluster.builder(FROM), &notices).config(short_lived(limit));
    let sender = builder.start().await.unwrap();
    let began = Instant::now();
    sender.send(addr(TO), &number(0)).await.unwrap();
    let told = texts(&notices.until_len(1).await).concat();
    let network = &absent.network;
    let expected = format!(
        "message test.Number to 1.2.1 was not sent: {} (cannot connect to {network}: ",
        Reason::Expired
    );
    assert!(told.starts_with(&expected), "{told}");
    let took = began.elapsed();
    assert!(took + Duration::from_millis(1) >= limit && took < limit * 3, "{took:?}");
}

#[tokio::test]
async fn p03_messages_that_wait_for_a_member_come_back_when_it_is_removed() {
    let cluster = Cluster::new();
    let _absent = cluster.absent(TO);
    let (sender, notices) = cluster.sender(FROM).await;
    for n in 0..3 {
        sender.send(addr(TO), &number(n)).await.unwrap();
    }
    cluster.discovery.remove(addr(TO));
    let expected =
        "message test.Number to 1.2.1 was not sent: discovery has no such member".to_owned();
    assert_eq!(texts(&notices.until_len(3).await), vec![expected; 3]);
    let stats = sender.stats();
    assert_eq!((stats.accepted, stats.bounced, stats.lost), (3, 3, 0));
}

#[tokio::test]
async fn p03_messages_that_wait_come_back_when_their_own_node_stops() {
    let cluster = Cluster::new();
    let _absent = cluster.absent(TO);
    let (sender, notices) = cluster.sender(FROM).await;
    for n in 0..3 {
        sender.send(addr(TO), &number(n)).await.unwrap();
    }
    sender.shutdown(Duration::ZERO).await;
    let expected = format!("message test.Number to 1.2.1 was not sent: {}", Reason::Draining);
    assert_eq!(texts(&notices.until_len(3).await), vec![expected; 3]);
}

#[tokio::test]
async fn p03_what_comes_back_is_counted_without_anybody_to_tell() {
    let cluster = Cluster::new();
    let sender = cluster.node(FROM).await;
    let (_receiver, _) = cluster.inbox(TO).await;
    for _ in 0..4 {
        sender.send(addr(TO), &text("nobody handles it")).await.unwrap();
    }
    until("4 bounces", || sender.stats().bounced == 4).await;
    assert_eq!(sender.bounced_by_reason(), [(Reason::UnknownMessage, 4)]);
}

#[tokio::test]
async fn p03_a_panic_of_on_undeliverable_harms_nothing() {
    let cluster = Cluster::new();
    let builder = cluster.builder(FROM).on_undeliverable(|_| panic!("as the test wants"));
    let sender = builder.start().await.unwrap();
    let (_receiver, inbox) = cluster.inbox(TO).await;
    sender.send(addr(TO), &text("nobody handles it")).await.unwrap();
    until("the panic", || sender.stats().panics == 1).await;
    sender.send(addr(TO), &number(1)).await.unwrap();
    assert_eq!(inbox.until_len(1).await, [1]);
}

// The end.

#[tokio::test]
async fn p16_a_shutdown_writes_the_messages_that_wait_and_reports_nothing_left() {
    let cluster = Cluster::new();
    let (_receiver, inbox) = cluster.inbox(TO).await;
    let (sender, notices) = cluster.sender(FROM).await;
    for n in 0..2_000 {
        soon("room", sender.send(addr(TO), &number(n))).await.unwrap();
    }
    let report = soon("the end", sender.shutdown(Duration::from_secs(10))).await;
    assert_eq!(report, Report::default());
    assert!(inbox.until_len(2_000).await.iter().copied().eq(0..2_000));
    assert_eq!(notices.all(), []);
    assert_eq!(soon("the cause", sender.stopped()).await, seaway::StopCause::Asked);
}

#[tokio::test]
async fn p16_a_shutdown_reports_the_message_handler_that_it_abandons() {
    let cluster = Cluster::new();
    let (sender, _) = cluster.sender(FROM).await;
    let began = Recorder::new();
    let begin = began.clone();
    let receiver = cluster.builder(TO).on_message(move |_, message: Number| {
        begin.add(message.number);
        std::future::pending()
    });
    let receiver = receiver.start().await.unwrap();
    sender.send(addr(TO), &number(1)).await.unwrap();
    began.until_len(1).await;
    let report = soon("the end", receiver.shutdown(Duration::ZERO)).await;
    assert_eq!((report.messages_abandoned, report.is_clean()), (1, false));
}

#[tokio::test]
async fn p16_a_shutdown_waits_for_the_message_handler_at_work() {
    let cluster = Cluster::new();
    let (sender, _) = cluster.sender(FROM).await;
    let (began, ended) = (Recorder::new(), Recorder::new());
    let (begin, end) = (began.clone(), ended.clone());
    let release = std::sync::Arc::new(Notify::new());
    let wait = std::sync::Arc::clone(&release);
    let receiver = cluster.builder(TO).on_message(move |_, message: Number| {
        begin.add(message.number);
        let (wait, end) = (std::sync::Arc::clone(&wait), end.clone());
        async move {
            wait.notified().await;
            end.add(message.number);
        }
    });
    let receiver = receiver.start().await.unwrap();
    sender.send(addr(TO), &number(1)).await.unwrap();
    began.until_len(1).await;
    let stopping = receiver.clone();
    let stopping = tokio::spawn(async move { stopping.shutdown(Duration::from_secs(10)).await });
    until("the shutdown to begin", || {
        reason_of(receiver.try_send(addr(FROM), &number(0))) == Some(Reason::Draining)
    })
    .await;
    assert!(!stopping.is_finished());
    release.notify_one();
    let report = soon("the end", stopping).await.unwrap();
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(ended.all(), [1]);
}

#[tokio::test]
async fn the_last_handle_dropped_stops_the_node() {
    let cluster = Cluster::new();
    let (receiver, inbox) = cluster.inbox(TO).await;
    let (sender, _) = cluster.sender(FROM).await;
    sender.send(addr(TO), &number(0)).await.unwrap();
    inbox.until_len(1).await;
    let network = receiver.local_addr();
    drop(receiver);
    until("the port to be free", || std::net::TcpListener::bind(network).is_ok()).await;
}
