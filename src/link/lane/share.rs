//! What one lane has of the room that a harbor has for frames of others.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::link::outbox::Class;

/// See the module.
#[derive(Debug)]
pub(super) struct Share {
    /// Bytes of others in all outboxes of the node, and the most there may be.
    all: Arc<AtomicUsize>,
    max: usize,
    /// How many of them are this lane's.
    own: usize,
}

impl Share {
    pub(super) const fn new(all: Arc<AtomicUsize>, max: usize) -> Self {
        Self { all, max, own: 0 }
    }

    /// So many are this lane's now.
    pub(super) fn set(&mut self, bytes: usize) {
        if bytes > self.own {
            self.all.fetch_add(bytes - self.own, Ordering::Relaxed);
        } else if bytes < self.own {
            self.all.fetch_sub(self.own - bytes, Ordering::Relaxed);
        } else {
            return;
        }
        self.own = bytes;
    }

    /// Whether a frame of `len` bytes may be added. So many are this lane's by now, though not all
    /// may have been told yet.
    pub(super) fn has_room(&self, class: Class, own: usize, len: usize) -> bool {
        let all = self.all.load(Ordering::Relaxed) + own - self.own;
        if class != Class::Data {
            return all + len <= self.max;
        }
        // The rest is for what answers: it says what became of these.
        let max = self.max - self.max / 8;
        // No lane has more than is left then: however many do not move, there is room for one that
        // does.
        all == 0 || all + own + len <= max
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.all.fetch_sub(self.own, Ordering::Relaxed);
    }
}
