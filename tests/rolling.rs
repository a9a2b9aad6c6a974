//! Callees in processes of their own are restarted one after another while they are called.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod support;

use std::collections::BTreeMap;
use std::env;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use seaway::discovery::Member;
use seaway::{Node, NodeType, Pick, Target, Undeliverable};
use seaway_discovery_mock::{MockDiscovery, Server};
use support::process::{Process, commands, say};
use support::recorder::Recorder;
use support::{COUNT, Number, addr, number, soon};
use tokio::runtime::Runtime;
use tokio::select;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::sleep;

const CALLER: &str = "1.1.1";
const CALLEES: [&str; 3] = ["1.2.1", "1.2.2", "1.2.3"];
const TYPE: NodeType = NodeType::new(2);
/// Tasks that call, for each way to say whom.
const TASKS: u64 = 16;

const TEST: &str = "p16_a_rolling_restart_of_three_callees_under_load_loses_no_call";
const ADDRESS: &str = "SEAWAY_TEST_CALLEE";
const SERVER: &str = "SEAWAY_TEST_SERVER";

/// Run again as a child, this is the child's part, too.
#[test]
fn p16_a_rolling_restart_of_three_callees_under_load_loses_no_call() {
    let runtime = Runtime::new().unwrap();
    match env::var(ADDRESS) {
        Ok(address) => {
            runtime.block_on(be_a_callee(&address));
            std::process::exit(0);
        }
        Err(_) => runtime.block_on(restart_them()),
    }
}

/// Serves until SIGTERM; says in the end what it has handled.
async fn be_a_callee(address: &str) {
    let mut terminated = signal(SignalKind::terminate()).unwrap();
    let mut parent = commands();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let discovery = MockDiscovery::connect(env::var(SERVER).unwrap());
    let network = listener.local_addr().unwrap().to_string();
    discovery.put(Member::new(addr(address), network)).await.unwrap();
    let (calls, messages) = (Recorder::new(), Recorder::new());
    let (called, came) = (calls.clone(), messages.clone());
    let node = Node::builder(address).discovery(discovery).listener(listener);
    let node = node.on_call(COUNT, move |_, request: Number| {
        called.add(request.number);
        async move {
            if request.number.is_multiple_of(4) {
                // So that some are at work when the signal comes.
                sleep(Duration::from_millis(10)).await;
            }
            Ok(request)
        }
    });
    let node = node.on_message(move |_, message: Number| {
        came.add(message.number);
        async {}
    });
    let node = node.start().await.unwrap();
    say("started now");
    soon("some load", async { tokio::join!(calls.until_len(500), messages.until_len(200)) }).await;
    say("loaded now");
    select! {
        _ = terminated.recv() => {}
        _ = parent.recv() => return,
    }
    let report = node.shutdown(Duration::from_secs(10)).await;
    let all = |numbers: Vec<u64>| numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(" ");
    say(&format!("calls {}", all(calls.all())));
    say(&format!("messages {}", all(messages.all())));
    say(&format!("clean {}", report.is_clean()));
}

/// What one run of a callee said at its end.
struct Ended {
    calls: Vec<u64>,
    messages: Vec<u64>,
}

async fn start(address: &str, server: &str) -> Process {
    let process = Process::spawn(TEST, &[(ADDRESS, address), (SERVER, server)]);
    process.word("started").await;
    process
}

/// Ends it once it is under load.
async fn terminate(mut process: Process) -> Ended {
    process.word("loaded").await;
    let status = process.terminate().await;
    assert!(status.success(), "{status:?}");
    assert_eq!(process.word("clean").await, "true");
    let numbers = async |first| {
        let line = process.word(first).await;
        line.split(' ').map(|number| number.parse().unwrap()).collect()
    };
    Ended { calls: numbers("calls").await, messages: numbers("messages").await }
}

/// The load, and what became of it.
#[derive(Default)]
struct Load {
    is_over: AtomicBool,
    numbers: AtomicU64,
    answered: Recorder<u64>,
    sent: Recorder<u64>,
}

