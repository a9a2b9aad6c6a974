//! Byte pipes between two nodes, many over one connection.
//!
//! ```text
//!  Node::open_stream ─▶ open ─┐                      ┌─▶ serve ─▶ the service's handler
//!                             ▼                      │
//!                    table: peer ─▶ mux ══ control ══ mux ─▶ relay ─▶ mux of the next hop
//!                                    └ yamux, buffered, a connection of the stream lane
//! ```
//!
//! yamux carries the bytes; `ends` and `control` see to it that an end is told from a break, and a
//! break from another.

mod buffered;
mod control;
mod ends;
mod messages;
mod mux;
mod open;
mod relay;
mod serve;
mod table;

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_io::{AsyncRead as _, AsyncWrite as _};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Sleep, sleep};

pub use messages::{MessageError, MessageReader, MessageWriter};
pub use open::OpenStream;
pub(crate) use serve::{Services, service};
pub(crate) use table::Streams;

use crate::addr::LogicalAddr;
use crate::wire::{Break, End, Fault};
use ends::Ends;
use mux::{Known, Mux, Pipe};

/// The first byte of whoever accepts a stream.
const ACCEPTED: u8 = 0;

/// A byte pipe to another node: what is written at one end is read at the other, in order.
///
/// Made by [`crate::Node::open_stream`], and handed to the handler of
/// [`crate::Builder::on_stream`] at the other end. It implements tokio's [`AsyncRead`] and
/// [`AsyncWrite`]; [`tokio::io::split`] makes two halves of it, and [`MessageReader`] and
/// [`MessageWriter`] carry protobuf messages over it.
///
/// # How it ends
///
/// Each direction ends by itself: `shutdown` ends that which is written, and the other end reads
/// all bytes and then its end of file. That is the only way to an end of file; whatever else
/// happens is an [`io::Error`] with a [`crate::StreamError`] inside, at both ends: see
/// [`crate::StreamError::of`]. A stream that is dropped before both directions have ended is broken off,
/// so call `shutdown` when all is written. Who drops it behind its `shutdown` has still ended what
/// it wrote; writes of the other end fail with [`crate::Break::Dropped`] from then on.
///
/// # How much it holds
///
/// A reader that does not read holds up its own stream and no other: after 256 KiB its writer
/// waits. While both ends write and neither reads, both wait for ever; a deadline, or
/// [`crate::Config::stream_idle_timeout`], ends that.
///
/// # Cancel safety
///
/// As those of a `TcpStream`: `read` and `write` may be dropped, `read_exact` and `write_all` lose
/// what they had done.
pub struct Stream {
    yamux: yamux::Stream,
    ends: Arc<Ends>,
    _known: Known,
    mux: Arc<Mux>,
    /// The node at the other end, which may be beyond harbors.
    peer: LogicalAddr,
    read: u64,
    written: u64,
    /// The peer's direction has ended, and so has ours.
    has_read_all: bool,
    has_ended: bool,
    /// Run once yamux has no more bytes, or takes none, and the peer has not said why. The halves
    /// may be in different tasks, and each has to wake its own.
    read_grace: Option<Pin<Box<Sleep>>>,
    write_grace: Option<Pin<Box<Sleep>>>,
    /// The stream's place among those of its peer.
    permit: Option<OwnedSemaphorePermit>,
}

impl Stream {
    fn new(pipe: Pipe, mux: Arc<Mux>, peer: LogicalAddr, permit: OwnedSemaphorePermit) -> Self {
        let Pipe { yamux, ends, known } = pipe;
        Self {
            yamux,
            ends,
            _known: known,
            mux,
            peer,
            read: 0,
            written: 0,
            has_read_all: false,
            has_ended: false,
            read_grace: None,
            write_grace: None,
            permit: Some(permit),
        }
    }

    /// The node at the other end.
    #[must_use]
    pub const fn peer(&self) -> LogicalAddr {
        self.peer
    }

    /// Breaks the stream off: reads and writes at the other end fail with [`Break::Reset`] and this
    /// code. What it means is between the two. What waits for room in the other end's window is lost.
    /// Halves made by [`tokio::io::split`] have to be put together again first, with `unsplit`.
    pub fn reset(self, code: u16) {
        let fault = self.mux.fault(Break::Reset(code), "");
        self.break_off(fault);
    }

