//! Frames that wait to be written on one lane. Pure.
//!
//! Frames are encoded into one growing buffer; the writer takes all of it at once. A frame is
//! known by its *position*: how many bytes were put before it since the lane began. Positions never
//! change, so a caller can take its request back in constant time, and learns exactly whether the
//! writer was faster.
//!
//! ```text
//!   taken by the writer         waiting
//! ----------------------+---------------------+
//!                       ^ floor               ^ floor + waiting bytes: where the next frame goes
//! ```
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::VecDeque;
use std::ops::Range;

use crate::clock::Millis;
use crate::incarnation::Incarnation;
use crate::wire::{HEADER_LEN, Header, Kind, queued};

/// Which bound a frame is held to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// Waits for room: messages, requests, replies.
    Data,
    /// Cannot wait, and may use the reserve: pong, bounce, refusal.
    Control,
    /// Takes a request back. Always has room: there is at most one for each pending call, and
    /// those are bounded.
    Cancel,
}

/// Why a frame was not put into the outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rejected {
    /// Wait until the writer has made room.
    Full,
    /// The reserve is full: the peer takes nothing, the link must be closed.
    Overflow,
}

/// A frame that left the outbox without being written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unsent {
    pub(crate) header: Header,
    /// Method of a request, else 0.
    pub(crate) method: u64,
}

/// Bounds of an outbox, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) bytes_max: usize,
    pub(crate) reserve: usize,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Outbox {
    bounds: Bounds,
    buffer: Vec<u8>,
    /// Where the waiting frames begin in `buffer`; more than 0 only after a sweep.
    head: usize,
    /// Position of `buffer[0]`.
    origin: u64,
    /// Bytes that the writer has taken and not yet written.
    writing: usize,
    /// No waiting frame expires before this.
    earliest: Millis,
    /// Position at which the session that is up began.
    session_floor: u64,
    /// One-way frames taken by the writer in this session.
    one_way_taken: u64,
}

impl Outbox {
    pub(crate) const fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            buffer: Vec::new(),
            head: 0,
            origin: 0,
            writing: 0,
            earliest: Millis::NEVER,
            session_floor: 0,
            one_way_taken: 0,
        }
    }

    /// Puts a frame in; `body` writes extension and body, of these lengths, behind the header.
    /// Returns the frame's position.
    pub(crate) fn put(
        &mut self,
        class: Class,
        mut header: Header,
        deadline: Millis,
        (extension, body_len): (usize, usize),
        body: impl FnOnce(&mut Vec<u8>),
    ) -> Result<u64, Rejected> {
        let len = HEADER_LEN + extension + body_len;
        self.check(class, len)?;
        let start = self.buffer.len();
        header.time_left = queued::deadline(deadline);
        self.buffer.reserve(len);
        header.put(&mut self.buffer);
        body(&mut self.buffer);
        Header::seal(&mut self.buffer, start, extension);
        self.earliest = self.earliest.min(deadline);
        Ok(self.origin + start as u64)
    }

    /// Position at which the next frame will be put.
    pub(crate) fn next_position(&self) -> u64 {
        self.origin + self.buffer.len() as u64
    }

    /// Whether a frame of `len` bytes has room. A frame larger than the bound still passes when
    /// nothing else is queued.
    pub(crate) fn check(&self, class: Class, len: usize) -> Result<(), Rejected> {
        let queued = self.waiting() + self.writing;
        let Bounds { bytes_max, reserve } = self.bounds;
        match class {
            Class::Data if queued > 0 && queued + len > bytes_max => Err(Rejected::Full),
            Class::Control if queued + len > bytes_max + reserve => Err(Rejected::Overflow),
            _ => Ok(()),
        }
    }

    /// Whether there is so much room again that it is worth waking those who wait for it.
    pub(crate) fn is_half_empty(&self) -> bool {
        self.queued() <= self.bounds.bytes_max / 2
    }

    /// Bytes that wait for the writer.
    pub(crate) fn waiting(&self) -> usize {
        self.buffer.len() - self.head
    }

    /// Bytes that wait or are being written.
    pub(crate) fn queued(&self) -> usize {
        self.waiting() + self.writing
    }

    /// No waiting frame expires before this; [`Millis::NEVER`] if none ever does.
    pub(crate) fn earliest_deadline(&self) -> Millis {
        if self.waiting() == 0 { Millis::NEVER } else { self.earliest }
    }

    /// Takes the frame at `position` back, if the writer has not taken it.
    pub(crate) fn void(&mut self, position: u64) -> bool {
        let Some(at) = position.checked_sub(self.origin) else { return false };
        let Ok(at) = usize::try_from(at) else { return false };
        at >= self.head && queued::void(&mut self.buffer, at)
    }

    /// Whether the frame at `position`, which was taken, went to the session that is up.
    pub(crate) const fn is_of_session(&self, position: u64) -> bool {
        position >= self.session_floor
    }

    /// Moves all waiting frames into `batch`, which must be done; those whose deadline has passed
    /// are appended to `expired` instead.
    pub(crate) fn take(&mut self, now: Millis, batch: &mut Batch, expired: &mut Vec<Unsent>) {
        batch.clear();
        batch.origin = self.origin;
        batch.taken_at = now;
        std::mem::swap(&mut self.buffer, &mut batch.buffer);
        let mut at = std::mem::take(&mut self.head);
        self.origin += batch.buffer.len() as u64;
        self.earliest = Millis::NEVER;
        while let Some(len) = queued::len(&batch.buffer, at) {
            if let Some(header) = queued::header(&batch.buffer, at) {
                if queued::leave(&mut batch.buffer, at, now) {
                    batch.include(at..at + len, header.is_one_way());
                } else {
                    expired.push(unsent(&batch.buffer, at, header));
                }
            }
            at += len;
        }
        self.one_way_taken += batch.one_way;
        self.writing = batch.left();
    }

    /// The writer has written all but `left` bytes of its batch.
    pub(crate) fn on_written(&mut self, left: usize) {
        self.writing = left;
    }

    /// Takes back all waiting frames whose deadline has passed.
    pub(crate) fn sweep(&mut self, now: Millis, expired: &mut Vec<Unsent>) {
        if now < self.earliest {
            return;
        }
        self.earliest = Millis::NEVER;
        self.retain(|buffer, at, header| {
            if queued::is_expired(buffer, at, now) {
                expired.push(unsent(buffer, at, header));
                return false;
            }
            true
        });
        // What is still there may expire at any time; look again at the next sweep.
        if self.waiting() > 0 {
            self.earliest = now.after(SWEEP_MS);
        }
    }

    /// Takes back all waiting messages and requests.
    pub(crate) fn drain(&mut self, drained: &mut Vec<Unsent>) {
        self.retain(|buffer, at, header| {
            let is_lasting = is_lasting(header.kind);
            if is_lasting {
                drained.push(unsent(buffer, at, header));
            }
            !is_lasting
        });
    }

    /// A session begins: what waits goes out on it, in the name of this incarnation. Frames with a
    /// body over `body_bytes_max` are appended to `too_large` instead.
    pub(crate) fn begin_session(
        &mut self,
        incarnation: Incarnation,
        body_bytes_max: usize,
        too_large: &mut Vec<Unsent>,
    ) {
        self.session_floor = self.origin + self.head as u64;
        self.one_way_taken = 0;
        self.retain(|buffer, at, header| {
            if matches!(header.kind, Kind::Message | Kind::Request | Kind::Cancel) {
                queued::rebrand(buffer, at, incarnation);
            }
            let fits = queued::body_len(buffer, at) <= body_bytes_max;
            if !fits {
                too_large.push(unsent(buffer, at, header));
            }
            fits
        });
    }

    /// The session is over. What `batch` has not handed to the kernel waits again, in front;
    /// frames that belong to a session only (all but messages and requests) are dropped.
    pub(crate) fn end_session(&mut self, batch: &mut Batch) -> Handed {
        let tail = batch.unwritten_tail();
        let one_way_left = batch.restore_tail(tail.clone());
        let below = batch.origin + tail.start as u64;
        if !tail.is_empty() {
            // What waited in front of a later sweep was taken back; it need not be kept.
            let mut buffer = batch.buffer.split_off(tail.start);
            buffer.extend_from_slice(&self.buffer);
            self.buffer = buffer;
            self.head = 0;
            self.origin = below;
        }
        batch.clear();
        self.writing = 0;
        self.earliest = Millis(0);
        self.retain(|_, _, header| is_lasting(header.kind));
        let one_way = self.one_way_taken - one_way_left;
        self.one_way_taken = 0;
        Handed { below: self.origin + self.head as u64, one_way }
    }

    /// Takes back each waiting frame that `keep` does not want, then gives up the room of what was
    /// taken back in front.
    fn retain(&mut self, mut keep: impl FnMut(&mut [u8], usize, Header) -> bool) {
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
        } else if self.head > self.bounds.bytes_max / 2 {
            self.buffer.drain(..self.head);
            self.origin += self.head as u64;
            self.head = 0;
        }
    }
}

