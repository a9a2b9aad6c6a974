//! What drivers do: tell their machines what happened, and do what these say.

use super::*;

impl World {
    pub(super) fn on_connect(&mut self, id: u32) -> Option<usize> {
        let conn = self.conn(id).clone();
        if conn.is_abandoned {
            return self.on_fail(id);
        }
        let last_session = self.nodes[conn.dialer].last[conn.lane.index()];
        self.conn(id).stage = Stage::Hello { last_session };
        None
    }

    pub(super) fn on_fail(&mut self, id: u32) -> Option<usize> {
        let conn = self.conn(id).clone();
        self.conn(id).open[conn.dialer] = false;
        let (now, jitter) = (self.now, f64::from(self.jitter_percent) / 100.0);
        self.nodes[conn.dialer].machine.on_failed(conn.lane, conn.attempt, now, jitter);
        Some(conn.dialer)
    }

    pub(super) fn on_arrive(&mut self, id: u32) -> usize {
        let Conn { lane, incarnation, stage, .. } = self.conn(id).clone();
        let node = self.conn(id).acceptor();
        let Stage::Hello { last_session } = stage else { panic!("{stage:?}") };
        let is_said = node == 0 && self.say_or_abandon(node, lane);
        self.nodes[node].newcomers += 1;
        let newcomer = self.nodes[node].newcomers;
        self.conn(id).stage = Stage::Waiting { newcomer };
        let claim = Claimed { incarnation, last_session, is_said };
        let actions = self.nodes[node].machine.on_newcomer(lane, newcomer, claim, self.now);
        self.perform(node, actions);
        node
    }

    /// Whether the node's own attempt has said HELLO; if not, it never will.
    fn say_or_abandon(&mut self, node: usize, lane: Lane) -> bool {
        let is_attempt = |conn: &&mut Conn| {
            conn.dialer == node && conn.lane == lane && conn.open[node] && !conn.is_up()
        };
        let Some(conn) = self.conns.iter_mut().rfind(is_attempt) else { return false };
        conn.is_abandoned |= conn.stage == Stage::Connecting;
        conn.stage != Stage::Connecting
    }

    pub(super) fn on_answer(&mut self, id: u32) -> usize {
        let conn = self.conn(id).clone();
        let node = conn.dialer;
        let Stage::Ready { session } = conn.stage else {
            self.on_fail(id);
            return node;
        };
        let incarnation = self.nodes[1 - node].incarnation;
        let (is_wanted, actions) = self.nodes[node].machine.on_connected(
            conn.lane,
            conn.attempt,
            Met { session, incarnation, heartbeat_ms: TIMES.heartbeat_ms },
            self.now,
        );
        self.perform(node, actions);
        self.conn(id).stage = Stage::Up { session };
        if is_wanted {
            self.begin(node, id, session, incarnation);
        } else {
            self.on_fail(id);
        }
        node
    }

    pub(super) fn on_see(&mut self, id: u32, node: usize) -> usize {
        let conn = self.conn(id).clone();
        let actions = match conn.stage {
            Stage::Waiting { newcomer } => {
                self.conn(id).open[node] = false;
                self.nodes[node].machine.on_newcomer_gone(conn.lane, newcomer);
                Vec::new()
            }
            Stage::Ready { session } | Stage::Up { session } => {
                let (now, jitter) = (self.now, f64::from(self.jitter_percent) / 100.0);
                self.nodes[node].machine.on_ended(conn.lane, session, now, jitter)
            }
            stage => panic!("nobody sees the end of {stage:?}"),
        };
        self.perform(node, actions);
        node
    }

    pub(super) fn on_timer(&mut self, node: usize) {
        let (now, signs) = (self.now, self.signs(node));
        let Node { demand, sessions, machine, .. } = &mut self.nodes[node];
        let demand = LANES.map(|lane| demand[lane.index()] && sessions[lane.index()].is_none());
        let actions = machine.on_timer(now, signs, demand);
        self.perform(node, actions);
    }

