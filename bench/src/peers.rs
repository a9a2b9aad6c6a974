//! The peers compared, and the small interface each of them implements.
//!
//! A peer is one file in `peers/` with a type that implements [`Peer`], and one line in [`ALL`].

mod floor;
mod nats;
mod seaway;
mod tarpc;
mod tonic;
mod yamux;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Result, bail};
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::growth::many::Many;
use crate::workload::{Kind, Workload};
use crate::{client, server};

/// All peers, in the order of the report. The first one is what the ratios are of.
pub const ALL: &[Entry] = &[
    Entry::of::<floor::Batched>(),
    Entry::of::<floor::Naive>(),
    Entry::of::<yamux::Buffered>(),
    Entry::of::<yamux::Bare>(),
    Entry::of::<seaway::Seaway>(),
    Entry::of::<tarpc::Tarpc>(),
    Entry::of::<tonic::Tonic>(),
    Entry::of::<nats::Nats>(),
];

/// One library, or one way to use it.
pub trait Peer: 'static {
    /// Name in the table and for `--only`.
    const NAME: &'static str;

    /// What keeps the server up; it is held until its process ends.
    type Server: Send + 'static;

    /// The calling side.
    type Client: Client;

    /// Why it cannot run here, if so.
    fn missing() -> Option<&'static str> {
        None
    }

    /// Tells whether the peer has what a row measures. The others are left out of that row.
    fn can(workload: &Workload) -> bool {
        workload.relays == 0 && workload.is_framed()
    }

    /// How many processes stand between client and server beside those that the server starts.
    fn relays(workload: &Workload) -> usize {
        workload.relays
    }

    /// Starts an echo server on a free loopback port, in the server's process.
    ///
    /// Its handler of a request answers with the payload, its handler of a one-way message drops
    /// it, and both call [`Hits::hit`] as their last step. Returns the server and one line of text
    /// from which [`connect`](Self::connect) finds it.
    fn serve(
        hits: Hits,
        workload: Workload,
    ) -> impl Future<Output = Result<(Self::Server, String)>> + Send;

    /// Starts a relay, in a process of its own, that hands on to what [`serve`](Self::serve) or
    /// another relay told as `to`. Returns what [`serve`](Self::serve) does.
    fn relay(
        _workload: Workload,
        _to: &str,
    ) -> impl Future<Output = Result<(Self::Server, String)>> + Send {
        async { bail!("this peer has no relays") }
    }

    /// Connects to the server, in the client's process. All tasks share the one client returned.
    fn connect(addr: &str, workload: Workload)
    -> impl Future<Output = Result<Self::Client>> + Send;
}

/// The calling side of a peer, shared by all tasks of the client.
pub trait Client: Send + Sync + 'static {
    /// Holds a reply. Each task has one and passes it to all its calls, so that a peer that can
    /// use a buffer again does so.
    type Reply: AsRef<[u8]> + Default + Send;

    /// Calls the server and puts the echo into `reply`.
    fn call(
        &self,
        payload: &Bytes,
        reply: &mut Self::Reply,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Sends bytes one way; waits while the peer's own outgoing queue is full.
    fn send(&self, _payload: &Bytes) -> impl Future<Output = Result<()>> + Send {
        async { bail!("this peer does not send bytes one way") }
    }

    /// Sends a [`Payload`] one way, which the server decodes; waits as [`send`](Self::send) does.
    fn send_typed(&self, _payload: &Bytes) -> impl Future<Output = Result<()>> + Send {
        async { bail!("this peer does not send protobuf messages one way") }
    }

    /// Opens a stream, which [`serve_stream`] serves at the other end.
    fn stream(&self) -> impl Future<Output = Result<Box<dyn Duplex>>> + Send {
        async { bail!("this peer has no streams") }
    }
}

/// What goes in calls, and one way where it is typed.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Payload {
    /// Any bytes.
    #[prost(bytes = "bytes", tag = "1")]
    pub bytes: Bytes,
}

impl Payload {
    /// What protobuf adds to so many bytes: a tag of one byte, and the length.
    pub fn overhead(bytes: usize) -> usize {
        1 + prost::length_delimiter_len(bytes)
    }
}

/// A stream of bytes, both ways.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Duplex for S {}

/// Echoes what comes on a stream, payload by payload, or for bulk counts and drops it.
pub async fn serve_stream(mut stream: impl Duplex, hits: Hits, workload: Workload) {
    let mut payload = vec![0; workload.payload_bytes];
    loop {
        let served = match workload.kind {
            Kind::Bulk => stream.read_exact(&mut payload).await.map(drop),
            _ => echo(&mut stream, &mut payload).await,
        };
        if served.is_err() {
            // The client is done.
            return;
        }
        hits.hit();
    }
}

async fn echo(stream: &mut impl Duplex, payload: &mut [u8]) -> std::io::Result<()> {
    stream.read_exact(payload).await?;
    stream.write_all(payload).await
}

/// Counts what the server's handlers have finished.
#[derive(Debug, Clone, Default)]
pub struct Hits(Arc<AtomicU64>);

impl Hits {
    /// Counts one request or message; the handler's last step.
    pub fn hit(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns how many there were since the server's start.
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A [`Peer`] as a value: its name and its two processes.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// See [`Peer::NAME`].
    pub name: &'static str,
    /// See [`Peer::missing`].
    pub missing: fn() -> Option<&'static str>,
    /// See [`Peer::relays`].
    pub relays: fn(&Workload) -> usize,
    /// See [`Peer::can`].
    pub can: fn(&Workload) -> bool,
    /// Runs the server's process.
    pub server: fn(Workload) -> Result<()>,
    /// Runs the process of a relay that hands on to an address.
    pub relay: fn(Workload, &str) -> Result<()>,
    /// Runs the client's process against the server at an address.
    pub client: fn(Workload, &str) -> Result<()>,
}

impl Entry {
    /// The value of a peer.
    pub const fn of<P: Peer>() -> Self {
        Self {
            name: P::NAME,
            missing: P::missing,
            relays: P::relays,
            can: P::can,
            server: server::run::<P>,
            relay: server::relay::<P>,
            client: client::run::<P>,
        }
    }

    /// Finds a peer by its name.
    pub fn named(name: &str) -> Option<Self> {
        let all = ALL.iter().copied().chain([Self::of::<Many>()]);
        all.into_iter().find(|peer| peer.name == name)
    }
}
