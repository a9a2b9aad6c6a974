//! Messages to a peer that is slower than its sender.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod support;

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use seaway::{Config, MessageId, Node, Reason};
use support::messages::number;
use support::recorder::Recorder;
use support::{Cluster, addr, soon};
use tokio::sync::Notify;

const FROM: &str = "1.1.1";
const TO: &str = "1.2.1";

fn reason_of(outcome: Result<(), seaway::SendError>) -> Option<Reason> {
    outcome.err().map(|error| error.reason)
}

fn short_lived(limit: Duration) -> Config {
    let mut config = Config::default();
    config.message_timeout = limit;
    config
}

/// Numbers that were accepted before the outbox was full.
fn fill(sender: &Node, body: &Bytes) -> u64 {
    let mut accepted = 0;
    loop {
        match sender.try_send_bytes(addr(TO), MessageId::new(1), body) {
            Ok(()) => accepted += 1,
            Err(error) => {
                assert_eq!(error.reason, Reason::Full);
                return accepted;
            }
        }
    }
}

#[tokio::test]
async fn p08_an_outbox_takes_no_more_than_its_limit() {
    let cluster = Cluster::new();
    let _absent = cluster.absent(TO);
    let (sender, _) = cluster.sender(FROM).await;
    let body = Bytes::from(vec![0; 10_000]);
    let limit = Config::default().outbox_bytes_max;
    let most = limit / (44 + body.len());
    assert_eq!(fill(&sender, &body), most as u64);
}

#[tokio::test]
async fn p08_p09_a_peer_that_handles_nothing_costs_its_limits_and_no_more() {
    let cluster = Cluster::new();
    let (sender, _) = cluster.sender(FROM).await;
    let receiver = cluster.builder(TO);
    let receiver = receiver.on_bytes(MessageId::new(1), |_, _| std::future::pending());
    let receiver = receiver.start().await.unwrap();
    let body = Bytes::from(vec![0; 60_000]);
    let (mut accepted, mut full_since) = (0, Instant::now());
    // The buffers of the system fill up behind the outbox's back.
    while full_since.elapsed() < Duration::from_millis(500) {
        let more = fill(&sender, &body);
        accepted += more;
        if more > 0 {
            full_since = Instant::now();
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(receiver.stats().handled, 1);
    let system = 16 << 20;
    let bytes = usize::try_from(accepted).unwrap() * body.len();
    assert!(bytes < Config::default().outbox_bytes_max + system, "{bytes} bytes");
}

#[tokio::test]
async fn p09_try_send_fails_at_once_when_the_lane_is_full() {
    let cluster = Cluster::new();
    let _absent = cluster.absent(TO);
    let (sender, _) = cluster.sender(FROM).await;
    let body = Bytes::from(vec![0; 10_000]);
    fill(&sender, &body);
    let began = Instant::now();
    let outcome = sender.try_send_bytes(addr(TO), MessageId::new(1), &body);
    assert_eq!(reason_of(outcome), Some(Reason::Full));
    assert!(began.elapsed() < Duration::from_millis(100), "it waited");
}

#[tokio::test]
async fn p09_send_to_a_peer_that_handles_nothing_fails_at_its_deadline_with_full() {
    let cluster = Cluster::new();
    let limit = Duration::from_millis(400);
    let mut config = short_lived(limit);
    // More than the buffers of the system take, so that what is being written fills the outbox.
    config.frame_bytes_max = 16 << 20;
    config.outbox_bytes_max = config.frame_bytes_max;
    config.pair_bytes_max = config.frame_bytes_max;
    let handled = Recorder::new();
    let handle = handled.clone();
    let receiver = cluster.builder(TO).config(config.clone());
    let receiver = receiver.on_bytes(MessageId::new(1), move |_, _| {
        handle.add(());
        std::future::pending()
    });
    let _receiver = receiver.start().await.unwrap();
    let sender = cluster.builder(FROM).config(config).start().await.unwrap();
    sender.send_bytes(addr(TO), MessageId::new(1), &Bytes::new()).await.unwrap();
    handled.until_len(1).await;
    let body = Bytes::from(vec![0; 16 << 20]);
    sender.send_bytes(addr(TO), MessageId::new(1), &body).await.unwrap();
    let began = Instant::now();
    let outcome = soon("the send", sender.send_bytes(addr(TO), MessageId::new(1), &body)).await;
    let took = began.elapsed();
    assert_eq!(reason_of(outcome), Some(Reason::Full));
    // The node's clock counts milliseconds.
    assert!(took + Duration::from_millis(1) >= limit && took < limit * 3, "{took:?}");
}

/// Polls a future once; what it waits for is yet to come.
async fn begin<F: Future>(future: Pin<&mut F>) {
    let mut future = Some(future);
    poll_fn(|cx| {
        let future = future.take().unwrap();
        assert!(future.poll(cx).is_pending(), "it did not wait");
        Poll::Ready(())
    })
    .await;
}

#[tokio::test]
async fn p09_those_who_wait_for_room_get_it_in_the_order_in_which_they_came() {
    let cluster = Cluster::new();
    let (builder, proxy) = cluster.proxied(TO).await;
    proxy.refuse(true);
    let (sender, _) = cluster.sender(FROM).await;
    let filling = Bytes::from(vec![0; 100_000]);
    fill(&sender, &filling);
    let node = &sender;
    let wait = |n: u8| {
        let body = Bytes::from(vec![n; 100_000]);
        Box::pin(async move { node.send_bytes(addr(TO), MessageId::new(2), &body).await })
    };
    let mut waiting: Vec<_> = (1..=5).map(wait).collect();
    for send in &mut waiting {
        begin(send.as_mut()).await;
    }
    // Who gives up leaves the line to the others, and nobody gets past it.
    drop(waiting.remove(1));
    let small = sender.try_send(addr(TO), &number(0));
    assert_eq!(reason_of(small), Some(Reason::Full), "got past the line");

    let arrived = Recorder::new();
    let arrive = arrived.clone();
    let receiver = builder.on_bytes(MessageId::new(1), |_, _| async {});
    let receiver = receiver.on_bytes(MessageId::new(2), move |_, bytes| {
        arrive.add(bytes[0]);
        async {}
    });
    let _receiver = receiver.start().await.unwrap();
    proxy.refuse(false);
    for send in waiting {
        soon("room", send).await.unwrap();
    }
    assert_eq!(arrived.until_len(4).await, [1, 3, 4, 5]);
}

#[tokio::test]
async fn p09_a_lane_that_was_full_takes_messages_again_when_there_is_room() {
    let cluster = Cluster::new();
    let release = std::sync::Arc::new(Notify::new());
    let wait = std::sync::Arc::clone(&release);
    let arrived = Recorder::new();
    let arrive = arrived.clone();
    let receiver = cluster.builder(TO).on_bytes(MessageId::new(1), move |_, bytes| {
        let (wait, arrive) = (std::sync::Arc::clone(&wait), arrive.clone());
        async move {
            if arrive.len() == 0 {
                wait.notified().await;
            }
            arrive.add(bytes.len());
        }
    });
    let _receiver = receiver.start().await.unwrap();
    let (sender, notices) = cluster.sender(FROM).await;
    let body = Bytes::from(vec![0; 60_000]);
    let mut accepted = fill(&sender, &body);
    release.notify_one();
    for _ in 0..50 {
        soon("room", sender.send_bytes(addr(TO), MessageId::new(1), &body)).await.unwrap();
        accepted += 1;
    }
    let accepted = usize::try_from(accepted).unwrap();
    assert_eq!(arrived.until_len(accepted).await.len(), accepted);
    assert_eq!(notices.all(), []);
}
