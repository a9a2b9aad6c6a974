//! The floor: the least that request, reply and one-way message can cost over tokio and one TCP
//! connection, with frames as long as seaway's.
//!
//! It is not a library: it has no handshake, no routing, no deadlines and no typed bodies. What it
//! does have is what makes messaging fast:
//!
//! - callers append straight to one shared outgoing buffer, the lock held for the copy only;
//! - one writer task yields twice before it takes the batch, so that the callers that are ready
//!   get to append first;
//! - the reader completes the waiting call itself, through slots with generations, without a map;
//! - the server answers all frames of one read in place, without a task per request.
//!
//! `floor-naive` is the same with one write per frame and without the yields.

mod frame;
mod outbox;
mod relay;
mod slots;

use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use self::frame::{FrameReader, Kind};
use self::outbox::{Outbox, Writes};
use self::slots::Slots;
use super::{Client, Hits, Payload, Peer};
use crate::workload::Workload;

/// Stands for the hash of a method's name, which seaway sends with each request.
const METHOD: [u8; 8] = *b"echoecho";
/// The same, and what protobuf puts before a payload.
const REQUEST: [u8; 16] = *b"echoecho\0\0\0\0\0\0\0\0";
/// The status of a reply that carries a result.
const STATUS_OK: u8 = 0;

/// The batched floor.
#[derive(Debug)]
pub struct Batched;

/// The floor with one write per frame.
#[derive(Debug)]
pub struct Naive;

impl Peer for Batched {
    const NAME: &'static str = "floor";
    type Server = JoinHandle<()>;
    type Client = Connection;

    fn can(workload: &Workload) -> bool {
        workload.is_framed()
    }

    async fn serve(hits: Hits, _: Workload) -> Result<(Self::Server, String)> {
        serve(hits, Writes::Batched).await
    }

    async fn relay(_: Workload, to: &str) -> Result<(Self::Server, String)> {
        relay::start(to).await
    }

    async fn connect(addr: &str, workload: Workload) -> Result<Self::Client> {
        Connection::dial(addr, workload, Writes::Batched).await
    }
}

impl Peer for Naive {
    const NAME: &'static str = "floor-naive";
    type Server = JoinHandle<()>;
    type Client = Connection;

    async fn serve(hits: Hits, _: Workload) -> Result<(Self::Server, String)> {
        serve(hits, Writes::PerFrame).await
    }

    async fn connect(addr: &str, workload: Workload) -> Result<Self::Client> {
        Connection::dial(addr, workload, Writes::PerFrame).await
    }
}

/// Listens and serves each connection in a task of its own.
async fn serve(hits: Hits, writes: Writes) -> Result<(JoinHandle<()>, String)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let addr = listener.local_addr()?.to_string();
    let accepting = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve_connection(stream, hits.clone(), writes));
        }
    });
    Ok((accepting, addr))
}

/// Serves one connection until either side of it ends.
async fn serve_connection(stream: TcpStream, hits: Hits, writes: Writes) {
    let served = match start(stream, writes) {
        Ok((reader, outbox)) => {
            let served = answer_reads(reader, &outbox, &hits).await;
            outbox.close();
            served
        }
        Err(error) => Err(error),
    };
    if let Err(error) = served {
        eprintln!("floor: the server's connection failed: {error:#}");
    }
}

/// Answers what is read, one read at a time, while the answers find room.
async fn answer_reads(mut reader: FrameReader, outbox: &Outbox, hits: &Hits) -> Result<()> {
    while reader.fill().await? {
        outbox.room().await?;
        outbox.append(|out| answer_all(&mut reader, out, hits))??;
    }
    Ok(())
}

/// Handles every whole frame that was read: echoes requests, counts messages.
fn answer_all(reader: &mut FrameReader, out: &mut Vec<u8>, hits: &Hits) -> Result<()> {
    while let Some(frame) = reader.next()? {
        match frame.kind {
            Kind::Request => {
                let payload = frame.body.get(METHOD.len()..).context("a request without method")?;
                frame::put(out, Kind::Reply, frame.id, &[STATUS_OK], payload)?;
            }
            Kind::Message => {}
            Kind::Reply => bail!("a reply came to the server"),
        }
        hits.hit();
    }
    Ok(())
}

/// The calling side: one connection.
#[derive(Debug)]
pub struct Connection {
    outbox: Arc<Outbox>,
    slots: Arc<Slots>,
    /// Bytes that stand for what protobuf puts before a payload.
    overhead: usize,
}

impl Connection {
    async fn dial(addr: &str, workload: Workload, writes: Writes) -> Result<Self> {
        let (reader, outbox) = start(TcpStream::connect(addr).await?, writes)?;
        let slots = Arc::new(Slots::new());
        let overhead = Payload::overhead(workload.payload_bytes);
        tokio::spawn(complete_calls(reader, overhead, outbox.clone(), slots.clone()));
        Ok(Self { outbox, slots, overhead })
    }

    async fn put(&self, kind: Kind, id: u64, prefix: &[u8], payload: &[u8]) -> Result<()> {
        self.outbox.push(|out| frame::put(out, kind, id, prefix, payload)).await?
    }
}

impl Client for Connection {
    type Reply = Vec<u8>;

    async fn call(&self, payload: &Bytes, reply: &mut Vec<u8>) -> Result<()> {
        let ticket = self.slots.take()?;
        let id = ticket.id();
        let prefix = &REQUEST[..METHOD.len() + self.overhead];
        self.put(Kind::Request, id, prefix, payload).await?;
        ticket.reply(reply).await
    }

    async fn send(&self, payload: &Bytes) -> Result<()> {
        self.put(Kind::Message, 0, &[], payload).await
    }

    async fn send_typed(&self, payload: &Bytes) -> Result<()> {
        let prefix = &REQUEST[METHOD.len()..][..self.overhead];
        self.put(Kind::Message, 0, prefix, payload).await
    }
}

/// Completes the calls that wait, until the connection ends; then fails the rest.
async fn complete_calls(
    reader: FrameReader,
    overhead: usize,
    outbox: Arc<Outbox>,
    slots: Arc<Slots>,
) {
    if let Err(error) = read_replies(reader, overhead, &slots).await {
        eprintln!("floor: the client's connection failed: {error:#}");
    }
    outbox.close();
    slots.close();
}

async fn read_replies(mut reader: FrameReader, overhead: usize, slots: &Slots) -> Result<()> {
    while reader.fill().await? {
        while let Some(frame) = reader.next()? {
            let (&status, echo) = frame.body.split_first().context("an empty reply")?;
            let payload = echo.get(overhead..).context("a reply without a payload")?;
            ensure!(frame.kind == Kind::Reply && status == STATUS_OK, "an unexpected frame");
            slots.complete(frame.id, payload);
        }
    }
    Ok(())
}

/// Splits a connection and starts its writer task.
fn start(stream: TcpStream, writes: Writes) -> Result<(FrameReader, Arc<Outbox>)> {
    stream.set_nodelay(true)?;
    let (read, write) = stream.into_split();
    let outbox = Arc::new(Outbox::default());
    tokio::spawn(write_out(outbox.clone(), write, writes));
    Ok((FrameReader::new(read), outbox))
}

/// Writes what is appended to the outbox, until it is closed or the connection breaks.
async fn write_out(outbox: Arc<Outbox>, mut write: OwnedWriteHalf, writes: Writes) {
    if let Err(error) = outbox.drain_into(&mut write, writes).await {
        eprintln!("floor: write failed: {error:#}");
    }
    outbox.close();
}