impl Load {
    fn begin(self: &Arc<Self>, node: &Node) -> JoinSet<()> {
        let ways: [fn(u64) -> Target; 4] = [
            |_| Pick::any(TYPE).into(),
            |_| Pick::round_robin(TYPE).into(),
            |n| Pick::by_key(TYPE, n).into(),
            |n| addr(CALLEES[usize::try_from(n).unwrap() % CALLEES.len()]).into(),
        ];
        let mut tasks = JoinSet::new();
        for way in ways {
            (0..TASKS).for_each(|_| {
                tasks.spawn(Arc::clone(self).call(node.clone(), way));
            });
        }
        tasks.spawn(Arc::clone(self).send(node.clone()));
        tasks
    }

    fn next(&self) -> Option<u64> {
        let is_over = self.is_over.load(Ordering::Relaxed);
        (!is_over).then(|| self.numbers.fetch_add(1, Ordering::Relaxed))
    }

    /// Calls, and again what certainly did not run.
    async fn call(self: Arc<Self>, node: Node, whom: fn(u64) -> Target) {
        while let Some(n) = self.next() {
            while let Err(error) = node.call(whom(n), COUNT, number(n)).await {
                assert!(error.is_safe_to_retry(), "{error}");
                sleep(Duration::from_millis(1)).await;
            }
            self.answered.add(n);
        }
    }

    /// Sends, and again what was not accepted.
    async fn send(self: Arc<Self>, node: Node) {
        while let Some(n) = self.next() {
            while node.send(Pick::any(TYPE), &number(n)).await.is_err() {
                sleep(Duration::from_millis(1)).await;
            }
            self.sent.add(n);
            if n.is_multiple_of(16) {
                sleep(Duration::from_millis(1)).await;
            }
        }
    }
}

async fn restart_them() {
    let server = Server::bind("127.0.0.1:0").await.unwrap();
    let at = server.local_addr().to_string();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let network = listener.local_addr().unwrap().to_string();
    server.members().put(Member::new(addr(CALLER), network)).unwrap();
    let notices = Recorder::new();
    let told = notices.clone();
    let node = Node::builder(CALLER)
        .discovery(MockDiscovery::connect(at.clone()))
        .listener(listener)
        .on_undeliverable(move |notice| told.add(notice));
    let node = node.start().await.unwrap();

    let mut running = BTreeMap::new();
    for address in CALLEES {
        running.insert(address, start(address, &at).await);
    }
    let load = Arc::new(Load::default());
    let mut tasks = load.begin(&node);
    let mut ended = Vec::new();
    for address in CALLEES {
        ended.push(terminate(running.remove(address).unwrap()).await);
        running.insert(address, start(address, &at).await);
    }
    for process in running.values() {
        process.word("loaded").await;
    }
    load.is_over.store(true, Ordering::Relaxed);
    while let Some(task) = soon("the last replies", tasks.join_next()).await {
        task.unwrap();
    }
    for process in running.into_values() {
        ended.push(terminate(process).await);
    }
    check(&load, &ended, &node, &notices.all());
}

/// Each call was answered and its handler ran once; each message was handled once or came back.
fn check(load: &Load, ended: &[Ended], node: &Node, notices: &[Undeliverable]) {
    let sorted = |mut numbers: Vec<u64>| {
        numbers.sort_unstable();
        numbers
    };
    let called = sorted(ended.iter().flat_map(|run| run.calls.clone()).collect());
    assert!(called == sorted(load.answered.all()), "not each call ran exactly once");
    let stats = node.stats();
    assert_eq!(stats.calls_maybe_done, 0);
    assert_ne!(stats.calls_not_sent, 0, "no call met a restart");

    let sent = load.sent.all();
    let mut handled = sorted(ended.iter().flat_map(|run| run.messages.clone()).collect());
    let runs = handled.len();
    handled.dedup();
    assert_eq!(handled.len(), runs, "a message was handled twice");
    assert!(handled.iter().all(|number| sent.binary_search(number).is_ok()));
    assert!(ended.iter().all(|run| run.messages.is_sorted()), "messages out of order");
    assert_eq!(stats.lost, 0, "{notices:?}");
    assert_eq!(stats.accepted, u64::try_from(runs).unwrap() + stats.bounced, "{notices:?}");
}
