//! The account against a receiver that knows the truth.

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;

use super::*;

#[derive(Clone, Copy, Debug)]
enum Op {
    /// A frame is handed to the kernel.
    Hand,
    /// The receiver gets the next frame; it handles it or sends it back.
    Receive { is_handled: bool },
    /// The receiver tells how far it is.
    Tell,
    /// The next bounce or count arrives on the rpc lane.
    Arrive,
    /// The message lane breaks alone.
    Break,
    /// The rpc lane breaks, and with it the message lane.
    BreakAll,
    /// A handshake for a new session of the message lane, if there is none.
    Meet(Meeting),
}

#[derive(Clone, Copy, Debug)]
struct Meeting {
    is_dialled_by_sender: bool,
    /// The dialer does not get READY, so the acceptor alone has the session.
    is_ready_lost: bool,
}

fn op() -> impl Strategy<Value = Op> {
    let meeting = (any::<bool>(), prop::bool::weighted(0.2)).prop_map(|(by_sender, is_lost)| {
        Op::Meet(Meeting { is_dialled_by_sender: by_sender, is_ready_lost: is_lost })
    });
    prop_oneof![
        8 => Just(Op::Hand),
        6 => any::<bool>().prop_map(|is_handled| Op::Receive { is_handled }),
        2 => Just(Op::Tell),
        5 => Just(Op::Arrive),
        1 => Just(Op::Break),
        1 => Just(Op::BreakAll),
        3 => meeting,
    ]
}

#[derive(Clone, Copy, Debug)]
enum OnRpc {
    Bounce { session: u64 },
    Told(Counts),
}

/// What is true of a session, and what the account said.
#[derive(Clone, Copy, Debug, Default)]
struct Truth {
    handed: u64,
    handled: u64,
    bounces_arrived: u64,
    at_most: Option<u64>,
}

impl Truth {
    fn lost(&self) -> u64 {
        self.handed - self.handled - self.bounces_arrived
    }
}

/// What the receiver has of a session.
#[derive(Clone, Copy, Debug)]
struct Received {
    counts: Counts,
    /// Whether it is certain that the sender has the session, too.
    is_known: bool,
}

#[derive(Default)]
struct Model {
    account: Account,
    truth: BTreeMap<u64, Truth>,
    sessions: u64,
    /// The sender's session.
    current: Option<u64>,
    received: Option<Received>,
    /// The receiver's final counts of the last session that both know.
    last: Option<Counts>,
    message_lane: VecDeque<u64>,
    rpc_lane: VecDeque<OnRpc>,
    /// The receiver has not seen yet that the rpc lane is broken; what it puts there is lost.
    is_rpc_broken: bool,
    exactly: u64,
}

impl Model {
    fn apply(&mut self, op: Op) {
        match op {
            Op::Hand => {
                if let Some(session) = self.current {
                    self.truth.entry(session).or_default().handed += 1;
                    self.message_lane.push_back(session);
                }
            }
            Op::Receive { is_handled } => self.receive(is_handled),
            Op::Tell => {
                if let Some(received) = self.received {
                    self.put(OnRpc::Told(received.counts));
                }
            }
            Op::Arrive => match self.rpc_lane.pop_front() {
                Some(OnRpc::Bounce { session }) => {
                    let counts = self.account.on_bounce(session);
                    self.truth.entry(session).or_default().bounces_arrived += u64::from(counts);
                }
                Some(OnRpc::Told(counts)) => self.account.on_told(counts),
                None => {}
            },
            Op::Break => self.end(),
            Op::BreakAll => {
                self.end();
                self.rpc_lane.clear();
                self.is_rpc_broken = true;
                let gone = self.account.on_bounces_gone();
                self.exactly += gone.map_or(0, |loss| loss.exactly.unwrap());
            }
            Op::Meet(meeting) => self.meet(meeting),
        }
    }

    fn receive(&mut self, is_handled: bool) {
        let Some(received) = &mut self.received else { return };
        let session = received.counts.session;
        if self.message_lane.front() != Some(&session) {
            return;
        }
        self.message_lane.pop_front();
        received.is_known = true;
        if is_handled {
            received.counts.handled += 1;
            self.truth.entry(session).or_default().handled += 1;
        } else {
            received.counts.bounced += 1;
            self.put(OnRpc::Bounce { session });
        }
    }

    fn put(&mut self, frame: OnRpc) {
        if !self.is_rpc_broken {
            self.rpc_lane.push_back(frame);
        }
    }

    fn end(&mut self) {
        if let Some(session) = self.current.take() {
            let truth = self.truth.entry(session).or_default();
            let loss = self.account.end(truth.handed);
            assert!(loss.is_none_or(|loss| loss.exactly.is_none()));
            truth.at_most = Some(loss.map_or(0, |loss| loss.at_most));
        }
    }

    fn meet(&mut self, meeting: Meeting) {
        if self.current.is_some() {
            return;
        }
        // The receiver reads no more of the last session before it says its counts.
        self.message_lane.clear();
        self.is_rpc_broken = false;
        if let Some(received) = self.received.take()
            && received.is_known
        {
            self.last = Some(received.counts);
        }
        self.sessions += 1;
        let session = self.sessions;
        let Meeting { is_dialled_by_sender, is_ready_lost } = meeting;
        if !(is_dialled_by_sender && is_ready_lost) {
            let loss = self.account.settle(self.last.unwrap_or_default());
            self.exactly += loss.map_or(0, |loss| loss.exactly.unwrap());
            self.account.begin(session);
            self.truth.insert(session, Truth::default());
            self.current = Some(session);
        }
        if is_dialled_by_sender || !is_ready_lost {
            let counts = Counts { session, ..Counts::default() };
            self.received = Some(Received { counts, is_known: !is_dialled_by_sender });
        }
    }

    /// Ends and settles the last session; what bounces are on their way arrive or not.
    fn finish(&mut self, do_bounces_arrive: bool) {
        self.apply(Op::Break);
        self.meet(Meeting { is_dialled_by_sender: true, is_ready_lost: false });
        while do_bounces_arrive && !self.rpc_lane.is_empty() {
            self.apply(Op::Arrive);
        }
        self.apply(Op::BreakAll);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn p03_handed_is_handled_and_bounced_and_exactly_lost(
        ops in prop::collection::vec(op(), 1..200),
        do_bounces_arrive in any::<bool>(),
    ) {
        let mut model = Model::default();
        for op in ops {
            model.apply(op);
        }
        model.finish(do_bounces_arrive);
        for (session, truth) in &model.truth {
            let at_most = truth.at_most.expect("it is over");
            prop_assert!(truth.lost() <= at_most, "session {}: {:?}", session, truth);
        }
        let lost: u64 = model.truth.values().map(Truth::lost).sum();
        prop_assert_eq!(model.exactly, lost);
    }
}
