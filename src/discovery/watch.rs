//! The way from an engine to a node: events in order, through a channel that holds few.

use tokio::sync::mpsc;

use super::member::Member;
use crate::addr::LogicalAddr;

/// What an engine tells a node about the members.
///
/// Revisions count the states of the engine: each snapshot and each delta leads to one, and a
/// later state has a greater number. They may start anew with a new watch.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// All members there are. Who is not in it is no member any more, unless it is empty: a node
    /// doubts that all are gone until a removal says so.
    Snapshot {
        /// The state that this is.
        revision: u64,
        /// The members in any order, each address once.
        members: Vec<Member>,
    },
    /// What changed since the snapshot or delta before. A node that does not know the base
    /// watches again.
    Delta {
        /// The state that the changes start from.
        base: u64,
        /// The state that they lead to.
        revision: u64,
        /// The changes, oldest first.
        changes: Vec<Change>,
    },
    /// The engine cannot do its work as it should; the members stay as they are. For people: the
    /// node logs it.
    Problem(String),
}

/// One change of the members.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// A member is new, or something about it is.
    Put(Member),
    /// An address is that of a member no more.
    Remove(LogicalAddr),
}

/// A node's end of the way: what [`Discovery::watch`](super::Discovery::watch) returns.
///
/// Dropping it ends the watch.
#[derive(Debug)]
pub struct Watch {
    events: mpsc::Receiver<Event>,
}

impl Watch {
    /// Makes both ends. At most `capacity` events (at least 1) wait in between.
    #[must_use]
    pub fn channel(capacity: usize) -> (WatchSender, Self) {
        let (sender, events) = mpsc::channel(capacity.max(1));
        (WatchSender { events: sender }, Self { events })
    }

    /// Waits for the next event; `None` when the engine has gone, at once and for ever.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: an event that was not returned is returned by the next call.
    pub async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }
}

/// An engine's end of the way. The watch ends when all clones of it are dropped.
#[derive(Clone, Debug)]
pub struct WatchSender {
    events: mpsc::Sender<Event>,
}

impl WatchSender {
    /// Tells the node something; waits while the way is full.
    ///
    /// An engine whose members change faster than a node takes note should not queue what waits,
    /// but send their sum, or a new snapshot, when there is room again.
    ///
    /// # Errors
    ///
    /// When the node has dropped its end; the engine can forget this watch.
    ///
    /// # Cancel safety
    ///
    /// When cancelled, the event was not sent and is lost.
    pub async fn send(&self, event: Event) -> Result<(), WatchClosed> {
        self.events.send(event).await.map_err(|_| WatchClosed)
    }

    /// Waits until the node has dropped its end.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn closed(&self) {
        self.events.closed().await;
    }
}

/// The node does not watch any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nobody watches any more")]
#[non_exhaustive]
pub struct WatchClosed;

#[cfg(test)]
mod tests;
