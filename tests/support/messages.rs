//! Nodes that send messages and write down what becomes of them.

use std::ops::Range;

use seaway::discovery::Member;
use seaway::{Builder, Node, Stats, Undeliverable};

use super::proxy::Proxy;
use super::recorder::Recorder;
use super::{Cluster, Number, addr, soon, until};

/// The ends of a [`Line`].
pub const FROM: &str = "1.1.1";
pub const TO: &str = "1.2.1";

pub fn number(number: u64) -> Number {
    Number { number }
}

/// Adds a handler that writes the numbers down.
pub fn record(builder: Builder, inbox: &Recorder<u64>) -> Builder {
    let inbox = inbox.clone();
    builder.on_message(move |_, message: Number| {
        inbox.add(message.number);
        async {}
    })
}

/// Writes down what did not arrive.
pub fn notice(builder: Builder, notices: &Recorder<Undeliverable>) -> Builder {
    let notices = notices.clone();
    builder.on_undeliverable(move |notice| notices.add(notice))
}

impl Cluster {
    /// A node that writes down the numbers it gets.
    pub async fn inbox(&self, address: &str) -> (Node, Recorder<u64>) {
        let inbox = Recorder::new();
        let node = record(self.builder(address), &inbox).start().await.unwrap();
        (node, inbox)
    }

    /// A node that writes down what it could not deliver.
    pub async fn sender(&self, address: &str) -> (Node, Recorder<Undeliverable>) {
        let notices = Recorder::new();
        let node = notice(self.builder(address), &notices).start().await.unwrap();
        (node, notices)
    }

    /// A builder of a node that peers reach through a proxy only.
    pub async fn proxied(&self, address: &str) -> (Builder, Proxy) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = Proxy::start(listener.local_addr().unwrap()).await;
        self.discovery.put(Member::new(addr(address), proxy.network())).unwrap();
        (Node::builder(address).discovery(self.discovery.clone()).listener(listener), proxy)
    }
}

/// A node that sends numbers, and one behind a proxy that writes them down. Whatever is between
/// them goes through the proxy: nobody gets to the sender.
pub struct Line {
    pub cluster: Cluster,
    pub sender: Node,
    /// What the sender was told.
    pub notices: Recorder<Undeliverable>,
    pub proxy: Proxy,
    pub receiver: Node,
    /// What the receiver has handled.
    pub inbox: Recorder<u64>,
    _way_back: Proxy,
}

impl Line {
    pub async fn new() -> Self {
        Self::with(|sender| sender, |receiver| receiver).await
    }

    /// A line whose ends are built in another way.
    pub async fn with(
        sender: impl FnOnce(Builder) -> Builder,
        receiver: impl FnOnce(Builder) -> Builder,
    ) -> Self {
        let (cluster, notices, inbox) = (Cluster::empty(), Recorder::new(), Recorder::new());
        // Both are members before either starts.
        let (to, proxy) = cluster.proxied(TO).await;
        let (from, way_back) = cluster.proxied(FROM).await;
        way_back.refuse(true);
        let receiver = receiver(record(to, &inbox)).start().await.unwrap();
        let sender = sender(notice(from, &notices)).start().await.unwrap();
        Self { cluster, sender, notices, proxy, receiver, inbox, _way_back: way_back }
    }

    /// Sends numbers, each as soon as there is room.
    pub async fn send(&self, numbers: Range<u64>) {
        for n in numbers {
            soon("room", self.sender.send(addr(TO), &number(n))).await.unwrap();
        }
    }

    /// Waits until all that was accepted has an end; the sender's numbers.
    pub async fn settled(&self) -> Stats {
        settled(&self.sender, &self.inbox).await
    }
}

/// Waits until what the sender accepted is what was handled, came back or is lost, and returns the
/// sender's numbers.
pub async fn settled(sender: &Node, inbox: &Recorder<u64>) -> Stats {
    let is_settled = || {
        let Stats { accepted, bounced, lost, .. } = sender.stats();
        accepted == inbox.len() as u64 + bounced + lost
    };
    until("the account to be settled", is_settled).await;
    sender.stats()
}

/// The notices of a loss: at most, exactly.
pub fn losses(notices: &[Undeliverable]) -> Vec<(u64, Option<u64>)> {
    let loss = |notice: &Undeliverable| match notice {
        Undeliverable::Lost { at_most, exactly, .. } => Some((*at_most, *exactly)),
        _ => None,
    };
    notices.iter().filter_map(loss).collect()
}
