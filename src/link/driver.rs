//! Runs a link: asks `state` what to do and does it.

mod sessions;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::select;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{sleep_until, timeout};

use super::Link;
use super::accept::{self, Newcomer};
use super::dial::{self, Connected, DialError, known};
use super::exchange::{ExchangeError, Stage};
use super::home::Upper;
use super::outbox::{Batch, Unsent};
use super::state::{Action, Cause, Claimed, Denial, FRAMED, LANES, Machine, Met, Signs, Times};
use crate::clock::{Millis, millis};
use crate::handshake::{HandshakeError, Lane as LaneId, Peer, Refusal};
use crate::incarnation::Incarnation;
use crate::wire::{Counts, Reason};

/// How long a READY may take to write, and a farewell to be written.
const FAREWELL: Duration = Duration::from_millis(200);

/// What a driver is told.
#[derive(Debug)]
pub(crate) enum Event {
    /// Somebody has proved to be the peer and wants a lane.
    Newcomer(Box<Newcomer>),
    /// An attempt to connect has ended.
    Dialed { lane: LaneId, attempt: u64, tried: Millis, outcome: Result<Box<Connected>, DialError> },
    /// A session's connection has ended by itself.
    Ended { lane: LaneId, session: u64, cause: String },
    /// Something came on a lane that is being probed.
    Heard { lane: LaneId },
    /// Discovery gives the peer another network address.
    Moved,
    /// This node goes on as a later incarnation.
    Renewed,
    /// Discovery names the peer's incarnation.
    Incarnation(Incarnation),
    /// Discovery no longer has the peer.
    Removed,
    /// Discovery has the peer again.
    Returned,
}

/// What a driver keeps of a lane besides its state.
#[derive(Debug, Default)]
struct Work {
    /// The attempt to connect that is under way.
    dial: Option<Dial>,
    /// The session's writer.
    writer: Option<JoinHandle<Batch>>,
    /// A newcomer that waits for a decision.
    newcomer: Option<(u64, Box<Newcomer>)>,
}

/// An attempt to connect.
#[derive(Debug)]
struct Dial {
    attempt: u64,
    stage: Arc<Stage>,
    task: JoinHandle<()>,
}

struct Driver {
    link: Arc<Link>,
    machine: Machine,
    work: [Work; LANES.len()],
    newcomers: u64,
    /// When the last heartbeat was put.
    pinged: Millis,
    /// What it told.
    told: [Option<Counts>; FRAMED.len()],
    /// The rpc lane was lost, and another lane is still to end.
    has_failed: bool,
    /// The peer is no member any more: until then it may finish what it has.
    retired_until: Option<Millis>,
}

/// Runs until the link is closed for good or the node stops.
pub(super) async fn run(link: Arc<Link>, mut events: mpsc::Receiver<Event>) {
    let times = Times::of(&link.home.config);
    let machine = Machine::new(link.home.me, link.peer, times);
    let mut driver = Driver {
        link: Arc::clone(&link),
        machine,
        work: Default::default(),
        newcomers: 0,
        pinged: Millis::default(),
        told: Default::default(),
        has_failed: false,
        retired_until: None,
    };
    if link.peer == link.home.me {
        driver.loop_back();
    } else if let Some(known) = driver.upper().and_then(|upper| upper.known_incarnation(link.peer))
    {
        // There is no session yet that this could end.
        driver.machine.on_incarnation(known);
    }
    let home = Arc::clone(&link.home);
    loop {
        let next = driver.next_timer();
        let event = select! {
            biased;
            () = home.stop.cancelled() => Some(None),
            event = events.recv() => Some(event),
            () = link.demand.notified() => None,
            () = sleep_until(home.clock.instant(next)) => None,
        };
        driver.check_frozen().await;
        let cause = match event {
            Some(Some(event)) => driver.on_event(event).await,
            Some(None) => Some(Cause::Stopped),
            None => None,
        };
        if let Some(cause) = cause {
            driver.close(cause).await;
            break;
        }
        driver.on_timer().await;
        if driver.is_retired() {
            driver.close(Cause::Removed).await;
            break;
        }
    }
    if let Some(upper) = home.upper() {
        upper.on_closed(&link);
    }
}

impl Driver {
    fn upper(&self) -> Option<Arc<dyn Upper>> {
        self.link.home.upper()
    }

    fn now(&self) -> Millis {
        self.link.home.clock.now()
    }