/// Whether frames of this kind outlive the session that they were meant for.
const fn is_lasting(kind: Kind) -> bool {
    matches!(kind, Kind::Message | Kind::Request)
}

/// How often an outbox that is not being written looks for frames that have expired.
const SWEEP_MS: u64 = 20;

fn unsent(buffer: &[u8], at: usize, header: Header) -> Unsent {
    let is_request = header.kind == Kind::Request;
    let method = if is_request { queued::method(buffer, at).unwrap_or(0) } else { 0 };
    Unsent { header, method }
}

/// What a session that is over had handed to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Handed {
    /// Frames below this position were handed over, at least a byte of them, or have expired.
    pub(crate) below: u64,
    /// One-way frames among them, of this session.
    pub(crate) one_way: u64,
}

/// What the writer is writing.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    buffer: Vec<u8>,
    /// Position of `buffer[0]`.
    origin: u64,
    taken_at: Millis,
    /// What of `buffer` is still to be written.
    ranges: VecDeque<Range<usize>>,
    /// How many frames there were.
    pub(crate) frames: u32,
    one_way: u64,
}

impl Batch {
    fn clear(&mut self) {
        self.buffer.clear();
        self.ranges.clear();
        self.frames = 0;
        self.one_way = 0;
    }

    fn include(&mut self, frame: Range<usize>, is_one_way: bool) {
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

    /// Frees what a burst has left behind.
    pub(crate) fn shrink(&mut self, bytes_max: usize) {
        if self.ranges.is_empty() && self.buffer.capacity() > bytes_max {
            self.buffer = Vec::new();
        }
    }

    /// From the first frame of which no byte was written to the end of the buffer.
    fn unwritten_tail(&self) -> Range<usize> {
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
    fn restore_tail(&mut self, tail: Range<usize>) -> u64 {
        let mut one_way = 0;
        let mut at = tail.start;
        while let Some(len) = queued::len(&self.buffer, at) {
            // The frame that was cut is no longer in a range as a whole, but lies before the tail.
            if self.ranges.iter().any(|range| range.contains(&at)) {
                queued::stay(&mut self.buffer, at, self.taken_at);
                let header = queued::header(&self.buffer, at);
                one_way += u64::from(header.is_some_and(|header| header.is_one_way()));
            } else {
                queued::void(&mut self.buffer, at);
            }
            at += len;
        }
        one_way
    }
}

#[cfg(test)]
mod tests;
