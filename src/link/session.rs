//! One accepted connection of a lane.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio_util::sync::CancellationToken;

use super::{Event, Link};
use crate::handshake::{Established, Lane as LaneId};
use crate::incarnation::Incarnation;
use crate::wire::Counts;

/// Set in a count that is final.
const FINAL: u64 = 1 << 63;

/// See the module.
pub(crate) struct Session {
    pub(crate) link: Arc<Link>,
    pub(crate) lane: LaneId,
    pub(crate) id: u64,
    /// The peer's.
    pub(crate) incarnation: Incarnation,
    /// The lower frame limit of both ends.
    pub(crate) frame_bytes_max: usize,
    /// Cancelled when the session is over.
    pub(crate) ended: CancellationToken,
    /// Cancelled when nothing more is to be written than what waits; then the peer has the word.
    pub(super) finishing: CancellationToken,
    handled: AtomicU64,
    bounced: AtomicU64,
    /// Pings put on this session, and pongs that came: each ping has its pong, in order.
    pings: AtomicU64,
    pongs: AtomicU64,
    /// Whether the peer certainly knows of the session: a READY can be lost.
    is_known: AtomicBool,
}

impl Session {
    /// `is_known`: the peer has said READY, and did not only get one.
    pub(super) fn new(link: Arc<Link>, established: &Established, is_known: bool) -> Arc<Self> {
        Arc::new(Self {
            link,
            lane: established.lane,
            id: established.session,
            incarnation: established.peer.incarnation,
            frame_bytes_max: established.frame_bytes_max as usize,
            ended: CancellationToken::new(),
            finishing: CancellationToken::new(),
            handled: AtomicU64::new(0),
            bounced: AtomicU64::new(0),
            pings: AtomicU64::new(0),
            pongs: AtomicU64::new(0),
            is_known: AtomicBool::new(is_known),
        })
    }

    /// Something came from the peer.
    pub(super) fn on_heard(&self) {
        self.is_known.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_known(&self) -> bool {
        self.is_known.load(Ordering::Relaxed)
    }

    /// Counts a ping that is put now; the number of its pong.
    pub(super) fn count_ping(&self) -> u64 {
        self.pings.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// A pong came.
    pub(crate) fn on_pong(&self) {
        self.pongs.fetch_add(1, Ordering::Release);
    }

    /// Whether the peer has answered the ping of this number, and thus read all before it.
    pub(super) fn has_pong(&self, number: u64) -> bool {
        self.pongs.load(Ordering::Acquire) >= number
    }

    /// Counts a one-way frame that goes to its handler now; `false` if the session is over, in
    /// which case it must not.
    #[must_use]
    pub(crate) fn count_handled(&self) -> bool {
        let is_in_time = self.handled.fetch_add(1, Ordering::Relaxed) & FINAL == 0;
        if is_in_time {
            self.link.home.counters.handled.add(1);
        }
        is_in_time
    }

    /// Counts a one-way frame that is sent back; `false` if the session is over.
    #[must_use]
    pub(crate) fn count_bounced(&self) -> bool {
        self.bounced.fetch_add(1, Ordering::Relaxed) & FINAL == 0
    }

    /// Closes the connection of a peer that does not take what cannot wait.
    pub(crate) async fn give_up(&self) {
        let cause = "the peer does not take what is sent to it".to_owned();
        self.link.tell(Event::Ended { lane: self.lane, session: self.id, cause }).await;
    }

    /// What was received so far.
    pub(super) fn counts(&self) -> Counts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed) & !FINAL;
        Counts { session: self.id, handled: read(&self.handled), bounced: read(&self.bounced) }
    }

    /// Makes the counts final, tells all who work on the session to stop, and returns the counts.
    pub(super) fn close(&self) -> Counts {
        let end = |count: &AtomicU64| count.fetch_or(FINAL, Ordering::Relaxed) & !FINAL;
        let (handled, bounced) = (end(&self.handled), end(&self.bounced));
        self.ended.cancel();
        Counts { session: self.id, handled, bounced }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("peer", &self.link.peer)
            .field("lane", &self.lane)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
