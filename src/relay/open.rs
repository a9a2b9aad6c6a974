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
    /// Where it came from, and where it went: the pair may have taken another way since.
    came: Arc<Link>,
    goes: Arc<Link>,
    /// Then nobody waits for its reply any more.
    until: Millis,
}

impl Open {
    /// A request goes on. More than `max` are not kept: nobody has so many at once.
    pub(super) fn begin(
        &mut self,
        id: u64,
        (came, goes): (&Arc<Link>, &Arc<Link>),
        (now, until): (Millis, Millis),
        max: usize,
    ) {
        if self.requests.len() >= SWEEP_MIN.max(2 * self.swept).min(max) {
            self.requests.retain(|_, request| request.until > now);
            self.swept = self.requests.len();
        }
        if self.requests.len() < max {
            let (came, goes) = (Arc::clone(came), Arc::clone(goes));
            self.requests.insert(id, Request { came, goes, until });
        }
    }

    /// It is answered, or nobody waits for that any more. Returns where it came from.
    pub(super) fn end(&mut self, id: u64) -> Option<Arc<Link>> {
        self.requests.remove(&id).map(|request| request.came)
    }

    /// A link is lost. Takes out those that came from it, for which nobody waits, and those that
    /// went over it, and returns where these came from, if they may be awaited.
    pub(super) fn lose(&mut self, link: &Arc<Link>, now: Millis) -> Vec<(u64, Arc<Link>)> {
        self.requests.retain(|_, request| !Arc::ptr_eq(&request.came, link));
        let lost = self.requests.extract_if(|_, request| Arc::ptr_eq(&request.goes, link));
        let awaited = lost.filter(|(_, request)| request.until > now);
        awaited.map(|(id, request)| (id, request.came)).collect()
    }

    /// How many may be answered yet.
    pub(super) fn awaited(&self, now: Millis) -> usize {
        self.requests.values().filter(|request| request.until > now).count()
    }
}
