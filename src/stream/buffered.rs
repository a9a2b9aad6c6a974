//! A connection as yamux sees it. It reads and writes headers of 12 bytes and bodies apart, and
//! flushes after each frame: here all of it goes through buffers, and the connection is written to
//! when nothing more is to be put, or when the buffer is full.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::io::poll_read_buf;

use crate::clock::Millis;
use crate::link::{Carried, Session};

/// The most that waits to be written.
const OUTPUT_BYTES: usize = 64 << 10;
/// More of it while yamux would read nothing otherwise: room for a body and a pong.
const SPARE_BYTES: usize = 2 * OUTPUT_BYTES;
/// The room for a read of headers and small bodies; larger ones are read into their place.
const INPUT_BYTES: usize = 8 << 10;

/// See the module.
pub(super) struct Buffered {
    session: Arc<Session>,
    reader: Box<dyn AsyncRead + Send + Unpin>,
    input: BytesMut,
    output: Arc<Mutex<Output>>,
}

/// The half that is written to; whoever drives the connection has it, too.
pub(super) struct Output {
    writer: Box<dyn AsyncWrite + Send + Unpin>,
    bytes: BytesMut,
    /// How much may wait now.
    room: usize,
    /// Yamux has asked for bytes.
    is_read: bool,
    /// The connection takes nothing, since then.
    stuck_since: Option<Millis>,
    /// When something came last.
    heard: Millis,
    session: Arc<Session>,
}

impl Buffered {
    pub(super) fn new(session: Arc<Session>, carried: Carried) -> (Self, Arc<Mutex<Output>>) {
        let Carried { reader, writer, .. } = carried;
        let output = Output {
            writer,
            bytes: BytesMut::new(),
            room: OUTPUT_BYTES,
            is_read: false,
            stuck_since: None,
            heard: session.link.home.clock.now(),
            session: Arc::clone(&session),
        };
        let output = Arc::new(Mutex::new(output));
        let buffered =
            Self { session, reader, input: BytesMut::new(), output: Arc::clone(&output) };
        (buffered, output)
    }

    /// Reads what is there into the buffer.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.input.reserve(INPUT_BYTES);
        let read = ready!(poll_read_buf(Pin::new(&mut self.reader), cx, &mut self.input))?;
        Poll::Ready(self.on_read(read))
    }

    fn on_read(&self, read: usize) -> io::Result<usize> {
        let now = self.session.link.home.clock.now();
        if read > 0 && !self.session.on_heard(now) {
            let text = "this node stood still for longer than its peers wait";
            return Err(io::Error::other(text));
        }
        self.output.lock().heard = now;
        Ok(read)
    }
}

impl futures_io::AsyncRead for Buffered {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        room: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.output.lock().is_read = true;
        if this.input.is_empty() && room.len() >= INPUT_BYTES {
            let mut room = ReadBuf::new(room);
            ready!(Pin::new(&mut this.reader).poll_read(cx, &mut room))?;
            return Poll::Ready(this.on_read(room.filled().len()));
        }
        if this.input.is_empty() && ready!(this.poll_fill(cx))? == 0 {
            return Poll::Ready(Ok(0));
        }
        let len = room.len().min(this.input.len());
        this.input.copy_to_slice(room.split_at_mut(len).0);
        Poll::Ready(Ok(len))
    }
}

impl futures_io::AsyncWrite for Buffered {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.output.lock().poll_put(cx, bytes)
    }

    /// See [`Output::poll_write_out`].
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.output.lock().poll_write_out(cx)
    }
}

impl Output {
    /// Takes bytes in; what is too large for the buffer goes out behind what is there, without
    /// being copied.
    fn poll_put(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            if self.bytes.len() + bytes.len() <= self.room {
                self.bytes.extend_from_slice(bytes);
                return Poll::Ready(Ok(bytes.len()));
            }
            let both = [IoSlice::new(&self.bytes), IoSlice::new(bytes)];
            let polled = Pin::new(&mut self.writer).poll_write_vectored(cx, &both);
            let written = ready!(self.on_written(polled))?;
            let waiting = self.bytes.len();
            self.bytes.advance(written.min(waiting));
            if written > waiting {
                return Poll::Ready(Ok(written - waiting));
            }
        }
    }

    /// Writes all that waits.
    pub(super) fn poll_write_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.bytes.is_empty() {
            let polled = Pin::new(&mut self.writer).poll_write(cx, &self.bytes);
            let written = ready!(self.on_written(polled))?;
            self.bytes.advance(written);
        }
        self.room = OUTPUT_BYTES;
        Poll::Ready(Ok(()))
    }

    /// Makes more room if nothing was read since this was asked last: yamux reads nothing while a
    /// pong of its waits to be written, and two ends that do so would wait for each other. Whether
    /// there is more now.
    pub(super) fn make_room_to_read(&mut self) -> bool {
        let is_stuck = !std::mem::take(&mut self.is_read) && self.room == OUTPUT_BYTES;
        if is_stuck {
            self.room += SPARE_BYTES;
        }
        is_stuck
    }

    /// Holds no more than is needed, for a connection that is idle.
    pub(super) fn shrink(&mut self) {
        if self.bytes.is_empty() {
            self.bytes = BytesMut::new();
        }
    }

    fn on_written(&mut self, polled: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match polled {
            Poll::Pending => {
                let clock = self.session.link.home.clock;
                self.stuck_since.get_or_insert_with(|| clock.now());
                Poll::Pending
            }
            Poll::Ready(Ok(0)) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            done => {
                self.stuck_since = None;
                done
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Since when the connection takes nothing, if it does not.
    pub(super) fn stuck_since(&self) -> Option<Millis> {
        self.stuck_since
    }

    /// When something came last over the same connection.
    pub(super) fn heard(&self) -> Millis {
        self.heard
    }

    /// Says that nothing more comes, so that the peer sees an end and not a reset, which would
    /// destroy what it has not read.
    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_write_out(cx))?;
        Pin::new(&mut self.writer).poll_shutdown(cx)
    }
}
