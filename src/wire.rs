//! Bytes on a lane: the only place that knows offsets.
//!
//! `docs/wire.md` says the same in words; the hex files under `tests/vectors` hold both to it.
//!
//! ```text
//! +--------+-----------+------+
//! | header | extension | body |      header: 44 bytes, `header.rs`
//! +--------+-----------+------+      extension: tagged fields, opaque to relays, `extension.rs`
//! ```
#![deny(clippy::disallowed_methods, clippy::disallowed_types, clippy::indexing_slicing)]

mod extension;
mod frame;
mod header;
mod notice;
mod reason;
mod reply;
mod stream;

pub(crate) use extension::{Extension, METADATA_BYTES_MAX, METADATA_PAIRS_MAX, TraceContext};
pub(crate) use frame::{Frame, FrameError, FrameLimits, decode};
pub(crate) use header::{
    FLAG_NO_REPLY, FLAG_RECEIPT_WANTED, HEADER_LEN, Header, Kind, NO_DEADLINE, queued,
};
pub(crate) use notice::{Bounce, Counts, Down, GoAway, Pulse, Receipt};
pub use reason::Reason;
pub(crate) use reply::{Failure, Origin, ReplyBody};
pub use stream::Break;
pub(crate) use stream::{End, Fault, Open};

/// The start of a text: at most so many bytes of it, and no half character.
pub(crate) fn cut(text: &str, bytes_max: usize) -> &str {
    let mut end = bytes_max.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests;
