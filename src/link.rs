//! All there is between this node and one other: lanes, sessions, what waits and what was lost.
//!
//! `state`, `outbox` and `account` are pure; `driver` asks them and does what they say; `dial`,
//! `accept` and `pump` are the I/O. A frame is a header and an opaque body here.
//!
//! ```text
//!  router, rpc, messaging            dispatch
//!        │ put                           ▲ Inbound
//!  ┌─────▼──────────── Link ─────────────┴─────┐
//!  │ Lane: queue ─▶ pump::write   pump::read   │◀─ driver ◀─ events
//!  └────────────────────┬──────────────▲───────┘
//!                       └── a socket ──┘
//! ```

mod accept;
mod account;
mod calls;
mod dial;
mod driver;
mod exchange;
mod far;
mod home;
mod lane;
mod line;
mod outbox;
mod pump;
mod read_buffer;
mod session;
mod state;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;

pub(crate) use accept::Door;
use calls::Calls;
pub(crate) use driver::Event;
pub(crate) use far::Far;
pub(crate) use home::{Carried, Carrying, Flow, Home, Inbound, Upper, Violation};
pub(crate) use lane::{LONGER, Lane, Put, PutError};
pub(crate) use line::Line;
pub(crate) use outbox::{Class, Unsent};
pub(crate) use session::Session;

use crate::addr::LogicalAddr;
use crate::clock::Millis;
use crate::handshake::Lane as LaneId;
use crate::wire::{GoAway, Header, Kind, Pulse, Reason};

/// Events that wait for a link's driver.
const EVENTS_MAX: usize = 64;

/// As many tasks may put messages: how many do is not known.
const SENDERS: u64 = 64;

/// How long after a failed attempt to connect others are picked.
const FAILED_MS: u64 = 1_000;

/// The longest pause between two looks how far the peer is.
const SETTLE_PAUSE_MAX: Duration = Duration::from_millis(50);

/// See the module.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) home: Arc<Home>,
    pub(crate) peer: LogicalAddr,
    lanes: [Lane; state::LANES.len()],
    events: mpsc::Sender<Event>,
    /// Frames wait on a lane that is not up.
    demand: Arc<Notify>,
    /// When the last byte came from the peer.
    heard: AtomicU64,
    /// When the driver last ran: a reader that finds this long ago was stopped itself.
    awake: AtomicU64,
    /// Calls to the peer that wait for a reply.
    pub(crate) calls: Calls,
    /// The peer has said that it drains. The lanes look at it under their locks.
    is_draining: Arc<AtomicBool>,
    /// Lanes on which any sign of life is waited for.
    probed: [AtomicBool; state::LANES.len()],
    /// When the last attempt to connect failed, if no session came after it; otherwise 0.
    failed: AtomicU64,
    /// Somebody wants to know whether the peer can be reached again, though no frame waits.
    is_wanted: AtomicBool,
    /// Discovery has the peer, as far as senders may know.
    is_member: AtomicBool,
    /// The last thing that went wrong, for errors.
    trouble: Mutex<String>,
}

impl Link {
    /// Makes the link and starts its driver, which ends with the node or with the membership.
    pub(crate) fn start(home: Arc<Home>, peer: LogicalAddr) -> Arc<Self> {
        let (events, inbox) = mpsc::channel(EVENTS_MAX);
        let demand = Arc::new(Notify::new());
        let is_draining = Arc::<AtomicBool>::default();
        let lane = || {
            let passing = Arc::clone(&home.passing);
            Lane::new(&home.config, passing, Arc::clone(&demand), Arc::clone(&is_draining))
        };
        let now = home.clock.now().0;
        let link = Arc::new(Self {
            lanes: state::LANES.map(|_| lane()),
            peer,
            events,
            demand,
            heard: AtomicU64::new(now),
            awake: AtomicU64::new(now),
            calls: Calls::default(),
            is_draining,
            probed: Default::default(),
            failed: AtomicU64::new(0),
            is_wanted: AtomicBool::new(false),
            is_member: AtomicBool::new(true),
            trouble: Mutex::default(),
            home,
        });
        let task = driver::run(Arc::clone(&link), inbox);
        link.home.tasks.spawn_on(task, &link.home.runtime);
        link
    }

    /// The lane for calls and all that a link says on its own account.
    pub(crate) fn rpc(&self) -> &Lane {
        self.lane(LaneId::Rpc)
    }

    /// Any lane.
    pub(crate) fn lane(&self, lane: LaneId) -> &Lane {
        &self.lanes[lane.index()]
    }

