//! Calls that wait for their replies.
//!
//! A call's id is a place in a table and a generation, so that finding it takes no search, and a
//! reply that comes late finds somebody else's generation and is dropped. Deadlines cost nothing
//! until the first of a shard passes: then the shard is looked through once.

use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::addr::LogicalAddr;
use crate::clock::{Clock, Millis};
use crate::stripe::{STRIPES, stripe};
use crate::wire::Reason;

/// Tables that calls of different threads are spread over; a power of two.
const SHARDS: usize = STRIPES;
/// Bits of an id that name the shard, and the place in it; the rest is the generation.
const SHARD_BITS: u32 = 4;
const PLACE_BITS: u32 = 28;

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// A reply came; the bytes are its body.
    Reply(Bytes),
    /// It was sent back, or never left, and the handler did not run.
    Refused { reason: Reason, hop: LogicalAddr },
    /// The connection that carried it is lost.
    Cut,
    /// Its deadline has passed.
    Expired,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Pending {
    shards: [Padded; SHARDS],
    /// Some deadline is earlier than all before.
    earlier: Notify,
}

/// On cache lines of its own.
#[derive(Debug)]
#[repr(align(64))]
struct Padded(Mutex<Shard>);

#[derive(Debug)]
struct Shard {
    places: Vec<Place>,
    free: Vec<u32>,
    /// No call of the shard expires before this.
    earliest: Millis,
}

#[derive(Debug)]
struct Place {
    generation: u32,
    state: State,
}

#[derive(Debug)]
enum State {
    Free,
    Waiting(Waiting),
    Done(Outcome),
}

#[derive(Debug)]
struct Waiting {
    to: LogicalAddr,
    /// The peer of the link that it went out on, and where in its rpc lane.
    hop: LogicalAddr,
    position: u64,
    deadline: Millis,
    waker: Option<Waker>,
}

/// A call to be entered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) to: LogicalAddr,
    pub(crate) hop: LogicalAddr,
    pub(crate) position: u64,
    pub(crate) deadline: Millis,
}

impl Pending {
    pub(crate) fn new() -> Self {
        let shard = || Shard { places: Vec::new(), free: Vec::new(), earliest: Millis::NEVER };
        Self {
            shards: std::array::from_fn(|_| Padded(Mutex::new(shard()))),
            earlier: Notify::new(),
        }
    }

    /// Enters a call, with who is to be woken; `None` if the table is full.
    pub(crate) fn enter(&self, entry: Entry, waker: Option<Waker>) -> Option<u64> {
        let Entry { to, hop, position, deadline } = entry;
        // Ids differ in their low bits first.
        let number = stripe() % SHARDS;
        let mut shard = self.shard(number).lock();
        let state = State::Waiting(Waiting { to, hop, position, deadline, waker });
        let place = match shard.free.pop() {
            Some(place) => place,
            None => {
                let place = u32::try_from(shard.places.len()).ok()?;
                if place >> PLACE_BITS != 0 {
                    return None;
                }
                shard.places.push(Place { generation: 0, state: State::Free });
                place
            }
        };
        let entered = shard.places.get_mut(place as usize)?;
        entered.generation = entered.generation.wrapping_add(1);
        entered.state = state;
        let id = (u64::from(entered.generation) << 32)
            | u64::from(place << SHARD_BITS)
            | u64::try_from(number).ok()?;
        if deadline < shard.earliest {
            shard.earliest = deadline;
            drop(shard);
            self.earlier.notify_one();
        }
        Some(id)
    }

    /// Whether the call has ended.
    pub(crate) fn poll(&self, id: u64, cx: &mut Context<'_>) -> Poll<Outcome> {
        let mut shard = self.shard_of(id).lock();
        let Some(place) = shard.place(id) else { return Poll::Ready(Outcome::Expired) };
        match &mut place.state {
            State::Waiting(waiting) => {
                match &mut waiting.waker {
                    Some(waker) => waker.clone_from(cx.waker()),
                    none => *none = Some(cx.waker().clone()),
                }
                Poll::Pending
            }
            state => {
                let outcome = match std::mem::replace(state, State::Free) {
                    State::Done(outcome) => outcome,
                    State::Free | State::Waiting(_) => Outcome::Expired,
                };
                shard.release(id);
                Poll::Ready(outcome)
            }
        }
    }

    /// The caller is gone. `true` if the call was still waiting.
    pub(crate) fn leave(&self, id: u64) -> bool {
        let mut shard = self.shard_of(id).lock();
        let Some(place) = shard.place(id) else { return false };
        let was_waiting = matches!(place.state, State::Waiting(_));
        place.state = State::Free;
        shard.release(id);
        was_waiting
    }

