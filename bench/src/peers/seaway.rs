//! seaway: typed calls, one-way messages and streams, over one link with its defaults.
//!
//! Each process has a discovery of its own that knows both nodes.

use std::net::TcpListener;
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use seaway::discovery::{InProcess, Member};
use seaway::{Builder, LogicalAddr, Message, MessageId, Method, Node};
use tokio::io::AsyncWriteExt as _;
use tokio::time::sleep;

use super::{Client, Duplex, Hits, Payload, Peer, serve_stream};
use crate::workload::Workload;

const ECHO: Method<Payload, Payload> = Method::new("bench.Echo/Echo");
const DROP: MessageId = MessageId::of("bench.Drop");

impl Message for Payload {
    const NAME: &'static str = "bench.Payload";
}

/// seaway.
#[derive(Debug)]
pub struct Seaway;

impl Peer for Seaway {
    const NAME: &'static str = "seaway";
    type Server = Node;
    type Client = NodeClient;

    fn can(_: &Workload) -> bool {
        true
    }

    async fn serve(hits: Hits, workload: Workload) -> Result<(Self::Server, String)> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let addr = listener.local_addr()?.to_string();
        let (raw_hits, typed_hits, stream_hits) = (hits.clone(), hits.clone(), hits.clone());
        let node = builder(server(workload), &addr, "")?
            .listener(listener)
            .on_call(ECHO, move |_, payload| {
                let hits = hits.clone();
                async move {
                    hits.hit();
                    Ok(payload)
                }
            })
            .on_bytes(DROP, move |_, _| {
                raw_hits.hit();
                std::future::ready(())
            })
            .on_message(move |_, _: Payload| {
                typed_hits.hit();
                std::future::ready(())
            })
            .on_stream("drop", |_, mut stream| async move {
                tokio::io::copy(&mut stream, &mut tokio::io::sink()).await.ok();
            })
            .on_stream("bench", move |_, stream| {
                serve_stream(stream, stream_hits.clone(), workload)
            })
            .start()
            .await?;
        Ok((node, told(server(workload), &addr)))
    }

    async fn relay(workload: Workload, to: &str) -> Result<(Self::Server, String)> {
        // The one that hands on to a member is the harbor of its group.
        let me = if workload.relays == 2 && to.starts_with(server(workload)) { FAR } else { NEAR };
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let addr = listener.local_addr()?.to_string();
        let node = builder(me, &addr, to)?.listener(listener).start().await?;
        Ok((node, told(me, &addr)))
    }

    async fn connect(addr: &str, workload: Workload) -> Result<Self::Client> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let own = listener.local_addr()?.to_string();
        let discovery = members(CLIENT, &own, addr)?;
        let builder = Node::builder(CLIENT).discovery(discovery.clone());
        let (node, server) = (builder.listener(listener).start().await?, server(workload).parse()?);
        let mut stalled = None;
        if workload.is_troubled {
            let slow = Node::builder(SLOW).in_process(&discovery);
            stalled = Some(slow.on_bytes(DROP, |_, _| std::future::pending()).start().await?);
            discovery.put(Member::new(DEAD.parse()?, "127.0.0.1:1"))?;
            make_trouble(&node, server).await?;
        }
        Ok(NodeClient { node, server, _stalled: stalled })
    }
}

const CLIENT: &str = "1.1.1";
/// The harbor of the client's group, and that of the other.
const NEAR: &str = "1.255.1";
const FAR: &str = "2.255.1";
/// One that nobody runs, and one whose handler never ends.
const DEAD: &str = "1.2.8";
const SLOW: &str = "1.2.9";
const ALL: [&str; 5] = [CLIENT, NEAR, FAR, "1.2.1", "2.2.1"];

/// Who serves: in the client's group, the harbor of the other one, or a member of that.
const fn server(workload: Workload) -> &'static str {
    match workload.relays {
        0 => "1.2.1",
        1 => FAR,
        _ => "2.2.1",
    }
}

/// What the process before this one is told: who this is, and where.
fn told(me: &str, addr: &str) -> String {
    format!("{me} {addr}")
}

/// A node that can dial the next one only, told as [`told`] does.
fn builder(me: &str, addr: &str, next: &str) -> Result<Builder> {
    Ok(Node::builder(me).discovery(members(me, addr, next)?))
}

/// Any port will do for those that are not dialled.
fn members(me: &str, addr: &str, next: &str) -> Result<InProcess> {
    let discovery = InProcess::new();
    for address in ALL {
        discovery.put(Member::new(address.parse()?, "127.0.0.1:1"))?;
    }
    for (address, network) in [Some((me, addr)), next.split_once(' ')].into_iter().flatten() {
        discovery.put(Member::new(address.parse()?, network))?;
    }
    Ok(discovery)
}

/// Keeps a node busy with a peer that does not take what it is sent, one that is not there, and a
/// stream to the server, all of it at rates that leave a healthy peer its share of the machine.
async fn make_trouble(node: &Node, server: LogicalAddr) -> Result<()> {
    let (dead, slow): (LogicalAddr, LogicalAddr) = (DEAD.parse()?, SLOW.parse()?);
    let caller = node.clone();
    tokio::spawn(async move {
        loop {
            let call = caller.call(dead, ECHO, Payload::default());
            call.within(Duration::from_millis(100)).await.ok();
        }
    });
    let sender = node.clone();
    tokio::spawn(async move {
        loop {
            // Most of them find the outbox full.
            sender.try_send_bytes(slow, DROP, &[0; 1024]).ok();
            sleep(Duration::from_millis(1)).await;
        }
    });
    let mut bulk = node.open_stream(server, "drop").await?;
    tokio::spawn(async move {
        while bulk.write_all(&[0; 64 << 10]).await.is_ok() {
            sleep(Duration::from_millis(1)).await;
        }
    });
    Ok(())
}

/// The calling node.
#[derive(Debug)]
pub struct NodeClient {
    node: Node,
    server: LogicalAddr,
    _stalled: Option<Node>,
}

impl Client for NodeClient {
    type Reply = Bytes;

    async fn call(&self, payload: &Bytes, reply: &mut Bytes) -> Result<()> {
        let request = Payload { bytes: payload.clone() };
        *reply = self.node.call(self.server, ECHO, request).await?.bytes;
        Ok(())
    }

    async fn send(&self, payload: &Bytes) -> Result<()> {
        Ok(self.node.send_bytes(self.server, DROP, payload).await?)
    }

    async fn send_typed(&self, payload: &Bytes) -> Result<()> {
        let message = Payload { bytes: payload.clone() };
        Ok(self.node.send(self.server, &message).await?)
    }

    async fn stream(&self) -> Result<Box<dyn Duplex>> {
        Ok(Box::new(self.node.open_stream(self.server, "bench").await?))
    }
}
