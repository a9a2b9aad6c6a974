//! Calls and messages to the services in the other cluster, until told to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use seaway::{LogicalAddr, Node};
use seaway_testproto::post::{Letter, office};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::FAR;
use crate::table::Calls;

/// Callers of each service.
const CALLERS: usize = 8;
/// So many messages go at once, and then none for so long.
const BURST: u64 = 100;
const PAUSE: Duration = Duration::from_millis(5);

pub(crate) struct Load {
    is_over: Arc<AtomicBool>,
    calls: [Arc<Mutex<Calls>>; 2],
    tasks: JoinSet<()>,
}

impl Load {
    pub(crate) fn start(node: &Node) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let calls = <[Arc<Mutex<Calls>>; 2]>::default();
        let mut tasks = JoinSet::new();
        for (to, calls) in FAR.into_iter().zip(&calls) {
            for _ in 0..CALLERS {
                tasks.spawn(call_and_call(
                    node.clone(),
                    to,
                    Arc::clone(calls),
                    Arc::clone(&is_over),
                ));
            }
            tasks.spawn(send_and_send(node.clone(), to, Arc::clone(&is_over)));
        }
        Self { is_over, calls, tasks }
    }

    /// Waits until each service has answered once more.
    pub(crate) async fn answered(&self) {
        let now = Instant::now();
        while !self.calls.iter().all(|calls| calls.lock().is_answered_since(now)) {
            sleep(Duration::from_millis(1)).await;
        }
    }

    /// Waits for the end of all calls; returns what became of those to each service.
    pub(crate) async fn stop(self) -> [Calls; 2] {
        self.is_over.store(true, Relaxed);
        self.tasks.join_all().await;
        self.calls.map(|calls| std::mem::take(&mut *calls.lock()))
    }
}

async fn call_and_call(
    node: Node,
    to: LogicalAddr,
    calls: Arc<Mutex<Calls>>,
    is_over: Arc<AtomicBool>,
) {
    while !is_over.load(Relaxed) {
        let outcome = office::stamp(&node, to, Letter::default()).await;
        let is_safe_to_retry = calls.lock().ended(&outcome);
        if is_safe_to_retry {
            sleep(PAUSE).await;
        }
    }
}

async fn send_and_send(node: Node, to: LogicalAddr, is_over: Arc<AtomicBool>) {
    let mut number = 0;
    while !is_over.load(Relaxed) {
        for _ in 0..BURST {
            // Waits while too much is on its way. An error says that this one was not sent.
            if node.send(to, &Letter { number: number + 1 }).await.is_ok() {
                number += 1;
            }
        }
        sleep(PAUSE).await;
    }
}
