//! One accepted connection of a lane.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::lane::{Put, PutError};
use super::{Event, Far, Link};
use crate::addr::LogicalAddr;
use crate::clock::Millis;
use crate::handshake::{Established, Lane as LaneId};
use crate::incarnation::Incarnation;
use crate::wire::{Counts, Header, Kind};

/// Set in a count that is final.
const FINAL: u64 = 1 << 63;

/// See the module.
///
/// For each source that talks to this node through harbors there is one as well, which goes over
/// no connection of its own; the frames that come through it are counted in [`Far`].
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
    /// Nothing more is to be written than what waits; then the peer has the word.
    is_finishing: AtomicBool,
    handled: AtomicU64,
    bounced: AtomicU64,
    /// Pings put on this session, and pongs that came: each ping has its pong, in order.
    pings: AtomicU64,
    pongs: AtomicU64,
    /// Wakes whoever carries streams over it: a sign of life of the peer is wanted.
    pub(crate) probed: Notify,
    /// Whether the peer certainly knows of the session: a READY can be lost.
    is_known: AtomicBool,
    /// Of a source beyond harbors.
    pub(crate) far: Option<Arc<Far>>,
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
            is_finishing: AtomicBool::new(false),
            handled: AtomicU64::new(0),
            bounced: AtomicU64::new(0),
            pings: AtomicU64::new(0),
            pongs: AtomicU64::new(0),
            probed: Notify::new(),
            is_known: AtomicBool::new(is_known),
            far: None,
        })
    }

    /// That of a source beyond harbors, the frames of which come over `carrier` now.
    pub(crate) fn beyond(far: &Arc<Far>, lane: LaneId, carrier: &Self) -> Arc<Self> {
        Arc::new(Self {
            link: Arc::clone(&carrier.link),
            lane,
            id: far.incarnation.bits(),
            incarnation: far.incarnation,
            frame_bytes_max: carrier.frame_bytes_max,
            ended: CancellationToken::new(),
            is_finishing: AtomicBool::new(false),
            handled: AtomicU64::new(0),
            bounced: AtomicU64::new(0),
            is_known: AtomicBool::new(true),
            pings: AtomicU64::new(0),
            pongs: AtomicU64::new(0),
            probed: Notify::new(),
            far: Some(Arc::clone(far)),
        })
    }

    /// Whose frames come over it.
    pub(crate) fn source(&self) -> LogicalAddr {
        self.far.as_ref().map_or(self.link.peer, |far| far.address)
    }

    /// The header of a frame that answers one of the session.
    pub(crate) fn answer(&self, kind: Kind, id: u64) -> Header {
        Header::new(kind, self.link.home.me, self.source(), id, self.incarnation)
    }

    /// What an answer is bound to: its session, unless it finds its way without.
    pub(crate) fn bound(&self) -> Option<u64> {
        self.far.is_none().then_some(self.id)
    }

    /// How long an answer may wait for a connection: beyond harbors it outlives sessions.
    pub(crate) fn answers_until(&self) -> Millis {
        self.far.as_ref().map_or(Millis::NEVER, |_| self.link.home.notice_deadline())
    }

    /// The link on which answers go.
    pub(crate) fn way_back(&self) -> Arc<Link> {
        self.far.as_ref().map_or_else(|| Arc::clone(&self.link), |far| far.way_back())
    }

    /// Puts what answers a frame of the session, and cannot wait.
    ///
    /// # Errors
    ///
    /// When the peer takes nothing. It is not the fault of a source beyond harbors: what has no
    /// room then is missed by its account.
    pub(crate) fn put_back(
        &self,
        put: Put,
        body: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), PutError> {
        let outcome = self.way_back().rpc().put(put, body);
        if self.far.is_some() { Ok(()) } else { outcome.map(drop) }
    }

    /// Something came from the peer; `false` if it must not be used, because this node stood still
    /// for so long that the peer may have given it up.
    #[must_use]
    pub(crate) fn on_heard(&self, now: Millis) -> bool {
        self.is_known.store(true, Ordering::Relaxed);
        self.link.on_heard(self.lane, now)
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
        if self.far.is_some() {
            self.link.home.counters.handled.add(1);
            return true;
        }
        let is_in_time = self.handled.fetch_add(1, Ordering::Relaxed) & FINAL == 0;
        if is_in_time {
            self.link.home.counters.handled.add(1);
        }
        is_in_time
    }

    /// Counts a one-way frame that is sent back; `false` if the session is over.
    #[must_use]
    pub(crate) fn count_bounced(&self) -> bool {
        if let Some(far) = &self.far {
            let home = &self.link.home;
            far.arrivals(self.lane).refuse(home.clock.now());
            home.untold.notify_one();
            return true;
        }
        self.bounced.fetch_add(1, Ordering::Relaxed) & FINAL == 0
    }

    /// Closes the connection of a peer that does not take what cannot wait.
    pub(crate) async fn give_up(&self) {
        if self.far.is_some() {
            return;
        }
        self.leave("the peer does not take what is sent to it".to_owned()).await;
    }

    /// Ends the session; the lane is free for another one.
    pub(crate) async fn leave(&self, cause: String) {
        let tell = self.link.tell(Event::Ended { lane: self.lane, session: self.id, cause });
        // The driver may be waiting for this very task.
        self.ended.run_until_cancelled(tell).await;
    }

    /// Lets the writer half-close the connection behind what waits.
    pub(super) fn finish(&self) {
        self.is_finishing.store(true, Ordering::Release);
        self.link.lane(self.lane).wake_writer();
    }

    pub(super) fn is_finishing(&self) -> bool {
        self.is_finishing.load(Ordering::Acquire)
    }

    /// Whether the counts are final.
    pub(super) fn is_over(&self) -> bool {
        self.handled.load(Ordering::Acquire) & FINAL != 0
    }

    /// What was received so far.
    pub(super) fn counts(&self) -> Counts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed) & !FINAL;
        Counts { session: self.id, handled: read(&self.handled), bounced: read(&self.bounced) }
    }

    /// Makes the counts final, tells all who work on the session to stop, and returns the counts.
    pub(super) fn close(&self) -> Counts {
        let end = |count: &AtomicU64| count.fetch_or(FINAL, Ordering::AcqRel) & !FINAL;
        let (handled, bounced) = (end(&self.handled), end(&self.bounced));
        self.ended.cancel();
        Counts { session: self.id, handled, bounced }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("source", &self.source())
            .field("lane", &self.lane)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
