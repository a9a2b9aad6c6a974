//! What links share with their node, and what they hand up to it.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZero;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::task::{Context, Poll};
use std::thread::available_parallelism;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Link, PutError, Session, Unsent};
use crate::addr::LogicalAddr;
use crate::clock::{Clock, Millis, millis};
use crate::config::{ClusterKey, Config};
use crate::handshake;
use crate::incarnation::Incarnation;
use crate::loss::Loss;
use crate::metrics::Counters;
use crate::name::Names;
use crate::wire::{Frame, Header, Kind, Reason};

/// How many refused connections may be open to hear why.
const FAREWELLS_MAX: usize = 64;

/// The part of a node that its links need.
pub(crate) struct Home {
    pub(crate) me: LogicalAddr,
    pub(crate) clock: Clock,
    pub(crate) config: Config,
    /// Whether handshakes prove a cluster key; without one, only loopback is spoken to.
    pub(crate) has_key: bool,
    pub(crate) counters: Counters,
    /// What the node has sent.
    pub(crate) names: Names,
    /// The runtime that the node was started on; whoever uses it may be on another, or on none.
    pub(crate) runtime: Handle,
    /// All tasks of the node; it has stopped when they have ended.
    pub(crate) tasks: TaskTracker,
    /// The node stops: every task ends.
    pub(crate) stop: CancellationToken,
    /// For refused connections that hear why before they are closed.
    pub(super) farewells: Arc<Semaphore>,
    /// Bytes of frames of others in all outboxes: a harbor's.
    pub(super) passing: Arc<AtomicUsize>,
    /// Some source beyond harbors has not been told all that became of its frames.
    pub(crate) untold: Notify,
    /// Something was sent beyond harbors after all before was settled.
    pub(crate) unsettled: Notify,
    /// The node takes no new connections.
    is_draining: AtomicBool,
    /// Lanes and sources at work on messages.
    handling: AtomicUsize,
    /// Whether anything can run beside the thread that does.
    has_processors: bool,
    /// Whether the incarnation was changed once already.
    has_taken_over: AtomicBool,
    /// What handshakes say of this node.
    local: Mutex<Arc<handshake::Local>>,
    incarnation: AtomicU64,
    sessions: AtomicU64,
    random: Mutex<StdRng>,
    upper: OnceLock<Weak<dyn Upper>>,
}

impl Home {
    /// # Errors
    ///
    /// When no peer would accept what the config says.
    pub(crate) fn new(
        me: LogicalAddr,
        incarnation: Incarnation,
        config: Config,
        keys: &[ClusterKey],
        seed: u64,
    ) -> Result<Self, handshake::LocalError> {
        let local = handshake::Local::new(&config, me, incarnation, 0, keys)?;
        let mut random = StdRng::seed_from_u64(seed);
        Ok(Self {
            me,
            clock: Clock::start(),
            config,
            has_key: !keys.is_empty(),
            counters: Counters::default(),
            names: Names::new(),
            runtime: Handle::current(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            farewells: Arc::new(Semaphore::new(FAREWELLS_MAX)),
            passing: Arc::default(),
            untold: Notify::new(),
            unsettled: Notify::new(),
            is_draining: AtomicBool::new(false),
            handling: AtomicUsize::new(0),
            has_processors: available_parallelism().map_or(1, NonZero::get) > 1,
            has_taken_over: AtomicBool::new(false),
            local: Mutex::new(Arc::new(local)),
            incarnation: AtomicU64::new(incarnation.bits()),
            // Either end may number a session of a lane, so the numbers of two nodes must differ.
            sessions: AtomicU64::new(random.random()),
            random: Mutex::new(random),
            upper: OnceLock::new(),
        })
    }

    /// Says who gets what arrives; done once, at assembly.
    pub(crate) fn hand_over(&self, upper: Weak<dyn Upper>) {
        drop(self.upper.set(upper));
    }

    /// The floors above; `None` while the node goes away.
    pub(super) fn upper(&self) -> Option<Arc<dyn Upper>> {
        self.upper.get()?.upgrade()
    }

    pub(crate) fn incarnation(&self) -> Incarnation {
        Incarnation::from_bits(self.incarnation.load(Ordering::Relaxed))
    }

    /// Whether this process has more than one processor.
    pub(super) const fn has_processors(&self) -> bool {
        self.has_processors
    }

    /// From now on, who wants a new connection is told that the node drains.
    pub(crate) fn drain(&self) {
        self.is_draining.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Relaxed)
    }

