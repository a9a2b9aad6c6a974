//! Two clusters that talk through harbors, one of which is killed under load.
//!
//! This process is the node `1.1.1`, and runs the discovery servers. It starts itself seven times
//! more, as the other nodes. In the end it knows of each call and message what became of it; if it
//! does not, the exit code is 1.
//!
//! ```text
//!  cluster 1                                          cluster 2
//!
//!  1.1.1 ──────────▶ 1.2.1
//!  (here) ─┬───▶ 1.255.1 ✝ ──┬──┬──▶ 2.255.1 ──┬───▶ 2.2.1
//!          └───▶ 1.255.2 ────┘  └──▶ 2.255.2 ──┴───▶ 2.2.2
//!
//!  discovery 1        discovery of harbors            discovery 2
//! ```
//!
//! What the services do: `service.rs`. How processes start: `process.rs`. The account: `table.rs`.
//! `RUST_LOG=seaway=debug cargo run --example two_clusters` shows what happens inside.

mod load;
mod process;
mod service;
mod table;

use std::error::Error;
use std::net::TcpListener;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use seaway::discovery::Member;
use seaway::{LogicalAddr, Node, NodeType};
use seaway_discovery_mock::{MockDiscovery, Server};
use seaway_testproto::post::{Letter, office};
use tokio::time::{sleep, timeout};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use load::Load;
use process::Process;
use table::{Calls, Table, Times};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const HERE: LogicalAddr = LogicalAddr::new(1, 1, 1);
const OFFICES: NodeType = NodeType::new(2);
const NEAR: LogicalAddr = LogicalAddr::new(1, 2, 1);
const FAR: [LogicalAddr; 2] = [LogicalAddr::new(2, 2, 1), LogicalAddr::new(2, 2, 2)];
const HARBORS: [LogicalAddr; 2] = [LogicalAddr::harbor(1, 1), LogicalAddr::harbor(1, 2)];
const FAR_HARBORS: [LogicalAddr; 2] = [LogicalAddr::harbor(2, 1), LogicalAddr::harbor(2, 2)];

/// Longer than everything takes on a machine with very much else to do.
const PATIENCE: Duration = Duration::from_secs(19);