    /// Returns why the link is to be closed for good, if it is.
    async fn on_event(&mut self, event: Event) -> Option<Cause> {
        let actions = match event {
            Event::Newcomer(newcomer) => self.on_newcomer(newcomer),
            Event::Dialed { lane, attempt, tried, outcome } => {
                return self.on_dialed(lane, attempt, tried, outcome).await;
            }
            Event::Ended { lane, session, cause } => {
                tracing::debug!(peer = %self.link.peer, ?lane, session, cause, "session ended");
                self.link.set_trouble(format!("last connection: {cause}"));
                self.machine.on_ended(lane, session, self.now(), self.link.home.jitter())
            }
            Event::Heard { lane } => self.machine.on_heard(lane),
            Event::Moved => self.machine.on_moved(),
            Event::Renewed => self.machine.on_renewed(),
            Event::Incarnation(incarnation) => self.machine.on_incarnation(incarnation),
            Event::Removed => self.retire(),
            Event::Returned => self.restore(),
        };
        self.perform(actions).await;
        None
    }

    fn on_newcomer(&mut self, newcomer: Box<Newcomer>) -> Vec<Action> {
        let lane = newcomer.claim.lane;
        if !LANES.contains(&lane) {
            accept::refuse(&self.link.home, *newcomer, Refusal::Lane);
            return Vec::new();
        }
        self.newcomers += 1;
        let number = self.newcomers;
        let Peer { incarnation, counts, .. } = newcomer.claim.peer.clone();
        let last_session = counts.map_or(0, |counts| counts.session);
        let is_dial_yielding = self.link.home.me > self.link.peer;
        let work = &mut self.work[lane.index()];
        let is_said = !is_dial_yielding
            && work.dial.as_ref().is_some_and(|dial| dial.stage.abandon_unless_said());
        let replaced = work.newcomer.replace((number, newcomer));
        let claim = Claimed { incarnation, last_session, is_said };
        let now = self.now();
        let actions = self.machine.on_newcomer(lane, number, claim, now);
        if let Some((_, replaced)) = replaced {
            // The machine has said the same, but knows only the later one by now.
            accept::refuse(&self.link.home, *replaced, Refusal::Duplicate);
        }
        actions
    }

    async fn on_dialed(
        &mut self,
        lane: LaneId,
        attempt: u64,
        tried: Millis,
        outcome: Result<Box<Connected>, DialError>,
    ) -> Option<Cause> {
        // Its task is over; the next attempt has not begun. Kept, it would hold on to its memory.
        self.work[lane.index()].dial.take_if(|dial| dial.attempt == attempt);
        let jitter = self.link.home.jitter();
        let error = match outcome {
            Ok(connected) => {
                let Connected { stream, established } = *connected;
                let met = Met {
                    session: established.session,
                    incarnation: established.peer.incarnation,
                    heartbeat_ms: u64::from(established.peer.heartbeat_ms),
                };
                let (is_wanted, actions) =
                    self.machine.on_connected(lane, attempt, met, self.now());
                self.perform(actions).await;
                if is_wanted {
                    self.link.home.counters.dialed.add(1);
                    self.begin(stream, established, true);
                } else {
                    self.machine.on_failed(lane, attempt, tried, jitter);
                }
                return None;
            }
            Err(error) => error,
        };
        tracing::debug!(peer = %self.link.peer, ?lane, %error, "attempt to connect failed");
        self.link.set_trouble(error.to_string());
        self.link.failed.store(self.now().0.max(1), Ordering::Relaxed);
        self.link.is_wanted.store(false, Ordering::Relaxed);
        self.machine.on_failed(lane, attempt, tried, jitter);
        if let Some(upper) = self.upper() {
            upper.on_unreachable(&self.link);
        }
        self.on_refused(&error)
    }

    /// What a refusal of a peer that has proved itself means beyond the attempt.
    fn on_refused(&mut self, error: &DialError) -> Option<Cause> {
        let DialError::Exchange {
            error: ExchangeError::Handshake(HandshakeError::Refused { refusal, incarnation, .. }),
            ..
        } = error
        else {
            return None;
        };
        match *refusal {
            Refusal::OlderIncarnation(newer) => self.on_superseded(newer),
            // Another run of this very node listens there; a later one is our successor.
            Refusal::OwnAddress if *incarnation > self.link.home.incarnation() => {
                self.on_superseded(*incarnation)
            }
            Refusal::Draining => {
                for lane in LANES {
                    self.return_all(lane, None, Reason::Draining);
                }
                None
            }
            _ => None,
        }
    }

