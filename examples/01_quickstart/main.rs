//! A tour through seaway in three processes on this machine.
//!
//! This process is the node `1.1.1`, and runs a discovery server. It starts itself twice more, as
//! `1.2.1` and `1.2.2`, calls them, sends them messages, cancels, kills one and meets it again.
//! Whatever does not happen as promised ends the tour with exit code 1.
//!
//! ```text
//!            discovery            who is where; each process asks it
//!
//!  1.1.1 ── calls, messages ──▶ 1.2.1     what they serve: `service.rs`, from a .proto file
//!  (here) ────────────────────▶ 1.2.2     how they start:  `process.rs`
//! ```
//!
//! `RUST_LOG=seaway=debug cargo run --example quickstart` shows what happens inside.

mod process;
mod service;
mod tally;

use std::error::Error;
use std::net::TcpListener;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use seaway::discovery::Member;
use seaway::{CallError, Doubt, LogicalAddr, Node, Reason};
use seaway_discovery_mock::{MockDiscovery, Server};
use seaway_testproto::chat::{self, room};
use seaway_testproto::tour::{NapRequest, Note, Seen, Text, stop};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use process::Process;
use tally::Tally;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const HERE: &str = "1.1.1";
const ANT: &str = "1.2.1";
const BEE: &str = "1.2.2";

/// Longer than everything takes on a machine with very much else to do.
const PATIENCE: Duration = Duration::from_secs(9);

