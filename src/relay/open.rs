//! The requests of a pair that a harbor has handed on and that nobody has answered yet.

use std::collections::HashMap;
use std::sync::Arc;

use crate::clock::Millis;
use crate::link::Link;

/// No fewer are looked through for those that are over.
const SWEEP_MIN: usize = 64;

/// See the module.
#[derive(Default)]
pub(super) struct Open {
    /// By their ids.
    requests: HashMap<u64, Request>,
    /// So many were left when those that were over were taken out.
    swept: usize,
}

struct Request {
    came: Arc<Link>,
    /// Then nobody waits for its reply any more.
    until: Millis,
}

impl Open {
    /// A request goes on. More than `max` are not kept: nobody has so many at once.
    pub(super) fn begin(&mut self, id: u64, came: &Arc<Link>, times: (Millis, Millis), max: usize) {
        let (now, until) = times;
        if self.requests.len() >= SWEEP_MIN.max(2 * self.swept).min(max) {
            self.requests.retain(|_, request| request.until > now);
            self.swept = self.requests.len();
        }
        if self.requests.len() < max {
            self.requests.insert(id, Request { came: Arc::clone(came), until });
        }
    }

    /// It is answered, or nobody waits for that any more. Returns where it came from.
    pub(super) fn end(&mut self, id: u64) -> Option<Arc<Link>> {
        self.requests.remove(&id).map(|request| request.came)
    }

    /// Those that came from a link that is lost: nobody waits for them.
    pub(super) fn forget(&mut self, link: &Arc<Link>) {
        self.requests.retain(|_, request| !Arc::ptr_eq(&request.came, link));
    }

    /// Whether any may be answered yet.
    pub(super) fn is_any(&self, now: Millis) -> bool {
        self.requests.values().any(|request| request.until > now)
    }
}