#[tokio::main]
async fn main() -> ExitCode {
    let wanted = std::env::var("RUST_LOG").ok().and_then(|wanted| wanted.parse::<Targets>().ok());
    let logs = tracing_subscriber::fmt().with_max_level(LevelFilter::TRACE);
    let logs = logs.with_writer(std::io::stderr).finish();
    logs.with(wanted.unwrap_or_default()).init();

    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.as_slice() {
        [address, own, harbors] => process::run(address, own, harbors).await,
        _ => match timeout(PATIENCE, two_clusters()).await {
            Ok(outcome) => outcome,
            Err(_) => Err(format!("not done after {PATIENCE:?}").into()),
        },
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("two_clusters: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn two_clusters() -> Result<()> {
    let world = World::new().await?;
    let harbors = world.start(HARBORS).await?;
    let far_harbors = world.start(FAR_HARBORS).await?;
    let [near] = world.start([NEAR]).await?;
    let mut far = world.start(FAR).await?;
    let node = here(&world.one).await?;
    println!("two clusters are up, in 8 processes: {HERE} is this one");

    exports(&node).await;
    let (direct, across) = times(&node).await?;
    let (harbors, calls, failover) = killed(&node, &world, harbors).await?;

    // Ends when the node knows of each message what became of it.
    let report = node.shutdown(Duration::from_secs(5)).await;
    let (mut handled, mut out_of_order) = (0, 0);
    for receiver in &mut far {
        let counts = receiver.counts().await?;
        handled += counts.handled;
        out_of_order += counts.out_of_order;
    }
    let (told, bounced) = (node.stats(), node.bounced_by_reason());
    let table = Table { calls, told, bounced, handled, out_of_order, failover, direct, across };
    println!("\n{table}");
    table.check()?;
    must(report.is_clean(), || format!("{HERE} gave up: {report:?}"))?;
    for process in far.into_iter().chain([near]).chain(harbors).chain(far_harbors) {
        process.stop().await?;
    }
    Ok(())
}

/// The node of this process.
async fn here(discovery: &Server) -> Result<Node> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    discovery.members().put(Member::new(HERE, listener.local_addr()?.to_string()))?;
    let members = MockDiscovery::connect(discovery.local_addr().to_string());
    Ok(Node::builder(HERE).discovery(members).listener(listener).start().await?)
}

/// What one cluster exports is seen in the other, though nobody has told its discovery.
async fn exports(node: &Node) {
    let is_seen = |node: &Node, it| node.members(OFFICES).any(|member| member.address == it);
    node.members_until(|node| FAR.iter().all(|far| is_seen(node, *far))).await;
    println!("exports: {} and {} are seen here, because harbors carry them across", FAR[0], FAR[1]);
}

/// How long calls take, one after another: within the cluster, and to the other one.
async fn times(node: &Node) -> Result<(Times, Times)> {
    let (mut direct, mut across) = (Times::default(), Times::default());
    for number in 0..500 {
        for (to, times) in [(NEAR, &mut direct), (FAR[0], &mut across)] {
            let letter = Letter { number };
            let began = Instant::now();
            let reply = office::stamp(node, to, letter).await?;
            times.0.push(began.elapsed());
            must(reply == letter, || format!("{to} gave back something else"))?;
        }
    }
    println!("calls: 500 to {NEAR} and 500 to {} were answered", FAR[0]);
    Ok((direct, across))
}

/// A harbor dies while it carries calls and messages, and comes back. Returns the harbors, what
/// became of the calls, and the longest time without an answer.
async fn killed(
    node: &Node,
    world: &World,
    harbors: [Process; 2],
) -> Result<([Process; 2], [Calls; 2], Duration)> {
    let load = Load::start(node);
    sleep(Duration::from_secs(1)).await;
    let (busy, other) = by_work(harbors).await?;
    let address = busy.address;
    let began = Instant::now();
    busy.kill().await?;
    println!("kill: {address} is dead; most of the load went over it");
    sleep(Duration::from_secs(1)).await;
    // Not before the other one has taken over.
    load.answered().await;
    let ended = Instant::now();

    let [mut returned] = world.start([address]).await?;
    let ready = Instant::now();
    while returned.counts().await?.relayed == 0 {
        sleep(Duration::from_millis(1)).await;
    }
    println!(
        "return: {address} carries again, {} ms after it was ready",
        ready.elapsed().as_millis()
    );
    sleep(Duration::from_millis(500)).await;

    let calls = load.stop().await;
    let pause = calls.iter().map(|calls| calls.longest_pause(began, ended)).max();
    Ok(([returned, other], calls, pause.unwrap_or_default()))
}

/// Of two harbors the one first that has done more.
async fn by_work([mut one, mut other]: [Process; 2]) -> Result<(Process, Process)> {
    let is_less = one.counts().await?.relayed < other.counts().await?.relayed;
    Ok(if is_less { (other, one) } else { (one, other) })
}

/// The discovery servers: who is where.
struct World {
    one: Server,
    two: Server,
    harbors: Server,
}

impl World {
    async fn new() -> Result<Self> {
        let server = || Server::bind("127.0.0.1:0");
        Ok(Self { one: server().await?, two: server().await?, harbors: server().await? })
    }

    /// Starts these nodes, each in a process of its own.
    async fn start<const N: usize>(&self, addresses: [LogicalAddr; N]) -> Result<[Process; N]> {
        let harbors = self.harbors.local_addr();
        let mut processes = Vec::new();
        for address in addresses {
            let own = if address.group() == HERE.group() { &self.one } else { &self.two };
            processes.push(Process::start(address, own.local_addr(), harbors).await?);
        }
        processes.try_into().map_err(|_| "not as many as were asked for".into())
    }
}

fn must(holds: bool, otherwise: impl FnOnce() -> String) -> Result<()> {
    if holds { Ok(()) } else { Err(otherwise().into()) }
}
