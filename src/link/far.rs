//! A source beyond harbors, as the node that serves it sees it.

use std::fmt;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use super::Link;
use crate::addr::LogicalAddr;
use crate::handshake::Lane;
use crate::incarnation::Incarnation;
use crate::pair::Arrivals;

/// One run of the source. See the module.
pub(crate) struct Far {
    pub(crate) address: LogicalAddr,
    pub(crate) incarnation: Incarnation,
    /// What its receipts name as this node's incarnation: a later one whenever a source was
    /// forgotten, because the counts begin anew.
    pub(crate) memory: Incarnation,
    /// Over this its last frame came.
    came: Mutex<Arc<Link>>,
    arrivals: [Mutex<Arrivals>; super::state::FRAMED.len()],
}

impl Far {
    pub(crate) fn new(
        address: LogicalAddr,
        incarnation: Incarnation,
        memory: Incarnation,
        came: &Arc<Link>,
    ) -> Self {
        let came = Mutex::new(Arc::clone(came));
        Self { address, incarnation, memory, came, arrivals: Default::default() }
    }

    /// A frame of it has come over this link.
    pub(crate) fn on_frame(&self, link: &Arc<Link>) {
        let mut came = self.came.lock();
        if !Arc::ptr_eq(&came, link) {
            *came = Arc::clone(link);
        }
    }

    /// Where answers to it go: where its frames come from, so that it is told if one is lost.
    pub(crate) fn way_back(&self) -> Arc<Link> {
        let came = Arc::clone(&self.came.lock());
        let other = || came.home.upper()?.link_toward(self.address);
        if came.is_well() { came } else { other().unwrap_or(came) }
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
