//! The calls on a link that wait for replies.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::metrics::Counter;

/// See the module. Callers on several threads begin and end calls all the time: what they change
/// when one ends is a place of their own, and all places are looked at seldom.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    begun: AtomicU64,
    /// Of those ended, how many were known when that was looked at last.
    known: AtomicU64,
    ended: Counter,
}

impl Calls {
    /// Counts a call that begins; `false` if `max` wait already. Asked under the rpc lane's lock:
    /// of two at once one might not be counted.
    #[must_use]
    pub(crate) fn begin(&self, max: usize) -> bool {
        let begun = self.begun.load(Relaxed);
        let is_full = || begun.saturating_sub(self.known.load(Relaxed)) >= max as u64;
        if is_full() {
            self.known.store(self.ended.get(), Relaxed);
            if is_full() {
                return false;
            }
        }
        self.begun.store(begun + 1, Relaxed);
        true
    }

    /// Counts a call that has ended.
    pub(crate) fn end(&self) {
        self.ended.add(1);
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> u64 {
        // In this order, so that none has ended that has not begun.
        let ended = self.ended.get();
        self.begun.load(Relaxed).saturating_sub(ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_the_limit_wait_at_once() {
        let calls = Calls::default();
        for _ in 0..3 {
            assert!(calls.begin(2) && calls.begin(2) && !calls.begin(2));
            assert_eq!(calls.waiting(), 2);
            calls.end();
            assert!(calls.begin(2) && !calls.begin(2));
            calls.end();
            calls.end();
            assert_eq!(calls.waiting(), 0);
        }
    }
}
