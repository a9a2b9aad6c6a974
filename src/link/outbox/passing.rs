//! What of an outbox belongs to others: a harbor's frames, by pair. Pure.

use crate::addr::LogicalAddr;
use crate::map::Map;
use crate::wire::{Header, Kind};

/// See the module.
#[derive(Debug, Default)]
#[cfg_attr(test, derive(Clone))]
pub(super) struct Passing {
    bytes: usize,
    /// Of messages and requests; a reply that finds no room cannot be made again.
    pairs: Map<(LogicalAddr, LogicalAddr), usize>,
}

impl Passing {
    /// Bytes of all frames of others.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether a frame of so many bytes may go in.
    pub(super) fn has_room(&self, header: &Header, len: usize, pair_bytes_max: usize) -> bool {
        let queued = pair_of(header).and_then(|pair| self.pairs.get(&pair));
        queued.is_none_or(|queued| queued + len <= pair_bytes_max)
    }

    pub(super) fn enter(&mut self, header: &Header, len: usize) {
        if header.hops == 0 {
            return;
        }
        self.bytes += len;
        if let Some(pair) = pair_of(header) {
            *self.pairs.entry(pair).or_default() += len;
        }
    }

    pub(super) fn leave(&mut self, header: &Header, len: usize) {
        if header.hops == 0 {
            return;
        }
        self.bytes = self.bytes.saturating_sub(len);
        let Some(pair) = pair_of(header) else { return };
        if let Some(queued) = self.pairs.get_mut(&pair) {
            *queued = queued.saturating_sub(len);
            if *queued == 0 {
                self.pairs.remove(&pair);
            }
        }
    }
}

/// The pair whose limit a frame is held to, if it is held to one.
fn pair_of(header: &Header) -> Option<(LogicalAddr, LogicalAddr)> {
    let is_held = header.hops > 0 && matches!(header.kind, Kind::Message | Kind::Request);
    is_held.then_some((header.from, header.to))
}
