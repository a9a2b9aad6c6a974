//! A source beyond harbors, as the node that serves it sees it.

use std::fmt;

use parking_lot::{Mutex, MutexGuard};

use crate::addr::LogicalAddr;
use crate::handshake::Lane;
use crate::incarnation::Incarnation;
use crate::pair::Arrivals;

/// One run of the source. See the module.
pub(crate) struct Far {
    pub(crate) address: LogicalAddr,
    pub(crate) incarnation: Incarnation,
    arrivals: [Mutex<Arrivals>; super::state::LANES.len()],
}

impl Far {
    pub(crate) fn new(address: LogicalAddr, incarnation: Incarnation) -> Self {
        Self { address, incarnation, arrivals: Default::default() }
    }

    /// What has come of its numbered frames on a lane.
    pub(crate) fn arrivals(&self, lane: Lane) -> MutexGuard<'_, Arrivals> {
        self.arrivals[lane.index()].lock()
    }
}

impl fmt::Debug for Far {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Far").field("address", &self.address).finish_non_exhaustive()
    }
}
