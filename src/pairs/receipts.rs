//! Telling sources beyond harbors what became of their frames.

use std::sync::Arc;

use crate::handshake::Lane;
use crate::link::{Far, Home, Put, PutError};
use crate::wire::Kind;

/// Bytes of a receipt's body.
const BODY_LEN: usize = 17;

/// See the module.
#[derive(Debug)]
pub(crate) struct Receipts {
    pub(crate) home: Arc<Home>,
}

impl Receipts {
    /// A numbered frame was handled or sent back.
    pub(crate) fn settle(&self, far: &Far, lane: Lane, seq: u32, bytes: usize, is_wanted: bool) {
        let now = self.home.clock.now();
        let mut arrivals = far.arrivals(lane);
        arrivals.settle(seq, bytes, now);
        let is_due = is_wanted || arrivals.is_due(now);
        drop(arrivals);
        if is_due {
            self.tell(far, lane);
        } else {
            self.home.untold.notify_one();
        }
    }

    /// Tells the source how far its frames are.
    pub(crate) fn tell(&self, far: &Far, lane: Lane) {
        let receipt = far.arrivals(lane).receipt(far.memory, lane.number());
        let mut header = self.home.header(Kind::Receipt, far.address, 0);
        header.incarnation = far.incarnation;
        let put = Put::control(header, self.home.notice_deadline(), BODY_LEN);
        let outcome = far.way_back().rpc().put(put, |out| receipt.put(out));
        if outcome == Err(PutError::Overflow) {
            // There is room again in a while, or no connection, of which the source hears.
            far.arrivals(lane).untell(self.home.clock.now());
            self.home.untold.notify_one();
        }
    }
}
