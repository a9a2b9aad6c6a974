//! What may happen to a pair.

use proptest::prelude::*;

#[derive(Clone, Copy, Debug)]
pub(super) enum Op {
    Send {
        bytes: usize,
    },
    /// The first in one of the queues goes on.
    Move {
        queue: usize,
    },
    /// The first message at a harbor finds no room.
    Refuse {
        path: usize,
    },
    /// The first bounce or receipt at a harbor finds no room.
    Drop {
        path: usize,
    },
    /// The destination handles what is next, or sends it back.
    Take {
        is_handled: bool,
    },
    /// The destination tells how far it is, if it has anything to tell.
    Tell,
    /// What answers goes over this path from now on.
    Answer {
        path: usize,
    },
    /// Nothing of the source is on its way, so it may take the other path.
    Switch,
    /// A connection is lost: that for messages alone, or both.
    Break {
        path: usize,
        leg: usize,
        is_all: bool,
    },
    Pass {
        ms: u64,
    },
    RestartSource,
    RestartDestination,
}

pub(super) fn op() -> impl Strategy<Value = Op> {
    let bit = 0..2_usize;
    prop_oneof![
        12 => (1..60_usize).prop_map(|bytes| Op::Send { bytes }),
        24 => (0..12_usize).prop_map(|queue| Op::Move { queue }),
        2 => bit.clone().prop_map(|path| Op::Refuse { path }),
        1 => bit.clone().prop_map(|path| Op::Drop { path }),
        10 => prop::bool::weighted(0.8).prop_map(|is_handled| Op::Take { is_handled }),
        3 => Just(Op::Tell),
        1 => bit.clone().prop_map(|path| Op::Answer { path }),
        1 => Just(Op::Switch),
        2 => (bit.clone(), bit, any::<bool>())
            .prop_map(|(path, leg, is_all)| Op::Break { path, leg, is_all }),
        3 => prop_oneof![Just(50_u64), Just(200), Just(1_000), Just(8_000)]
            .prop_map(|ms| Op::Pass { ms }),
    ]
}

pub(super) fn op_or_restart() -> impl Strategy<Value = Op> {
    prop_oneof![60 => op(), 1 => Just(Op::RestartSource), 2 => Just(Op::RestartDestination)]
}
