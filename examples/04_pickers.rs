//! Whom a call is for: not a certain node, but one of a type, picked anew for each call.
//!
//! `cargo run --example pickers`

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::time::Duration;

use seaway::discovery::InProcess;
use seaway::{Context, Node, NodeType, Pick, Status};
use seaway_testproto::hotel::{BookReply, BookRequest, desk};
use tokio::time::timeout;

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;
const DESKS: NodeType = NodeType::new(2);

/// Says which one it is.
struct Desk;

impl desk::Service for Desk {
    async fn book(&self, cx: &Context, _: BookRequest) -> Result<BookReply, Status> {
        Ok(BookReply { by: cx.node().address().to_string() })
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    timeout(Duration::from_secs(10), story()).await?
}

async fn story() -> Result<()> {
    let members = InProcess::new();
    let node = |address| Node::builder(address).in_process(&members);
    let places = [("1.2.1", "east", "1"), ("1.2.2", "west", "9"), ("1.2.3", "west", "0")];
    let mut desks = Vec::new();
    for (address, zone, weight) in places {
        let desk = node(address).label("zone", zone).label("weight", weight);
        desks.push(desk.serve(desk::Server::new(Desk)).start().await?);
    }
    let node = node("1.1.1").label("zone", "west").start().await?;
    let [one, two, three] = places.map(|(address, ..)| address.to_owned());

    let any = shares(&node, "any", Pick::any(DESKS)).await?;
    assert_eq!(any.len(), 3, "each gets some");
    let turns = shares(&node, "round robin", Pick::round_robin(DESKS)).await?;
    assert!(turns.values().all(|count| *count == 100), "all get as many");
    let weighted = shares(&node, "weights 1, 9 and 0", Pick::weighted(DESKS)).await?;
    assert!(weighted[&two] > weighted[&one] && !weighted.contains_key(&three));
    let near = shares(&node, "near", Pick::any(DESKS).near()).await?;
    assert!(near.len() == 2 && !near.contains_key(&one), "only those in the west");
    let key = shares(&node, "the key ann", Pick::by_key(DESKS, "ann")).await?;
    assert_eq!(key.len(), 1, "always the same");
    let last = Pick::with(DESKS, |desks| desks.last().map(|desk| desk.address));
    let last = shares(&node, "a closure", last).await?;
    assert_eq!(last[&three], 300, "the one that it chose");

    for member in node.members(DESKS) {
        desk::book(&node, member.address, BookRequest::default()).await?;
    }
    println!("all: each of {} members was called by its address", node.members(DESKS).count());

    // One leaves: discovery says so, and of the guests only its own move, to all others.
    let before = desks_of_guests(&node).await?;
    desks.remove(1).shutdown(Duration::from_secs(1)).await;
    node.members_until(|node| node.members(DESKS).count() == 2).await;
    let after = desks_of_guests(&node).await?;
    let moved = before.iter().zip(&after).filter(|(before, after)| before != after);
    println!("{two} leaves: of 300 guests {} move, all of them its own", moved.clone().count());
    let (from, to): (BTreeSet<_>, BTreeSet<_>) = moved.unzip();
    assert_eq!((from, to), (BTreeSet::from([&two]), BTreeSet::from([&one, &three])));

    let outcome = desk::book(&node, Pick::any(NodeType::new(9)), BookRequest::default()).await;
    println!("nobody: {}", outcome.err().ok_or("nobody is there, and it was answered")?);
    Ok(())
}

/// Who answers how many of 300 calls.
async fn shares(node: &Node, name: &str, pick: Pick) -> Result<BTreeMap<String, u32>> {
    let mut shares = BTreeMap::new();
    for _ in 0..300 {
        let reply = desk::book(node, pick.clone(), BookRequest::default()).await?;
        *shares.entry(reply.by).or_default() += 1;
    }
    let words: Vec<_> = shares.iter().map(|(desk, calls)| format!("{desk} {calls}")).collect();
    println!("{name}: {}", words.join(", "));
    Ok(shares)
}

/// Which desk each of 300 guests is sent to.
async fn desks_of_guests(node: &Node) -> Result<Vec<String>> {
    let mut desks = Vec::new();
    for guest in 0..300_u32 {
        let reply = desk::book(node, Pick::by_key(DESKS, guest), BookRequest::default()).await?;
        desks.push(reply.by);
    }
    Ok(desks)
}
