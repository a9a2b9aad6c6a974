//! Frames that wait to be written on one lane. Pure.
//!
//! Frames are encoded into one growing buffer; the writer takes all of it at once. A frame is
//! known by its *position*: how many bytes were put before it since the lane began. Positions never
//! change, so a caller can take its request back in constant time, and learns exactly whether the
//! writer was faster.
//!
//! ```text
//!   taken by the writer       returned            fresh
//! ----------------------+-----------------+-----------------+
//!                       ^ the first that waits              ^ where the next frame goes
//! ```
//!
//! *Returned* is what a writer had taken and could not write before its session ended.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod batch;
mod passing;
mod run;

pub(crate) use batch::Batch;
use passing::Passing;
use run::Run;

use crate::clock::Millis;
use crate::incarnation::Incarnation;
use crate::wire::{Frame, HEADER_LEN, Header, Kind, queued};

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
    /// The body has more bytes than was said.
    Longer,
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
    /// Of the messages and requests of one pair, in a harbor.
    pub(crate) pair_bytes_max: usize,
}

/// See the module.
/// What each put changes lies in front.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
#[repr(C)]
pub(crate) struct Outbox {
    fresh: Run,
    /// Bytes that the writer has taken and not yet written.
    writing: usize,
    /// No waiting frame expires before this.
    earliest: Millis,
    bounds: Bounds,
    /// Goes first. It is a run of its own because what followed it may have been taken back
    /// meanwhile, and positions never change.
    returned: Run,
    passing: Passing,
    /// The batch's, while there is nothing to write.
    spare: Vec<u8>,
    /// When frames were last taken.
    taken_at: Millis,
    /// How much of the batch that it has taken belongs to others.
    writing_passing: usize,
    /// Position at which the session that is up began.
    session_floor: u64,
    /// One-way frames taken by the writer in this session.
    one_way_taken: u64,
    /// Frames from here on were never taken by the writer, or have come back from it unwritten.
    taken_below: u64,
}

