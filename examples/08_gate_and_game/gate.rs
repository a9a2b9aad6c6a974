//! The gate: players come by TCP, and each goes on by a stream to the game that it belongs to.

use std::time::Duration;

use seaway::{LogicalAddr, MessageReader, MessageWriter, Node, NodeType, Pick, Stream};
use seaway_testproto::arena::{Ping, State, ToGame, ToGate};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, split};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::{select, spawn, try_join};

use crate::{Result, must, process};

pub(crate) const GAMES: NodeType = NodeType::new(2);

type Pings = MessageReader<OwnedReadHalf>;
type Pongs = MessageWriter<OwnedWriteHalf>;

/// Runs until its parent wants it to end.
pub(crate) async fn run(address: LogicalAddr, discovery: &str) -> Result<()> {
    let node = process::join(Node::builder(address), address, discovery).await?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    select! {
        served = serve(&node, listener) => served?,
        () = process::until_parent_ends_it() => {}
    }
    let report = node.shutdown(Duration::from_secs(5)).await;
    must(report.is_clean(), || format!("{address} gave up: {report:?}"))
}

async fn serve(node: &Node, listener: TcpListener) -> Result<()> {
    loop {
        let (tcp, _) = listener.accept().await?;
        let node = node.clone();
        spawn(async move {
            if let Err(error) = player(node, tcp).await {
                eprintln!("gate: a player is dropped: {error}");
            }
        });
    }
}

/// One player, from the first game to the last one.
async fn player(node: Node, mut tcp: TcpStream) -> Result<()> {
    tcp.set_nodelay(true)?;
    // A player says first who it is. A real one would have to prove it.
    let number = tcp.read_u32().await?;
    let (reader, writer) = tcp.into_split();
    let mut pings = MessageReader::new(reader);
    let mut pongs = MessageWriter::new(writer);
    let mut state = Some(State::default());
    while let Some(known) = state {
        // The same game for the same number, as long as it does not stop.
        let game = node.open_stream(Pick::by_key(GAMES, number), "game");
        let game = game.metadata("player", number.to_string()).await?;
        state = stay(&mut pings, &mut pongs, game, known).await?;
    }
    Ok(pongs.finish().await?)
}

/// A player plays at one game, until it goes or the game stops: then the state for the next game.
async fn stay(
    pings: &mut Pings,
    pongs: &mut Pongs,
    game: Stream,
    state: State,
) -> Result<Option<State>> {
    let (reader, writer) = split(game);
    let mut to_game = MessageWriter::new(writer);
    to_game.send(&ToGame { state: Some(state), ..ToGame::default() }).await?;
    let leave = Notify::new();
    // Neither direction waits for the other, or both could for ever.
    let (goes_on, state) = try_join!(
        carry_pings(pings, to_game, &leave),
        carry_pongs(MessageReader::new(reader), pongs, &leave),
    )?;
    Ok(goes_on.then_some(state))
}

/// Until the player goes, or the game wants no more: then the player goes on at another one.
async fn carry_pings(
    pings: &mut Pings,
    mut to_game: MessageWriter<impl AsyncWrite + Unpin>,
    leave: &Notify,
) -> Result<bool> {
    let goes_on = loop {
        let ping = select! {
            ping = pings.next::<Ping>() => ping?,
            // What the player sends from now on waits in its TCP connection.
            () = leave.notified() => break true,
        };
        if ping.is_none() {
            break false;
        }
        to_game.send(&ToGame { ping, ..ToGame::default() }).await?;
    };
    to_game.finish().await?;
    Ok(goes_on)
}

/// Until the game has answered all that it was sent, and ended its direction with the state.
async fn carry_pongs(
    mut from_game: MessageReader<impl AsyncRead + Unpin>,
    pongs: &mut Pongs,
    leave: &Notify,
) -> Result<State> {
    let mut last = None;
    while let Some(ToGate { pong, leave: is_leaving, state }) = from_game.next().await? {
        if let Some(pong) = pong {
            pongs.send(&pong).await?;
        }
        if is_leaving {
            leave.notify_one();
        }
        last = state;
    }
    last.ok_or_else(|| "a game has ended without a last word".into())
}
