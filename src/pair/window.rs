//! What is on its way to a destination, on one lane, and what became of what was. Pure.
//!
//! ```text
//!  handled and sent back, says the receipt | on its way: bytes count | not yet given out
//! -----------------------------------------+-------------------------+------------------
//!      open: neither, and not yet known    ^ told                    ^ last
//! ```
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::VecDeque;

use super::{is_after, next, steps};
use crate::clock::Millis;
use crate::incarnation::Incarnation;
use crate::loss::Loss;
use crate::wire::Receipt;

/// So long after its deadline a frame without a receipt is no longer waited for: it was handled or
/// sent back, and somebody has lost the notice, or it is lost itself.
const GRACE_MS: u64 = 2_000;
/// How long a break stays without an answer before the destination is asked again.
const ASK_MS: u64 = 1_000;
/// Frames that are open for so long without any break are lost: nothing of them is on its way.
const OPEN_MS: u64 = 5_000;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Window {
    /// The last number given out.
    last: u32,
    on_way: VecDeque<Sent>,
    bytes: usize,
    told: Option<Told>,
    /// Frames behind which a receipt has come, and of which nothing else is known. Below 0 only
    /// between a receipt and the bounces that it tells of.
    open: i64,
    open_since: Option<Millis>,
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
    missing: u32,
    bounced: u32,
}

/// A connection on the way was lost, and nobody knows yet what with it.
#[derive(Clone, Copy, Debug)]
struct Broken {
    /// Frames up to this one may be lost.
    seq: u32,
    /// What was told of that.
    at_most: u64,
    /// When the destination was asked last, and how often.
    asked: Option<Millis>,
    times: u32,
}

/// A question to the destination: how far is it?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ask {
    /// Those up to this number shall not be handled any more; 0: none.
    pub(crate) close: u32,
}

impl Window {
    /// Whether a frame of so many bytes may go: one larger than the limit may when it is alone.
    pub(crate) fn has_room(&self, bytes: usize, bytes_max: usize) -> bool {
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
        let Receipt { incarnation, up_to, missing, bounced, .. } = receipt;
        let now_told = Told { incarnation, up_to, missing, bounced };
        let before = match self.told {
            Some(told) if told.incarnation == incarnation => {
                if is_after(told.up_to, up_to) {
                    // One of before, overtaken on its way.
                    return None;
                }
                told
            }
            // An earlier run's, or that of somebody who has lost his memory.
            Some(told) if told.incarnation > incarnation => return None,
            _ => Told { incarnation, up_to: 0, missing: 0, bounced: 0 },
        };
        if is_after(up_to, self.last) {
            // Of what was never sent.
            return None;
        }
        let is_reborn = self.told.is_some_and(|told| told.incarnation != incarnation);
        self.told = Some(now_told);
        let received = i64::from(steps(before.up_to, up_to))
            - i64::from(missing.wrapping_sub(before.missing).cast_signed());
        let handled = received - i64::from(bounced.wrapping_sub(before.bounced).cast_signed());
        self.release(up_to);
        self.open -= handled;
        self.open_since = (self.open != 0).then(|| self.open_since.unwrap_or(now));
        if is_reborn {
            // What the run before has handled nobody can tell.
            return self.give_up();
        }
        match self.broken {
            Some(broken) if !is_after(broken.seq, up_to) => self.settle(),
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
        let is_known = self.open > 0;
        self.open -= i64::from(is_known);
        is_known
    }

    fn find(&self, seq: u32) -> Result<usize, usize> {
        // Numbers differ by less than half of all, so the distance to the last one orders them.
        let distance = |n: u32| self.last.wrapping_sub(n);
        self.on_way.binary_search_by(|sent| distance(seq).cmp(&distance(sent.seq)))
    }

    /// Whatever is on its way may be lost: a connection that carried it is.
    pub(crate) fn on_break(&mut self) -> Option<Loss> {
        let at_most = self.at_risk();
        if at_most == 0 {
            return None;
        }
        let instead_of = self.broken.map_or(0, |broken| broken.at_most);
        self.broken = Some(Broken { seq: self.last, at_most, asked: None, times: 0 });
        (at_most != instead_of).then_some(Loss { at_most, exactly: None, instead_of })
    }

    fn at_risk(&self) -> u64 {
        u64::try_from(self.open.max(0)).unwrap_or(0) + self.on_way.len() as u64
    }

    /// Time passes; says what is to be told, and what to ask.
    pub(crate) fn on_timer(&mut self, now: Millis) -> (Option<Loss>, Option<Ask>) {
        let is_over = |sent: &Sent| sent.until.after(GRACE_MS) <= now;
        let over = self.on_way.iter().filter(|sent| is_over(sent)).count();
        let mut loss = None;
        if over > 0 {
            loss = self.on_break();
            let bytes: usize =
                self.on_way.iter().filter(|sent| is_over(sent)).map(|s| s.bytes).sum();
            self.on_way.retain(|sent| !is_over(sent));
            self.bytes -= bytes;
            self.open += over as i64;
            self.open_since.get_or_insert(now);
        }
        if self.broken.is_none() {
            if self.open_since.is_some_and(|since| now.since(since) >= OPEN_MS) {
                loss = self.settle();
            }
            return (loss, None);
        }
        (loss, self.ask(now))
    }

    fn ask(&mut self, now: Millis) -> Option<Ask> {
        let broken = self.broken.as_mut()?;
        if broken.asked.is_some_and(|asked| now.since(asked) < ASK_MS) {
            return None;
        }
        broken.asked = Some(now);
        broken.times += 1;
        // At first they may still be on a way that is not broken.
        let close = if broken.times > 1 { broken.seq } else { 0 };
        Some(Ask { close })
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
        let exactly = u64::try_from(self.open.max(0)).unwrap_or(0);
        let instead_of = self.broken.take().map_or(0, |broken| broken.at_most);
        self.open = 0;
        self.open_since = None;
        let at_most = instead_of.max(exactly);
        (at_most > 0).then_some(Loss { at_most, exactly: Some(exactly), instead_of })
    }

    /// What is open may be lost, and that is all that will ever be known.
    fn give_up(&mut self) -> Option<Loss> {
        let at_most = u64::try_from(self.open.max(0)).unwrap_or(0);
        let instead_of = self.broken.take().map_or(0, |broken| broken.at_most);
        self.open = 0;
        self.open_since = None;
        (at_most != instead_of).then_some(Loss { at_most, exactly: None, instead_of })
    }
}