    fn on_superseded(&self, newer: Incarnation) -> Option<Cause> {
        let goes_on = self.upper().is_some_and(|upper| upper.on_superseded(newer));
        (!goes_on).then_some(Cause::Stopped)
    }

    fn signs(&self) -> Signs {
        let heard = Millis(self.link.heard.load(Ordering::Relaxed));
        let (sent, stuck_since) = self.link.rpc().progress();
        if self.link.peer == self.link.home.me {
            // Nobody can lose himself.
            let now = self.now();
            return Signs { heard: now, sent: now, stuck_since: None };
        }
        Signs { heard, sent, stuck_since }
    }

    fn next_timer(&self) -> Millis {
        let mut next = self.machine.next_timer(self.signs());
        next = next.min(self.retired_until.unwrap_or(Millis::NEVER));
        if self.is_any_up() {
            // So that readers can tell by it whether the node runs.
            next = next.min(self.now().after(millis(self.link.home.config.heartbeat)));
        }
        for lane in LANES {
            let port = self.link.lane(lane);
            if !self.machine.is_up(lane) || port.progress().1.is_some() {
                next = next.min(port.earliest_deadline());
            }
        }
        next
    }

    /// Discovery no longer has the peer: nothing new goes to it, what waits comes back, and what it
    /// is at work on may finish.
    fn retire(&mut self) -> Vec<Action> {
        let stop_ms = millis(self.link.home.config.stop_timeout);
        self.retired_until = Some(self.now().after(stop_ms));
        for lane in LANES {
            self.return_all(lane, Some(Reason::NotAMember), Reason::NotAMember);
        }
        self.machine.on_retired()
    }

    fn restore(&mut self) -> Vec<Action> {
        if self.retired_until.take().is_none() {
            // The link was made in between: after discovery had the peer, and before this was told.
            return Vec::new();
        }
        for lane in LANES {
            self.link.lane(lane).reopen();
        }
        self.machine.on_moved()
    }

    fn is_retired(&self) -> bool {
        self.retired_until.is_some_and(|until| self.machine.is_idle() || until <= self.now())
    }

    /// A process that stood still may have been given up by its peers, and others may have done its
    /// work since: what it has not read counts for nothing any more.
    async fn check_frozen(&mut self) {
        if self.is_any_up() && self.link.is_frozen(self.now()) {
            tracing::warn!(peer = %self.link.peer, "this node stood still for longer than its peers wait");
            let actions = self.machine.on_frozen();
            self.perform(actions).await;
        }
        // Only now may readers go on: those of the sessions that have ended do not.
        self.link.awake.store(self.now().0, Ordering::Relaxed);
    }

    fn is_any_up(&self) -> bool {
        LANES.into_iter().any(|lane| self.machine.is_up(lane))
    }

    async fn on_timer(&mut self) {
        let now = self.now();
        for lane in LANES {
            for unsent in self.link.lane(lane).sweep(now) {
                self.return_unsent(unsent, Reason::Expired);
            }
        }
        self.drop_lost_newcomers();
        let mut demand = LANES.map(|lane| self.link.lane(lane).has_waiting());
        demand[LaneId::Rpc.index()] |= self.link.is_wanted.load(Ordering::Relaxed);
        let actions = self.machine.on_timer(now, self.signs(), demand);
        self.perform(actions).await;
        self.tell_news(now);
    }

    /// Lets the peer know how far we are with its frames, once a heartbeat, also while other
    /// traffic makes heartbeats unnecessary: what a broken session may have lost is bounded by it.
    fn tell_news(&mut self, now: Millis) {
        let is_due = now.since(self.pinged) >= millis(self.link.home.config.heartbeat);
        if !is_due || !self.machine.is_up(LaneId::Rpc) {
            return;
        }
        let counts = FRAMED.map(|lane| self.link.lane(lane).counts());
        if counts != self.told {
            self.told = counts;
            self.pinged = now;
            self.ping(LaneId::Rpc);
        }
    }

    /// A newcomer that has hung up meanwhile must not replace a session that lives.
    fn drop_lost_newcomers(&mut self) {
        for lane in LANES {
            let waiting = &mut self.work[lane.index()].newcomer;
            if let Some((number, newcomer)) = waiting
                && is_hung_up(&newcomer.stream)
            {
                self.machine.on_newcomer_gone(lane, *number);
                *waiting = None;
            }
        }
    }

