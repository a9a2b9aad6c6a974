//! What is on its way to a destination, on one lane, and what became of what was. Pure.
//!
//! ```text
//!  so many were handled, says the receipt  | on its way: bytes count | not yet given out
//! -----------------------------------------+-------------------------+------------------
//!      open: not handled, nor sent back    ^ told                    ^ last
//! ```
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::VecDeque;

use super::{is_after, next};
use crate::clock::Millis;
use crate::incarnation::Incarnation;
use crate::loss::Loss;
use crate::wire::Receipt;

/// So long after its deadline a frame without a receipt is no longer waited for: it was handled or
/// sent back, and somebody has lost the notice, or it is lost itself.
pub(super) const GRACE_MS: u64 = 2_000;
/// How long a break stays without an answer before the destination is asked again.
pub(super) const ASK_MS: u64 = 1_000;
/// Frames that are open for so long without any break are lost: nothing of them is on its way.
pub(super) const OPEN_MS: u64 = 5_000;

/// What may be on its way before the first receipt.
pub(super) const FIRST_BYTES: usize = 64 << 10;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Window {
    /// The last number given out.
    pub(super) last: u32,
    on_way: VecDeque<Sent>,
    pub(super) bytes: usize,
    told: Option<Told>,
    /// How many of those that receipts cover were neither handled nor sent back, as far as is
    /// known. Below 0 when some were handled that had been given up.
    open: i64,
    open_since: Option<Millis>,
    /// All of those up to this number are accounted for; 0: nobody asks any more.
    closed: u32,
    broken: Option<Broken>,
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    seq: u32,
    bytes: usize,
    until: Millis,
}

/// What the last receipt said.
#[derive(Clone, Copy, Debug)]
struct Told {
    incarnation: Incarnation,
    up_to: u32,
    handled: u32,
}

/// A connection on the way was lost, and nobody knows yet what with it.
#[derive(Clone, Copy, Debug)]
struct Broken {
    /// Frames up to this one may be lost.
    seq: u32,
    /// What was told of that.
    at_most: u64,
    /// Whether one run of the destination alone can have handled them: otherwise nobody knows what
    /// an earlier one did.
    is_exact: bool,
    /// When the destination was asked last, and how often.
    asked: Option<Millis>,
    times: u32,
    /// When it was asked first of all that it has not answered.
    silent: Option<Millis>,
}

/// A question to the destination: how far is it?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ask {
    /// Those up to this number shall not be handled any more; 0: none.
    pub(crate) close: u32,
}

impl Window {
    /// One that has given out all numbers up to this one.
    #[cfg(test)]
    pub(super) fn starting_at(last: u32) -> Self {
        Self { last, ..Self::default() }
    }

    /// Whether a frame of so many bytes may go: one larger than the limit may when it is alone.
    /// Until the first receipt the limit is lower: before it nobody knows which run of the
    /// destination there is, and what is lost cannot be told exactly.
    pub(crate) fn has_room(&self, bytes: usize, bytes_max: usize) -> bool {
        let bytes_max = if self.told.is_some() { bytes_max } else { bytes_max.min(FIRST_BYTES) };
        self.bytes == 0 || self.bytes + bytes <= bytes_max
    }

    /// The number of the next frame.
    pub(crate) const fn next(&self) -> u32 {
        next(self.last)
    }

    /// It goes.
    pub(crate) fn send(&mut self, bytes: usize, until: Millis) {
        self.last = self.next();
        self.bytes += bytes;
        self.on_way.push_back(Sent { seq: self.last, bytes, until });
    }

    /// Whether nothing is on its way.
    pub(crate) fn is_clear(&self) -> bool {
        self.on_way.is_empty()
    }

    /// Whether all is known of what was sent.
    pub(crate) fn is_settled(&self) -> bool {
        self.is_clear() && self.broken.is_none() && self.open == 0
    }

    /// The destination has told how far it is.
    pub(crate) fn on_receipt(&mut self, receipt: Receipt, now: Millis) -> Option<Loss> {
        let Receipt { incarnation, up_to, handled, .. } = receipt;
        let (before, is_same) = match self.told {
            Some(told) if told.incarnation == incarnation => {
                if is_after(told.up_to, up_to) {
                    // One of before, overtaken on its way.
                    return None;
                }
                (told.handled, true)
            }
            // An earlier run's.
            Some(told) if told.incarnation > incarnation => return None,
            Some(_) => (0, false),
            // Before anything went wrong there was one run at most.
            None => (0, self.broken.is_none()),
        };
        if is_after(up_to, self.last) {
            // Of what was never sent.
            return None;
        }
        self.told = Some(Told { incarnation, up_to, handled });
        if let Some(broken) = &mut self.broken {
            broken.silent = None;
        }
        self.release(up_to);
        if is_after(up_to, self.closed) && up_to.wrapping_sub(self.closed) > u32::MAX / 4 {
            // Too long ago to compare with, and for any bounce.
            self.closed = 0;
        }
        let handled = handled.wrapping_sub(before).cast_signed();
        self.open = self.open.saturating_sub(i64::from(handled));
        self.open_since = (self.open != 0).then(|| self.open_since.unwrap_or(now));
        if !is_same {
            // What the run before has handled nobody can tell.
            self.doubt(self.last).is_exact = false;
        }
        match self.broken {
            Some(broken) if !is_after(broken.seq, up_to) => self.settle(),
            Some(_) if !is_same => self.bound(),
            _ => None,
        }
    }

