//! seaway, with many nodes to call and many members to know.
//!
//! The nodes called are all in one process, and know the caller only. Members that nobody runs are
//! known to the caller.

use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use seaway::discovery::{InProcess, Member};
use seaway::{LogicalAddr, Method, Node};
use tokio::time::interval;

use crate::peers::{Client, Hits, Payload, Peer};
use crate::workload::Workload;

/// Its name for those who start it.
pub const NAME: &str = "seaway, many";

const ECHO: Method<Payload, Payload> = Method::new("bench.Echo/Echo");
const CALLER: LogicalAddr = LogicalAddr::new(1, 1, 1);
/// Members of a type, their ids have 12 bits, and of a group.
const OF_A_TYPE: usize = 4_000;
const OF_A_GROUP: usize = 100_000;
/// How often one of the members changes.
const CHANGE_EVERY: Duration = Duration::from_millis(10);

/// See the module.
#[derive(Debug)]
pub struct Many;

impl Peer for Many {
    const NAME: &'static str = NAME;
    type Server = Vec<Node>;
    type Client = Caller;

    async fn serve(hits: Hits, workload: Workload) -> Result<(Self::Server, String)> {
        let (mut nodes, mut ports) = (Vec::new(), Vec::new());
        for number in 0..workload.nodes {
            let (listener, network) = listener()?;
            let (address, hits) = (node(number)?, hits.clone());
            let discovery = InProcess::new();
            discovery.put(Member::new(CALLER, "127.0.0.1:1"))?;
            discovery.put(Member::new(address, &network))?;
            let node = Node::builder(address).discovery(discovery).listener(listener);
            let node = node.on_call(ECHO, move |_, payload| {
                hits.hit();
                std::future::ready(Ok(payload))
            });
            nodes.push(node.start().await?);
            ports.push(network);
        }
        Ok((nodes, ports.join(" ")))
    }

    async fn connect(addr: &str, workload: Workload) -> Result<Self::Client> {
        let discovery = InProcess::new();
        let (listener, network) = listener()?;
        discovery.put(Member::new(CALLER, network))?;
        let mut nodes = Vec::new();
        for (number, network) in addr.split_whitespace().enumerate() {
            nodes.push(node(number)?);
            discovery.put(Member::new(node(number)?, network))?;
        }
        for number in 0..workload.members {
            discovery.put(member(number)?)?;
        }
        let builder = Node::builder(CALLER).discovery(discovery.clone()).listener(listener);
        let node = builder.start().await?;
        if workload.members > 0 {
            tokio::spawn(keep_changing(discovery, workload.members));
        }
        Ok(Caller { node, nodes, turn: AtomicUsize::new(0) })
    }
}

fn listener() -> Result<(TcpListener, String)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let network = listener.local_addr()?.to_string();
    Ok((listener, network))
}

/// The address of the node with this number.
fn node(number: usize) -> Result<LogicalAddr> {
    Ok(format!("1.2.{number}").parse()?)
}

/// The member with this number, in a group of its own, where nobody is called.
fn member(number: usize) -> Result<Member> {
    let group = 2 + number / OF_A_GROUP;
    let node_type = 3 + number % OF_A_GROUP / OF_A_TYPE;
    let address: LogicalAddr = format!("{group}.{node_type}.{}", number % OF_A_TYPE).parse()?;
    Ok(Member::new(address, "127.0.0.1:1").exported(true))
}

/// Makes one of the members after another unavailable, or available again.
async fn keep_changing(discovery: InProcess, members: usize) -> Result<()> {
    let mut ticks = interval(CHANGE_EVERY);
    for change in 0_usize.. {
        ticks.tick().await;
        // Not one beside the last one, and not the same twice in a row.
        let address = member(change * 7_919 % members)?.address;
        discovery.set_available(address, change / members % 2 == 1)?;
    }
    Ok(())
}

/// Calls one node after another.
#[derive(Debug)]
pub struct Caller {
    node: Node,
    nodes: Vec<LogicalAddr>,
    turn: AtomicUsize,
}

impl Client for Caller {
    type Reply = Bytes;

    async fn call(&self, payload: &Bytes, reply: &mut Bytes) -> Result<()> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let to = self.nodes[turn % self.nodes.len()];
        let request = Payload { bytes: payload.clone() };
        *reply = self.node.call(to, ECHO, request).await?.bytes;
        Ok(())
    }
}
