//! The two kinds of processes of a crowd.

use std::net::{Ipv4Addr, TcpListener};
use std::time::Instant;

use anyhow::Result;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use seaway::discovery::{InProcess, Member};
use seaway::{LogicalAddr, MessageId, Method, Node};

use crate::client::percentiles;
use crate::clock::Clock;
use crate::control::{Answer, Command, Latency, Snapshot, answer, obey, runtime};
use crate::peers::{Hits, Payload};
use crate::server::wait_for_all;

const HUB: LogicalAddr = LogicalAddr::new(1, 1, 1);
const ECHO: Method<Payload, Payload> = Method::new("bench.Echo/Echo");
const DROP: MessageId = MessageId::of("bench.Drop");

/// Spokes of one type; their ids have 12 bits.
const OF_A_TYPE: usize = 4_000;

/// The address of the spoke with this number.
fn spoke(number: usize) -> Result<LogicalAddr> {
    let (kind, id) = (2 + number / OF_A_TYPE, 1 + number % OF_A_TYPE);
    Ok(format!("1.{kind}.{id}").parse()?)
}

/// Runs so many spokes and tells their ports.
pub fn spokes(first: usize, nodes: usize) -> Result<()> {
    let runtime = runtime()?;
    let hits = Hits::default();
    let (mut up, mut ports) = (Vec::new(), Vec::new());
    for number in first..first + nodes {
        let (node, port) = runtime.block_on(start_spoke(spoke(number)?, &hits))?;
        up.push(node);
        ports.push(port.to_string());
    }
    let clock = Clock::start();
    answer(&Answer::Up(ports.join(" ")))?;
    obey(|command| {
        if let Command::End { made } = command {
            wait_for_all(made, &hits)?;
        }
        clock.snapshot(hits.count())
    })?;
    runtime.shutdown_background();
    Ok(())
}

async fn start_spoke(address: LogicalAddr, hits: &Hits) -> Result<(Node, u16)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    let discovery = InProcess::new();
    discovery.put(Member::new(HUB, "127.0.0.1:1"))?;
    discovery.put(Member::new(address, format!("127.0.0.1:{port}")))?;
    let (calls, messages) = (hits.clone(), hits.clone());
    let node = Node::builder(address)
        .discovery(discovery)
        .listener(listener)
        .on_call(ECHO, move |_, payload| {
            calls.hit();
            std::future::ready(Ok(payload))
        })
        .on_bytes(DROP, move |_, _| {
            messages.hit();
            std::future::ready(())
        })
        .start()
        .await?;
    Ok((node, port))
}

/// Runs the hub of the spokes at these ports.
pub fn hub(at_once: usize, ports: &str) -> Result<()> {
    let runtime = runtime()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let discovery = InProcess::new();
    discovery.put(Member::new(HUB, listener.local_addr()?.to_string()))?;
    let mut spokes = Vec::new();
    for (number, port) in ports.split_whitespace().enumerate() {
        spokes.push(spoke(number)?);
        discovery.put(Member::new(spoke(number)?, format!("127.0.0.1:{port}")))?;
    }
    let node = runtime.block_on(async {
        Node::builder(HUB).discovery(discovery).listener(listener).start().await
    })?;
    let clock = Clock::start();
    answer(&Answer::Up(String::new()))?;
    obey(|command| {
        let latency = match command {
            Command::Call => runtime.block_on(call_all(&node, &spokes, at_once))?,
            Command::Send => runtime.block_on(send_all(&node, &spokes))?,
            Command::Begin | Command::End { .. } => None,
        };
        Ok(Snapshot { latency, ..clock.snapshot(0)? })
    })?;
    runtime.shutdown_background();
    Ok(())
}

/// Calls each spoke once, so many at once, and tells how long that took.
async fn call_all(node: &Node, spokes: &[LogicalAddr], at_once: usize) -> Result<Option<Latency>> {
    let calls = stream::iter(spokes.iter().copied()).map(|spoke| {
        let node = node.clone();
        async move {
            // Tasks of their own, as callers have.
            tokio::spawn(async move {
                let began = Instant::now();
                node.call(spoke, ECHO, Payload::default()).await?;
                anyhow::Ok(u32::try_from(began.elapsed().as_nanos()).unwrap_or(u32::MAX))
            })
            .await?
        }
    });
    Ok(percentiles(calls.buffer_unordered(at_once).try_collect().await?))
}

/// Sends a message to each spoke.
async fn send_all(node: &Node, spokes: &[LogicalAddr]) -> Result<Option<Latency>> {
    for spoke in spokes {
        node.send_bytes(*spoke, DROP, &[]).await?;
    }
    Ok(None)
}
