//! A game server: each player has a stream from the gate, and a handler here.

use std::pin::pin;
use std::time::Duration;

use seaway::{Context, LogicalAddr, MessageError, MessageReader, MessageWriter, Node, Stream};
use seaway_testproto::arena::{Ping, Pong, State, ToGame, ToGate};
use tokio::io::split;
use tokio::select;

use crate::{Result, must, process};

/// Runs until its parent wants it to end; then its players move to another game.
pub(crate) async fn run(address: LogicalAddr, discovery: &str) -> Result<()> {
    let builder = Node::builder(address).on_stream("game", move |cx: Context, stream| async move {
        if let Err(error) = play(&cx, stream).await {
            eprintln!("player {} at {address}: {error}", cx.metadata("player").unwrap_or("?"));
        }
    });
    let node = process::join(builder, address, discovery).await?;
    println!("ready");
    process::until_parent_ends_it().await;
    // Ends when the last player has moved.
    let report = node.shutdown(Duration::from_secs(5)).await;
    must(report.is_clean(), || format!("{address} gave up: {report:?}"))
}

/// One player's game.
async fn play(cx: &Context, stream: Stream) -> std::result::Result<(), MessageError> {
    let node = cx.node();
    let run = node.incarnation().bits();
    let (reader, writer) = split(stream);
    let mut from_gate = MessageReader::new(reader);
    let mut to_gate = MessageWriter::new(writer);
    let mut state = State::default();
    let (mut draining, mut is_leaving) = (pin!(node.draining()), false);
    loop {
        let message = select! {
            message = from_gate.next::<ToGame>() => message?,
            _ = &mut draining, if !is_leaving => {
                is_leaving = true;
                to_gate.send(&ToGate { leave: true, ..ToGate::default() }).await?;
                continue;
            }
        };
        match message {
            Some(ToGame { ping: Some(ping), .. }) => {
                state = turn(state, &ping);
                let pong = Pong { state: Some(state), run };
                to_gate.send(&ToGate { pong: Some(pong), ..ToGate::default() }).await?;
            }
            Some(ToGame { state: before, .. }) => state = before.unwrap_or_default(),
            // The gate has ended its direction: this was all, and all of it is answered.
            None => break,
        }
    }
    to_gate.send(&ToGate { state: Some(state), ..ToGate::default() }).await?;
    to_gate.finish().await
}

/// The whole game: it counts, and sums up. A byte that is lost, doubled or out of its order changes
/// all later checksums.
pub(crate) fn turn(State { turns, bytes, checksum }: State, ping: &Ping) -> State {
    let add = |sum: u64, byte: &u8| sum.wrapping_mul(0x100_0000_01b3) ^ (u64::from(*byte) + 1);
    State {
        turns: turns + 1,
        bytes: bytes + ping.bytes.len() as u64,
        checksum: ping.bytes.iter().fold(checksum, add),
    }
}
