//! seaway: a typed call, and a one-way message of bytes, over one link with its defaults.
//!
//! Each process has a discovery of its own that knows both nodes.

use std::net::TcpListener;

use anyhow::Result;
use bytes::Bytes;
use seaway::discovery::{InProcess, Member};
use seaway::{Builder, LogicalAddr, MessageId, Method, Node};

use super::{Client, Duplex, Hits, Peer, serve_stream};
use crate::workload::Workload;

const ECHO: Method<Payload, Payload> = Method::new("bench.Echo/Echo");
const DROP: MessageId = MessageId::of("bench.Drop");

/// What is echoed.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Payload {
    /// Any bytes.
    #[prost(bytes = "bytes", tag = "1")]
    pub bytes: Bytes,
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
        let (message_hits, stream_hits) = (hits.clone(), hits.clone());
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
                message_hits.hit();
                std::future::ready(())
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
        let node = builder(CLIENT, &own, addr)?.listener(listener).start().await?;
        Ok(NodeClient { node, server: server(workload).parse()? })
    }
}

const CLIENT: &str = "1.1.1";
/// The harbor of the client's group, and that of the other.
const NEAR: &str = "1.255.1";
const FAR: &str = "2.255.1";
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

/// A node that can dial the next one only, told as [`told`] does; any port will do for the others.
fn builder(me: &str, addr: &str, next: &str) -> Result<Builder> {
    let discovery = InProcess::new();
    for address in ALL {
        discovery.put(Member::new(address.parse()?, "127.0.0.1:1"))?;
    }
    for (address, network) in [Some((me, addr)), next.split_once(' ')].into_iter().flatten() {
        discovery.put(Member::new(address.parse()?, network))?;
    }
    Ok(Node::builder(me).discovery(discovery))
}

/// The calling node.
#[derive(Debug)]
pub struct NodeClient {
    node: Node,
    server: LogicalAddr,
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

    async fn stream(&self) -> Result<Box<dyn Duplex>> {
        Ok(Box::new(self.node.open_stream(self.server, "bench").await?))
    }
}
