//! seaway: a typed call, and a one-way message of bytes, over one link with its defaults.
//!
//! Each process has a discovery of its own that knows both nodes.

use std::net::TcpListener;

use anyhow::Result;
use bytes::Bytes;
use seaway::discovery::{InProcess, Member};
use seaway::{Builder, LogicalAddr, MessageId, Method, Node};

use super::{Client, Hits, Peer};

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

    async fn serve(hits: Hits) -> Result<(Self::Server, String)> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let addr = listener.local_addr()?.to_string();
        let message_hits = hits.clone();
        // The server never dials the client, so any port will do.
        let node = builder("1.2.1", &addr, "127.0.0.1:1")?
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
            .start()
            .await?;
        Ok((node, addr))
    }

    async fn connect(addr: &str) -> Result<Self::Client> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let own = listener.local_addr()?.to_string();
        let node = builder("1.1.1", addr, &own)?.listener(listener).start().await?;
        Ok(NodeClient { node, server: "1.2.1".parse()? })
    }
}

fn builder(address: &str, server: &str, client: &str) -> Result<Builder> {
    let discovery = InProcess::new();
    discovery.put(Member::new("1.2.1".parse()?, server))?;
    discovery.put(Member::new("1.1.1".parse()?, client))?;
    Ok(Node::builder(address).discovery(discovery))
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
}
