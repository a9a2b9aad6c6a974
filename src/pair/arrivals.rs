//! What has arrived from a source, on one lane. Pure.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use super::{is_after, steps};
use crate::clock::Millis;
use crate::incarnation::Incarnation;
use crate::wire::Receipt;

/// A receipt is due when so many bytes have been dealt with since the last one.
const DUE_BYTES: usize = 256 << 10;
/// A receipt is due so long after the first frame that the last one did not tell of.
pub(crate) const DUE_MS: u64 = 50;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    /// The highest number that has come.
    highest: u32,
    /// The highest number that was dealt with, and how many there are up to it.
    done: u32,
    given: u32,
    /// How many have come; those that wait for their turn are not counted yet.
    received: u32,
    /// How many of those were sent back.
    bounced: u32,
    /// What the last receipt did not tell of, and since when.
    untold_bytes: usize,
    untold_since: Option<Millis>,
}

impl Arrivals {
    /// A frame has come: whether it may be handled. Otherwise a later one was here before it, and
    /// it is to be sent back as overtaken.
    #[must_use]
    pub(crate) fn arrive(&mut self, seq: u32) -> bool {
        let is_new = is_after(seq, self.highest);
        if is_new {
            self.highest = seq;
        }
        is_new
    }

    /// A frame that might be handled was: its handler was started, or it was sent back.
    pub(crate) fn settle(&mut self, seq: u32, bytes: usize, now: Millis) {
        self.advance(seq);
        self.received = self.received.wrapping_add(1);
        self.untold_bytes += bytes;
        self.touch(now);
    }

    /// A frame that came too late was sent back.
    pub(crate) fn overtake(&mut self, now: Millis) {
        self.received = self.received.wrapping_add(1);
        self.touch(now);
    }

    /// A frame was sent back.
    pub(crate) fn bounce(&mut self, now: Millis) {
        self.bounced = self.bounced.wrapping_add(1);
        self.touch(now);
    }

    /// From now on all up to this number count as come too late.
    pub(crate) fn forbid(&mut self, seq: u32) {
        if is_after(seq, self.highest) {
            self.highest = seq;
        }
    }

    /// Nothing waits for its turn: all that may come is dealt with.
    pub(crate) fn close(&mut self) {
        self.advance(self.highest);
    }

    fn advance(&mut self, seq: u32) {
        if is_after(seq, self.done) {
            self.given = self.given.wrapping_add(steps(self.done, seq));
            self.done = seq;
        }
    }

    fn touch(&mut self, now: Millis) {
        self.untold_since.get_or_insert(now);
    }

    /// Whether a receipt is due.
    pub(crate) fn is_due(&self, now: Millis) -> bool {
        let is_late = |since| now.since(since) >= DUE_MS;
        self.untold_bytes >= DUE_BYTES || self.untold_since.is_some_and(is_late)
    }

    /// Whether the last receipt does not tell all.
    pub(crate) const fn is_untold(&self) -> bool {
        self.untold_since.is_some()
    }

    /// What to tell; it counts as told.
    pub(crate) fn receipt(&mut self, incarnation: Incarnation, lane: u8) -> Receipt {
        self.untold_bytes = 0;
        self.untold_since = None;
        let missing = self.given.wrapping_sub(self.received);
        Receipt { incarnation, up_to: self.done, missing, bounced: self.bounced, lane }
    }
}
