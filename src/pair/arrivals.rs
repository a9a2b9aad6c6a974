//! What has arrived from a source, on one lane. Pure.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use super::is_after;
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
    /// So many have come and wait for their turn.
    waiting: u32,
    /// All up to this number that will ever be handled are dealt with.
    done: u32,
    /// How many were handled.
    handled: u32,
    /// How many were sent back of those that count as handled, or soon will.
    refused: u32,
    /// What the last receipt did not tell of, and since when.
    untold_bytes: usize,
    untold_since: Option<Millis>,
    /// Whether there was a receipt.
    has_told: bool,
}

impl Arrivals {
    /// A frame has come: whether it may be handled. Otherwise a later one was here before it, and
    /// it is to be sent back as overtaken.
    #[must_use]
    pub(crate) fn arrive(&mut self, seq: u32) -> bool {
        let is_new = is_after(seq, self.highest);
        if is_new {
            self.highest = seq;
            self.waiting += 1;
        }
        is_new
    }

    /// Whether nothing has come yet: the source waits to hear who is here.
    pub(crate) const fn is_fresh(&self) -> bool {
        self.highest == 0
    }

    /// A frame that might be handled was: its handler was started, or it was sent back.
    pub(crate) fn settle(&mut self, seq: u32, bytes: usize, now: Millis) {
        self.waiting = self.waiting.saturating_sub(1);
        self.handled = self.handled.wrapping_add(1);
        self.refused();
        self.advance(seq);
        self.untold_bytes += bytes;
        self.touch(now);
    }

    /// A frame that might be handled was sent back; it may be settled before or after that.
    pub(crate) fn refuse(&mut self, now: Millis) {
        self.refused = self.refused.wrapping_add(1);
        self.touch(now);
    }

    /// From now on all up to this number count as come too late.
    pub(crate) fn forbid(&mut self, seq: u32) {
        if is_after(seq, self.highest) {
            self.highest = seq;
        }
        self.advance(self.done);
    }

    /// All up to this number is dealt with; if nothing waits, so is all that may have come.
    fn advance(&mut self, seq: u32) {
        let seq = if self.waiting == 0 { self.highest } else { seq };
        if is_after(seq, self.done) {
            self.done = seq;
        }
    }

    /// Those that were sent back were not handled.
    fn refused(&mut self) {
        self.handled = self.handled.wrapping_sub(std::mem::take(&mut self.refused));
    }

    fn touch(&mut self, now: Millis) {
        self.untold_since.get_or_insert(now);
    }

    /// Whether a receipt is due. The first is at once: it tells the source which run it is that
    /// handles its frames.
    pub(crate) fn is_due(&self, now: Millis) -> bool {
        let is_late = |since| !self.has_told || now.since(since) >= DUE_MS;
        self.untold_bytes >= DUE_BYTES || self.untold_since.is_some_and(is_late)
    }

    /// Whether the last receipt does not tell all.
    pub(crate) const fn is_untold(&self) -> bool {
        self.untold_since.is_some()
    }

    /// What to tell; it counts as told.
    pub(crate) fn receipt(&mut self, incarnation: Incarnation, lane: u8) -> Receipt {
        if self.waiting == 0 {
            self.refused();
        }
        self.untold_bytes = 0;
        self.untold_since = None;
        self.has_told = true;
        Receipt { incarnation, up_to: self.done, handled: self.handled, lane }
    }

    /// The last receipt could not be sent.
    pub(crate) fn untell(&mut self, now: Millis) {
        self.touch(now);
    }
}
