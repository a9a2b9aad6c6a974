//! What the tests of whole clusters share.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

use std::time::Duration;

use seaway::discovery::{InProcess, Member};
use seaway::{Builder, LogicalAddr, Message, Method, Node};

/// How long a test waits for an event before it gives up.
pub const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Clone, PartialEq, prost::Message)]
pub struct Text {
    #[prost(string, tag = "1")]
    pub text: String,
}

impl Message for Text {
    const NAME: &'static str = "test.Text";
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Number {
    #[prost(uint64, tag = "1")]
    pub number: u64,
}

impl Message for Number {
    const NAME: &'static str = "test.Number";
}

pub const ECHO: Method<Text, Text> = Method::new("test.Echo/Echo");

pub fn text(text: &str) -> Text {
    Text { text: text.to_owned() }
}

pub fn addr(text: &str) -> LogicalAddr {
    text.parse().unwrap()
}

/// Nodes in this process that find each other.
#[derive(Clone, Default)]
pub struct Cluster {
    pub discovery: InProcess,
}

impl Cluster {
    pub fn new() -> Self {
        Self { discovery: InProcess::new() }
    }

    /// A builder with a bound port that discovery knows.
    pub fn builder(&self, address: &str) -> Builder {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let network = listener.local_addr().unwrap().to_string();
        self.discovery.put(Member::new(addr(address), network)).unwrap();
        Node::builder(address).discovery(self.discovery.clone()).listener(listener)
    }

    /// A node that serves nothing.
    pub async fn node(&self, address: &str) -> Node {
        self.builder(address).start().await.unwrap()
    }

    /// A node that echoes.
    pub async fn echo(&self, address: &str) -> Node {
        let builder = self.builder(address);
        builder.on_call(ECHO, |_, request| async move { Ok(request) }).start().await.unwrap()
    }
}

/// Waits for a future, but not for ever.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("waited in vain for {what}"),
    }
}
