//! The requests of a pair that a harbor has handed on and that nobody has answered yet.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::clock::Millis;
use crate::link::Link;
use crate::map::Map;

/// No fewer are looked through for those that are over.
const SWEEP_MIN: usize = 64;

/// The most of all pairs: some 100 MiB. More are handed on, too, but forgotten: when a link is lost
/// their callers wait until their deadlines.
const ALL_MAX: usize = 1 << 20;

/// How many requests all pairs of a harbor have.
#[derive(Clone, Default)]
pub(super) struct All(Arc<AtomicUsize>);

/// Counts one of them, as long as it is there.
struct One(All);

impl All {
    fn add(&self) -> Option<One> {
        let before = self.0.fetch_add(1, Ordering::Relaxed);
        let one = One(self.clone());
        (before < ALL_MAX).then_some(one)
    }
}

impl Drop for One {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// See the module.
pub(super) struct Open {
    all: All,
    /// By their ids.
    requests: Map<u64, Request>,
    /// So many were left when those that were over were taken out.
    swept: usize,
}

struct Request {
    /// Where it came from, and where it went: the pair may have taken another way since.
    came: Arc<Link>,
    goes: Arc<Link>,
    /// Then nobody waits for its reply any more.
    until: Millis,
    _one: One,
}

impl Open {
    pub(super) fn new(all: &All) -> Self {
        Self { all: All::clone(all), requests: Map::default(), swept: 0 }
    }

    /// A request goes on. More than `max` are not kept: nobody has so many at once. And more than
    /// [`ALL_MAX`] of all pairs are not.
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
        if self.requests.len() < max
            && let Some(_one) = self.all.add()
        {
            let (came, goes) = (Arc::clone(came), Arc::clone(goes));
            self.requests.insert(id, Request { came, goes, until, _one });
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p08_no_more_are_counted_than_may_be_and_each_gives_its_place_back() {
        let all = All::default();
        let mut ones: Vec<_> = (0..ALL_MAX).map(|_| all.add()).collect();
        assert!(ones.iter().all(Option::is_some));
        assert!(all.add().is_none());
        ones.pop();
        assert!(all.add().is_some());
    }
}
