//! Frames out of a read buffer.

use bytes::{Buf, Bytes, BytesMut};

use super::header::{EXTENSION_BYTES_MAX, HEADER_LEN, Header, LENGTH_LEN};

/// One unit on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) header: Header,
    /// Tagged fields; often empty. See [`super::Extension`].
    pub(crate) extension: Bytes,
    /// A slice of the read buffer.
    pub(crate) body: Bytes,
}

impl Frame {
    /// The method of a request; 0 if it is too short for one.
    pub(crate) fn method(&self) -> u64 {
        self.body.first_chunk().map_or(0, |method| u64::from_be_bytes(*method))
    }

    /// Bytes on the wire.
    pub(crate) fn len(&self) -> usize {
        HEADER_LEN + self.extension.len() + self.body.len()
    }
}

/// What a lane accepts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FrameLimits {
    /// Bytes of a body.
    pub(crate) body_bytes_max: usize,
}

/// Takes the next whole frame off `buffer`.
///
/// `Ok(Err(n))` says that at least `n` more bytes are needed. The length is checked before
/// anything is allocated for it, and nothing is taken off before the whole frame is there.
///
/// # Errors
///
/// When the bytes break a rule of the wire; the lane cannot go on then.
#[inline]
pub(crate) fn decode(
    buffer: &mut BytesMut,
    limits: FrameLimits,
) -> Result<Result<Frame, usize>, FrameError> {
    let Some(length) = buffer.first_chunk::<LENGTH_LEN>() else {
        return Ok(Err(HEADER_LEN - buffer.len()));
    };
    let length = u32::from_be_bytes(*length) as usize;
    let head = HEADER_LEN - LENGTH_LEN;
    if length < head {
        return Err(FrameError::TooShort { length });
    }
    if length > head + EXTENSION_BYTES_MAX + limits.body_bytes_max {
        return Err(FrameError::TooLong { length, limit: limits.body_bytes_max });
    }
    let Some(bytes) = buffer.first_chunk::<HEADER_LEN>() else {
        return Ok(Err(HEADER_LEN - buffer.len()));
    };
    let Some((header, extension)) = Header::read(bytes) else {
        return Err(FrameError::Header { kind: bytes[4] });
    };
    let Some(body) = (length - head).checked_sub(extension) else {
        return Err(FrameError::Extension { extension });
    };
    if extension > EXTENSION_BYTES_MAX {
        return Err(FrameError::Extension { extension });
    }
    if body > limits.body_bytes_max {
        return Err(FrameError::TooLong { length, limit: limits.body_bytes_max });
    }
    let total = LENGTH_LEN + length;
    if buffer.len() < total {
        return Ok(Err(total - buffer.len()));
    }
    // Splitting costs a reference count; an empty part needs none.
    if extension + body == 0 {
        buffer.advance(HEADER_LEN);
        return Ok(Ok(Frame { header, extension: Bytes::new(), body: Bytes::new() }));
    }
    let mut body = buffer.split_to(total).freeze();
    body.advance(HEADER_LEN);
    let extension = if extension == 0 { Bytes::new() } else { body.split_to(extension) };
    Ok(Ok(Frame { header, extension, body }))
}

/// How a peer broke the rules of the wire.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    /// The length does not even cover the header.
    #[error("a frame of {length} bytes is shorter than its header")]
    TooShort { length: usize },
    /// The frame is longer than the lane allows.
    #[error("a frame of {length} bytes is over the limit of {limit} bytes for a body")]
    TooLong { length: usize, limit: usize },
    /// The kind is unknown and must not be, or an address is none.
    #[error("a frame of kind {kind} has a header that makes no sense")]
    Header { kind: u8 },
    /// The extension is longer than the frame or the limit.
    #[error("an extension of {extension} bytes does not fit its frame or the limit of 16 KiB")]
    Extension { extension: usize },
}
