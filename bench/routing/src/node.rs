//! What a whole node makes of changes.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use seaway::discovery::{
    Announcement, Change, Discovery, DiscoveryError, Event, Member, Watch, WatchSender,
};
use seaway::{Incarnation, LogicalAddr, Node, NodeType};
use tokio::runtime::Builder;
use tokio::sync::Mutex;

use crate::layout::{self, Layout, cpu_nanos};

const MEMBERS: u32 = 100_000;
const CHANGES: u32 = 2_000;
/// A type of its own, to see that all before has been taken in.
const LAST: u8 = 254;

/// An engine that keeps nothing: it hands on what it is given.
#[derive(Clone, Debug)]
pub struct Told {
    sender: WatchSender,
    watch: Arc<Mutex<Option<Watch>>>,
}

impl Told {
    pub fn new() -> Self {
        let (sender, watch) = Watch::channel(1);
        Self { sender, watch: Arc::new(Mutex::new(Some(watch))) }
    }

    pub async fn tell(&self, event: Event) -> Result<()> {
        Ok(self.sender.send(event).await?)
    }
}

#[async_trait]
impl Discovery for Told {
    async fn watch(&self) -> Result<Watch, DiscoveryError> {
        let watch = self.watch.lock().await.take();
        watch.ok_or_else(|| DiscoveryError::Unreachable("watched already".into()))
    }

    async fn announce(&self, _: &Announcement) -> Result<(), DiscoveryError> {
        Ok(())
    }

    async fn withdraw(&self, _: LogicalAddr, _: Incarnation) -> Result<(), DiscoveryError> {
        Ok(())
    }
}

pub fn member(layout: Layout, number: u32) -> Member {
    let (group, node_type, id) = layout.place(number);
    let address = LogicalAddr::new(group, node_type, id);
    Member::new(address, layout::network(number)).exported(true)
}

/// Starts a node that knows the members.
pub async fn start(engine: &Told, members: Vec<Member>) -> Result<Node> {
    let me = members.first().context("nobody")?.address;
    engine.tell(Event::Snapshot { revision: 1, members }).await?;
    let builder = Node::builder(me).discovery(engine.clone());
    Ok(builder.listen("127.0.0.1:0").start().await?)
}

pub fn measure() -> Result<()> {
    println!("### A node that knows 100,000 members, on one thread\n");
    println!("| members in | start, ms | one change, µs | from told to seen, µs |");
    println!("|---|---|---|---|");
    for layout in layout::ALL {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(of(layout))?;
    }
    println!();
    Ok(())
}

async fn of(layout: Layout) -> Result<()> {
    let engine = Told::new();
    let members: Vec<_> = (0..MEMBERS).map(|number| member(layout, number)).collect();
    let begun = cpu_nanos();
    let node = start(&engine, members).await?;
    let start = (cpu_nanos() - begun) as f64 / 1e6;

    let mut revision = 1;
    let mut change = |change| {
        let (base, changes) = (revision, vec![change]);
        revision += 1;
        Event::Delta { base, revision, changes }
    };
    let last = Member::new(LogicalAddr::new(1, LAST, 1), "127.0.0.1:1");
    let is_there = |node: &Node| node.members(NodeType::new(LAST)).next().is_some();
    let is_gone = |node: &Node| !is_there(node);

    let begun = cpu_nanos();
    for count in 0..CHANGES {
        let mut member = member(layout, 1 + count * 37);
        member.available = false;
        engine.tell(change(Change::Put(member))).await?;
    }
    engine.tell(change(Change::Put(last.clone()))).await?;
    node.members_until(is_there).await;
    let each = (cpu_nanos() - begun) as f64 / 1e3 / f64::from(1 + CHANGES);

    let mut seen = Vec::new();
    for _ in 0..1_000 {
        engine.tell(change(Change::Remove(last.address))).await?;
        node.members_until(is_gone).await;
        let begun = cpu_nanos();
        engine.tell(change(Change::Put(last.clone()))).await?;
        node.members_until(is_there).await;
        seen.push(cpu_nanos() - begun);
    }
    seen.sort_unstable();
    let median = seen.get(500).map_or(0.0, |seen| *seen as f64 / 1e3);
    println!("| {} | {start:.0} | {each:.1} | {median:.1} |", layout.name);
    node.shutdown(Duration::from_secs(1)).await;
    Ok(())
}