    /// A frame came back; `false` if it counts as lost already.
    #[must_use]
    pub(crate) fn on_bounce(&mut self, seq: u32) -> bool {
        if let Ok(at) = self.find(seq) {
            if let Some(sent) = self.on_way.remove(at) {
                self.bytes -= sent.bytes;
            }
            return true;
        }
        let is_known = self.open > 0 && is_after(seq, self.closed);
        self.open -= i64::from(is_known);
        if self.open == 0 {
            self.open_since = None;
        }
        is_known
    }

    fn find(&self, seq: u32) -> Result<usize, usize> {
        // Numbers differ by less than half of all, so the distance to the last one orders them.
        let distance = |n: u32| self.last.wrapping_sub(n);
        self.on_way.binary_search_by(|sent| distance(seq).cmp(&distance(sent.seq)))
    }

    /// Whatever is on its way may be lost: a connection that carried it is.
    pub(crate) fn on_break(&mut self) -> Option<Loss> {
        if self.open <= 0 && self.on_way.is_empty() {
            return None;
        }
        self.doubt(self.last);
        self.bound()
    }

    /// Frames up to this number may be lost.
    fn doubt(&mut self, seq: u32) -> &mut Broken {
        let new = Broken { seq, at_most: 0, is_exact: true, asked: None, times: 0, silent: None };
        let broken = self.broken.get_or_insert(new);
        broken.seq = if is_after(seq, broken.seq) { seq } else { broken.seq };
        (broken.asked, broken.times) = (None, 0);
        broken
    }

    /// What is to be told of that now.
    fn bound(&mut self) -> Option<Loss> {
        let broken = self.broken.as_mut()?;
        let at_risk = self.on_way.iter().filter(|sent| !is_after(sent.seq, broken.seq)).count();
        let at_most = u64::try_from(self.open).unwrap_or(0) + at_risk as u64;
        let instead_of = std::mem::replace(&mut broken.at_most, at_most);
        (at_most != instead_of).then_some(Loss { at_most, exactly: None, instead_of })
    }

    /// Time passes; says what is to be told, and what to ask.
    pub(crate) fn on_timer(&mut self, now: Millis) -> (Option<Loss>, Option<Ask>) {
        let is_over = |sent: &Sent| sent.until.after(GRACE_MS) <= now;
        let mut loss = None;
        if let Some(&last) = self.on_way.iter().rfind(|sent| is_over(sent)) {
            self.doubt(last.seq);
            loss = self.bound();
            let (over, on_way) = self.on_way.drain(..).partition::<VecDeque<_>, _>(is_over);
            self.on_way = on_way;
            self.bytes -= over.iter().map(|sent| sent.bytes).sum::<usize>();
            self.open += over.len() as i64;
            self.open_since.get_or_insert(now);
        } else if self.is_all_back() {
            return (self.settle(), None);
        }
        if self.broken.is_none() {
            if self.open_since.is_some_and(|since| now.since(since) >= OPEN_MS) {
                loss = self.settle();
            }
            return (loss, None);
        }
        (loss, self.ask(now))
    }

    /// Whether all that may have been lost with a connection was told of, or came back since.
    fn is_all_back(&self) -> bool {
        let is_later =
            |broken: Broken| self.on_way.front().is_none_or(|sent| is_after(sent.seq, broken.seq));
        self.open == 0 && self.broken.is_some_and(is_later)
    }

    fn ask(&mut self, now: Millis) -> Option<Ask> {
        let broken = self.broken.as_mut()?;
        if broken.asked.is_some_and(|asked| now.since(asked) < ASK_MS) {
            return None;
        }
        broken.asked = Some(now);
        broken.silent.get_or_insert(now);
        broken.times += 1;
        // At first they may still be on a way that is not broken.
        let close = if broken.times > 1 { broken.seq } else { 0 };
        Some(Ask { close })
    }

    /// When the destination has been asked in vain for so long: what may be lost stays a bound, and
    /// nobody is asked any more.
    pub(crate) fn give_up(&mut self, now: Millis, patience_ms: u64) -> Option<Loss> {
        let silent = self.broken?.silent?;
        if now.since(silent) < patience_ms {
            return None;
        }
        self.doubt(self.last);
        let loss = self.bound();
        self.on_way.clear();
        (self.bytes, self.open, self.open_since) = (0, 0, None);
        (self.closed, self.broken) = (self.last, None);
        loss
    }

    /// All up to a number that the destination has told of is no longer on its way.
    fn release(&mut self, up_to: u32) {
        while let Some(sent) = self.on_way.front()
            && !is_after(sent.seq, up_to)
        {
            self.bytes -= sent.bytes;
            self.open += 1;
            self.on_way.pop_front();
        }
    }

    /// What is open is lost.
    fn settle(&mut self) -> Option<Loss> {
        let lost = u64::try_from(std::mem::take(&mut self.open)).unwrap_or(0);
        self.open_since = None;
        self.closed = self.told.map_or(0, |told| told.up_to);
        let broken = self.broken.take();
        let instead_of = broken.map_or(0, |broken| broken.at_most);
        if lost > 0 && broken.is_some_and(|broken| !broken.is_exact) {
            return (lost != instead_of).then_some(Loss {
                at_most: lost,
                exactly: None,
                instead_of,
            });
        }
        let at_most = instead_of.max(lost);
        (at_most > 0).then_some(Loss { at_most, exactly: Some(lost), instead_of })
    }
}