    pub(super) fn restart(&mut self, node: usize) {
        for conn in &mut self.conns {
            conn.open[node] = false;
        }
        let fresh = Self::new().nodes[node].clone();
        self.nodes[node] = Node { incarnation: incarnation(self.next_incarnation), ..fresh };
        self.next_incarnation += 1;
    }

    fn begin(&mut self, node: usize, conn: u32, id: u64, incarnation: Incarnation) {
        let lane = self.conn(conn).lane;
        let at = &mut self.nodes[node];
        let before = at.sessions[lane.index()].replace(SessionAt { id, conn, incarnation });
        assert_eq!(before, None, "two sessions on one lane");
        at.probing[lane.index()] = false;
        at.pulse = self.now;
    }

    pub(super) fn perform(&mut self, node: usize, actions: Vec<Action>) {
        for action in actions {
            self.perform_one(node, action);
        }
    }

    fn perform_one(&mut self, node: usize, action: Action) {
        match action {
            Action::Dial { lane, attempt } => self.dial(node, lane, attempt),
            Action::Abandon { lane } => {
                // What has been answered already may yet be told.
                let is_attempt = |conn: &&mut Conn| {
                    let is_open = conn.dialer == node && conn.lane == lane && conn.open[node];
                    is_open && !conn.is_answered()
                };
                if let Some(conn) = self.conns.iter_mut().find(is_attempt) {
                    conn.open[node] = false;
                }
            }
            Action::End { lane, session, .. } => {
                let ended = self.nodes[node].sessions[lane.index()].take();
                let ended = ended.expect("only a session can end");
                assert_eq!(ended.id, session);
                self.nodes[node].last[lane.index()] = session;
                self.conn(ended.conn).open[node] = false;
                let is_any_left = self.nodes[node].sessions.iter().any(Option::is_some);
                assert!(
                    lane != Lane::Rpc || !is_any_left,
                    "the pulse takes all with it and goes last"
                );
            }
            Action::Accept { lane, newcomer } => {
                assert!(!self.nodes[node].is_retired, "somebody who is no member is let in");
                let (id, incarnation) = self.answer(node, lane, newcomer);
                let session = self.next_session;
                self.next_session += 1;
                self.conn(id).stage = Stage::Ready { session };
                let (now, heartbeat_ms) = (self.now, TIMES.heartbeat_ms);
                self.nodes[node].machine.on_accepted(lane, session, heartbeat_ms, now);
                self.begin(node, id, session, incarnation);
            }
            Action::Refuse { lane, newcomer, .. } => {
                let (id, _) = self.answer(node, lane, newcomer);
                self.conn(id).stage = Stage::Refused;
                self.conn(id).open[node] = false;
            }
            Action::Probe { lane } => self.nodes[node].probing[lane.index()] = true,
            Action::Ping => {}
            Action::Reborn => self.nodes[node].last = [0; LANES.len()],
        }
    }

    fn dial(&mut self, node: usize, lane: Lane, attempt: u64) {
        let is_attempt = |conn: &Conn| {
            let is_open = conn.dialer == node && conn.lane == lane && conn.open[node];
            is_open && !conn.is_answered()
        };
        assert!(!self.conns.iter().any(is_attempt), "two attempts on one lane");
        assert!(self.nodes[node].sessions[lane.index()].is_none(), "an attempt beside a session");
        assert!(!self.nodes[node].is_retired, "an attempt to reach somebody who is no member");
        self.conns.push(Conn {
            id: self.next_conn,
            lane,
            dialer: node,
            attempt,
            incarnation: self.nodes[node].incarnation,
            stage: Stage::Connecting,
            open: [true; 2],
            is_lost: false,
            is_abandoned: false,
        });
        self.next_conn += 1;
    }

    /// The newcomer's connection; it must still wait for its answer.
    fn answer(&mut self, node: usize, lane: Lane, newcomer: u64) -> (u32, Incarnation) {
        let waits = |conn: &&Conn| {
            let is_here = conn.acceptor() == node && conn.lane == lane;
            is_here && conn.stage == Stage::Waiting { newcomer }
        };
        let conn = self.conns.iter().find(waits).expect("each newcomer is answered once");
        (conn.id, conn.incarnation)
    }
}