    pub(crate) fn begin_handling(&self) {
        self.handling.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn end_handling(&self) {
        self.handling.fetch_sub(1, Ordering::Relaxed);
    }

    /// How many message handlers are at work, or have just been.
    pub(crate) fn handling(&self) -> usize {
        self.handling.load(Ordering::Relaxed)
    }

    /// Goes on as a later incarnation; `false` if that was done once before.
    pub(crate) fn take_over(&self, incarnation: Incarnation) -> bool {
        if self.has_taken_over.swap(true, Ordering::AcqRel) {
            return false;
        }
        let mut local = self.local.lock();
        *local = Arc::new(local.with_incarnation(incarnation));
        drop(local);
        self.incarnation.store(incarnation.bits(), Ordering::Relaxed);
        true
    }

    /// A header for a frame of this node.
    pub(crate) fn header(&self, kind: Kind, to: LogicalAddr, id: u64) -> Header {
        Header::new(kind, self.me, to, id, self.incarnation())
    }

    /// How long what is told to nodes beyond harbors may wait for a connection.
    pub(crate) fn notice_deadline(&self) -> Millis {
        self.clock.now().deadline(self.config.message_timeout)
    }

    /// What handshakes say of this node.
    pub(super) fn local(&self) -> Arc<handshake::Local> {
        Arc::clone(&self.local.lock())
    }

    /// A session of the node with itself, as a handshake would have made it.
    pub(super) fn to_self(&self, lane: handshake::Lane) -> handshake::Established {
        let peer = handshake::Peer {
            addr: self.me,
            incarnation: self.incarnation(),
            heartbeat_ms: 0,
            version_label: String::new(),
            counts: None,
        };
        let frame_bytes_max = u32::try_from(self.config.frame_bytes_max).unwrap_or(u32::MAX);
        let session = self.new_session();
        handshake::Established { peer, lane, version: 1, features: 0, frame_bytes_max, session }
    }

    /// A number for a session, never used before by this incarnation; not 0.
    pub(super) fn new_session(&self) -> u64 {
        self.sessions.fetch_add(1, Ordering::Relaxed).max(1)
    }

    /// A random number.
    pub(crate) fn random(&self) -> u64 {
        self.random.lock().random()
    }

    /// A random id for a span of a trace; never zeros only.
    pub(crate) fn trace_id(&self) -> [u8; 8] {
        self.random().max(1).to_be_bytes()
    }

    /// Whether an address may be dialled or bound to.
    pub(crate) fn is_allowed(&self, ip: IpAddr) -> bool {
        self.has_key || self.config.insecure_remote || ip.to_canonical().is_loopback()
    }

    /// A random number from 0 to 1.
    pub(super) fn jitter(&self) -> f64 {
        self.random.lock().random()
    }

    /// How long nothing may be heard of a peer with our own heartbeat.
    pub(crate) fn dead_ms(&self) -> u64 {
        3 * millis(self.config.heartbeat)
    }
}

impl fmt::Debug for Home {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Home").field("me", &self.me).finish_non_exhaustive()
    }
}

/// The floors above the links: where what arrives and what fails goes.
pub(crate) trait Upper: Send + Sync {
    /// Somebody to hand the frames of a new session to.
    fn inbound(&self, session: Arc<Session>) -> Box<dyn Inbound>;

    /// Carries streams over a new session of the stream lane, for as long as the future runs, which
    /// may be longer than the session; gives why that is over.
    fn carry(&self, session: Arc<Session>, carried: Carried) -> Carrying;

    /// A message or request left its outbox without being sent.
    fn on_unsent(&self, link: &Link, unsent: Unsent, reason: Reason);

    /// The rpc session is over: requests put before the position were handed to the kernel.
    fn on_calls_cut(&self, link: &Link, below: u64);

    /// One-way frames were lost with a session, or it is now known how many.
    fn on_loss(&self, link: &Link, loss: Loss);

    /// A peer that has proved itself knows a later run of this node's address.
    ///
    /// Says whether the node goes on, under a newer incarnation than that.
    fn on_superseded(&self, newer: Incarnation) -> bool;

    /// Where to dial; `None` if discovery does not have the peer.
    fn network_address(&self, peer: LogicalAddr) -> Option<String>;

    /// Which run of the peer discovery knows, if any.
    fn known_incarnation(&self, peer: LogicalAddr) -> Option<Incarnation>;

    /// The link to somebody who has proved to be `peer`; `None` if discovery does not have it.
    fn link_to(&self, peer: LogicalAddr) -> Option<Arc<Link>>;

    /// The link on which frames to this address go, which may be beyond harbors; `None` if there
    /// is none now.
    fn link_toward(&self, to: LogicalAddr) -> Option<Arc<Link>>;

    /// A session of the link is over: the relayed frames that it carried may be lost.
    fn on_lane_lost(&self, link: &Arc<Link>, lane: handshake::Lane);

    /// All sessions of the link are lost: it is to be marked as [failed](Link::fail), and what waits
    /// may go another way.
    fn on_failed(&self, link: &Arc<Link>);

    /// The peer cannot be reached, while frames may wait for it that could go another way.
    fn on_unreachable(&self, link: &Arc<Link>);

    /// The link is closed for good, because its peer is no member any more.
    fn on_closed(&self, link: &Arc<Link>);
}

/// A connection of the stream lane, after its handshake.
pub(crate) struct Carried {
    pub(crate) reader: Box<dyn AsyncRead + Send + Unpin>,
    pub(crate) writer: Box<dyn AsyncWrite + Send + Unpin>,
    /// Whether this node has dialled it.
    pub(crate) is_dialer: bool,
}

/// See [`Upper::carry`].
pub(crate) type Carrying = Pin<Box<dyn Future<Output = String> + Send>>;

/// Takes the frames of one session.
pub(crate) trait Inbound: Send {
    /// Takes the next frame. After [`Flow::Wait`] the next one comes when `poll_ready` is.
    fn on_frame(&mut self, frame: Frame, now: Millis) -> Result<Flow, Violation>;

    /// No frame comes for now, or there are no more: what was collected of them is dealt with.
    fn on_pause(&mut self, _now: Millis) {}

    /// Whether the next frame may come.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Violation>>;

    /// The session is over; what is being handled goes on without it.
    fn on_end(self: Box<Self>);
}

/// Whether a reader goes on at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    Next,
    Wait,
}

/// A peer broke a rule that closes the lane; the text is for both ends.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Violation(pub(crate) String);

impl From<PutError> for Violation {
    /// What cannot wait found no room either, not even in the reserve.
    fn from(_: PutError) -> Self {
        Self("the peer does not take what is sent to it".to_owned())
    }
}
