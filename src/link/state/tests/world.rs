//! Two machines, the connections between them, and drivers that do what they say.
//!
//! Whatever is in flight is an [`Event`] that may happen next; the tests choose the order. The
//! drivers panic as soon as a machine asks for what must not be.

mod driver;

use super::*;

/// How long a machine may need without anything being in flight: many times what it does.
const EVENTS_MAX: usize = 500;
/// Later than any timer but those of the pulse.
const FAR: Millis = Millis(u64::MAX / 2);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Event {
    /// Frames are put on the lane at the node, now and whenever they can be.
    Demand { node: usize, lane: Lane },
    /// The connection is there and its dialer says HELLO.
    Connect { conn: u32 },
    /// Nobody answered, or the connection was lost before its handshake was done.
    Fail { conn: u32 },
    /// The acceptor has the dialer's proof.
    Arrive { conn: u32 },
    /// The dialer has READY, or its refusal.
    Answer { conn: u32 },
    /// The node sees that the connection of its session, or of a newcomer that waits, is gone.
    See { conn: u32, node: usize },
    /// What the probed peer sends arrives.
    Heard { node: usize, lane: Lane },
    /// The node's timer fires.
    Timer { node: usize },
    /// Time passes until the next timer.
    Pass,
    /// The network loses the connection; neither end knows yet.
    Lose { conn: u32 },
    /// The node starts anew.
    Restart { node: usize },
    /// Discovery at the node gives the peer another network address.
    Move { node: usize },
    /// Discovery at the node no longer has the peer.
    Retire { node: usize },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Stage {
    Connecting,
    /// Its HELLO, with the last session known, is on the way.
    Hello {
        last_session: u64,
    },
    /// The acceptor has it as a newcomer.
    Waiting {
        newcomer: u64,
    },
    /// The acceptor has its session; READY is on the way.
    Ready {
        session: u64,
    },
    /// A refusal is on the way.
    Refused,
    Up {
        session: u64,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Conn {
    id: u32,
    lane: Lane,
    dialer: usize,
    attempt: u64,
    /// Of the dialer, when it dialled.
    incarnation: Incarnation,
    stage: Stage,
    /// Whether each node holds its end.
    open: [bool; 2],
    is_lost: bool,
    /// The dialer was told, before it said HELLO, to give up.
    is_abandoned: bool,
}

impl Conn {
    fn is_whole(&self) -> bool {
        self.open == [true; 2] && !self.is_lost
    }

    fn acceptor(&self) -> usize {
        1 - self.dialer
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct SessionAt {
    pub(super) id: u64,
    conn: u32,
    /// The peer's.
    incarnation: Incarnation,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Node {
    pub(super) machine: Machine,
    pub(super) sessions: [Option<SessionAt>; LANES.len()],
    incarnation: Incarnation,
    last: [u64; LANES.len()],
    demand: [bool; LANES.len()],
    probing: [bool; LANES.len()],
    newcomers: u64,
    /// Sends are not told apart: a pulse is seen as long as the rpc connection is whole.
    pulse: Millis,
    is_retired: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct World {
    pub(super) now: Millis,
    pub(super) nodes: [Node; 2],
    conns: Vec<Conn>,
    next_conn: u32,
    next_session: u64,
    next_incarnation: u64,
    /// From 0 to 100: what backoffs are multiplied by.
    pub(super) jitter_percent: u8,
}

impl World {
    pub(super) fn new() -> Self {
        let node = |me, peer, number| Node {
            machine: Machine::new(me, peer, TIMES),
            incarnation: incarnation(number),
            sessions: [None; LANES.len()],
            last: [0; LANES.len()],
            demand: [false; LANES.len()],
            probing: [false; LANES.len()],
            newcomers: 0,
            pulse: Millis(0),
            is_retired: false,
        };
        Self {
            now: Millis(0),
            nodes: [node(lower(), higher(), 1), node(higher(), lower(), 2)],
            conns: Vec::new(),
            next_conn: 1,
            next_session: 1,
            next_incarnation: 3,
            jitter_percent: 100,
        }
    }

    /// What may happen by itself. Timers are not among it: see [`World::pass`].
    pub(super) fn in_flight(&self) -> Vec<Event> {
        let mut events = Vec::new();
        for conn in &self.conns {
            let id = conn.id;
            let is_reachable = conn.open[conn.acceptor()] && !conn.is_lost;
            if conn.open[conn.dialer] {
                match conn.stage {
                    Stage::Connecting if is_reachable => events.push(Event::Connect { conn: id }),
                    Stage::Ready { .. } | Stage::Refused if !conn.is_lost => {
                        events.push(Event::Answer { conn: id });
                    }
                    Stage::Up { .. } => {}
                    _ if !is_reachable => events.push(Event::Fail { conn: id }),
                    _ => {}
                }
            }
            if matches!(conn.stage, Stage::Hello { .. }) && is_reachable {
                events.push(Event::Arrive { conn: id });
            }
            for node in 0..2 {
                let is_seen = match conn.stage {
                    Stage::Waiting { .. } | Stage::Ready { .. } => node == conn.acceptor(),
                    Stage::Up { .. } => true,
                    _ => false,
                };
                if is_seen && conn.open[node] && !conn.is_whole() {
                    events.push(Event::See { conn: id, node });
                }
            }
        }
        for (index, node) in self.nodes.iter().enumerate() {
            for lane in LANES {
                if node.probing[lane.index()] && self.is_whole(index, lane) {
                    events.push(Event::Heard { node: index, lane });
                }
            }
            if node.machine.next_timer(self.signs(index)) <= self.now {
                events.push(Event::Timer { node: index });
            }
        }
        events
    }

    /// What somebody may do to the world.
    pub(super) fn faults(&self) -> Vec<Event> {
        let mut events = Vec::new();
        for conn in &self.conns {
            if conn.is_whole() {
                events.push(Event::Lose { conn: conn.id });
            }
            if conn.stage == Stage::Connecting && conn.open[conn.dialer] {
                events.push(Event::Fail { conn: conn.id });
            }
        }
        for node in 0..2 {
            events.extend([Event::Restart { node }, Event::Move { node }]);
            if !self.nodes[node].is_retired {
                events.push(Event::Retire { node });
            }
        }
        events
    }

    /// Demands that are not there yet. To the machines the stream lane is one like the message
    /// lane, and three make the worlds too many.
    pub(super) fn demands(&self) -> Vec<Event> {
        let all = (0..2).flat_map(|node| FRAMED.map(|lane| (node, lane)));
        all.filter(|(node, lane)| !self.nodes[*node].demand[lane.index()])
            .map(|(node, lane)| Event::Demand { node, lane })
            .collect()
    }

    /// Whether a timer other than the pulse's is still to come.
    pub(super) fn is_anything_due(&self) -> bool {
        let quiet = Signs { heard: FAR, sent: FAR, stuck_since: None };
        self.nodes.iter().any(|node| node.machine.next_timer(quiet) < FAR)
    }

    pub(super) fn next_timer(&self) -> Millis {
        (0..2).map(|node| self.nodes[node].machine.next_timer(self.signs(node))).min().unwrap()
    }

    /// Whether the node's session on the lane is there at both ends.
    fn is_whole(&self, node: usize, lane: Lane) -> bool {
        let Some(session) = self.nodes[node].sessions[lane.index()] else { return false };
        let peer = self.nodes[1 - node].sessions[lane.index()];
        let conn = self.conns.iter().find(|conn| conn.id == session.conn);
        conn.is_some_and(Conn::is_whole) && peer.is_some_and(|peer| peer.id == session.id)
    }

    fn signs(&self, node: usize) -> Signs {
        let pulse = if self.is_whole(node, Lane::Rpc) { self.now } else { self.nodes[node].pulse };
        Signs { heard: pulse, sent: pulse, stuck_since: None }
    }

    fn conn(&mut self, id: u32) -> &mut Conn {
        self.conns.iter_mut().find(|conn| conn.id == id).expect("the connection is there")
    }

    pub(super) fn apply(&mut self, event: Event) {
        let node = match event {
            Event::Demand { node, lane } => {
                self.nodes[node].demand[lane.index()] = true;
                Some(node)
            }
            Event::Connect { conn } => self.on_connect(conn),
            Event::Fail { conn } => self.on_fail(conn),
            Event::Arrive { conn } => Some(self.on_arrive(conn)),
            Event::Answer { conn } => Some(self.on_answer(conn)),
            Event::See { conn, node } => Some(self.on_see(conn, node)),
            Event::Heard { node, lane } => {
                self.nodes[node].probing[lane.index()] = false;
                let actions = self.nodes[node].machine.on_heard(lane);
                self.perform(node, actions);
                Some(node)
            }
            Event::Timer { node } => Some(node),
            Event::Pass => {
                self.pass();
                None
            }
            Event::Lose { conn } => {
                self.conn(conn).is_lost = true;
                None
            }
            Event::Restart { node } => {
                self.restart(node);
                None
            }
            Event::Move { node } => {
                self.nodes[node].is_retired = false;
                let actions = self.nodes[node].machine.on_moved();
                self.perform(node, actions);
                Some(node)
            }
            Event::Retire { node } => {
                self.nodes[node].is_retired = true;
                let actions = self.nodes[node].machine.on_retired();
                self.perform(node, actions);
                Some(node)
            }
        };
        // A driver lets its machine look at the time after each event.
        if let Some(node) = node {
            self.on_timer(node);
        }
        self.conns.retain(|conn| conn.open != [false; 2] && !conn.is_forgotten());
        self.check();
    }

    fn pass(&mut self) {
        for node in 0..2 {
            self.nodes[node].pulse = self.signs(node).heard;
        }
        let next = self.next_timer();
        assert!(next < Millis::NEVER, "there is nothing to wait for");
        let next = next.max(self.now);
        for node in 0..2 {
            if self.is_whole(node, Lane::Rpc) {
                self.nodes[node].pulse = next;
            }
        }
        self.now = next;
    }

    /// What holds at all times.
    fn check(&self) {
        for (index, node) in self.nodes.iter().enumerate() {
            for lane in LANES {
                let session = node.sessions[lane.index()];
                let id = session.map(|session| session.id);
                assert_eq!(node.machine.session(lane), id, "driver and machine agree");
                if let Some(session) = session {
                    let known = node.machine.incarnation();
                    assert_eq!(Some(session.incarnation), known, "no older incarnation stays up");
                }
                let waiting = self.conns.iter().filter(|conn| {
                    let is_here = conn.acceptor() == index && conn.lane == lane;
                    is_here && conn.open[index] && matches!(conn.stage, Stage::Waiting { .. })
                });
                let is_probing =
                    matches!(node.machine.lanes[lane.index()], LaneState::Probing { .. });
                assert_eq!(waiting.count(), usize::from(is_probing), "nobody waits for nothing");
            }
        }
    }

    /// Whether both ends have the same session on each lane that somebody wants, and on no lane
    /// different ones.
    pub(super) fn is_agreed(&self) -> bool {
        let [a, b] = &self.nodes;
        let is_any_wanted = [a, b].iter().any(|node| node.demand.contains(&true));
        LANES.iter().all(|lane| {
            let at = lane.index();
            let is_wanted = a.demand[at] || b.demand[at] || (at == 0 && is_any_wanted);
            let id = |node: &Node| node.sessions[at].map(|session| session.id);
            id(a) == id(b) && (id(a).is_some() || !is_wanted)
        })
    }

    /// Discovery has both nodes again and both have frames for both lanes.
    pub(super) fn heal(&mut self) {
        for node in 0..2 {
            if self.nodes[node].is_retired {
                self.apply(Event::Move { node });
            }
        }
        for event in self.demands() {
            self.apply(event);
        }
    }

    /// Lets a network without faults do its work; returns how long it took until both agreed.
    pub(super) fn settle(&mut self, mut choose: impl FnMut(usize) -> usize) -> u64 {
        let began = self.now;
        for _ in 0..EVENTS_MAX {
            let events = self.in_flight();
            if !events.is_empty() {
                self.apply(events[choose(events.len()) % events.len()]);
            } else if self.is_agreed() {
                return self.now.since(began);
            } else {
                self.apply(Event::Pass);
            }
        }
        panic!("no agreement after {} ms: {self:#?}", self.now.since(began));
    }
}

impl Conn {
    fn is_up(&self) -> bool {
        matches!(self.stage, Stage::Up { .. })
    }

    fn is_answered(&self) -> bool {
        matches!(self.stage, Stage::Ready { .. } | Stage::Refused | Stage::Up { .. })
    }

    /// Nothing will be heard of it any more.
    fn is_forgotten(&self) -> bool {
        let is_refused = self.stage == Stage::Refused;
        is_refused && !self.open[self.dialer]
    }
}
