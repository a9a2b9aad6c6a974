//! The control stream: the first of a session, opened by the dialer. It tells how other streams
//! end, because a reset of yamux has no code and a dropped stream can look like one that ended.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::sync::OwnedSemaphorePermit;

use crate::wire::{Frame, FrameLimits, HEADER_LEN, Header, decode};

/// The most bytes of a body.
const LIMITS: FrameLimits = FrameLimits { body_bytes_max: 1 << 10 };
/// The room for a read.
const READ_BYTES: usize = 4 << 10;
/// While more than this waits to be written, nothing that asks for an answer is read.
const OUTPUT_BYTES_MAX: usize = 64 << 10;

/// See the module.
#[derive(Default)]
pub(super) struct Control {
    pipe: Option<yamux::Stream>,
    input: BytesMut,
    output: BytesMut,
    /// Of streams that are over once it is written that they are.
    permits: Vec<OwnedSemaphorePermit>,
}

impl Control {
    pub(super) fn begin(&mut self, pipe: yamux::Stream) {
        self.pipe = Some(pipe);
    }

    pub(super) const fn has_begun(&self) -> bool {
        self.pipe.is_some()
    }

    /// Puts a frame. The permit is given back when it is written.
    pub(super) fn put(
        &mut self,
        header: &Header,
        permit: Option<OwnedSemaphorePermit>,
        body: impl FnOnce(&mut Vec<u8>),
    ) {
        let (mut head, mut bytes) = (Vec::with_capacity(HEADER_LEN), Vec::new());
        body(&mut bytes);
        header.put(&mut head, 0, bytes.len());
        self.output.extend_from_slice(&head);
        self.output.extend_from_slice(&bytes);
        self.permits.extend(permit);
    }

    /// Bytes that wait to be written.
    pub(super) fn len(&self) -> usize {
        self.output.len()
    }

    /// Writes what waits.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(pipe) = &mut self.pipe else { return Poll::Pending };
        while !self.output.is_empty() {
            let pipe = Pin::new(&mut *pipe);
            let written = ready!(futures_io::AsyncWrite::poll_write(pipe, cx, &self.output))?;
            self.output.advance(written);
        }
        self.output = BytesMut::new();
        self.permits.clear();
        Poll::Ready(Ok(()))
    }

    /// Reads the next frame; an error says what rule the peer broke, or that it has ended the
    /// stream.
    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame, String>> {
        let Some(pipe) = &mut self.pipe else { return Poll::Pending };
        if self.output.len() > OUTPUT_BYTES_MAX {
            // Woken when it is written.
            return Poll::Pending;
        }
        loop {
            match decode(&mut self.input, LIMITS) {
                Ok(Ok(frame)) => return Poll::Ready(Ok(frame)),
                Ok(Err(_)) => {}
                Err(error) => return Poll::Ready(Err(error.to_string())),
            }
            let mut room = [0; READ_BYTES];
            let read = futures_io::AsyncRead::poll_read(Pin::new(&mut *pipe), cx, &mut room);
            match ready!(read) {
                Ok(0) => {
                    return Poll::Ready(Err("the peer has ended the control stream".to_owned()));
                }
                Ok(read) => self.input.extend_from_slice(room.get(..read).unwrap_or_default()),
                Err(error) => return Poll::Ready(Err(error.to_string())),
            }
        }
    }
}
