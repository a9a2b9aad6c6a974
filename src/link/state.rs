//! What a link does next. Pure.
//!
//! One machine for each peer. It is told what happened and answers with what to do; `driver` does
//! it. Sockets, handshakes, queues and clocks are elsewhere.
//!
//! ```text
//!             demand                   connected
//!   Idle ───────────────▶ Dialing ───────────────▶ Up ◀──▶ Probing
//!    ▲  ▲    timer ▲         │ failed    accepted ▲ │          │
//!    │  └── Backoff ◀────────┘         (from any) ──┘          │ silent: the newcomer takes over
//!    └────────────────────────────────────────── ended ◀───────┘
//! ```
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod times;
mod words;

pub(crate) use times::Times;
pub(crate) use words::{Action, Cause, Claimed, Denial, Met, Signs};

use crate::addr::LogicalAddr;
use crate::clock::Millis;
use crate::handshake::Lane;
use crate::incarnation::Incarnation;

/// All lanes of a link.
pub(crate) const LANES: [Lane; 3] = [Lane::Rpc, Lane::Message, Lane::Stream];
/// Those that carry frames and keep an account of them.
pub(crate) const FRAMED: [Lane; 2] = [Lane::Rpc, Lane::Message];

/// How long a peer may leave a probe unanswered before a newcomer takes over.
const PROBE_MS: u64 = 500;
/// How long to wait for the peer's own rpc lane before dialling one beside its message lane.
const RPC_GRACE_MS: u64 = 200;
/// A session that ends sooner counts as a failed attempt: whoever lets us in and closes at once is
/// not dialled without pause.
const SETTLED_MS: u64 = 10;
/// A peer that nothing was heard of for this many heartbeats is dead.
const DEAD_HEARTBEATS: u64 = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum LaneState {
    Idle,
    Backoff { until: Millis },
    Dialing { attempt: u64 },
    Up { session: u64 },
    Probing { session: u64, newcomer: u64, until: Millis },
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Machine {
    me: LogicalAddr,
    peer: LogicalAddr,
    times: Times,
    /// Whether discovery has the peer.
    is_member: bool,
    incarnation: Option<Incarnation>,
    lanes: [LaneState; LANES.len()],
    /// The peer's own heartbeat, when it is slower than ours.
    peer_heartbeat_ms: u64,
    attempts: u64,
    failures: u32,
    /// When the last session began.
    begun: Millis,
    /// When the last ping was asked for, which may not have been written yet.
    pinged: Millis,
}

impl Machine {
    pub(crate) fn new(me: LogicalAddr, peer: LogicalAddr, times: Times) -> Self {
        Self {
            me,
            peer,
            times,
            is_member: true,
            incarnation: None,
            lanes: [LaneState::Idle; LANES.len()],
            peer_heartbeat_ms: 0,
            attempts: 0,
            failures: 0,
            begun: Millis(0),
            pinged: Millis(0),
        }
    }

    /// The peer's incarnation, as it proved or discovery told.
    #[cfg(test)]
    pub(crate) const fn incarnation(&self) -> Option<Incarnation> {
        self.incarnation
    }

    /// Whether the lane has a session.
    pub(crate) fn is_up(&self, lane: Lane) -> bool {
        self.session(lane).is_some()
    }

    /// Whether any lane has a session or strives for one.
    pub(crate) fn is_idle(&self) -> bool {
        self.lanes.iter().all(|lane| *lane == LaneState::Idle)
    }

    /// Whether no lane has a session.
    fn is_down(&self) -> bool {
        !LANES.iter().any(|lane| self.is_up(*lane))
    }

    fn session(&self, lane: Lane) -> Option<u64> {
        match self.lanes[lane.index()] {
            LaneState::Up { session } | LaneState::Probing { session, .. } => Some(session),
            _ => None,
        }
    }

    /// Dials what is wanted, but for lanes that a newcomer gets by `actions`.
    fn dial_wanted(&mut self, demand: [bool; LANES.len()], actions: &mut Vec<Action>) {
        if !self.is_member {
            return;
        }
        for lane in LANES {
            // The rpc lane is the pulse of the link and comes with the first use of any.
            let is_wanted = demand[lane.index()]
                || (lane == Lane::Rpc && (demand.contains(&true) || !self.is_down()));
            let gives = |action: &Action| matches!(action, Action::Accept { lane: given, .. } if *given == lane);
            if is_wanted && !actions.iter().any(gives) {
                actions.extend(self.dial(lane));
            }
        }
    }

    fn dial(&mut self, lane: Lane) -> Option<Action> {
        if self.lanes[lane.index()] != LaneState::Idle {
            return None;
        }
        self.attempts += 1;
        let attempt = self.attempts;
        self.lanes[lane.index()] = LaneState::Dialing { attempt };
        Some(Action::Dial { lane, attempt })
    }

    /// An attempt has led to a session. `false`: it is not wanted; close it and say `on_failed`.
    pub(crate) fn on_connected(
        &mut self,
        lane: Lane,
        attempt: u64,
        met: Met,
        now: Millis,
    ) -> (bool, Vec<Action>) {
        let Met { session, incarnation, heartbeat_ms } = met;
        let is_older = self.incarnation.is_some_and(|known| incarnation < known);
        if self.lanes[lane.index()] != (LaneState::Dialing { attempt }) {
            return (false, Vec::new());
        }
        if is_older {
            return (false, Vec::new());
        }
        let actions = self.on_incarnation(incarnation);
        self.begin(lane, session, heartbeat_ms, now);
        (true, actions)
    }

    /// An attempt has failed, and the next waits. The pause counts from when this one was `tried`:
    /// after one that hung there is none. `jitter` is a random number from 0 to 1.
    pub(crate) fn on_failed(&mut self, lane: Lane, attempt: u64, tried: Millis, jitter: f64) {
        if self.lanes[lane.index()] == (LaneState::Dialing { attempt }) {
            self.lanes[lane.index()] = self.back_off(tried, jitter);
        }
    }

    fn back_off(&mut self, since: Millis, jitter: f64) -> LaneState {
        let until = since.after(self.times.backoff_ms(self.failures, jitter));
        self.failures = self.failures.saturating_add(1);
        LaneState::Backoff { until }
    }

    /// Somebody has proved to be the peer and wants the lane.
    ///
    /// `last_session` is the session of the lane that it knew last; `is_said` is whether our own
    /// attempt on the lane has already sent its HELLO.
    pub(crate) fn on_newcomer(
        &mut self,
        lane: Lane,
        newcomer: u64,
        claim: Claimed,
        now: Millis,
    ) -> Vec<Action> {
        if !self.is_member {
            return vec![Action::Refuse { lane, newcomer, refusal: Denial::NotAMember }];
        }
        if let Some(known) = self.incarnation
            && claim.incarnation < known
        {
            return vec![Action::Refuse { lane, newcomer, refusal: Denial::Older(known) }];
        }
        let mut actions = self.on_incarnation(claim.incarnation);
        match self.lanes[lane.index()] {
            LaneState::Idle | LaneState::Backoff { .. } => {
                actions.push(Action::Accept { lane, newcomer });
            }
            LaneState::Dialing { .. } if self.me < self.peer && claim.is_said => {
                actions.push(Action::Refuse { lane, newcomer, refusal: Denial::Duplicate });
            }
            LaneState::Dialing { .. } => {
                self.lanes[lane.index()] = LaneState::Idle;
                actions.push(Action::Abandon { lane });
                actions.push(Action::Accept { lane, newcomer });
            }
            LaneState::Up { session } | LaneState::Probing { session, .. }
                if session == claim.last_session =>
            {
                self.turn_away_prober(lane, Denial::Duplicate, &mut actions);
                actions.extend(self.end(lane, Cause::Replaced));
                actions.push(Action::Accept { lane, newcomer });
            }
            LaneState::Up { session } => {
                let until = now.after(PROBE_MS);
                self.lanes[lane.index()] = LaneState::Probing { session, newcomer, until };
                actions.push(Action::Probe { lane });
            }
            LaneState::Probing { session, until, .. } => {
                self.turn_away_prober(lane, Denial::Duplicate, &mut actions);
                self.lanes[lane.index()] = LaneState::Probing { session, newcomer, until };
            }
        }
        actions
    }

    /// A newcomer that was accepted has its session now.
    pub(crate) fn on_accepted(&mut self, lane: Lane, session: u64, heartbeat_ms: u64, now: Millis) {
        self.begin(lane, session, heartbeat_ms, now);
        let rpc = &mut self.lanes[Lane::Rpc.index()];
        if lane != Lane::Rpc && *rpc == LaneState::Idle {
            // The peer dials its rpc lane as well; ours would only get in its way.
            *rpc = LaneState::Backoff { until: now.after(RPC_GRACE_MS) };
        }
    }

    fn begin(&mut self, lane: Lane, session: u64, heartbeat_ms: u64, now: Millis) {
        self.begun = now;
        self.peer_heartbeat_ms = heartbeat_ms;
        self.lanes[lane.index()] = LaneState::Up { session };
    }

    /// Something arrived on the lane after a probe.
    pub(crate) fn on_heard(&mut self, lane: Lane) -> Vec<Action> {
        let mut actions = Vec::new();
        self.turn_away_prober(lane, Denial::Duplicate, &mut actions);
        actions
    }

    fn turn_away_prober(&mut self, lane: Lane, refusal: Denial, actions: &mut Vec<Action>) {
        if let LaneState::Probing { session, newcomer, .. } = self.lanes[lane.index()] {
            self.lanes[lane.index()] = LaneState::Up { session };
            actions.push(Action::Refuse { lane, newcomer, refusal });
        }
    }

    /// A newcomer that waits for a probe has given up.
    pub(crate) fn on_newcomer_gone(&mut self, lane: Lane, gone: u64) {
        if let LaneState::Probing { session, newcomer, .. } = self.lanes[lane.index()]
            && newcomer == gone
        {
            self.lanes[lane.index()] = LaneState::Up { session };
        }
    }

    /// The session's connection has ended by itself. `jitter` is a random number from 0 to 1.
    pub(crate) fn on_ended(
        &mut self,
        lane: Lane,
        session: u64,
        now: Millis,
        jitter: f64,
    ) -> Vec<Action> {
        if self.session(lane) != Some(session) {
            return Vec::new();
        }
        let actions = self.end(lane, Cause::Closed);
        if now.since(self.begun) >= SETTLED_MS {
            self.failures = 0;
        } else {
            let pause = self.back_off(self.begun, jitter);
            for state in self.lanes.iter_mut().filter(|state| **state == LaneState::Idle) {
                *state = pause;
            }
        }
        actions
    }

    /// Ends the lane's session, with all others if it was the pulse; a newcomer that waited for
    /// just this is let in.
    fn end(&mut self, lane: Lane, cause: Cause) -> Vec<Action> {
        let state = std::mem::replace(&mut self.lanes[lane.index()], LaneState::Idle);
        let (session, newcomer) = match state {
            LaneState::Up { session } => (session, None),
            LaneState::Probing { session, newcomer, .. } => (session, Some(newcomer)),
            other => {
                self.lanes[lane.index()] = other;
                return Vec::new();
            }
        };
        // The pulse goes last: then no bounce can be on its way for the others.
        let mut actions = if lane == Lane::Rpc { self.end_all(Cause::Pulse) } else { Vec::new() };
        actions.push(Action::End { lane, session, cause });
        actions.extend(newcomer.map(|newcomer| Action::Accept { lane, newcomer }));
        actions
    }

    /// Ends all sessions, the pulse last; newcomers that wait are turned away.
    fn end_all(&mut self, cause: Cause) -> Vec<Action> {
        let mut actions = Vec::new();
        for lane in LANES.into_iter().rev() {
            self.turn_away_prober(lane, Denial::Duplicate, &mut actions);
            if let LaneState::Up { session } = self.lanes[lane.index()] {
                self.lanes[lane.index()] = LaneState::Idle;
                actions.push(Action::End { lane, session, cause });
            }
        }
        actions
    }

    fn abandon_all(&mut self) -> Vec<Action> {
        let mut actions = Vec::new();
        for lane in LANES {
            if let LaneState::Dialing { .. } = self.lanes[lane.index()] {
                actions.push(Action::Abandon { lane });
            }
            if self.session(lane).is_none() {
                self.lanes[lane.index()] = LaneState::Idle;
            }
        }
        self.failures = 0;
        actions
    }

    /// Discovery or a proof names an incarnation of the peer.
    pub(crate) fn on_incarnation(&mut self, incarnation: Incarnation) -> Vec<Action> {
        match self.incarnation {
            Some(known) if incarnation <= known => Vec::new(),
            Some(_) => {
                self.incarnation = Some(incarnation);
                let mut actions = self.end_all(Cause::Reborn);
                actions.push(Action::Reborn);
                actions
            }
            None => {
                self.incarnation = Some(incarnation);
                Vec::new()
            }
        }
    }

    /// Discovery gives the peer another network address: what leads to the old one is over.
    pub(crate) fn on_moved(&mut self) -> Vec<Action> {
        self.is_member = true;
        self.start_over(Cause::Moved)
    }

    /// This node has another incarnation: what was begun in the name of the old one is over.
    pub(crate) fn on_renewed(&mut self) -> Vec<Action> {
        self.start_over(Cause::Renewed)
    }

    fn start_over(&mut self, cause: Cause) -> Vec<Action> {
        let mut actions = self.end_all(cause);
        actions.extend(self.abandon_all());
        actions
    }

    /// Discovery no longer has the peer: sessions go on until they end, but nothing new begins.
    pub(crate) fn on_retired(&mut self) -> Vec<Action> {
        self.is_member = false;
        let mut actions = Vec::new();
        for lane in LANES {
            self.turn_away_prober(lane, Denial::NotAMember, &mut actions);
        }
        actions.extend(self.abandon_all());
        actions
    }

    /// This node stood still for so long that its peers may have given it up.
    pub(crate) fn on_frozen(&mut self) -> Vec<Action> {
        // To itself it is no later than to anybody.
        if self.peer == self.me { Vec::new() } else { self.end_all(Cause::Frozen) }
    }

    /// The link is closed for good.
    pub(crate) fn on_closed(&mut self, cause: Cause) -> Vec<Action> {
        self.is_member = false;
        let mut actions = self.end_all(cause);
        actions.extend(self.abandon_all());
        actions
    }

    /// Time has passed. `demand` is which lanes have frames that wait.
    pub(crate) fn on_timer(
        &mut self,
        now: Millis,
        signs: Signs,
        demand: [bool; LANES.len()],
    ) -> Vec<Action> {
        let mut actions = self.check_pulse(now, signs);
        if !self.is_down() && now.since(self.begun) >= SETTLED_MS {
            self.failures = 0;
        }
        for lane in LANES {
            match self.lanes[lane.index()] {
                LaneState::Probing { until, .. } if until <= now => {
                    actions.extend(self.end(lane, Cause::Silent));
                }
                LaneState::Backoff { until } if until <= now => {
                    self.lanes[lane.index()] = LaneState::Idle;
                }
                _ => {}
            }
        }
        self.dial_wanted(demand, &mut actions);
        actions
    }

    fn check_pulse(&mut self, now: Millis, signs: Signs) -> Vec<Action> {
        if self.is_down() {
            return Vec::new();
        }
        if self.dead_at(signs) <= now {
            return self.end_all(Cause::Silent);
        }
        if !self.is_up(Lane::Rpc) {
            return Vec::new();
        }
        if signs.stuck_since.is_some_and(|since| now.since(since) >= self.dead_ms()) {
            return self.end_all(Cause::Stalled);
        }
        if self.ping_at(signs) <= now {
            self.pinged = now;
            return vec![Action::Ping];
        }
        Vec::new()
    }

    fn dead_ms(&self) -> u64 {
        DEAD_HEARTBEATS * self.times.heartbeat_ms.max(self.peer_heartbeat_ms)
    }

    fn dead_at(&self, signs: Signs) -> Millis {
        signs.heard.after(self.dead_ms())
    }

    fn ping_at(&self, signs: Signs) -> Millis {
        signs.sent.max(self.pinged).after(self.times.heartbeat_ms)
    }

    /// When `on_timer` is to be called next; [`Millis::NEVER`] if nothing is due by itself.
    pub(crate) fn next_timer(&self, signs: Signs) -> Millis {
        let mut next = Millis::NEVER;
        for lane in LANES {
            next = next.min(match self.lanes[lane.index()] {
                LaneState::Backoff { until } | LaneState::Probing { until, .. } => until,
                _ => Millis::NEVER,
            });
            if self.is_up(lane) {
                next = next.min(self.dead_at(signs));
            }
        }
        if self.is_up(Lane::Rpc) {
            next = next.min(self.ping_at(signs));
            if let Some(since) = signs.stuck_since {
                next = next.min(since.after(self.dead_ms()));
            }
        }
        next
    }
}

#[cfg(test)]
mod tests;
