//! What is left of a node whose runtime is dropped under it. A test binary of its own: nothing else
//! runs in this process meanwhile.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod support;

use std::fs::read_dir;
use std::sync::{Arc, Weak};
use std::time::Instant;

use support::{Cluster, ECHO, PATIENCE, Text, addr, text, until};
use tokio::runtime::Builder;

/// Open files and threads of this process.
fn belongings() -> (usize, usize) {
    let count = |folder| read_dir(folder).unwrap().count();
    (count("/proc/self/fd"), count("/proc/self/task"))
}

/// Two nodes in the midst of calls and messages, on a runtime that is dropped; what their handlers
/// had.
fn drop_a_runtime() -> [Weak<()>; 2] {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let kept = [Arc::new(()), Arc::new(())];
    let left = [0, 1].map(|n: usize| Arc::downgrade(&kept[n]));
    let nodes = runtime.block_on(async {
        let cluster = Cluster::new();
        let [of_calls, of_messages] = kept;
        let callee = cluster.builder("1.2.1").on_call(ECHO, move |_, _| {
            let kept = Arc::clone(&of_calls);
            async move {
                std::future::pending::<()>().await;
                drop(kept);
                Ok(text(""))
            }
        });
        let callee = callee.on_message(move |_, _: Text| {
            let kept = Arc::clone(&of_messages);
            async move {
                std::future::pending::<()>().await;
                drop(kept);
            }
        });
        let callee = callee.start().await.unwrap();
        let caller = cluster.node("1.1.1").await;
        for _ in 0..10 {
            tokio::spawn(caller.call(addr("1.2.1"), ECHO, text("never answered")).detached());
            caller.send(addr("1.2.1"), &text("never handled")).await.unwrap();
        }
        // And one that is being dialled, which is not there.
        caller.send(addr("1.3.1"), &text("never dialled")).await.unwrap();
        until("all requests", || callee.stats().requests == 10).await;
        until("the message", || callee.stats().handled == 1).await;
        (cluster, caller, callee)
    });
    drop(runtime);
    drop(nodes);
    left
}

#[test]
fn p16_a_runtime_that_is_dropped_leaves_no_thread_no_socket_and_no_memory_of_its_nodes() {
    // What is made once in a process, and is no leak.
    drop_a_runtime();
    let before = belongings();
    for round in 0..3 {
        for (n, left) in drop_a_runtime().into_iter().enumerate() {
            assert!(left.upgrade().is_none(), "round {round}: the handler {n} is still there");
        }
    }
    // A runtime waits for its threads, but the system may count them for a moment longer.
    let began = Instant::now();
    while belongings() != before && began.elapsed() < PATIENCE {
        std::thread::yield_now();
    }
    assert_eq!(belongings(), before, "files and threads");
}
