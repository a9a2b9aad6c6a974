//! One-way messages: lines said in a chat room arrive in order; when there is no room for another,
//! `try_send` says so and `send` waits; and what does not arrive comes back with its reason.
//!
//! `cargo run --example messages`

use std::error::Error;
use std::time::Duration;

use seaway::discovery::InProcess;
use seaway::{Config, LogicalAddr, Node, Reason, Undeliverable};
use seaway_testproto::chat::{Joined, Line};
use tokio::sync::mpsc::unbounded_channel;
use tokio::time::timeout;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

#[tokio::main]
async fn main() -> Result<()> {
    timeout(Duration::from_secs(10), story()).await?
}

async fn story() -> Result<()> {
    let (room, closed) = (LogicalAddr::new(1, 2, 1), LogicalAddr::new(1, 2, 2));
    let members = InProcess::new();
    let node = |address| Node::builder(address).in_process(&members);
    let [ann, lobby, _] = [LogicalAddr::new(1, 1, 1), room, closed].map(node);

    // A small outbox, to see it full.
    let mut config = Config::default();
    config.frame_bytes_max = 4 << 10;
    config.outbox_bytes_max = 4 << 10;
    let (tell, mut notices) = unbounded_channel();
    let ann = ann.config(config).on_undeliverable(move |notice| drop(tell.send(notice)));
    let ann = ann.start().await?;

    // The room has a port, but is not open yet: lines wait for it in the outbox of Ann's node.
    let mut waiting = 0;
    let full = loop {
        match ann.try_send(room, &line(waiting)) {
            Ok(()) => waiting += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(full.reason, Reason::Full, "try_send says that the outbox is full");
    println!("{waiting} lines wait; try_send: {full}");

    // `send` waits for room. Given up before it is done, it has sent nothing.
    let given_up = timeout(Duration::from_millis(50), ann.send(room, &line(waiting))).await;
    assert!(given_up.is_err(), "send waits while the outbox is full");
    println!("send waits as well");

    // The room opens. Who sends is held back to the pace at which lines leave.
    let (say, mut heard) = unbounded_channel();
    let lobby = lobby.on_message(move |_, line: Line| {
        drop(say.send(line));
        async {}
    });
    let lobby = lobby.start().await?;
    for number in waiting..1000 {
        ann.send(room, &line(number)).await?;
    }
    for number in 0..1000 {
        assert_eq!(heard.recv().await, Some(line(number)), "lines are heard as they were said");
    }
    println!("the room opens, and hears 1000 lines in order, each of them once");

    // Nobody there handles this type: it comes back from the room.
    ann.send(room, &Joined { name: "Ann".into() }).await?;
    let notice = notices.recv().await.ok_or("no notice")?;
    let Undeliverable::Bounced { reason: Reason::UnknownMessage, hop, .. } = &notice else {
        return Err(format!("not the reason: {notice}").into());
    };
    assert_eq!(*hop, Some(room), "the room sends it back");
    println!("{notice}");

    // Nobody listens there. The line waits, and comes back when discovery drops the member.
    ann.send(closed, &line(0)).await?;
    members.remove(closed);
    let notice = notices.recv().await.ok_or("no notice")?;
    let Undeliverable::Bounced { reason: Reason::NotAMember, hop: None, .. } = &notice else {
        return Err(format!("not the reason: {notice}").into());
    };
    println!("{notice}");

    let stats = ann.stats();
    assert_eq!((stats.accepted, stats.bounced, stats.lost), (1002, 2, 0), "all are accounted for");
    println!(
        "of {} messages {} came back and {} are lost",
        stats.accepted, stats.bounced, stats.lost
    );
    lobby.shutdown(Duration::from_secs(1)).await;
    Ok(())
}

fn line(number: u32) -> Line {
    Line { text: format!("line {number}") }
}
