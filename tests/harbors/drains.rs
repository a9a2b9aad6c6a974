//! Harbors that leave in good order while everything goes over them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use seaway::{Node, Undeliverable};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::support::messages::{losses, notice, number, record, settled};
use crate::support::recorder::Recorder;
use crate::support::{COUNT, Cluster, Number, addr, soon, timed};
use crate::world::{FROM, TO};

/// Tasks that call.
const TASKS: u64 = 16;
/// What a handler takes for every 16th call: longer than anything else here.
const LONG: Duration = Duration::from_millis(300);

struct Load {
    is_over: AtomicBool,
    calls: AtomicU64,
    answered: AtomicU64,
    messages: AtomicU64,
}

impl Load {
    /// Calls, and again what certainly did not run.
    async fn call(self: Arc<Self>, node: Node) {
        while !self.is_over.load(Ordering::SeqCst) {
            let n = self.calls.fetch_add(1, Ordering::SeqCst);
            while let Err(error) = node.call(addr(TO), COUNT, number(n)).await {
                assert!(error.is_safe_to_retry(), "{error}");
                sleep(Duration::from_millis(1)).await;
            }
            self.answered.fetch_add(1, Ordering::SeqCst);
        }
    }

    async fn send(self: Arc<Self>, node: Node) {
        while !self.is_over.load(Ordering::SeqCst) {
            let n = self.messages.fetch_add(1, Ordering::SeqCst);
            // Some thousands a second.
            if n.is_multiple_of(10) {
                sleep(Duration::from_millis(1)).await;
            }
            while node.send(addr(TO), &number(n)).await.is_err() {
                sleep(Duration::from_millis(1)).await;
            }
        }
    }
}

/// Two nodes of different groups, and what goes from one to the other all the while.
struct Scene {
    cluster: Cluster,
    sender: Node,
    notices: Recorder<Undeliverable>,
    receiver: Node,
    inbox: Recorder<u64>,
    called: Recorder<u64>,
    load: Arc<Load>,
    tasks: JoinSet<()>,
}

impl Scene {
    async fn new(cluster: Cluster) -> Self {
        let (notices, inbox, called) = (Recorder::new(), Recorder::new(), Recorder::new());
        let calls = called.clone();
        let receiver =
            record(cluster.builder(TO), &inbox).on_call(COUNT, move |_, request: Number| {
                calls.add(request.number);
                async move {
                    if request.number.is_multiple_of(TASKS) {
                        sleep(LONG).await;
                    }
                    Ok(request)
                }
            });
        let receiver = receiver.start().await.unwrap();
        let sender = notice(cluster.builder(FROM), &notices).start().await.unwrap();
        let load = Arc::new(Load {
            is_over: AtomicBool::new(false),
            calls: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            messages: AtomicU64::new(0),
        });
        let mut tasks = JoinSet::new();
        for _ in 0..TASKS {
            tasks.spawn(Arc::clone(&load).call(sender.clone()));
        }
        tasks.spawn(Arc::clone(&load).send(sender.clone()));
        Self { cluster, sender, notices, receiver, inbox, called, load, tasks }
    }

    /// Waits for more of everything.
    async fn more(&self) {
        let (calls, messages) = (self.called.len(), self.inbox.len());
        self.called.until_len(calls + 500).await;
        self.inbox.until_len(messages + 500).await;
    }

    /// Each of these harbors leaves under load, and comes back.
    async fn drain(&self, harbors: Vec<(&'static str, Node)>) -> Vec<Node> {
        let mut back = Vec::new();
        for (address, harbor) in harbors {
            self.more().await;
            let leaving = harbor.shutdown(Duration::from_secs(10));
            let (report, took) = timed("the end", leaving).await;
            assert!(report.is_clean(), "{address}: {report:?}");
            assert!(took < 3 * LONG, "{address} took {took:?}");
            drop(harbor);
            self.more().await;
            back.push(self.cluster.node(address).await);
            // All know that it is back.
            self.more().await;
        }
        back
    }

    /// Ends the load; nothing is lost, nothing is out of order.
    async fn end(mut self) {
        self.load.is_over.store(true, Ordering::SeqCst);
        while let Some(ended) = soon("the last calls", self.tasks.join_next()).await {
            ended.unwrap();
        }
        let stats = settled(&self.sender, &self.inbox).await;
        // Nothing, nor any doubt of it.
        assert_eq!((stats.lost, losses(&self.notices.all())), (0, Vec::new()));
        let handled = self.inbox.all();
        assert!(handled.is_sorted_by(|a, b| a < b), "out of order, or twice");
        let mut called = self.called.all();
        called.sort_unstable();
        let all: Vec<_> = (0..self.load.calls.load(Ordering::SeqCst)).collect();
        assert!(called == all, "a call ran twice, or never");
        drop(self.receiver);
    }
}

async fn drain_under_load(harbors: &[&'static str], drained: &[&'static str]) {
    let cluster = Cluster::empty();
    let (mut others, mut leaving) = (Vec::new(), Vec::new());
    for address in harbors {
        let harbor = cluster.node(address).await;
        if drained.contains(address) {
            leaving.push((*address, harbor));
        } else {
            others.push(harbor);
        }
    }
    let scene = Scene::new(cluster).await;
    others.extend(scene.drain(leaving).await);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p16_harbors_of_the_own_group_that_leave_under_load_lose_nothing() {
    let near = ["1.255.1", "1.255.2"];
    drain_under_load(&["1.255.1", "1.255.2", "2.255.1"], &near).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p16_harbors_of_the_other_group_that_leave_under_load_lose_nothing() {
    let far = ["2.255.1", "2.255.2"];
    drain_under_load(&["1.255.1", "2.255.1", "2.255.2"], &far).await;
}