    async fn perform(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Dial { lane, attempt } => self.dial(lane, attempt),
                Action::Abandon { lane } => {
                    if let Some(dial) = self.work[lane.index()].dial.take() {
                        dial.task.abort();
                    }
                }
                Action::End { lane, cause, .. } => self.end(lane, cause).await,
                Action::Accept { lane, newcomer } => self.accept(lane, newcomer).await,
                Action::Refuse { lane, newcomer, refusal } => {
                    self.refuse(lane, newcomer, refusal);
                }
                Action::Probe { lane } => {
                    self.link.probed[lane.index()].store(true, Ordering::Relaxed);
                    self.ping(lane);
                }
                Action::Ping => {
                    self.pinged = self.now();
                    self.ping(LaneId::Rpc);
                }
                Action::Reborn => {
                    self.link.is_draining.store(false, Ordering::Relaxed);
                    for lane in LANES {
                        self.link.lane(lane).on_reborn();
                    }
                }
            }
        }
    }

    fn ping(&self, lane: LaneId) {
        // No room for a ping means that frames enough are on their way; a peer that takes none of
        // them is found by that.
        match self.link.lane(lane).session() {
            Some(session) if lane == LaneId::Stream => session.probed.notify_one(),
            Some(session) => drop(self.link.put_ping(&session)),
            None => {}
        }
    }

    fn dial(&mut self, lane: LaneId, attempt: u64) {
        let stage = Arc::new(Stage::default());
        let (link, dial_stage) = (Arc::clone(&self.link), Arc::clone(&stage));
        let tried = self.now();
        let task = self.link.home.tasks.spawn(async move {
            let outcome = dial::dial(&link, lane, dial_stage).await.map(Box::new);
            link.tell(Event::Dialed { lane, attempt, tried, outcome }).await;
        });
        self.work[lane.index()].dial = Some(Dial { attempt, stage, task });
    }

    async fn accept(&mut self, lane: LaneId, number: u64) {
        let Some(newcomer) = self.take_newcomer(lane, number) else { return };
        let Newcomer { mut stream, claim } = *newcomer;
        if claim.met() != self.link.home.incarnation() {
            // READY would name an incarnation that is over; the peer dials again.
            return;
        }
        let last = known(self.link.lane(lane).last());
        let (ready, established) = claim.accept(self.link.home.new_session(), last);
        if !matches!(timeout(FAREWELL, stream.write_all(&ready)).await, Ok(Ok(()))) {
            tracing::debug!(peer = %self.link.peer, ?lane, "newcomer lost while it was let in");
            return;
        }
        let heartbeat_ms = u64::from(established.peer.heartbeat_ms);
        let now = self.now();
        self.machine.on_accepted(lane, established.session, heartbeat_ms, now);
        self.link.home.counters.accepted_connections.add(1);
        self.begin(stream, established, false);
    }

    fn refuse(&mut self, lane: LaneId, number: u64, denial: Denial) {
        let Some(newcomer) = self.take_newcomer(lane, number) else { return };
        let refusal = match denial {
            Denial::Duplicate => Refusal::Duplicate,
            Denial::Older(known) => Refusal::OlderIncarnation(known),
            Denial::NotAMember => Refusal::UnknownMember,
        };
        accept::refuse(&self.link.home, *newcomer, refusal);
    }

    fn take_newcomer(&mut self, lane: LaneId, number: u64) -> Option<Box<Newcomer>> {
        let waiting = &mut self.work[lane.index()].newcomer;
        waiting.take_if(|(waiting, _)| *waiting == number).map(|(_, newcomer)| newcomer)
    }

    fn return_unsent(&self, unsent: Unsent, reason: Reason) {
        if let Some(upper) = self.upper() {
            upper.on_unsent(&self.link, unsent, reason);
        }
    }

    fn return_all(&self, lane: LaneId, closed: Option<Reason>, reason: Reason) {
        for unsent in self.link.lane(lane).drain(closed) {
            self.return_unsent(unsent, reason);
        }
    }

    /// Closes the link for good.
    async fn close(&mut self, cause: Cause) {
        let actions = self.machine.on_closed(cause);
        self.perform(actions).await;
        let reason = if cause == Cause::Removed { Reason::NotAMember } else { Reason::Draining };
        for lane in LANES {
            self.return_all(lane, Some(reason), reason);
        }
    }
}

fn is_hung_up(stream: &TcpStream) -> bool {
    // A dialer that waits for READY sends nothing: whatever can be read is its end.
    let mut byte = [0];
    !matches!(stream.try_read(&mut byte), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
}