    /// Breaks the stream off at both ends.
    fn break_off(mut self, fault: Fault) {
        self.tell_broken(fault);
    }

    fn tell_broken(&mut self, fault: Fault) {
        self.ends.break_off(fault.clone(), false);
        let end = End { bytes: self.written, fault: Some(fault) };
        self.mux.end(self.number(), end, self.permit.take());
    }

    fn number(&self) -> u32 {
        self.yamux.id().val()
    }

    /// Waits for what must be on its way; a peer that holds it back must not hold anybody up.
    fn poll_grace(&mut self, is_reader: bool, cx: &mut Context<'_>) -> Poll<Fault> {
        let limit = Duration::from_millis(self.mux.session.link.home.dead_ms());
        let grace = if is_reader { &mut self.read_grace } else { &mut self.write_grace };
        let grace = grace.get_or_insert_with(|| Box::pin(sleep(limit)));
        ready!(grace.as_mut().poll(cx));
        let text = "its other end did not say how it had ended, or had sent more";
        let truncated = || self.mux.fault(Break::Truncated, text);
        Poll::Ready(self.ends.fault().unwrap_or_else(truncated))
    }

    /// No byte is there to read.
    fn poll_end(&mut self, is_dry: bool, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        match self.ends.poll_end(self.read, is_dry, cx) {
            Poll::Ready(Ok(())) => {
                self.has_read_all = true;
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(fault)) => Poll::Ready(Err(fault)),
            Poll::Pending if is_dry || self.ends.fault().is_some() => {
                self.poll_grace(true, cx).map(Err)
            }
            Poll::Pending => Poll::Pending,
        }
    }

    /// yamux takes no more bytes; the peer says why.
    fn poll_broken(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let fault = match self.ends.poll_broken(cx) {
            Poll::Ready(fault) => fault,
            Poll::Pending => ready!(self.poll_grace(false, cx)),
        };
        Poll::Ready(fault.into())
    }

    /// What yamux did as it was asked, or what has broken the stream: then it does nothing more, and
    /// a full window stays full.
    fn unless_broken<T>(
        &mut self,
        polled: Poll<io::Result<T>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        match polled {
            Poll::Ready(Ok(done)) => Poll::Ready(Ok(done)),
            Poll::Ready(Err(_)) => self.poll_broken(cx).map(Err),
            Poll::Pending => self.ends.poll_broken(cx).map(|fault| Err(fault.into())),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.has_read_all || room.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let unfilled = room.initialize_unfilled();
        match Pin::new(&mut this.yamux).poll_read(cx, unfilled) {
            Poll::Ready(Ok(read)) if read > 0 => {
                room.advance(read);
                this.read += read as u64;
                this.ends.count(read);
                Poll::Ready(Ok(()))
            }
            ended => this.poll_end(ended.is_ready(), cx).map_err(io::Error::from),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.has_ended {
            let text = "the stream was shut down: nothing more can be written";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::BrokenPipe, text)));
        }
        if this.ends.is_broken() {
            return this.poll_broken(cx).map(Err);
        }
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let polled = Pin::new(&mut this.yamux).poll_write(cx, bytes);
        let written = ready!(this.unless_broken(polled, cx))?;
        this.written += written as u64;
        this.ends.count(written);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.has_ended {
            return Poll::Ready(Ok(()));
        }
        if this.ends.is_broken() {
            return this.poll_broken(cx).map(Err);
        }
        let polled = Pin::new(&mut this.yamux).poll_flush(cx);
        this.unless_broken(polled, cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.has_ended {
            return Poll::Ready(Ok(()));
        }
        if this.ends.is_broken() {
            return this.poll_broken(cx).map(Err);
        }
        let polled = Pin::new(&mut this.yamux).poll_close(cx);
        ready!(this.unless_broken(polled, cx))?;
        this.has_ended = true;
        let end = End { bytes: this.written, fault: None };
        this.mux.end(this.number(), end, None);
        Poll::Ready(Ok(()))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let is_over = self.has_ended && self.ends.has_ended();
        if !is_over && !self.ends.is_broken() {
            let fault = self.mux.fault(Break::Dropped, "");
            self.tell_broken(fault);
        }
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream")
            .field("peer", &self.peer)
            .field("number", &self.number())
            .field("read", &self.read)
            .field("written", &self.written)
            .finish_non_exhaustive()
    }
}
