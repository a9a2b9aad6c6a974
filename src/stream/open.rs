//! Opening streams.

use std::fmt;
use std::future::IntoFuture;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout, timeout_at};

use super::mux::{Mux, Pipe};
use super::table::{Peer, Streams};
use super::{ACCEPTED, Stream};
use crate::addr::LogicalAddr;
use crate::clock::{Clock, Millis};
use crate::context::{Context, extension};
use crate::error::{SendError, StreamError};
use crate::handshake::Lane as LaneId;
use crate::incarnation::Incarnation;
use crate::link::Link;
use crate::name::fnv1a;
use crate::router::Denied;
use crate::routing::Target;
use crate::wire::{Break, Header, Kind, NO_DEADLINE, Open, Reason};

/// While it waits for a connection, a stream looks so often whether it should go another way.
const LOOK: Duration = Duration::from_millis(100);

/// How long after a node has said that it stops another one is picked: discovery is about to say so.
const AGAIN: Duration = Duration::from_millis(5);

/// A stream that is ready to be opened: await it for the [`Stream`].
///
/// ```no_run
/// # async fn example(node: seaway::Node, game: seaway::LogicalAddr) -> Result<(), Box<dyn std::error::Error>> {
/// use tokio::io::{AsyncReadExt, AsyncWriteExt};
///
/// let mut stream = node.open_stream(game, "game").metadata("player", "ann").await?;
/// stream.write_all(b"hello").await?;
/// stream.shutdown().await?;
/// let mut reply = Vec::new();
/// stream.read_to_end(&mut reply).await?;
/// # Ok(()) }
/// ```
///
/// While a node that was picked says that it stops, it is picked anew, until the time is over: for
/// whoever goes on elsewhere because its node stops. A stream to an address is refused at once.
///
/// # Errors
///
/// Awaiting gives a [`SendError`] if the stream was not accepted in time: none of its bytes has
/// reached a handler then. One that accepted it too late has begun, with the metadata, and sees
/// [`Break::Dropped`].
///
/// # Cancel safety
///
/// Dropping the future takes the stream back; a handler that has it already sees
/// [`Break::Dropped`].
#[must_use = "a stream is not opened until it is awaited"]
pub struct OpenStream<'n> {
    streams: &'n Arc<Streams>,
    to: Target,
    service: String,
    within: Option<Duration>,
    metadata: Vec<(String, String)>,
    trace_parent: Option<String>,
}

impl<'n> OpenStream<'n> {
    pub(crate) fn new(streams: &'n Arc<Streams>, to: Target, service: String) -> Self {
        let (within, metadata, trace_parent) = (None, Vec::new(), None);
        Self { streams, to, service, within, metadata, trace_parent }
    }

    /// Gives the other end at most this long to accept the stream; the default is
    /// [`crate::Config::call_timeout`] (5 s). A handler of a call gives it no more than it has left
    /// itself. Once it is accepted a stream has no deadline.
    pub fn within(mut self, timeout: Duration) -> Self {
        self.within = Some(timeout);
        self
    }

    /// Adds a pair for the handler's [`Context::metadata`]. Keys are ASCII, 1–255 bytes; a stream
    /// takes 32 pairs and 4 KiB of them.
    pub fn metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.push((key.into(), value.into()));
        self
    }

    /// Makes the stream a part of a trace, as [`crate::Request::trace_parent`] does a call.
    pub fn trace_parent(mut self, text: impl Into<String>) -> Self {
        self.trace_parent = Some(text.into());
        self
    }

    async fn open(self) -> Result<Stream, SendError> {
        let (streams, home) = (self.streams, &self.streams.home);
        let context = Context::current();
        if streams.is_draining() && context.is_none() {
            let denied = Denied::new(Reason::Draining, "it is this node");
            return Err(self.refused(self.to.clone(), denied));
        }
        let mut deadline =
            home.clock.now().deadline(self.within.unwrap_or(home.config.call_timeout));
        if let Some(context) = &context {
            deadline = deadline.min(context.deadline());
        }
        loop {
            let resolved = streams.router.resolve(&self.to);
            let to = resolved.map_err(|denied| self.refused(self.to.clone(), denied))?;
            let denied = match self.open_to(to, context.as_ref(), deadline).await {
                Ok(stream) => {
                    home.counters.streams_opened.add(1);
                    return Ok(stream);
                }
                Err(denied) => denied,
            };
            let is_picked = matches!(self.to, Target::Pick(_));
            if !is_picked || denied.reason != Reason::Draining || home.clock.now() >= deadline {
                return Err(self.refused(to.into(), denied));
            }
            sleep(AGAIN).await;
        }
    }

    fn refused(&self, to: Target, Denied { reason, detail }: Denied) -> SendError {
        let what = format!("stream {}", self.service);
        SendError { to, what, reason, detail }
    }

    async fn open_to(
        &self,
        to: LogicalAddr,
        context: Option<&Context>,
        deadline: Millis,
    ) -> Result<Stream, Denied> {
        let (streams, home) = (self.streams, &self.streams.home);
        let trace = self.trace_parent.as_deref();
        let extension = extension(|| home.trace_id(), &self.metadata, trace, context)
            .map_err(|detail| Denied::new(Reason::Extension, detail))?;
        let service = fnv1a(self.service.as_bytes());
        let open = Open { service, incarnation: Incarnation::from_bits(0) };
        let mut body = Vec::with_capacity(Open::LEN);
        open.put(&mut body);
        let header = home.header(Kind::Open, to, 0);
        let preamble = Preamble { header, extension: extension.into(), body: body.into() };
        let mut stream = streams.leg(|| streams.router.link(to), preamble, deadline).await?;
        match timeout_at(home.clock.instant(deadline), stream.accepted()).await {
            Ok(Ok(())) => Ok(stream),
            Ok(Err(denied)) => Err(denied),
            Err(_) => Err(Denied::new(Reason::Expired, "its other end did not accept it in time")),
        }
    }
}

