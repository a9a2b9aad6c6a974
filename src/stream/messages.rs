//! Protobuf messages over a stream of bytes: before each its length, as a varint.

use std::fmt;
use std::io;
use std::marker::PhantomData;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The default for the longest message, in bytes.
const LEN_MAX: usize = 1 << 20;
/// The longest varint.
const VARINT_BYTES_MAX: usize = 10;
/// The least room for a read.
const READ_BYTES: usize = 8 << 10;

/// Writes messages of one type to a [`crate::Stream`], or to a half of one.
///
/// Before each message stands its length as a varint: what prost and other libraries call
/// length-delimited.
///
/// ```no_run
/// # #[derive(Clone, PartialEq, prost::Message)] struct Move {}
/// # #[derive(Clone, PartialEq, prost::Message)] struct World {}
/// # async fn example(node: seaway::Node, game: seaway::LogicalAddr) -> Result<(), Box<dyn std::error::Error>> {
/// use seaway::{MessageReader, MessageWriter};
///
/// let stream = node.open_stream(game, "game").await?;
/// let (reader, writer) = tokio::io::split(stream);
/// let (mut worlds, mut moves) = (MessageReader::<World, _>::new(reader), MessageWriter::new(writer));
/// moves.send(&Move {}).await?;
/// while let Some(world) = worlds.next().await? {
///     println!("{world:?}");
/// }
/// moves.finish().await?;
/// # Ok(()) }
/// ```
pub struct MessageWriter<M, W> {
    io: W,
    /// What is still to be written of the messages so far.
    rest: BytesMut,
    len_max: usize,
    messages: PhantomData<fn(&M)>,
}

impl<M: prost::Message, W: AsyncWrite + Unpin> MessageWriter<M, W> {
    /// Writes to `io` messages of at most 1 MiB.
    #[must_use]
    pub fn new(io: W) -> Self {
        Self { io, rest: BytesMut::new(), len_max: LEN_MAX, messages: PhantomData }
    }

    /// Sets the longest message, in bytes.
    #[must_use]
    pub fn with_limit(mut self, len_max: usize) -> Self {
        self.len_max = len_max;
        self
    }

    /// Writes a message, and waits until the stream has taken it.
    ///
    /// # Errors
    ///
    /// When it is longer than the limit, in which case nothing of it is written, or when the stream
    /// is broken.
    ///
    /// # Cancel safety
    ///
    /// Once polled, the message is written: what is left of it when the future is dropped goes
    /// before the next one, or with [`MessageWriter::finish`].
    pub async fn send(&mut self, message: &M) -> Result<(), MessageError> {
        let len = message.encoded_len();
        if len > self.len_max {
            return Err(MessageError::TooLong { len: len as u64, limit: self.len_max });
        }
        // Fails only without room, and it grows.
        message.encode_length_delimited(&mut self.rest).ok();
        self.write_rest().await
    }

    /// Writes what is left, and ends this direction of the stream.
    ///
    /// # Errors
    ///
    /// When the stream is broken.
    ///
    /// # Cancel safety
    ///
    /// When dropped, the stream is, too.
    pub async fn finish(mut self) -> Result<(), MessageError> {
        self.write_rest().await?;
        self.io.shutdown().await.map_err(MessageError::Io)
    }

    async fn write_rest(&mut self) -> Result<(), MessageError> {
        self.io.write_all_buf(&mut self.rest).await.map_err(MessageError::Io)?;
        self.io.flush().await.map_err(MessageError::Io)
    }

    /// Gives the stream back; what was not written is lost.
    #[must_use]
    pub fn into_inner(self) -> W {
        self.io
    }
}

/// Reads messages of one type from a [`crate::Stream`], or from a half of one. See
/// [`MessageWriter`] for an example.
pub struct MessageReader<M, R> {
    io: R,
    buffer: BytesMut,
    len_max: usize,
    messages: PhantomData<fn() -> M>,
}

impl<M: prost::Message + Default, R: AsyncRead + Unpin> MessageReader<M, R> {
    /// Reads from `io` messages of at most 1 MiB.
    #[must_use]
    pub fn new(io: R) -> Self {
        Self { io, buffer: BytesMut::new(), len_max: LEN_MAX, messages: PhantomData }
    }

    /// Sets the longest message, in bytes. A decoded message can take some 40 times the bytes that
    /// it had on the wire.
    #[must_use]
    pub fn with_limit(mut self, len_max: usize) -> Self {
        self.len_max = len_max;
        self
    }

    /// Reads the next message; `None` once the stream has ended behind the last one.
    ///
    /// # Errors
    ///
    /// When a message is longer than the limit, does not decode, or is cut off by the end of the
    /// stream, and when the stream is broken. After the first two the stream can be used no more.
    ///
    /// # Cancel safety
    ///
    /// Safe: what was read is kept for the next call.
    pub async fn next(&mut self) -> Result<Option<M>, MessageError> {
        loop {
            if let Some(message) = self.take()? {
                return Ok(Some(message));
            }
            self.buffer.reserve(READ_BYTES);
            if self.io.read_buf(&mut self.buffer).await.map_err(MessageError::Io)? == 0 {
                return if self.buffer.is_empty() { Ok(None) } else { Err(MessageError::CutOff) };
            }
        }
    }

    /// The next message, if all of it is there.
    fn take(&mut self) -> Result<Option<M>, MessageError> {
        let mut rest = &self.buffer[..];
        let len = match prost::encoding::decode_varint(&mut rest) {
            Ok(len) => len,
            Err(_) if self.buffer.len() < VARINT_BYTES_MAX => return Ok(None),
            Err(error) => return Err(MessageError::Malformed(error.to_string())),
        };
        let limit = self.len_max;
        let known = usize::try_from(len).ok().filter(|len| *len <= limit);
        let len = known.ok_or(MessageError::TooLong { len, limit })?;
        let start = self.buffer.len() - rest.len();
        if rest.len() < len {
            self.buffer.reserve(len - rest.len());
            return Ok(None);
        }
        self.buffer.advance(start);
        let bytes = self.buffer.split_to(len).freeze();
        crate::context::decode(bytes).map(Some).map_err(MessageError::Malformed)
    }

    /// Gives the stream back; what was read ahead is lost.
    #[must_use]
    pub fn into_inner(self) -> R {
        self.io
    }
}

/// Why a message was not read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// It is longer than may be.
    #[error("a message has {len} bytes; the limit is {limit}: see `with_limit`")]
    TooLong {
        /// Its length in bytes.
        len: u64,
        /// The limit.
        limit: usize,
    },
    /// It does not decode: the two ends differ in its type.
    #[error("a message does not decode: {0}")]
    Malformed(String),
    /// The stream has ended within it.
    #[error("the stream has ended within a message")]
    CutOff,
    /// The stream is broken: see [`crate::StreamError::of`].
    #[error(transparent)]
    Io(io::Error),
}

impl<M, W> fmt::Debug for MessageWriter<M, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessageWriter").field("unwritten", &self.rest.len()).finish_non_exhaustive()
    }
}

impl<M, R> fmt::Debug for MessageReader<M, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessageReader").field("read", &self.buffer.len()).finish_non_exhaustive()
    }
}