    /// Tells the driver something; waits while it is busy.
    pub(crate) async fn tell(&self, event: Event) {
        // The driver is gone only when the link is; then nobody cares.
        drop(self.events.send(event).await);
    }

    /// A header for a frame of this node to the peer.
    pub(crate) fn header(&self, kind: Kind, id: u64) -> Header {
        Header::new(kind, self.home.me, self.peer, id, self.home.incarnation())
    }

    /// Sends a ping, with the counts of all lanes; returns the number of its pong.
    fn put_ping(&self, session: &Session) -> Result<u64, PutError> {
        self.put_pulse(session, Kind::Ping, || session.count_ping())
    }

    /// Answers a ping.
    pub(crate) fn put_pong(&self, session: &Session) -> Result<(), PutError> {
        self.put_pulse(session, Kind::Pong, || ())
    }

    fn put_pulse<T>(
        &self,
        session: &Session,
        kind: Kind,
        count: impl FnOnce() -> T,
    ) -> Result<T, PutError> {
        let lanes = state::FRAMED
            .into_iter()
            .filter_map(|lane| Some((lane.number(), self.lane(lane).counts()?)))
            .collect();
        let pulse = Pulse { lanes };
        let body_len = 1 + 25 * pulse.lanes.len();
        let put = Put {
            only_session: Some(session.id),
            ..Put::control(self.header(kind, 0), Millis::NEVER, body_len)
        };
        self.lane(session.lane).put_prepared(put, |_| Ok((0, count())), |out| pulse.put(out))
    }

    /// Tells the peer that this node goes, or that it broke a rule.
    pub(crate) fn put_go_away(&self, session: &Session, body: &GoAway) -> Result<(), PutError> {
        let mut bytes = Vec::new();
        body.put(&mut bytes);
        let put = Put {
            only_session: Some(session.id),
            ..Put::control(self.header(Kind::GoAway, 0), Millis::NEVER, bytes.len())
        };
        self.lane(session.lane).put(put, |out| out.extend_from_slice(&bytes))?;
        Ok(())
    }

    /// The peer told how far it is with what we sent.
    pub(crate) fn on_pulse(&self, pulse: &Pulse) {
        for (byte, counts) in &pulse.lanes {
            if let Some(lane) = state::FRAMED.into_iter().find(|lane| lane.number() == *byte) {
                self.lane(lane).on_told(*counts);
            }
        }
    }

    /// The peer drains: it takes nothing new.
    pub(crate) fn on_draining(&self) {
        self.is_draining.store(true, Ordering::Relaxed);
    }

    /// Tells the peer that this node drains, if there is a connection on the lane, and waits until
    /// the peer knows: what it had put before has been read by then, and nothing new follows.
    ///
    /// # Cancel safety
    ///
    /// Safe: what was said is said.
    pub(crate) async fn say_draining(&self, lane: LaneId) {
        let Some(session) = self.lane(lane).session() else { return };
        let mut told = None;
        self.look_until_ended(&session, || {
            // Without room for it now, there may be later.
            told = told.or_else(|| {
                self.put_go_away(&session, &GoAway::Draining).ok()?;
                self.put_ping(&session).ok()
            });
            told.is_some_and(|ping| session.has_pong(ping))
        })
        .await;
    }

    /// Says that this node drains, writes what waits on the lane, asks the peer until the account
    /// of it is settled, half-closes it, and waits for the peer's end: then the peer has read all
    /// of it, and no reset can destroy what it has not.
    ///
    /// # Cancel safety
    ///
    /// When dropped, the lane goes on finishing.
    pub(crate) async fn finish(&self, lane: LaneId) {
        let Some(session) = self.lane(lane).session() else { return };
        // A session may have begun after the others were told.
        self.say_draining(lane).await;
        self.settle_session(&session).await;
        session.finish();
        session.ended.cancelled().await;
    }

