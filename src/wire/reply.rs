//! Body of a reply: `status u8`, then for 0 the message, otherwise
//! `origin u8, text length u16, text, details`.

use bytes::{Buf, BufMut, Bytes};

use super::cut;
use super::reason::Reason;

/// Bytes of text in a reply that is an error; what is longer is cut.
const TEXT_BYTES_MAX: usize = 4 << 10;

/// Who made an error, which tells whether the handler may have run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The handler returned it.
    Handler,
    /// The request was refused before its handler ran; the status is a [`Reason`].
    Refused,
    /// The handler ran, but what became of it is not known.
    Unknown,
}

/// An error in a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// A status code; of [`Origin::Refused`] the byte of a reason.
    pub(crate) status: u8,
    pub(crate) origin: Origin,
    pub(crate) text: String,
    pub(crate) details: Bytes,
}

impl Failure {
    /// The request was refused before its handler ran.
    pub(crate) fn refused(reason: Reason) -> Self {
        let (text, details) = (String::new(), Bytes::new());
        Self { status: reason.byte(), origin: Origin::Refused, text, details }
    }

    /// Bytes that stand before the text.
    pub(crate) const HEAD_LEN: usize = 4;

    /// Bytes that [`Failure::put`] writes.
    pub(crate) fn len(&self) -> usize {
        Self::HEAD_LEN + cut(&self.text, TEXT_BYTES_MAX).len() + self.details.len()
    }

    /// Leaves out what makes it longer than `len_max`: details first.
    pub(crate) fn fit(&mut self, len_max: usize) {
        if self.len() > len_max {
            self.details = Bytes::new();
        }
        if self.len() > len_max {
            self.text = cut(&self.text, len_max.saturating_sub(Self::HEAD_LEN)).to_owned();
        }
    }

    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        out.put_u8(self.status);
        out.put_u8(match self.origin {
            Origin::Handler => 0,
            Origin::Refused => 1,
            Origin::Unknown => 2,
        });
        let text = cut(&self.text, TEXT_BYTES_MAX);
        out.put_u16(u16::try_from(text.len()).unwrap_or(u16::MAX));
        out.put_slice(text.as_bytes());
        out.put_slice(&self.details);
    }
}

/// A reply's body, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ReplyBody {
    /// Status 0; the bytes are the message.
    Ok(Bytes),
    Error(Failure),
}

impl ReplyBody {
    /// The status byte of success.
    pub(crate) const OK: u8 = 0;

    pub(crate) fn read(mut body: Bytes) -> Option<Self> {
        let status = *body.first()?;
        if status == Self::OK {
            body.advance(1);
            return Some(Self::Ok(body));
        }
        let (&[_, origin, high, low], rest) = body.split_first_chunk()?;
        let text_len = usize::from(u16::from_be_bytes([high, low]));
        let (text, details) = rest.split_at_checked(text_len)?;
        let text = String::from_utf8_lossy(text).into_owned();
        let origin = match origin {
            0 => Origin::Handler,
            1 => Origin::Refused,
            _ => Origin::Unknown,
        };
        let details = body.slice_ref(details);
        Some(Self::Error(Failure { status, origin, text, details }))
    }
}
