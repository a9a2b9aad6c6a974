//! Streams of bytes between nodes.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod support;

#[path = "streams/basics.rs"]
mod basics;
#[path = "streams/drains.rs"]
mod drains;
#[path = "streams/ends.rs"]
mod ends;
#[path = "streams/life.rs"]
mod life;
#[path = "streams/limits.rs"]
mod limits;
#[path = "streams/many.rs"]
mod many;
#[path = "streams/picks.rs"]
mod picks;

use std::fmt::Debug;
use std::io;

use seaway::{Break, Builder, Config, Node, Stream, StreamError};
use support::messages::Line;
use support::{Cluster, addr, soon};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy, split};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

const NEAR: &str = "1.1.1";
const FAR: &str = "1.2.1";

/// Run again as a child, this is the child's part.
#[test]
fn a_child_with_streams_is_another_process() {
    support::process::be_a_child();
}

fn config(change: impl FnOnce(&mut Config)) -> Config {
    let mut config = Config::default();
    change(&mut config);
    config
}

/// Serves streams: what comes goes back, and the end as well.
fn echo(builder: Builder) -> Builder {
    builder.on_stream("echo", |_, stream| async move {
        let (mut reader, mut writer) = split(stream);
        copy(&mut reader, &mut writer).await.ok();
        writer.shutdown().await.ok();
    })
}

/// Hands the streams that arrive to the test.
fn hand(builder: Builder) -> (Builder, UnboundedReceiver<Stream>) {
    let (sender, arriving) = unbounded_channel();
    let builder = builder.on_stream("hand", move |_, stream| {
        sender.send(stream).ok();
        async {}
    });
    (builder, arriving)
}

/// Two nodes, and the streams that arrive at one of them.
struct Pair {
    near: Node,
    far: Node,
    arriving: UnboundedReceiver<Stream>,
}

impl Pair {
    async fn new() -> Self {
        Self::with(Config::default(), Config::default()).await
    }

    async fn with(near: Config, far: Config) -> Self {
        let cluster = Cluster::new();
        let (builder, arriving) = hand(echo(cluster.builder(FAR)).config(far));
        let far = builder.start().await.unwrap();
        let near = echo(cluster.builder(NEAR)).config(near).start().await.unwrap();
        Self { near, far, arriving }
    }

    /// Both ends of a new stream.
    async fn open(&mut self) -> (Stream, Stream) {
        let near = soon("a stream", self.near.open_stream(addr(FAR), "hand")).await.unwrap();
        (near, self.arrived().await)
    }

    async fn arrived(&mut self) -> Stream {
        soon("its other end", self.arriving.recv()).await.unwrap()
    }
}

/// A line, and the streams that arrive at its receiver.
async fn handed_line(near: Config, far: Config) -> (Line, UnboundedReceiver<Stream>) {
    let mut arriving = None;
    let receiver = |receiver| {
        let (builder, streams) = hand(echo(receiver));
        arriving = Some(streams);
        builder.config(far)
    };
    let line = Line::with(|sender| sender.config(near), receiver).await;
    (line, arriving.unwrap())
}

/// Writes all, ends, and reads all that comes until the end.
async fn exchange(mut stream: Stream, bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut back = Vec::new();
    let (mut reader, mut writer) = split(&mut stream);
    let write = async {
        writer.write_all(bytes).await?;
        writer.shutdown().await
    };
    let (written, read) = tokio::join!(write, reader.read_to_end(&mut back));
    written.and(read)?;
    Ok(back)
}

/// What broke a stream.
#[track_caller]
fn cause<T: Debug>(outcome: io::Result<T>) -> Break {
    let error = outcome.unwrap_err();
    StreamError::of(&error).unwrap_or_else(|| panic!("not of a stream: {error}")).cause
}

/// Reads to the end, which must be a break; what came until then, and the break.
async fn read_broken(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> (Vec<u8>, Break) {
    let mut read = Vec::new();
    let outcome = soon("the break of reads", stream.read_to_end(&mut read)).await;
    (read, cause(outcome))
}

/// Writes until that breaks.
async fn write_broken(stream: &mut (impl tokio::io::AsyncWrite + Unpin)) -> Break {
    let writing = async {
        loop {
            if let Err(error) = stream.write_all(&[0; 16 << 10]).await {
                return cause::<()>(Err(error));
            }
        }
    };
    soon("the break of writes", writing).await
}

/// Writes until the stream takes no more; how much it took.
async fn fill(stream: &mut Stream) -> usize {
    let mut written = 0;
    loop {
        let writing = stream.write(&[7; 16 << 10]);
        // It is a full window when the connection has been idle for that long.
        match tokio::time::timeout(std::time::Duration::from_millis(300), writing).await {
            Ok(outcome) => written += outcome.unwrap(),
            Err(_) => return written,
        }
    }
}
