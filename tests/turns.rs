//! Whose turn it is: of the handlers of one sender, and of everybody else.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod support;

use std::future::IntoFuture;
use std::sync::Arc;
use std::time::Duration;

use support::messages::number;
use support::recorder::Recorder;
use support::{Cluster, ECHO, Number, Text, addr, compute, soon, text};
use tokio::sync::Notify;

#[tokio::test]
async fn p02_a_sender_that_left_and_returned_waits_for_the_handler_of_its_last_message() {
    const FROM: &str = "1.1.1";
    const TO: &str = "1.2.1";
    let cluster = Cluster::empty();
    let (began, release) = (Recorder::new(), Arc::new(Notify::new()));
    let (begin, wait) = (began.clone(), Arc::clone(&release));
    let mut config = seaway::Config::default();
    config.stop_timeout = Duration::from_millis(50);
    let receiver = cluster.builder(TO).config(config.clone());
    let receiver = receiver.on_call(ECHO, |_, request| async move { Ok(request) });
    let receiver = receiver.on_message(move |_, message: Number| {
        begin.add(message.number);
        let wait = Arc::clone(&wait);
        async move { wait.notified().await }
    });
    let receiver = receiver.start().await.unwrap();

    let first = cluster.builder(FROM).config(config).start().await.unwrap();
    soon("the first send", first.send(addr(TO), &number(1))).await.unwrap();
    began.until_len(1).await;
    cluster.discovery.remove(addr(FROM));
    soon("the first to stop", first.stopped()).await;
    support::until("the receiver to forget it", || {
        receiver.all_members().iter().all(|member| member.address != addr(FROM))
    })
    .await;

    let second = cluster.node(FROM).await;
    soon("the second send", second.send(addr(TO), &number(2))).await.unwrap();
    for _ in 0..50 {
        let reply = second.call(addr(TO), ECHO, text("hi")).into_future();
        soon("a reply", reply).await.unwrap();
    }
    assert_eq!(began.len(), 1, "two messages of one sender are handled at once");
    release.notify_one();
    began.until_len(2).await;
    release.notify_one();
}

/// How many messages of this length are handled at most, of many that come together, before others
/// have their turn.
async fn most_in_one_turn(bytes: usize, messages: usize) -> usize {
    let (cluster, inbox) = (Cluster::empty(), Recorder::new());
    let handled = inbox.clone();
    let receiver = cluster.builder("1.2.1").on_message(move |_, _: Text| {
        compute(Duration::from_micros(50));
        handled.add(());
        async {}
    });
    let _receiver = receiver.start().await.unwrap();
    let sender = cluster.node("1.1.1").await;
    // Nobody else runs meanwhile, so they go in one piece.
    for _ in 0..messages {
        sender.try_send(addr("1.2.1"), &text(&"x".repeat(bytes))).unwrap();
    }
    let (mut most, mut seen) = (0, 0);
    while inbox.len() < messages {
        tokio::task::yield_now().await;
        most = most.max(inbox.len() - seen);
        seen = inbox.len();
    }
    most
}

#[tokio::test]
async fn p10_others_have_their_turn_while_messages_that_came_together_are_handled() {
    for (bytes, messages) in [(0, 1_500), (2_300, 400)] {
        let most = soon("the last", most_in_one_turn(bytes, messages)).await;
        assert!(most < 100, "{most} messages of {bytes} bytes were handled in one turn");
    }
}
