//! Bytes on a lane: the only place that knows offsets.
//!
//! `docs/wire.md` says the same in words; the hex files under `tests/vectors` hold both to it.
//!
//! ```text
//! +--------+-----------+------+
//! | header | extension | body |      header: 44 bytes, `header.rs`
//! +--------+-----------+------+      extension: tagged fields, opaque to relays, `extension.rs`
//! ```

mod extension;
mod frame;
mod header;
mod notice;
mod reason;
mod reply;

pub(crate) use extension::{Extension, METADATA_BYTES_MAX, METADATA_PAIRS_MAX, TraceContext};
pub(crate) use frame::{Frame, FrameError, FrameLimits, decode};
pub(crate) use header::{
    EXTENSION_BYTES_MAX, FLAG_NO_REPLY, HEADER_LEN, Header, Kind, NO_DEADLINE, queued,
};
pub(crate) use notice::{Bounce, Counts, Down, GoAway, Pulse, Receipt};
pub use reason::Reason;
pub(crate) use reply::{Failure, Origin, ReplyBody};

#[cfg(test)]
mod tests;
