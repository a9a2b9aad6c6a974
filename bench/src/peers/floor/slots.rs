//! The calls in flight: slots that the reader completes directly.

use std::future::poll_fn;
use std::mem::replace;
use std::task::{Poll, Waker};

use anyhow::{Context as _, Result, anyhow};
use parking_lot::Mutex;

/// Calls in flight at most, on one connection.
const SLOTS: u32 = 4096;

/// A fixed number of slots. A call's id is its slot's index and generation, so that a reply that
/// comes after its call has gone meets a newer generation and is dropped.
#[derive(Debug)]
pub struct Slots {
    slots: Box<[Mutex<Slot>]>,
    free: Mutex<Vec<u32>>,
}

#[derive(Debug, Default)]
struct Slot {
    generation: u32,
    state: State,
    /// Swapped with the caller's buffer, so that neither is allocated anew for each call.
    reply: Vec<u8>,
}

#[derive(Debug, Default)]
enum State {
    /// In flight, not polled yet, or free.
    #[default]
    Idle,
    /// In flight and polled.
    Waiting(Waker),
    /// The reply is there.
    Done,
    /// The connection ended.
    Closed,
}

impl Slots {
    /// Makes all slots, free.
    pub fn new() -> Self {
        let slots = (0..SLOTS).map(|_| Mutex::default()).collect();
        Self { slots, free: Mutex::new((0..SLOTS).rev().collect()) }
    }

    /// Takes a slot for a call.
    pub fn take(&self) -> Result<Ticket<'_>> {
        let index = self.free.lock().pop().context("too many calls at once")?;
        let slot = &self.slots[index as usize];
        let generation = slot.lock().generation;
        Ok(Ticket { free: &self.free, slot, index, generation })
    }

    /// Gives the reply to the call with this id, if it is still there.
    pub fn complete(&self, id: u64, payload: &[u8]) {
        let [index, generation] = [id & u64::from(u32::MAX), id >> 32];
        let Some(slot) = usize::try_from(index).ok().and_then(|index| self.slots.get(index)) else {
            return;
        };
        let mut slot = slot.lock();
        if u64::from(slot.generation) != generation {
            return;
        }
        slot.reply.clear();
        slot.reply.extend_from_slice(payload);
        let state = replace(&mut slot.state, State::Done);
        drop(slot);
        state.wake();
    }

    /// Fails all calls in flight.
    pub fn close(&self) {
        for slot in &self.slots {
            let state = replace(&mut slot.lock().state, State::Closed);
            state.wake();
        }
    }
}

impl State {
    fn wake(self) {
        if let Self::Waiting(waker) = self {
            waker.wake();
        }
    }
}

/// A call's hold on its slot; given back when dropped.
#[derive(Debug)]
pub struct Ticket<'a> {
    free: &'a Mutex<Vec<u32>>,
    slot: &'a Mutex<Slot>,
    index: u32,
    generation: u32,
}

impl Ticket<'_> {
    /// The call's id on the wire.
    pub fn id(&self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    /// Waits for the reply and swaps it into `reply`.
    pub async fn reply(&self, reply: &mut Vec<u8>) -> Result<()> {
        poll_fn(|cx| {
            let mut slot = self.slot.lock();
            match &mut slot.state {
                State::Done => {
                    std::mem::swap(&mut slot.reply, reply);
                    return Poll::Ready(Ok(()));
                }
                State::Closed => return Poll::Ready(Err(anyhow!("the connection ended"))),
                State::Waiting(waker) => waker.clone_from(cx.waker()),
                State::Idle => slot.state = State::Waiting(cx.waker().clone()),
            }
            Poll::Pending
        })
        .await
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        {
            let mut slot = self.slot.lock();
            slot.generation = slot.generation.wrapping_add(1);
            // A closed slot stays closed: nobody would ever complete it.
            if !matches!(slot.state, State::Closed) {
                slot.state = State::Idle;
            }
        }
        self.free.lock().push(self.index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_late_reply_does_not_complete_the_next_call_in_its_slot() {
        let slots = Slots::new();
        let late = slots.take().unwrap().id();

        let ticket = slots.take().unwrap();
        slots.complete(late, b"late");
        slots.complete(ticket.id(), b"own");

        let mut reply = Vec::new();
        ticket.reply(&mut reply).await.unwrap();
        assert_eq!(reply, b"own");
    }

    #[tokio::test]
    async fn a_call_fails_when_the_connection_ends() {
        let slots = Slots::new();
        let ticket = slots.take().unwrap();
        slots.close();
        assert!(ticket.reply(&mut Vec::new()).await.is_err());
    }
}
