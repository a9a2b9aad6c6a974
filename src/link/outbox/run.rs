//! Frames one behind the other. Pure.

use crate::wire::{Header, queued};

/// See the module.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub(super) struct Run {
    pub(super) buffer: Vec<u8>,
    /// Where the waiting frames begin in `buffer`: those before were taken back.
    pub(super) head: usize,
    /// Position of `buffer[0]`.
    pub(super) origin: u64,
}

impl Run {
    pub(super) const fn new() -> Self {
        Self { buffer: Vec::new(), head: 0, origin: 0 }
    }

    /// Position of the first frame that waits.
    pub(super) const fn start(&self) -> u64 {
        self.origin + self.head as u64
    }

    /// Position behind the last frame.
    pub(super) const fn end(&self) -> u64 {
        self.origin + self.buffer.len() as u64
    }

    /// Bytes that wait.
    pub(super) const fn waiting(&self) -> usize {
        self.buffer.len() - self.head
    }

    /// Shows each waiting frame.
    pub(super) fn each(&self, mut see: impl FnMut(&Header, usize)) {
        let mut at = self.head;
        while let Some(len) = queued::len(&self.buffer, at) {
            if let Some(header) = queued::header(&self.buffer, at) {
                see(&header, len);
            }
            at += len;
        }
    }

    pub(super) fn void(&mut self, position: u64) -> bool {
        let is_here = (self.start()..self.end()).contains(&position);
        let at = usize::try_from(position.saturating_sub(self.origin));
        is_here && at.is_ok_and(|at| queued::void(&mut self.buffer, at))
    }

    /// Takes back each frame that `keep` does not want, then gives up the room of what was taken
    /// back in front, once it is all or more than `slack`.
    pub(super) fn retain(
        &mut self,
        slack: usize,
        keep: &mut impl FnMut(&mut [u8], usize, Header) -> bool,
    ) {
        let mut at = self.head;
        let mut is_leading = true;
        while let Some(len) = queued::len(&self.buffer, at) {
            let is_kept = queued::header(&self.buffer, at)
                .is_some_and(|header| keep(&mut self.buffer, at, header));
            if !is_kept {
                queued::void(&mut self.buffer, at);
            }
            at += len;
            is_leading &= !is_kept;
            if is_leading {
                self.head = at;
            }
        }
        if self.head == self.buffer.len() {
            self.origin += self.buffer.len() as u64;
            self.buffer.clear();
            self.head = 0;
        } else if self.head > slack {
            self.buffer.drain(..self.head);
            self.origin += self.head as u64;
            self.head = 0;
        }
    }
}
