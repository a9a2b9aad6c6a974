//! How nodes end, and that it does not matter on which runtime they are used.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use seaway::{Node, Reason, StopCause};
use support::messages::{Line, TO, number};
use support::proxy::{Flow, MESSAGE, RPC};
use support::recorder::Recorder;
use support::{Cluster, ECHO, PATIENCE, Text, addr, not_sent, soon, text, until};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;

const LONG: Duration = Duration::from_secs(10);

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

#[tokio::test]
async fn p16_a_second_shutdown_does_not_cut_the_first_short() {
    let cluster = Cluster::new();
    let (begun, end) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (begins, ends) = (Arc::clone(&begun), Arc::clone(&end));
    let callee = cluster
        .builder("1.1.1")
        .on_call(ECHO, move |_, request| {
            let (begins, ends) = (Arc::clone(&begins), Arc::clone(&ends));
            async move {
                begins.notify_one();
                ends.notified().await;
                Ok(request)
            }
        })
        .start()
        .await
        .unwrap();
    let caller = cluster.node("1.1.2").await;
    let call = tokio::spawn(caller.call(addr("1.1.1"), ECHO, text("a")).detached());
    soon("the handler", begun.notified()).await;
    let node = callee.clone();
    let first = tokio::spawn(async move { node.shutdown(LONG).await });
    until("the first shutdown", || callee.try_send(addr("1.1.2"), &text("a")).is_err()).await;
    let node = callee.clone();
    let second = tokio::spawn(async move { node.shutdown(LONG).await });
    // What cuts the first one short has run by then, and shows as the end of the call.
    let mut call = call;
    let cut = tokio::time::timeout(Duration::from_millis(300), &mut call).await;
    assert!(cut.is_err(), "the call was cut: {cut:?}");
    end.notify_one();
    soon("the reply", call).await.unwrap().unwrap();
    assert!(soon("the first", first).await.unwrap().is_clean());
    soon("the second", second).await.unwrap();
}

#[tokio::test]
async fn p16_a_second_shutdown_with_less_time_ends_the_first() {
    let cluster = Cluster::new();
    let begun = Arc::new(Notify::new());
    let begins = Arc::clone(&begun);
    let callee = cluster
        .builder("1.1.1")
        .on_call(ECHO, move |_, _| {
            begins.notify_one();
            std::future::pending()
        })
        .start()
        .await
        .unwrap();
    let caller = cluster.node("1.1.2").await;
    let call = caller.call(addr("1.1.1"), ECHO, text("a")).within(6 * LONG).detached();
    let call = tokio::spawn(call);
    soon("the handler", begun.notified()).await;
    let node = callee.clone();
    let first = tokio::spawn(async move { node.shutdown(6 * LONG).await });
    until("the first shutdown", || callee.try_send(addr("1.1.2"), &text("a")).is_err()).await;
    let second = soon("the second", callee.shutdown(Duration::ZERO)).await;
    assert_eq!(second.requests_abandoned, 1);
    assert_eq!(soon("the first", first).await.unwrap(), second);
    soon("the call", call).await.unwrap().unwrap_err();
}

#[tokio::test]
async fn p16_a_shutdown_reports_calls_without_a_reply_and_peers_that_it_could_not_write_to() {
    let cluster = Cluster::new();
    let _absent = cluster.absent("1.1.3");
    let begun = Arc::new(Notify::new());
    let begins = Arc::clone(&begun);
    let endless = move |_, _| {
        begins.notify_one();
        std::future::pending()
    };
    let _callee = cluster.builder("1.1.2").on_call(ECHO, endless).start().await.unwrap();
    let caller = cluster.node("1.1.1").await;
    let call = tokio::spawn(caller.call(addr("1.1.2"), ECHO, text("a")).within(LONG).detached());
    soon("the handler", begun.notified()).await;
    caller.try_send(addr("1.1.3"), &text("a")).unwrap();
    let report = soon("the end", caller.shutdown(Duration::from_millis(100))).await;
    assert_eq!((report.calls_abandoned, report.links_unwritten), (1, 1));
    assert_eq!((report.requests_abandoned, report.messages_abandoned), (0, 0));
    soon("the call", call).await.unwrap().unwrap_err();
}

#[tokio::test]
async fn p16_a_shutdown_without_haste_ends_when_all_is_done() {
    let cluster = Cluster::new();
    let node = cluster.echo("1.1.1").await;
    assert!(soon("the shutdown", node.shutdown(Duration::MAX)).await.is_clean());
    assert_eq!(soon("the end", node.stopped()).await, StopCause::Asked);
}