#[tokio::main]
async fn main() -> ExitCode {
    let wanted = std::env::var("RUST_LOG").ok().and_then(|wanted| wanted.parse::<Targets>().ok());
    let logs = tracing_subscriber::fmt().with_max_level(LevelFilter::TRACE);
    let logs = logs.with_writer(std::io::stderr).finish();
    logs.with(wanted.unwrap_or_default()).init();

    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.as_slice() {
        [address, discovery] => process::run(address, discovery).await,
        _ => match timeout(PATIENCE, tour()).await {
            Ok(outcome) => outcome,
            Err(_) => Err(format!("not done after {PATIENCE:?}").into()),
        },
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("quickstart: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn tour() -> Result<()> {
    let (ant, bee) = (ANT.parse::<LogicalAddr>()?, BEE.parse::<LogicalAddr>()?);
    let mut tally = Tally::default();

    let server = Server::bind("127.0.0.1:0").await?;
    let discovery = server.local_addr().to_string();
    let mut ant_process = Process::spawn(ANT, &discovery)?;
    let mut bee_process = Process::spawn(BEE, &discovery)?;
    ant_process.ready().await?;
    bee_process.ready().await?;

    let listener = TcpListener::bind("127.0.0.1:0")?;
    server.members().put(Member::new(HERE.parse()?, listener.local_addr()?.to_string()))?;
    let members = MockDiscovery::connect(&discovery);
    let node = Node::builder(HERE).discovery(members).listener(listener).start().await?;
    println!("three nodes are up: {HERE} is this process, {ANT} and {BEE} are two others");

    calls(&node, &[ant, bee], &mut tally).await?;
    messages(&node, bee, &mut tally).await?;
    refusals(&node, bee, &mut tally).await?;
    cancelled(&node, ant, &mut tally).await?;
    killed(&node, ant, ant_process, &mut tally).await?;

    let ant_process = returned(&node, ant, &discovery, &mut tally).await?;

    tally.check(&node.stats())?;
    println!("\n{tally}");
    let report = node.shutdown(Duration::from_secs(1)).await;
    must(report.calls_abandoned == 0, || format!("calls were abandoned: {report:?}"))?;
    ant_process.stop().await?;
    bee_process.stop().await
}

/// Whoever knows an address can call the node behind it.
async fn calls(node: &Node, callees: &[LogicalAddr], tally: &mut Tally) -> Result<()> {
    for callee in callees {
        for number in 0..500 {
            let text = format!("hello {number}");
            let began = Instant::now();
            let reply = stop::echo(node, *callee, Text { text: text.clone() }).await;
            tally.call(&reply, Some(began.elapsed()));
            must(reply?.text == text, || format!("{callee} gave back something else"))?;
        }
    }
    println!("calls: 500 to each of them were answered");
    Ok(())
}

/// Nobody answers a message. Those of one node arrive in the order in which it sent them.
async fn messages(node: &Node, to: LogicalAddr, tally: &mut Tally) -> Result<()> {
    for number in 1..=1000 {
        // Waits while the connection has no room; an error says that this one was not sent.
        node.send(to, &Note { number }).await?;
        tally.messages += 1;
    }
    let count = seen(node, to, "note in order", 1000).await?;
    must(count == 1000, || format!("{to} had {count} messages in order, not 1000"))?;
    println!("messages: 1000 were sent, and {to} had all of them, in order");
    Ok(())
}

/// What certainly did not run is told apart from what may have, so that one can try again.
async fn refusals(node: &Node, served: LogicalAddr, tally: &mut Tally) -> Result<()> {
    let nobody = LogicalAddr::new(1, 2, 3);
    for (to, expected) in [(nobody, Reason::NotAMember), (served, Reason::Unimplemented)] {
        let outcome = room::join(node, to, chat::JoinRequest::default()).await;
        tally.call(&outcome, None);
        match outcome {
            Err(CallError::NotSent { reason, .. }) if reason == expected => {}
            other => return Err(format!("not refused with {expected:?}: {other:?}").into()),
        }
    }
    println!("refusals: a stranger and an unknown method, both safe to retry elsewhere");
    Ok(())
}

/// Dropping a call cancels it, here and at the other end.
async fn cancelled(node: &Node, callee: LogicalAddr, tally: &mut Tally) -> Result<()> {
    let call = tokio::spawn(stop::nap(node, callee, NapRequest {}).detached());
    seen(node, callee, "nap begun", 1).await?;
    let began = Instant::now();
    call.abort();
    seen(node, callee, "nap cancelled", 1).await?;
    tally.cancelled += 1;
    println!("cancel: the handler was dropped {:?} after its call", rounded(began.elapsed()));
    Ok(())
}

/// A callee dies with 100 calls in flight: they fail when it dies and not at their deadline, and
/// each says that it may be done.
async fn killed(
    node: &Node,
    callee: LogicalAddr,
    process: Process,
    tally: &mut Tally,
) -> Result<()> {
    let mut calls = JoinSet::new();
    for _ in 0..100 {
        calls.spawn(stop::nap(node, callee, NapRequest {}).detached());
    }
    // One more: that of before.
    seen(node, callee, "nap begun", 101).await?;
    let began = Instant::now();
    process.kill().await?;
    while let Some(outcome) = calls.join_next().await {
        let outcome = outcome?;
        tally.call(&outcome, None);
        match outcome {
            Err(CallError::MaybeDone { cause: Doubt::ConnectionLost, .. }) => {}
            other => return Err(format!("the callee is dead, but: {other:?}").into()),
        }
    }
    let took = began.elapsed();
    // Promised are 200 ms; a busy machine gets more.
    must(took < Duration::from_millis(600), || format!("the callers knew only after {took:?}"))?;
    println!("kill: all of 100 calls in flight ended as `MaybeDone` within {:?}", rounded(took));
    Ok(())
}

/// It is started again and listens on another port: a call finds it there.
async fn returned(
    node: &Node,
    callee: LogicalAddr,
    discovery: &str,
    tally: &mut Tally,
) -> Result<Process> {
    let mut process = Process::spawn(ANT, discovery)?;
    process.ready().await?;
    let began = Instant::now();
    let reply = stop::echo(node, callee, Text { text: "welcome back".into() }).await;
    let took = began.elapsed();
    tally.call(&reply, None);
    reply?;
    // Promised is 1 s; a busy machine gets more.
    must(took < Duration::from_secs(3), || format!("it was back only after {took:?}"))?;
    println!("return: on its new port it was called {:?} after it was ready", rounded(took));
    Ok(process)
}

/// Waits until a node has seen something so many times; returns how often it has.
async fn seen(node: &Node, at: LogicalAddr, what: &str, count: u64) -> Result<u64> {
    let asked = Seen { what: what.to_owned(), count };
    match stop::witness(node, at, asked).within(Duration::from_secs(3)).await {
        Ok(seen) => Ok(seen.count),
        Err(error) => {
            Err(format!("waited in vain for {count} x \"{what}\" at {at}: {error}").into())
        }
    }
}

fn must(holds: bool, otherwise: impl FnOnce() -> String) -> Result<()> {
    if holds { Ok(()) } else { Err(otherwise().into()) }
}

fn rounded(duration: Duration) -> Duration {
    Duration::from_micros(duration.as_micros().try_into().unwrap_or(u64::MAX))
}
