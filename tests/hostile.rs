//! Real nodes against peers made by hand, which know the wire and break its rules.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

mod support;

#[path = "hostile/child.rs"]
mod child;
#[path = "hostile/floods.rs"]
mod floods;
#[path = "hostile/frames.rs"]
mod frames;
#[path = "hostile/handshake.rs"]
mod handshake;
#[path = "hostile/links.rs"]
mod links;
#[path = "hostile/memory.rs"]
mod memory;
#[path = "hostile/nonsense.rs"]
mod nonsense;
#[path = "hostile/resources.rs"]
mod resources;
#[path = "hostile/stalls.rs"]
mod stalls;
#[path = "hostile/strangers.rs"]
mod strangers;
#[path = "hostile/streams.rs"]
mod streams;

#[path = "support/raw/mod.rs"]
mod raw;

use std::future::IntoFuture;
use std::net::SocketAddr;

use seaway::discovery::Member;
use seaway::{Builder, CallError, Config, Node};
use support::{Cluster, ECHO, Text, addr, soon, text};

/// The node under test.
const NODE: &str = "1.2.1";
/// The peer made by hand.
const PEER: &str = "1.1.9";
/// A node beside it that keeps to the rules.
const FRIEND: &str = "1.1.1";

const SECRET: [u8; 32] = [7; 32];
const OTHER_SECRET: [u8; 32] = [8; 32];

/// A node that echoes, and a friend of it.
struct Scene {
    cluster: Cluster,
    node: Node,
}

impl Scene {
    async fn new() -> Self {
        Self::with(|builder| builder).await
    }

    async fn with(change: impl FnOnce(Builder) -> Builder) -> Self {
        let cluster = Cluster::new();
        // Nobody listens there: the peer dials.
        cluster.discovery.put(Member::new(addr(PEER), "127.0.0.1:1")).unwrap();
        let builder = change(cluster.builder(NODE));
        let echo = builder.on_call(ECHO, |_, request| async move { Ok(request) });
        Self { node: echo.start().await.unwrap(), cluster }
    }

    fn at(&self) -> SocketAddr {
        self.node.local_addr()
    }

    /// Calls the node under test from a node that keeps to the rules.
    async fn friend_calls(&self, friend: &Node) {
        assert_eq!(echo(friend, NODE).await, Ok(text("hi")));
    }
}

async fn echo(node: &Node, to: &str) -> Result<Text, CallError> {
    soon("the reply", node.call(addr(to), ECHO, text("hi")).into_future()).await
}

fn config(change: impl FnOnce(&mut Config)) -> Config {
    let mut config = Config::default();
    change(&mut config);
    config
}

/// The bytes of `text("hi")`.
const HI: &[u8] = b"\x0a\x02hi";
