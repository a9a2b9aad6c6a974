//! The shared outgoing buffer of a connection and the loop that writes it.

use anyhow::{Result, ensure};
use parking_lot::Mutex;
use tokio::io::AsyncWriteExt as _;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::Notify;
use tokio::task::yield_now;

use super::frame;

/// Senders wait while this much is not yet written.
const FULL_BYTES: usize = 256 << 10;

/// How the frames of a batch are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writes {
    /// All at once, after two yields that let more frames come.
    Batched,
    /// One by one, at once.
    PerFrame,
}

/// Frames that wait to be written.
#[derive(Debug, Default)]
pub struct Outbox {
    state: Mutex<State>,
    filled: Notify,
    drained: Notify,
}

#[derive(Debug, Default)]
struct State {
    bytes: Vec<u8>,
    closed: bool,
}

impl State {
    /// Appends frames, and tells the writer if it may be asleep.
    fn append<R>(&mut self, put: impl FnOnce(&mut Vec<u8>) -> R, filled: &Notify) -> Result<R> {
        ensure!(!self.closed, "the connection is closed");
        let was_empty = self.bytes.is_empty();
        let outcome = put(&mut self.bytes);
        if was_empty && !self.bytes.is_empty() {
            filled.notify_one();
        }
        Ok(outcome)
    }

    const fn is_full(&self) -> bool {
        self.bytes.len() >= FULL_BYTES && !self.closed
    }
}

impl Outbox {
    /// Lets `put` append a frame as soon as there is room. Fails if the connection is closed.
    pub async fn push<R>(&self, put: impl FnOnce(&mut Vec<u8>) -> R) -> Result<R> {
        loop {
            // Made under the lock, so that a batch taken right after it is not missed.
            let drained = {
                let mut state = self.state.lock();
                if !state.is_full() {
                    return state.append(put, &self.filled);
                }
                self.drained.notified()
            };
            drained.await;
        }
    }

    /// Lets `put` append whatever it wants, without regard to the limit.
    pub fn append<R>(&self, put: impl FnOnce(&mut Vec<u8>) -> R) -> Result<R> {
        self.state.lock().append(put, &self.filled)
    }

    /// Waits until there is room.
    pub async fn room(&self) -> Result<()> {
        self.push(|_| ()).await
    }

    /// Refuses frames from now on and ends the writer.
    pub fn close(&self) {
        self.state.lock().closed = true;
        self.filled.notify_one();
        self.drained.notify_waiters();
    }

    /// Writes what is appended until the outbox is closed; the loop of the writer task.
    pub async fn drain_into(&self, write: &mut OwnedWriteHalf, writes: Writes) -> Result<()> {
        let mut batch = Vec::new();
        while self.wait_filled().await {
            if writes == Writes::Batched {
                yield_now().await;
                yield_now().await;
            }
            self.take(&mut batch);
            match writes {
                Writes::Batched => write.write_all(&batch).await?,
                Writes::PerFrame => {
                    for frame in frame::split(&batch) {
                        write.write_all(frame?).await?;
                    }
                }
            }
            batch.clear();
        }
        Ok(())
    }

    /// Waits for frames; false when closed.
    async fn wait_filled(&self) -> bool {
        loop {
            {
                let state = self.state.lock();
                if state.closed || !state.bytes.is_empty() {
                    return !state.closed;
                }
            }
            self.filled.notified().await;
        }
    }

    /// Swaps the frames that wait for an empty buffer, and lets senders go on.
    fn take(&self, empty: &mut Vec<u8>) {
        let mut state = self.state.lock();
        let was_full = state.is_full();
        std::mem::swap(&mut state.bytes, empty);
        drop(state);
        if was_full {
            self.drained.notify_waiters();
        }
    }
}