#[tokio::test]
async fn p16_a_call_on_its_way_to_one_that_stops_is_refused_and_not_cut() {
    let line = Line::with(
        |caller| caller,
        |callee| callee.on_call(ECHO, |_, request| async move { Ok(request) }),
    )
    .await;
    let call = || line.sender.call(addr(TO), ECHO, text("a"));
    soon("the first reply", call()).await.unwrap();
    line.proxy.inward(RPC, Flow::Stall);
    let waiting = tokio::spawn(call().detached());
    until("the call", || line.sender.stats().calls == 2).await;
    let callee = line.receiver.clone();
    let shutdown = tokio::spawn(async move { callee.shutdown(LONG).await });
    let told = async {
        while !waiting.is_finished() && call().notify().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    soon("the word that it stops", told).await;
    line.proxy.inward(RPC, Flow::Pass);
    assert_eq!(not_sent(soon("its end", waiting).await.unwrap()).0, Reason::Draining);
    assert!(soon("the shutdown", shutdown).await.unwrap().is_clean());
}

#[tokio::test]
async fn p16_messages_on_their_way_to_one_that_stops_are_handled_and_not_called_lost() {
    let line = Line::new().await;
    line.send(0..10).await;
    line.inbox.until_len(10).await;
    line.proxy.inward(MESSAGE, Flow::Stall);
    line.send(10..20).await;
    let receiver = line.receiver.clone();
    let shutdown = tokio::spawn(async move { receiver.shutdown(LONG).await });
    let send = || line.sender.try_send(addr(TO), &number(99));
    until("the word that it stops", || send().is_err()).await;
    line.proxy.inward(MESSAGE, Flow::Pass);
    assert!(soon("the shutdown", shutdown).await.unwrap().is_clean());
    let handled = line.inbox.all();
    let accepted = line.sender.stats().accepted;
    assert_eq!(handled.len() as u64, accepted);
    until("the end of the link", || line.proxy.open(RPC) == 0).await;
    assert_eq!((line.sender.stats().lost, line.notices.all()), (0, vec![]));
}

#[tokio::test]
async fn p16_a_message_that_comes_last_of_all_is_reported_if_its_handler_is_abandoned() {
    let began = Recorder::new();
    let begin = began.clone();
    let endless = move |_, _: Text| {
        begin.add(());
        std::future::pending()
    };
    let line = Line::with(|sender| sender, |receiver| receiver.on_message(endless)).await;
    line.send(0..1).await;
    line.inbox.until_len(1).await;
    line.proxy.inward(MESSAGE, Flow::Stall);
    line.sender.try_send(addr(TO), &text("a")).unwrap();
    let receiver = line.receiver.clone();
    let mut first = tokio::spawn(async move { receiver.shutdown(LONG).await });
    // Past the second that peers have to hear of it: nothing is there to be done, and lanes finish.
    let early = tokio::time::timeout(Duration::from_millis(1_500), &mut first).await;
    assert!(early.is_err(), "did not wait for its peer: {early:?}");
    line.proxy.inward(MESSAGE, Flow::Pass);
    began.until_len(1).await;
    let report = soon("the end", line.receiver.shutdown(Duration::ZERO)).await;
    assert_eq!((report.messages_abandoned, report.is_clean()), (1, false));
    assert_eq!(soon("the first", first).await.unwrap(), report);
}

/// What is on a runtime, with two nodes, of which the second echoes.
fn pair(home: &Runtime) -> (Cluster, Node, Node) {
    home.block_on(async {
        let cluster = Cluster::new();
        let (first, second) = (cluster.node("1.1.1").await, cluster.echo("1.1.2").await);
        (cluster, first, second)
    })
}

#[test]
fn p14_a_link_outlives_the_runtime_that_used_it_first() {
    let (home, other) = (runtime(), runtime());
    let (_cluster, caller, _callee) = pair(&home);
    let call = || async { caller.call(addr("1.1.2"), ECHO, text("a")).await };
    other.block_on(call()).unwrap();
    other.shutdown_background();
    home.block_on(async { soon("the reply", call()).await }).unwrap();
}

#[test]
fn p12_a_message_may_be_sent_from_outside_any_runtime() {
    let home = runtime();
    let (_cluster, sender, _receiver) = pair(&home);
    sender.try_send(addr("1.1.2"), &text("a")).unwrap();
    // Nobody handles it, so it comes back.
    home.block_on(until("the bounce", || sender.stats().bounced == 1));
}

/// Waits for a future on this thread, without any runtime.
fn wait_for<F: IntoFuture>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut future = std::pin::pin!(future.into_future());
    loop {
        let poll = future.as_mut().poll(&mut std::task::Context::from_waker(&waker));
        match poll {
            std::task::Poll::Ready(output) => return output,
            std::task::Poll::Pending => std::thread::park_timeout(PATIENCE),
        }
    }
}

#[test]
fn p09_who_waits_for_room_outside_any_runtime_does_so_until_the_deadline() {
    let home = runtime();
    let (cluster, sender, _) = pair(&home);
    let _absent = cluster.absent("1.2.1");
    let request = text(&"x".repeat(1_000_000));
    let call = |within| sender.call(addr("1.2.1"), ECHO, request.clone()).within(within);
    // Four fit, and wait for a peer that does not run.
    (0..4).for_each(|_| wait_for(call(LONG).notify()).unwrap());
    let outcome = wait_for(call(Duration::from_millis(50)));
    assert_eq!(not_sent(outcome).0, Reason::Full);
}

#[test]
fn p05_a_call_under_way_ends_when_the_runtime_of_its_node_goes() {
    let (home, other) = (runtime(), runtime());
    let (cluster, caller, _) = pair(&home);
    let _absent = cluster.absent("1.2.1");
    let call = caller.call(addr("1.2.1"), ECHO, text("a")).detached();
    let call = other.spawn(call);
    other.block_on(until("the call", || caller.stats().calls == 1));
    home.shutdown_background();
    other.block_on(async { soon("the end of the call", call).await }).unwrap().unwrap_err();
}

#[test]
fn p05_a_call_fails_at_once_when_the_runtime_of_its_node_is_gone() {
    let (home, other) = (runtime(), runtime());
    let (_cluster, caller, _callee) = pair(&home);
    let call = || async { soon("the call", caller.call(addr("1.1.2"), ECHO, text("a"))).await };
    other.block_on(call()).unwrap();
    home.shutdown_timeout(LONG);
    assert_eq!(not_sent(other.block_on(call())).0, Reason::Draining);
    other.block_on(async { soon("the shutdown", caller.shutdown(6 * LONG)).await });
}
