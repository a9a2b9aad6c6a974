//! What the tests share.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

#[cfg(feature = "cli")]
pub mod process;
pub mod raw;

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use seaway::discovery::{Change, Discovery, Event, Member, Watch};
use seaway::{Builder, CallError, Incarnation, LogicalAddr, Method, Node};
use seaway_discovery_mock::{MockDiscovery, Server};

pub const ONE: &str = "1.1.1";
pub const TWO: &str = "1.2.1";
pub const THREE: &str = "1.3.1";

/// How long a test waits for an event before it gives up.
pub const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Clone, PartialEq, prost::Message)]
pub struct Text {
    #[prost(string, tag = "1")]
    pub text: String,
}

pub const ECHO: Method<Text, Text> = Method::new("test.Echo/Echo");

pub fn addr(text: &str) -> LogicalAddr {
    text.parse().unwrap()
}

pub fn run(number: u64) -> Incarnation {
    Incarnation::from_bits(number)
}

pub fn member(address: &str) -> Member {
    Member::new(addr(address), "127.0.0.1:7001")
}

pub async fn server() -> (Server, MockDiscovery) {
    let server = Server::bind("127.0.0.1:0").await.unwrap();
    let client = client(server.local_addr());
    (server, client)
}

pub fn client(at: SocketAddr) -> MockDiscovery {
    MockDiscovery::connect(at.to_string())
}

/// A builder of a node with a socket of its own, and what discovery should say of it.
pub fn builder(address: &str, discovery: impl Discovery + 'static) -> (Member, Builder) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let member = Member::new(addr(address), listener.local_addr().unwrap().to_string());
    let builder = Node::builder(address).discovery(discovery).listener(listener);
    (member, builder.on_call(ECHO, |_, request| async move { Ok(request) }))
}

/// Adds a member and starts its node, which echoes.
pub async fn node(address: &str, discovery: &MockDiscovery) -> Node {
    let (member, builder) = builder(address, discovery.clone());
    discovery.put(member).await.unwrap();
    builder.start().await.unwrap()
}

pub async fn reaches(node: &Node, to: &str) -> Result<(), CallError> {
    let request = Text { text: "hi".to_owned() };
    soon("an outcome", node.call(addr(to), ECHO, request)).await.map(drop)
}

pub fn knows(node: &Node, address: &str) -> bool {
    node.all_members().iter().any(|member| member.address == addr(address))
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

/// Waits for a future, but not for ever.
pub async fn soon<F: IntoFuture>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("waited in vain for {what}"),
    }
}

/// A watch, and what it has told so far.
pub struct Watcher {
    watch: Watch,
    pub revision: u64,
    pub members: BTreeMap<LogicalAddr, Member>,
    pub problems: Vec<String>,
}

impl Watcher {
    pub async fn new(discovery: &MockDiscovery) -> Self {
        let watch = discovery.watch().await.unwrap();
        let (members, problems) = (BTreeMap::new(), Vec::new());
        let mut this = Self { watch, revision: 0, members, problems };
        let Event::Snapshot { .. } = this.next().await else { panic!("no snapshot first") };
        this
    }

    /// The next event; it must make sense.
    pub async fn next(&mut self) -> Event {
        let event = soon("an event", self.watch.next()).await.expect("the watch has ended");
        match &event {
            Event::Snapshot { revision, members } => {
                assert!(*revision >= self.revision, "went back");
                self.revision = *revision;
                let all = members.iter().map(|member| (member.address, member.clone()));
                self.members = all.collect();
            }
            Event::Delta { base, revision, changes } => {
                assert_eq!(*base, self.revision);
                assert!(revision > base);
                self.revision = *revision;
                changes.iter().for_each(|change| self.note(change));
            }
            Event::Problem(problem) => self.problems.push(problem.clone()),
            _ => panic!("{event:?}"),
        }
        event
    }

    /// The changes of the next event.
    pub async fn changes(&mut self) -> Vec<Change> {
        match self.next().await {
            Event::Delta { changes, .. } => changes,
            event => panic!("no changes but {event:?}"),
        }
    }

    fn note(&mut self, change: &Change) {
        match change {
            Change::Put(member) => drop(self.members.insert(member.address, member.clone())),
            Change::Remove(address) => drop(self.members.remove(address)),
            _ => panic!("{change:?}"),
        }
    }

    pub fn all(&self) -> Vec<Member> {
        self.members.values().cloned().collect()
    }

    /// Takes in events until it is so.
    pub async fn until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        soon(what, async {
            while !is_so(self) {
                self.next().await;
            }
        })
        .await;
    }
}