    /// Asks the peer until the account of the lane is settled, or its session has ended.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub(crate) async fn settle(&self, lane: LaneId) {
        if let Some(session) = self.lane(lane).session() {
            self.settle_session(&session).await;
        }
    }

    async fn settle_session(&self, session: &Session) {
        self.look_until_ended(session, || {
            // The last one tells the peer what became of all that it had sent. Without room for
            // it, others are on their way.
            self.put_ping(session).ok();
            self.lane(session.lane).is_settled()
        })
        .await;
    }

    /// Looks until something is so or the session has ended.
    async fn look_until_ended(&self, session: &Session, mut is_so: impl FnMut() -> bool) {
        let mut pause = Duration::from_millis(1);
        while !is_so() {
            if timeout(pause, session.ended.cancelled()).await.is_ok() {
                return;
            }
            pause = (pause * 2).min(SETTLE_PAUSE_MAX);
        }
    }

    /// Ends all sessions and all that waits, in the place of a driver that is gone.
    pub(crate) fn abandon(&self, upper: &dyn Upper) {
        for lane in &self.lanes {
            if let Some(session) = lane.session() {
                // What its writer had taken went with it: it may have been sent.
                let (_, loss) = lane.end(session.close(), &mut outbox::Batch::default());
                if let Some(loss) = loss {
                    upper.on_loss(self, loss);
                }
            }
            for unsent in lane.drain(Some(Reason::Draining)) {
                upper.on_unsent(self, unsent, Reason::Draining);
            }
        }
        upper.on_calls_cut(self, u64::MAX);
    }

    /// Whether there is a connection for calls.
    pub(crate) fn is_up(&self) -> bool {
        self.rpc().is_up()
    }

    /// Whether nothing waits to be written, on any lane; what waits for a connection counts.
    pub(crate) fn is_flushed(&self) -> bool {
        self.lanes.iter().all(Lane::is_flushed)
    }

    /// How many tasks may put a frame into the lane in a moment, as far as is known beforehand.
    fn crowd(&self, lane: LaneId) -> u64 {
        match lane {
            LaneId::Rpc => self.calls.waiting(),
            _ => SENDERS,
        }
    }

    /// Whether the peer takes nothing new.
    pub(crate) fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Relaxed)
    }

    /// Discovery has the peer no more, or has it again: counts for senders at once, before the driver
    /// hears of it.
    pub(crate) fn set_member(&self, is_member: bool) {
        self.is_member.store(is_member, Ordering::Relaxed);
    }

    pub(crate) fn is_member(&self) -> bool {
        self.is_member.load(Ordering::Relaxed)
    }

    /// Whether the peer is worth picking, as far as this node knows.
    pub(crate) fn is_promising(&self, now: Millis) -> bool {
        let failed = self.failed.load(Ordering::Relaxed);
        let has_just_failed = failed > 0 && now.since(Millis(failed)) < FAILED_MS;
        !self.is_draining() && !has_just_failed
    }

    /// All connections with the peer are lost.
    pub(crate) fn fail(&self, now: Millis) {
        self.failed.store(now.0.max(1), Ordering::Relaxed);
    }

    /// Whether frames for others may be given to the peer: nothing has gone wrong since it was last
    /// connected, and it does not drain. If something has, it is tried to connect again.
    pub(crate) fn is_trusted(&self) -> bool {
        self.is_well() && !self.is_draining()
    }

    /// The same for answers, which one that drains takes, too.
    pub(crate) fn is_well(&self) -> bool {
        let has_failed = self.failed.load(Ordering::Relaxed) > 0;
        if has_failed && !self.is_wanted.swap(true, Ordering::Relaxed) {
            self.demand.notify_one();
        }
        !has_failed
    }

    /// A byte came from the peer; `false` if this node was itself stopped for so long that the
    /// peer may have given it up, in which case what was read must not be used.
    fn on_heard(&self, lane: LaneId, now: Millis) -> bool {
        if self.probed[lane.index()].load(Ordering::Relaxed) {
            self.probed[lane.index()].store(false, Ordering::Relaxed);
            // A driver too busy to hear of it hears of the next byte.
            drop(self.events.try_send(Event::Heard { lane }));
        }
        let is_frozen = self.is_frozen(now);
        self.heard.store(now.0, Ordering::Relaxed);
        !is_frozen
    }

    /// Whether the driver, which wakes at least once a heartbeat while a lane is up, has not for as
    /// long as a peer waits. To itself a node is no later than to anybody.
    fn is_frozen(&self, now: Millis) -> bool {
        let awake = Millis(self.awake.load(Ordering::Relaxed));
        self.peer != self.home.me && now.since(awake) >= self.home.dead_ms()
    }

    /// What went wrong last, in words; empty if nothing did.
    pub(crate) fn trouble(&self) -> String {
        self.trouble.lock().clone()
    }

    /// What the link knows about why something was not sent on it, in words; often nothing.
    pub(crate) fn detail(&self, reason: Reason) -> String {
        match reason {
            Reason::Expired | Reason::Full | Reason::Unreachable => self.trouble(),
            Reason::TooLarge => self.rpc().session().map_or_else(String::new, |session| {
                format!("with {} a frame takes {} bytes", self.peer, session.frame_bytes_max)
            }),
            _ => String::new(),
        }
    }

    pub(crate) fn set_trouble(&self, text: String) {
        *self.trouble.lock() = text;
    }
}
