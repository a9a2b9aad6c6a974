//! Protobuf messages over a stream of bytes: before each its length, as a varint.

use std::fmt;
use std::io;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::error::StreamError;

/// The default for the longest message, in bytes.
const LEN_MAX: usize = 1 << 20;
/// The longest varint.
const VARINT_BYTES_MAX: usize = 10;
/// The least room for a read.
const READ_BYTES: usize = 8 << 10;

/// Writes messages to a [`crate::Stream`], a half of one, or any other `AsyncWrite`.
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
/// let (mut worlds, mut moves) = (MessageReader::new(reader), MessageWriter::new(writer));
/// moves.send(&Move {}).await?;
/// while let Some(world) = worlds.next::<World>().await? {
///     println!("{world:?}");
/// }
/// moves.finish().await?;
/// # Ok(()) }
/// ```
pub struct MessageWriter<W> {
    io: W,
    /// What is still to be written of the messages so far.
    rest: BytesMut,
    len_max: usize,
}

impl<W: AsyncWrite + Unpin> MessageWriter<W> {
    /// Writes to `io` messages of at most 1 MiB.
    #[must_use]
    pub fn new(io: W) -> Self {
        Self { io, rest: BytesMut::new(), len_max: LEN_MAX }
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
    pub async fn send(&mut self, message: &impl prost::Message) -> Result<(), MessageError> {
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

/// Reads messages from a [`crate::Stream`], a half of one, or any other `AsyncRead`; its limit is its
/// own, whatever that of the writer. See [`MessageWriter`] for an example.
pub struct MessageReader<R> {
    io: R,
    buffer: BytesMut,
    len_max: usize,
}

impl<R: AsyncRead + Unpin> MessageReader<R> {
    /// Reads from `io` messages of at most 1 MiB.
    #[must_use]
    pub fn new(io: R) -> Self {
        Self { io, buffer: BytesMut::new(), len_max: LEN_MAX }
    }

    /// Sets the longest message, in bytes. A decoded message can take some 40 times the bytes that
    /// it had on the wire.
    #[must_use]
    pub fn with_limit(mut self, len_max: usize) -> Self {
        self.len_max = len_max;
        self
    }

    /// Reads the next message, of whatever type the other end sends next; `None` once the stream has
    /// ended behind the last one.
    ///
    /// # Errors
    ///
    /// When a message is longer than the limit, does not decode, or is cut off by the end of the
    /// stream, and when the stream is broken. After the first two the stream can be used no more.
    ///
    /// # Cancel safety
    ///
    /// Safe: what was read is kept for the next call.
    pub async fn next<M>(&mut self) -> Result<Option<M>, MessageError>
    where
        M: prost::Message + Default,
    {
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
    fn take<M: prost::Message + Default>(&mut self) -> Result<Option<M>, MessageError> {
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

impl MessageError {
    /// What broke the stream, if that is why.
    #[must_use]
    pub fn broken(&self) -> Option<&StreamError> {
        match self {
            Self::Io(error) => StreamError::of(error),
            _ => None,
        }
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

impl<W> fmt::Debug for MessageWriter<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessageWriter").field("unwritten", &self.rest.len()).finish_non_exhaustive()
    }
}

impl<R> fmt::Debug for MessageReader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessageReader").field("read", &self.buffer.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{DuplexStream, duplex};
    use tokio::time::timeout;

    use super::*;

    #[derive(Clone, PartialEq, prost::Message)]
    struct Text {
        #[prost(string, tag = "1")]
        text: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    struct Number {
        #[prost(uint64, tag = "1")]
        number: u64,
    }

    fn pair(bytes: usize) -> (MessageWriter<DuplexStream>, MessageReader<DuplexStream>) {
        let (near, far) = duplex(bytes);
        (MessageWriter::new(near), MessageReader::new(far))
    }

    fn long() -> Text {
        Text { text: "x".repeat(10_000) }
    }

    #[tokio::test]
    async fn messages_of_several_types_go_over_one_stream_and_end() {
        let (mut writer, mut reader) = pair(64);
        let sending = async {
            writer.send(&Number { number: 7 }).await.unwrap();
            writer.send(&long()).await.unwrap();
            writer.send(&Text::default()).await.unwrap();
            writer.finish().await.unwrap();
        };
        let reading = async {
            assert_eq!(reader.next().await.unwrap(), Some(Number { number: 7 }));
            assert_eq!(reader.next().await.unwrap(), Some(long()));
            assert_eq!(reader.next().await.unwrap(), Some(Text::default()));
            assert_eq!(reader.next::<Text>().await.unwrap(), None);
        };
        tokio::join!(sending, reading);
    }

    #[tokio::test]
    async fn what_is_too_long_is_neither_written_nor_waited_for() {
        let (writer, reader) = pair(1 << 20);
        let mut small = writer.with_limit(100);
        let error = small.send(&long()).await.unwrap_err();
        assert!(matches!(error, MessageError::TooLong { len: 10_003, limit: 100 }), "{error}");
        let mut large = MessageWriter::new(small.into_inner());
        large.send(&long()).await.unwrap();
        let mut reader = reader.with_limit(10_002);
        let error = reader.next::<Text>().await.unwrap_err();
        assert!(matches!(error, MessageError::TooLong { len: 10_003, limit: 10_002 }), "{error}");
    }

    #[tokio::test]
    async fn a_message_that_is_cut_off_or_no_message_is_an_error() {
        for (bytes, is_cut_off) in [
            (&[3, 8, 7][..], true),
            (&[0x80][..], true),
            (&[2, 8, 0x80], false),
            (&[0xff; 11], false),
        ] {
            let mut reader = MessageReader::new(bytes);
            let error = reader.next::<Number>().await.unwrap_err();
            assert_eq!(matches!(error, MessageError::CutOff), is_cut_off, "{bytes:?}: {error}");
            assert_eq!(matches!(error, MessageError::Malformed(_)), !is_cut_off, "{bytes:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_send_and_a_next_that_are_dropped_lose_nothing() {
        let (mut writer, mut reader) = pair(64);
        let a_while = Duration::from_millis(1);
        timeout(a_while, writer.send(&long())).await.unwrap_err();
        timeout(a_while, reader.next::<Text>()).await.unwrap_err();
        let (sent, read) = tokio::join!(writer.send(&Number { number: 7 }), async {
            (reader.next::<Text>().await.unwrap(), reader.next::<Number>().await.unwrap())
        });
        sent.unwrap();
        assert_eq!(read, (Some(long()), Some(Number { number: 7 })));
    }
}