impl<'n> IntoFuture for OpenStream<'n> {
    type Output = Result<Stream, SendError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'n>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.open())
    }
}

/// The frame that a stream begins with.
#[derive(Debug)]
pub(super) struct Preamble {
    pub(super) header: Header,
    pub(super) extension: Bytes,
    pub(super) body: Bytes,
}

impl Preamble {
    fn encode(&self, clock: Clock, deadline: Millis) -> Vec<u8> {
        let mut header = self.header;
        header.time_left = match deadline {
            Millis::NEVER => NO_DEADLINE,
            deadline => u32::try_from(deadline.since(clock.now())).unwrap_or(NO_DEADLINE),
        };
        let mut bytes = Vec::new();
        header.put(&mut bytes, self.extension.len(), self.body.len());
        bytes.extend_from_slice(&self.extension);
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

impl Streams {
    /// Opens a stream to the next hop, with its preamble. `way` says which link that is; it is
    /// asked again while there is no connection.
    pub(super) async fn leg(
        &self,
        way: impl Fn() -> Result<Arc<Link>, Denied>,
        preamble: Preamble,
        deadline: Millis,
    ) -> Result<Stream, Denied> {
        let clock = self.home.clock;
        let mut link = way()?;
        let opening = async {
            loop {
                let peer = self.peer(link.peer);
                let permit = Arc::clone(&peer.opening).try_acquire_owned().map_err(|_| {
                    let (max, peer) = (self.home.config.streams_max, link.peer);
                    let detail =
                        format!("this node has {max} streams to {peer} open, its `streams_max`");
                    Denied::new(Reason::Busy, detail)
                })?;
                if let Ok((mux, pipe)) = timeout(LOOK, connected(&link, &peer)).await {
                    return Ok(Stream::new(pipe, mux, preamble.header.to, permit));
                }
                link = way()?;
            }
        };
        let to = preamble.header.to;
        let mut stream = match timeout_at(clock.instant(deadline), opening).await {
            Ok(opened) => opened?,
            Err(_) => return Err(Denied::new(Reason::Expired, trouble(&link, to))),
        };
        let bytes = preamble.encode(clock, deadline);
        match timeout_at(clock.instant(deadline), stream.write_all(&bytes)).await {
            Ok(Ok(())) => Ok(stream),
            Ok(Err(error)) => Err(not_accepted(&error)),
            Err(_) => Err(Denied::new(Reason::Expired, trouble(&link, to))),
        }
    }
}

/// What is wrong with a link, and whose it is if that is a harbor's on the way to `to`.
fn trouble(link: &Link, to: LogicalAddr) -> String {
    let trouble = link.trouble();
    if link.peer == to || trouble.is_empty() {
        trouble
    } else {
        format!("{}: {trouble}", link.peer)
    }
}

/// A stream on the connection with a peer, as soon as there is one.
async fn connected(link: &Link, peer: &Peer) -> (Arc<Mux>, Pipe) {
    let _wanted = link.lane(LaneId::Stream).want();
    let mut current = peer.current.subscribe();
    loop {
        let mux = current.borrow_and_update().clone();
        if let Some(mux) = mux
            && let Some(pipe) = mux.open().await
        {
            return (mux, pipe);
        }
        // Its sender is in `peer`.
        current.changed().await.ok();
    }
}

impl Stream {
    /// Waits until the other end has accepted the stream.
    async fn accepted(&mut self) -> Result<(), Denied> {
        match self.read_u8().await {
            Ok(ACCEPTED) => Ok(()),
            Ok(other) => {
                let detail = format!("its other end began with {other} and not with {ACCEPTED}");
                Err(Denied::new(Reason::Malformed, detail))
            }
            Err(error) => Err(not_accepted(&error)),
        }
    }
}

/// What became of a stream that broke before it was accepted.
fn not_accepted(error: &std::io::Error) -> Denied {
    let Some(error) = StreamError::of(error) else {
        return Denied::new(Reason::Unreachable, error.to_string());
    };
    let StreamError { cause, hop, detail } = error;
    let detail = if detail.is_empty() {
        format!("said by {hop}")
    } else {
        format!("{detail}; said by {hop}")
    };
    match cause {
        Break::Refused(reason) => Denied::new(*reason, detail),
        Break::Stopped => Denied::new(Reason::Draining, detail),
        other => Denied::new(Reason::Unreachable, format!("{other}; {detail}")),
    }
}

impl fmt::Debug for OpenStream<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenStream")
            .field("to", &self.to)
            .field("service", &self.service)
            .finish_non_exhaustive()
    }
}
