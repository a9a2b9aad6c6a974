//! What the tests of whole clusters share.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

pub mod events;
pub mod messages;
pub mod process;
pub mod proxy;
pub mod recorder;

use std::collections::HashMap;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use seaway::discovery::{InProcess, Member};
use seaway::{Builder, CallError, LogicalAddr, Message, Method, Node, Reason};
use socket2::{Domain, Socket, Type};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

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
pub const COUNT: Method<Number, Number> = Method::new("test.Echo/Count");

pub fn text(text: &str) -> Text {
    Text { text: text.to_owned() }
}

pub fn number(number: u64) -> Number {
    Number { number }
}

pub fn addr(text: &str) -> LogicalAddr {
    text.parse().unwrap()
}

/// Addresses that discovery knows from the start, so that it matters to no test which node starts
/// first: what discovery says later reaches running nodes a little later.
const KNOWN: [&str; 5] = ["1.1.1", "1.1.2", "1.2.1", "1.2.2", "1.3.1"];

/// Nodes in this process that find each other.
#[derive(Clone)]
pub struct Cluster {
    pub discovery: InProcess,
    /// The bound sockets of the members that have not started.
    sockets: Arc<Mutex<HashMap<String, Socket>>>,
}

impl Cluster {
    /// A cluster without members.
    pub fn empty() -> Self {
        trace();
        Self { discovery: InProcess::new(), sockets: Arc::default() }
    }

    /// A cluster whose usual members are known before they start.
    pub fn new() -> Self {
        let cluster = Self::empty();
        for address in KNOWN {
            let socket = cluster.declare(address);
            cluster.sockets.lock().unwrap().insert(address.to_owned(), socket);
        }
        cluster
    }

    /// Puts a member with a port of its own into discovery.
    fn declare(&self, address: &str) -> Socket {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_reuse_address(true).unwrap();
        let any: std::net::SocketAddr = "127.0.0.1:0".parse().unwrap();
        socket.bind(&any.into()).unwrap();
        let network = socket.local_addr().unwrap().as_socket().unwrap().to_string();
        self.discovery.put(Member::new(addr(address), network)).unwrap();
        socket
    }

    /// A builder with a bound port that discovery knows.
    pub fn builder(&self, address: &str) -> Builder {
        self.absent(address).builder()
    }

    /// A member of discovery that does not run: its port is taken, and nobody listens on it.
    pub fn absent(&self, address: &str) -> Absent {
        let known = self.sockets.lock().unwrap().remove(address);
        let socket = known.unwrap_or_else(|| self.declare(address));
        let network = socket.local_addr().unwrap().as_socket().unwrap().to_string();
        let discovery = self.discovery.clone();
        Absent { address: address.to_owned(), network, discovery, socket }
    }

    /// What discovery says of a member.
    pub fn member(&self, address: &str) -> Member {
        let address = addr(address);
        self.discovery.members().into_iter().find(|member| member.address == address).unwrap()
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

/// See [`Cluster::absent`].
pub struct Absent {
    address: String,
    pub network: String,
    discovery: InProcess,
    socket: Socket,
}

impl Absent {
    /// A builder for the member; from now on its port accepts connections.
    pub fn builder(self) -> Builder {
        self.socket.listen(1024).unwrap();
        let listener = TcpListener::from(self.socket);
        Node::builder(self.address).discovery(self.discovery).listener(listener)
    }
}

/// Keeps the thread busy for so long.
pub fn compute(time: Duration) {
    let began = Instant::now();
    while began.elapsed() < time {
        std::hint::spin_loop();
    }
}

/// Waits until something is so, but not for ever.
pub async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let look = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    soon(what, look).await;
}

/// Waits for a future and says how long that took.
pub async fn timed<F: IntoFuture>(what: &str, future: F) -> (F::Output, Duration) {
    let began = Instant::now();
    let output = soon(what, future).await;
    (output, began.elapsed())
}

/// Why a call was not sent; panics on any other outcome.
#[track_caller]
pub fn not_sent<R: std::fmt::Debug>(outcome: Result<R, CallError>) -> (Reason, String) {
    match outcome {
        Err(error @ CallError::NotSent { .. }) if !error.is_safe_to_retry() => unreachable!(),
        Err(CallError::NotSent { reason, detail, .. }) => (reason, detail),
        other => panic!("expected NotSent, got {other:?}"),
    }
}

/// Waits for a future, but not for ever.
pub async fn soon<F: IntoFuture>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("waited in vain for {what}"),
    }
}

/// Shows what nodes log, for those who search: `RUST_LOG=seaway=debug cargo test NAME`.
pub fn trace() {
    let wanted = std::env::var("RUST_LOG").ok().and_then(|wanted| wanted.parse::<Targets>().ok());
    let logs = tracing_subscriber::fmt().with_max_level(LevelFilter::TRACE).with_test_writer();
    drop(logs.finish().with(wanted.unwrap_or_default()).try_init());
}
