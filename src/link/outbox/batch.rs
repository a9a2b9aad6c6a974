//! Frames that the writer has taken. Pure.

use std::collections::VecDeque;
use std::ops::Range;

use crate::clock::Millis;
use crate::wire::queued;

/// What the writer is writing.
#[derive(Debug, Default)]
#[cfg_attr(test, derive(Clone))]
pub(crate) struct Batch {
    pub(super) buffer: Vec<u8>,
    /// Position of `buffer[0]`.
    pub(super) origin: u64,
    pub(super) taken_at: Millis,
    /// What of `buffer` is still to be written.
    ranges: VecDeque<Range<usize>>,
    /// How many frames there were.
    pub(crate) frames: u32,
    pub(super) one_way: u64,
}

impl Batch {
    pub(super) fn clear(&mut self) {
        self.buffer.clear();
        self.ranges.clear();
        self.frames = 0;
        self.one_way = 0;
    }

    pub(super) fn include(&mut self, frame: Range<usize>, is_one_way: bool) {
        self.frames += 1;
        self.one_way += u64::from(is_one_way);
        match self.ranges.back_mut() {
            Some(last) if last.end == frame.start => last.end = frame.end,
            _ => self.ranges.push_back(frame),
        }
    }

    /// The next bytes to write; empty when all is written.
    pub(crate) fn chunk(&self) -> &[u8] {
        self.ranges.front().and_then(|range| self.buffer.get(range.clone())).unwrap_or_default()
    }

    /// `n` bytes of the chunk are written.
    pub(crate) fn advance(&mut self, n: usize) {
        if let Some(range) = self.ranges.front_mut() {
            range.start += n;
            if range.start >= range.end {
                self.ranges.pop_front();
            }
        }
    }

    /// Bytes still to be written.
    pub(crate) fn left(&self) -> usize {
        self.ranges.iter().map(|range| range.end - range.start).sum()
    }

    /// From the first frame of which no byte was written to the end of the buffer.
    pub(super) fn unwritten_tail(&self) -> Range<usize> {
        let end = self.buffer.len();
        let Some(written) = self.ranges.front().map(|range| range.start) else { return end..end };
        let mut at = 0;
        while at < written {
            match queued::len(&self.buffer, at) {
                Some(len) => at += len,
                None => return end..end,
            }
        }
        at..end
    }

    /// Gives the frames of `tail` their deadlines back and voids those between the ranges, which
    /// have expired. Returns how many of the frames left are one-way.
    pub(super) fn restore_tail(&mut self, tail: Range<usize>) -> u64 {
        let mut one_way = 0;
        let mut at = tail.start;
        while let Some(len) = queued::len(&self.buffer, at) {
            while self.ranges.front().is_some_and(|range| range.end <= at) {
                self.ranges.pop_front();
            }
            // The frame that was cut is no longer in a range as a whole, but lies before the tail.
            if self.ranges.front().is_some_and(|range| range.contains(&at)) {
                queued::stay(&mut self.buffer, at, self.taken_at);
                let header = queued::header(&self.buffer, at);
                one_way += u64::from(header.is_some_and(|header| header.is_counted()));
            } else {
                queued::void(&mut self.buffer, at);
            }
            at += len;
        }
        one_way
    }
}
