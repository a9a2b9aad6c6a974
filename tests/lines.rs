//! A node stops while messages wait in line for their handlers.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod support;

use std::future::{Future, Ready, ready};
use std::time::Duration;

use support::messages::{losses, notice, number, settled};
use support::recorder::Recorder;
use support::{Cluster, Number, addr, compute, soon};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio::task::yield_now;
use tokio::time::sleep;

const LONG: Duration = Duration::from_secs(15);
const MS: Duration = Duration::from_millis(1);
const FROM: &str = "1.1.1";
const NEAR: &str = "1.2.1";
const BEYOND: &str = "2.2.1";

fn workers(count: usize) -> Runtime {
    Builder::new_multi_thread().worker_threads(count).enable_all().build().unwrap()
}

/// A handler that is done when it is polled first.
fn compute_at_once() -> Ready<()> {
    compute(MS);
    ready(())
}

/// A node stops, on a runtime of its own, that has begun to handle what was sent to it: all is
/// handled before its end, and the sender knows.
fn stop<F>(from: &str, to: &str, messages: u64, handle: impl Fn() -> F + Send + Sync + 'static)
where
    F: Future<Output = ()> + Send + 'static,
{
    let (cluster, notices, inbox) = (Cluster::empty(), Recorder::new(), Recorder::new());
    let (own, around) = (workers(2), workers(1));
    let handled = inbox.clone();
    let receiver = own.block_on(async {
        let builder = notice(cluster.builder(to), &notices);
        let builder = builder.on_message(move |_, message: Number| {
            handled.add(message.number);
            handle()
        });
        builder.start().await.unwrap()
    });
    let (end, ended) = oneshot::channel::<()>();
    let own = std::thread::spawn(move || own.block_on(ended).ok());
    around.block_on(async {
        let (near, far) = (cluster.node("1.255.1").await, cluster.node("2.255.1").await);
        let sender = if from == to {
            receiver.clone()
        } else {
            notice(cluster.builder(from), &notices).start().await.unwrap()
        };
        for n in 0..messages {
            soon("room", sender.send(addr(to), &number(n))).await.unwrap();
        }
        let before = inbox.until_len(10).await.len();
        let report = soon("the shutdown", receiver.shutdown(LONG)).await;
        let handled = inbox.len();
        assert!(report.is_clean(), "{report:?}: {handled} handled");
        // Some may not have come when it said that it takes no more.
        let stats = settled(&sender, &inbox).await;
        assert_eq!(stats.lost, 0, "{:?}", losses(&notices.all()));
        assert_eq!(inbox.len(), handled, "handled after the end");
        assert!(handled > before + 50, "{} came back: none was in line", stats.bounced);
        drop((near, far));
    });
    drop(end);
    own.join().unwrap();
}

#[test]
fn p16_messages_in_line_for_a_handler_that_computes_are_handled_before_the_end() {
    stop(FROM, NEAR, 500, compute_at_once);
}

#[test]
fn p16_messages_in_line_from_beyond_harbors_are_handled_before_the_end() {
    stop(FROM, BEYOND, 500, compute_at_once);
}

#[test]
fn p16_messages_in_line_for_a_handler_that_gives_way_are_handled_before_the_end() {
    for to in [NEAR, BEYOND] {
        let handle = || async {
            compute(MS / 5);
            yield_now().await;
        };
        stop(FROM, to, 8_000, handle);
    }
}

#[test]
fn p16_messages_in_line_for_a_handler_that_waits_are_handled_before_the_end() {
    for to in [NEAR, BEYOND] {
        stop(FROM, to, 1_500, || sleep(MS));
    }
}

#[test]
fn p16_messages_in_line_to_oneself_are_handled_before_the_end() {
    stop(NEAR, NEAR, 3_500, compute_at_once);
}
