//! Frames as long as seaway's: a header of 44 bytes, a short prefix, the payload.
//!
//! ```text
//! 0        4      5       16     24        44
//! | length | kind | zeros | id   | zeros   | prefix: method (8), status (1) or none | payload |
//! ```

use anyhow::{Context as _, Result, bail, ensure};
use tokio::io::AsyncReadExt as _;
use tokio::net::tcp::OwnedReadHalf;

/// Bytes of the header, as seaway has it.
const HEADER_BYTES: usize = 44;
/// Larger frames are refused.
const FRAME_BYTES_MAX: usize = 64 << 20;
/// What is read at once at most, unless a frame is larger.
const READ_BYTES: usize = 256 << 10;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One-way, not answered.
    Message = 0,
    /// Answered by a reply with the same id.
    Request = 1,
    /// Answers a request.
    Reply = 2,
}

/// A frame within the read buffer.
#[derive(Debug)]
pub struct Frame<'a> {
    /// What it is.
    pub kind: Kind,
    /// The call's id; 0 in messages.
    pub id: u64,
    /// Prefix and payload.
    pub body: &'a [u8],
}

/// Appends one frame.
pub fn put(out: &mut Vec<u8>, kind: Kind, id: u64, prefix: &[u8], payload: &[u8]) -> Result<()> {
    let length = u32::try_from(HEADER_BYTES + prefix.len() + payload.len())?;
    let mut header = [0; HEADER_BYTES];
    header[..4].copy_from_slice(&length.to_le_bytes());
    header[4] = kind as u8;
    header[16..24].copy_from_slice(&id.to_le_bytes());
    out.extend_from_slice(&header);
    out.extend_from_slice(prefix);
    out.extend_from_slice(payload);
    Ok(())
}

/// Returns the length of the frame that `bytes` begin with, or nothing if too few are there.
fn length(bytes: &[u8]) -> Result<Option<usize>> {
    let Some(length) = bytes.first_chunk() else {
        return Ok(None);
    };
    let length = u32::from_le_bytes(*length) as usize;
    ensure!((HEADER_BYTES..=FRAME_BYTES_MAX).contains(&length), "a frame of {length} bytes");
    Ok(Some(length))
}

/// Splits whole frames that follow each other.
pub fn split(mut bytes: &[u8]) -> impl Iterator<Item = Result<&[u8]>> {
    std::iter::from_fn(move || {
        let frame = length(bytes).transpose()?.and_then(|length| {
            let (frame, rest) = bytes.split_at_checked(length).context("half a frame")?;
            bytes = rest;
            Ok(frame)
        });
        Some(frame)
    })
}

/// Reads as much as there is at once and hands out the frames one by one.
#[derive(Debug)]
pub struct FrameReader {
    half: OwnedReadHalf,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl FrameReader {
    /// Makes a reader of a connection's reading half.
    pub fn new(half: OwnedReadHalf) -> Self {
        Self { half, buffer: vec![0; READ_BYTES], start: 0, end: 0 }
    }

    /// Reads once. False when the other side has closed the connection between two frames.
    pub async fn fill(&mut self) -> Result<bool> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if let Some(length) = length(&self.buffer[..self.end])?
            && length > self.buffer.len()
        {
            self.buffer.resize(length, 0);
        }
        let read = self.half.read(&mut self.buffer[self.end..]).await?;
        ensure!(read > 0 || self.end == 0, "the connection ended within a frame");
        self.end += read;
        Ok(read > 0)
    }

    /// Returns the next whole frame of what was read.
    pub fn next(&mut self) -> Result<Option<Frame<'_>>> {
        let unread = &self.buffer[self.start..self.end];
        let Some(length) = length(unread)? else {
            return Ok(None);
        };
        let Some((header, body)) =
            unread.get(..length).and_then(|f| f.split_at_checked(HEADER_BYTES))
        else {
            return Ok(None);
        };
        let kind = match header[4] {
            0 => Kind::Message,
            1 => Kind::Request,
            2 => Kind::Reply,
            other => bail!("a frame of the unknown kind {other}"),
        };
        let mut id = [0; 8];
        id.copy_from_slice(&header[16..24]);
        self.start += length;
        Ok(Some(Frame { kind, id: u64::from_le_bytes(id), body }))
    }
}
