//! Three callees are restarted one after another while they are called, and no call is lost.
//!
//! This process is the caller, `1.1.1`, and has the discovery server. It runs itself again for each
//! callee and ends those with SIGTERM, as service managers do.
//!
//! ```text
//!                 ┌──▶ 1.2.1 ✝ SIGTERM … 1.2.1 again
//!  1.1.1 ── any ──┼──▶ 1.2.2              what they do about the signal: `callee`
//!                 └──▶ 1.2.3
//! ```

use std::error::Error;
use std::io::Read;
use std::net::TcpListener;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use seaway::discovery::Member;
use seaway::layer::{Call, Next, Retry};
use seaway::{Context, Method, Node, NodeType, Pick, Status};
use seaway_discovery_mock::{MockDiscovery, Server};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::select;
use tokio::signal::ctrl_c;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

type Outcome<T> = Result<T, Box<dyn Error>>;

const CALLEES: [&str; 3] = ["1.2.1", "1.2.2", "1.2.3"];
const CALLEE: NodeType = NodeType::new(2);
const DOUBLE: Method<Number, Number> = Method::new("rolling.Math/Double");

#[derive(Clone, PartialEq, prost::Message)]
struct Number {
    #[prost(uint64, tag = "1")]
    value: u64,
}

#[tokio::main]
async fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [address, server] => callee(address, server).await,
        _ => timeout(Duration::from_secs(9), rolling_restart()).await?,
    }
}

/// A service that ends well: whoever asks it to waits until it has finished what it has.
async fn callee(address: &str, server: &str) -> Outcome<()> {
    end_with_parent();
    let mut terminated = signal(SignalKind::terminate())?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let discovery = MockDiscovery::connect(server);
    discovery.put(Member::new(address.parse()?, listener.local_addr()?.to_string())).await?;
    let node = Node::builder(address).discovery(discovery).listener(listener);
    let node = node.on_call(DOUBLE, double).start().await?;
    println!("ready");

    select! {
        _ = terminated.recv() => {}
        interrupted = ctrl_c() => interrupted?,
        cause = node.stopped() => return Err(format!("the node stopped: {cause}").into()),
    }
    let report = node.shutdown(Duration::from_secs(5)).await;
    if report.is_clean() { Ok(()) } else { Err(format!("given up: {report:?}").into()) }
}

async fn double(_: Context, number: Number) -> Result<Number, Status> {
    sleep(Duration::from_millis(5)).await;
    Ok(Number { value: 2 * number.value })
}

/// Processes that nobody ends any more end here: their stdin is a pipe from their parent.
fn end_with_parent() {
    std::thread::spawn(|| {
        std::io::stdin().read_to_end(&mut Vec::new()).ok();
        std::process::exit(1);
    });
}

/// What became of the calls.
#[derive(Default)]
struct Tally {
    is_over: AtomicBool,
    calls: AtomicU64,
    attempts: AtomicU64,
    lost: AtomicU64,
}

async fn rolling_restart() -> Outcome<()> {
    let server = Server::bind("127.0.0.1:0").await?;
    let at = server.local_addr().to_string();
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let network = listener.local_addr()?.to_string();
    server.members().put(Member::new("1.1.1".parse()?, network))?;
    let tally = Arc::new(Tally::default());
    let counted = Arc::clone(&tally);
    let node = Node::builder("1.1.1")
        .discovery(MockDiscovery::connect(&*at))
        .listener(listener)
        // Makes calls again that certainly did not run, at whichever callee is picked then.
        .layer_outgoing(Retry::new())
        .layer_outgoing(move |call: Call, next: Next| {
            counted.attempts.fetch_add(1, Relaxed);
            next.run(call)
        })
        .start()
        .await?;

    let mut callees = Vec::new();
    for address in CALLEES {
        callees.push(start(address, &at).await?);
    }
    let mut load = JoinSet::new();
    for _ in 0..32 {
        load.spawn(call_and_call(node.clone(), Arc::clone(&tally)));
    }
    println!("callee  drained in  back after");
    for (address, callee) in CALLEES.into_iter().zip(&mut callees) {
        sleep(Duration::from_millis(300)).await;
        let began = Instant::now();
        terminate(callee).await?;
        let drained = began.elapsed();
        *callee = start(address, &at).await?;
        let back = began.elapsed();
        println!("{address}   {:>7} ms  {:>7} ms", drained.as_millis(), back.as_millis());
    }
    sleep(Duration::from_millis(300)).await;
    tally.is_over.store(true, Relaxed);
    load.join_all().await;
    for callee in &mut callees {
        terminate(callee).await?;
    }

    let (calls, lost) = (tally.calls.load(Relaxed), tally.lost.load(Relaxed));
    println!("\ncalls {calls}, tried again {}, lost: {lost}", tally.attempts.load(Relaxed) - calls);
    if lost == 0 { Ok(()) } else { Err(format!("{lost} calls were lost").into()) }
}

async fn call_and_call(node: Node, tally: Arc<Tally>) {
    while !tally.is_over.load(Relaxed) {
        let value = tally.calls.fetch_add(1, Relaxed);
        let reply = node.call(Pick::any(CALLEE), DOUBLE, Number { value }).await;
        if reply != Ok(Number { value: 2 * value }) {
            eprintln!("lost: {reply:?}");
            tally.lost.fetch_add(1, Relaxed);
        }
    }
}

/// Runs a callee in a process of its own; waits until it serves.
async fn start(address: &str, server: &str) -> Outcome<Child> {
    let mut child = Command::new(std::env::current_exe()?)
        .args([address, server])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let from = child.stdout.take().ok_or("no pipe from the callee")?;
    match BufReader::new(from).lines().next_line().await? {
        Some(line) if line == "ready" => Ok(child),
        other => Err(format!("{address} did not start: {other:?}").into()),
    }
}

/// SIGTERM; waits for a good end.
async fn terminate(callee: &mut Child) -> Outcome<()> {
    let process = callee.id().ok_or("a callee has ended by itself")?;
    Command::new("sh").args(["-c", &format!("kill -TERM {process}")]).status().await?;
    // Which `wait` would close first: see `end_with_parent`.
    let _stdin = callee.stdin.take();
    let status = callee.wait().await?;
    if status.success() { Ok(()) } else { Err(format!("a callee ended with {status}").into()) }
}