    /// Ends the call, if it waits and was made to `from`; `false` if there is none such.
    pub(crate) fn complete(&self, id: u64, from: LogicalAddr, outcome: Outcome) -> bool {
        let mut shard = self.shard_of(id).lock();
        let Some(place) = shard.place(id) else { return false };
        let State::Waiting(waiting) = &mut place.state else { return false };
        if waiting.to != from {
            return false;
        }
        let waker = waiting.waker.take();
        place.state = State::Done(outcome);
        drop(shard);
        if let Some(waker) = waker {
            waker.wake();
        }
        true
    }

    /// Ends a call that was sent back by somebody on its way; believed only from the peer to which
    /// it was given.
    pub(crate) fn refuse(
        &self,
        id: u64,
        from: LogicalAddr,
        told_by: LogicalAddr,
        outcome: Outcome,
    ) -> bool {
        let is_its_way = {
            let mut shard = self.shard_of(id).lock();
            shard.place(id).is_some_and(
                |place| matches!(&place.state, State::Waiting(waiting) if waiting.hop == told_by),
            )
        };
        is_its_way && self.complete(id, from, outcome)
    }

    /// A harbor behind `hop` has lost the way to `to`.
    pub(crate) fn cut_beyond(&self, hop: LogicalAddr, to: LogicalAddr) {
        self.end(|waiting| (waiting.hop == hop && waiting.to == to).then_some(Outcome::Cut));
    }

    /// The rpc lane to `hop` has lost all that it had sent, which is what lay below `below`.
    pub(crate) fn cut(&self, hop: LogicalAddr, below: u64) {
        self.end(|waiting| {
            (waiting.hop == hop && waiting.position < below).then_some(Outcome::Cut)
        });
    }

    fn end(&self, outcome: impl Fn(&Waiting) -> Option<Outcome>) {
        for shard in &self.shards {
            let wakers = shard.0.lock().end(&outcome);
            wakers.into_iter().for_each(Waker::wake);
        }
    }

    /// Ends calls whose deadlines pass, until dropped.
    pub(crate) async fn watch_deadlines(&self, clock: Clock) {
        loop {
            let earliest = self.shards.iter().map(|shard| shard.0.lock().earliest).min();
            let earliest = earliest.unwrap_or(Millis::NEVER);
            tokio::select! {
                () = self.earlier.notified() => continue,
                () = tokio::time::sleep_until(clock.instant(earliest)) => {}
            }
            let now = clock.now();
            for shard in &self.shards {
                let mut shard = shard.0.lock();
                if now < shard.earliest {
                    continue;
                }
                let expired =
                    |waiting: &Waiting| (waiting.deadline <= now).then_some(Outcome::Expired);
                let wakers = shard.end(expired);
                shard.earliest =
                    shard.waiting().map(|waiting| waiting.deadline).min().unwrap_or(Millis::NEVER);
                drop(shard);
                wakers.into_iter().for_each(Waker::wake);
            }
        }
    }

    fn shard_of(&self, id: u64) -> &Mutex<Shard> {
        self.shard(low_half(id) as usize)
    }

    fn shard(&self, number: usize) -> &Mutex<Shard> {
        &self.shards[number % SHARDS].0
    }
}

impl Shard {
    /// The place of a call, if the generation is still its own.
    fn place(&mut self, id: u64) -> Option<&mut Place> {
        let place = self.places.get_mut(place_of(id) as usize)?;
        let is_alive = u64::from(place.generation) == id >> 32;
        (is_alive && !matches!(place.state, State::Free)).then_some(place)
    }

    fn release(&mut self, id: u64) {
        self.free.push(place_of(id));
    }

    fn waiting(&self) -> impl Iterator<Item = &Waiting> {
        self.places.iter().filter_map(|place| match &place.state {
            State::Waiting(waiting) => Some(waiting),
            _ => None,
        })
    }

    /// Ends those for which `outcome` has one; returns who is to be woken.
    fn end(&mut self, outcome: impl Fn(&Waiting) -> Option<Outcome>) -> Vec<Waker> {
        let mut wakers = Vec::new();
        for place in &mut self.places {
            if let State::Waiting(waiting) = &mut place.state
                && let Some(outcome) = outcome(waiting)
            {
                wakers.extend(waiting.waker.take());
                place.state = State::Done(outcome);
            }
        }
        wakers
    }
}

fn place_of(id: u64) -> u32 {
    low_half(id) >> SHARD_BITS
}

#[expect(clippy::cast_possible_truncation, reason = "the low half is meant")]
const fn low_half(id: u64) -> u32 {
    id as u32
}

#[cfg(test)]
mod tests;