impl Outbox {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            returned: Run::new(),
            fresh: Run::new(),
            passing: Passing::default(),
            spare: Vec::new(),
            taken_at: Millis::default(),
            writing: 0,
            writing_passing: 0,
            earliest: Millis::NEVER,
            session_floor: 0,
            one_way_taken: 0,
            taken_below: 0,
        }
    }

    /// Puts a frame in that has room: see [`Outbox::check`]. `body` writes extension and body, of
    /// these lengths, behind the header. Returns the frame's position.
    #[inline]
    pub(crate) fn put(
        &mut self,
        mut header: Header,
        deadline: Millis,
        (extension, body_len): (usize, usize),
        body: impl FnOnce(&mut Vec<u8>),
    ) -> Result<u64, Rejected> {
        let len = HEADER_LEN + extension + body_len;
        let position = self.next_position();
        let start = self.fresh.buffer.len();
        let mut frame = Unsealed { buffer: &mut self.fresh.buffer, start };
        header.time_left = queued::deadline(deadline);
        frame.buffer.reserve(len);
        header.put(frame.buffer, extension, body_len);
        body(frame.buffer);
        let put = frame.buffer.len() - start;
        if put > len {
            // The limits were checked for what was said.
            return Err(Rejected::Longer);
        }
        if put < len {
            queued::shorten(frame.buffer, start);
        }
        frame.start = frame.buffer.len();
        self.passing.enter(&header, len);
        if deadline < self.earliest {
            self.earliest = deadline;
        }
        Ok(position)
    }

    /// Position at which the next frame will be put.
    pub(crate) fn next_position(&self) -> u64 {
        self.fresh.end()
    }

    /// Position of the first frame that waits.
    fn first_waiting(&self) -> u64 {
        if self.returned.waiting() > 0 { self.returned.start() } else { self.fresh.start() }
    }

    /// Whether a frame of `len` bytes has room. A frame larger than the bound still passes when
    /// nothing else is queued.
    pub(crate) fn check(&self, class: Class, len: usize) -> Result<(), Rejected> {
        let queued = self.queued();
        let Bounds { bytes_max, reserve, .. } = self.bounds;
        match class {
            Class::Data if queued > 0 && queued + len > bytes_max => Err(Rejected::Full),
            Class::Control if queued + len > bytes_max + reserve => Err(Rejected::Overflow),
            _ => Ok(()),
        }
    }

    /// Whether a frame of somebody else's has room among those of its pair.
    pub(crate) fn has_room_of_pair(&self, header: &Header, len: usize) -> bool {
        self.passing.has_room(header, len, self.bounds.pair_bytes_max)
    }

    /// Whether so much may go in that answers somebody else: half of the reserve stays for what the
    /// link itself cannot wait with, or whoever floods it would close it.
    pub(crate) fn has_spare(&self, len: usize) -> bool {
        let Bounds { bytes_max, reserve, .. } = self.bounds;
        self.queued() + len <= bytes_max + reserve / 2
    }

    /// One-way frames that the writer has taken in this session.
    pub(crate) const fn one_way_taken(&self) -> u64 {
        self.one_way_taken
    }

    /// Whether there is so much room again that it is worth waking those who wait for it.
    pub(crate) fn is_half_empty(&self) -> bool {
        self.queued() <= self.bounds.bytes_max / 2
    }

    /// Bytes that wait for the writer.
    pub(crate) fn waiting(&self) -> usize {
        self.returned.waiting() + self.fresh.waiting()
    }

    /// Bytes that wait or are being written.
    pub(crate) fn queued(&self) -> usize {
        self.waiting() + self.writing
    }

    /// Bytes of frames of others: a harbor's. Of a batch that is being written all count, as long
    /// as a byte is left.
    pub(crate) const fn passing(&self) -> usize {
        self.passing.bytes() + self.writing_passing
    }

    /// When to [`Outbox::sweep`] next: no waiting frame expires more than [`SWEEP_MS`] before
    /// this. [`Millis::NEVER`] if none ever does.
    pub(crate) fn earliest_deadline(&self) -> Millis {
        if self.waiting() == 0 { Millis::NEVER } else { self.earliest }
    }

    /// Takes the frame at `position` back, if the writer has not taken it. `true`: it was not
    /// written and will not be, also when it had expired before.
    pub(crate) fn void(&mut self, position: u64) -> bool {
        if position < self.taken_below {
            return false;
        }
        // What is no longer there was taken back before.
        if !self.fresh.void(position) {
            self.returned.void(position);
        }
        true
    }

    /// Whether the frame at `position`, which was taken, went to the session that is up.
    pub(crate) const fn is_of_session(&self, position: u64) -> bool {
        position >= self.session_floor
    }

    /// Moves waiting frames into `batch`, which must be done: those returned if there are any, else
    /// all. Those whose deadline has passed are appended to `expired` instead.
    pub(crate) fn take(&mut self, now: Millis, batch: &mut Batch, expired: &mut Vec<Unsent>) {
        let passing_before = self.passing.bytes();
        let is_return = self.returned.waiting() > 0;
        let run = if is_return { &mut self.returned } else { &mut self.fresh };
        batch.clear();
        if batch.buffer.capacity() < self.spare.capacity() {
            std::mem::swap(&mut batch.buffer, &mut self.spare);
        }
        self.taken_at = now;
        batch.origin = run.origin;
        batch.taken_at = now;
        std::mem::swap(&mut run.buffer, &mut batch.buffer);
        let mut at = std::mem::take(&mut run.head);
        run.origin += batch.buffer.len() as u64;
        self.taken_below = run.origin;
        if is_return {
            self.returned = Run::new();
        } else {
            self.earliest = Millis::NEVER;
        }
        while let Some(leaving) = queued::leave(&mut batch.buffer, at, now) {
            let frame = at..at + leaving.len;
            at = frame.end;
            if leaving.is_void {
                continue;
            }
            if leaving.is_in_time {
                batch.include(frame.clone(), leaving.is_counted);
            }
            // The whole header is read only of those that are not just written.
            if (leaving.is_passing || !leaving.is_in_time)
                && let Some(header) = queued::header(&batch.buffer, frame.start)
            {
                self.passing.leave(&header, leaving.len);
                if !leaving.is_in_time {
                    expired.push(unsent(&batch.buffer, frame.start, header));
                }
            }
        }
        self.one_way_taken += batch.one_way;
        self.writing = batch.left();
        self.writing_passing = passing_before - self.passing.bytes();
    }

    /// The writer has written all but `left` bytes of its batch.
    pub(crate) fn on_written(&mut self, left: usize) {
        self.writing = left;
        if left == 0 {
            self.writing_passing = 0;
        }
    }

    /// There is nothing to write for now: keeps the room of a batch that is done.
    pub(crate) fn rest(&mut self, batch: &mut Batch) {
        if batch.buffer.capacity() > IDLE_BYTES_MAX {
            batch.clear();
            self.spare = std::mem::take(&mut batch.buffer);
        }
    }

    /// Frees what a burst has left behind, if nothing went for a while.
    pub(crate) fn free_idle(&mut self, now: Millis) {
        if self.queued() > 0 || now.since(self.taken_at) < IDLE_MS {
            return;
        }
        self.spare = Vec::new();
        if self.fresh.buffer.is_empty() && self.fresh.buffer.capacity() > IDLE_BYTES_MAX {
            self.fresh.buffer = Vec::new();
        }
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

    /// Takes back all waiting messages and requests; and what answers, unless a session is up.
    pub(crate) fn drain(&mut self, is_up: bool, drained: &mut Vec<Unsent>) {
        self.retain(|buffer, at, header| {
            let is_taken = header.is_lasting() && !(is_up && header.is_answer());
            if is_taken {
                drained.push(unsent(buffer, at, header));
            }
            !is_taken
        });
    }

    /// Takes back the waiting frames that are wanted, to go another way.
    pub(crate) fn extract(
        &mut self,
        now: Millis,
        is_wanted: impl Fn(&Header) -> bool,
    ) -> Vec<Frame> {
        let mut extracted = Vec::new();
        self.retain(|buffer, at, header| {
            if !is_wanted(&header) {
                return true;
            }
            extracted.extend(queued::copy(buffer, at, now));
            false
        });
        extracted
    }

    /// A session begins: what waits goes out on it, in the name of this incarnation. Frames with a
    /// body over `body_bytes_max` are appended to `too_large` instead.
    pub(crate) fn begin_session(
        &mut self,
        incarnation: Incarnation,
        body_bytes_max: usize,
        too_large: &mut Vec<Unsent>,
    ) {
        self.session_floor = self.first_waiting();
        self.one_way_taken = 0;
        self.retain(|buffer, at, header| {
            // What is relayed stays in the name of its source.
            let is_own = header.hops == 0;
            if is_own && matches!(header.kind, Kind::Message | Kind::Request | Kind::Cancel) {
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
            // The writer took what was returned before all else, so nothing is there now.
            let buffer = batch.buffer.split_off(tail.start);
            self.returned = Run { buffer, head: 0, origin: below };
            let passing = &mut self.passing;
            self.returned.each(|header, len| passing.enter(header, len));
            self.taken_below = below;
        }
        batch.clear();
        self.writing = 0;
        self.writing_passing = 0;
        self.earliest = Millis(0);
        self.drop_fleeting();
        // Who knows when there is another session.
        self.spare = Vec::new();
        if self.fresh.buffer.is_empty() {
            self.fresh.buffer = Vec::new();
        }
        let one_way = self.one_way_taken - one_way_left;
        self.one_way_taken = 0;
        Handed { below: self.first_waiting(), one_way }
    }

    /// Drops what waits and does not outlast sessions; returns how many bounces that were.
    pub(crate) fn drop_fleeting(&mut self) -> u64 {
        let mut bounces = 0;
        self.retain(|_, _, header| {
            bounces += u64::from(header.kind == Kind::Bounce && !header.is_lasting());
            header.is_lasting()
        });
        bounces
    }

    /// Takes back each waiting frame that `keep` does not want.
    fn retain(&mut self, mut keep: impl FnMut(&mut [u8], usize, Header) -> bool) {
        let slack = self.bounds.bytes_max / 2;
        let passing = &mut self.passing;
        let mut keep = |buffer: &mut [u8], at: usize, header: Header| {
            let is_kept = keep(buffer, at, header);
            if !is_kept && header.hops > 0 {
                passing.leave(&header, queued::len(buffer, at).unwrap_or(0));
            }
            is_kept
        };
        self.returned.retain(slack, &mut keep);
        self.fresh.retain(slack, &mut keep);
    }
}

/// A frame that is being put; gone again if whoever writes its body panics.
struct Unsealed<'a> {
    buffer: &'a mut Vec<u8>,
    start: usize,
}

impl Drop for Unsealed<'_> {
    fn drop(&mut self) {
        self.buffer.truncate(self.start);
    }
}

/// What an outbox that nothing goes through may keep allocated, and after how long.
const IDLE_BYTES_MAX: usize = 4 << 10;
const IDLE_MS: u64 = 1_000;

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

#[cfg(test)]
mod tests;
