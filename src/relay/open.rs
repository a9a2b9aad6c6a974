//! The requests of a pair that a harbor has handed on and that nobody has answered yet.

use std::sync::Arc;

use crate::clock::Millis;
use crate::link::Link;
use crate::map::Map;

/// No fewer are looked through for those that are over.
const SWEEP_MIN: usize = 64;

/// The most of all pairs: some 100 MiB. More are handed on, too, but forgotten: when a link is lost
/// their callers wait until their deadlines.
const ALL_MAX: usize = 1 << 20;

/// How many requests all pairs of a harbor have.
#[derive(Default)]
pub(super) struct All(usize);

/// See the module.
pub(super) struct Open<L = Link> {
    /// By their ids.
    requests: Map<u64, Request<L>>,
    /// So many were left when those that were over were taken out.
    swept: usize,
}

struct Request<L> {
    /// Where it came from, and where it went: the pair may have taken another way since.
    came: Arc<L>,
    goes: Arc<L>,
    /// Then nobody waits for its reply any more.
    until: Millis,
}

impl<L> Default for Open<L> {
    fn default() -> Self {
        Self { requests: Map::default(), swept: 0 }
    }
}

impl<L> Open<L> {
    /// A request goes on. More than `max` are not kept: nobody has so many at once. And more than
    /// [`ALL_MAX`] of all pairs are not.
    pub(super) fn begin(
        &mut self,
        id: u64,
        (came, goes): (&Arc<L>, &Arc<L>),
        (now, until): (Millis, Millis),
        max: usize,
        all: &mut All,
    ) {
        if self.requests.len() >= SWEEP_MIN.max(2 * self.swept).min(max) {
            self.change(all, |requests| requests.retain(|_, request| request.until > now));
            self.swept = self.requests.len();
        }
        if self.requests.len() < max && all.0 < ALL_MAX {
            let (came, goes) = (Arc::clone(came), Arc::clone(goes));
            self.change(all, |requests| requests.insert(id, Request { came, goes, until }));
        }
    }

    /// It is answered, or nobody waits for that any more. Returns where it came from.
    pub(super) fn end(&mut self, id: u64, all: &mut All) -> Option<Arc<L>> {
        self.change(all, |requests| requests.remove(&id)).map(|request| request.came)
    }

    /// A link is lost. Takes out those that came from it, for which nobody waits, and those that
    /// went over it, and returns where these came from, if they may be awaited.
    pub(super) fn lose(&mut self, link: &Arc<L>, now: Millis, all: &mut All) -> Vec<(u64, Arc<L>)> {
        self.change(all, |requests| {
            requests.retain(|_, request| !Arc::ptr_eq(&request.came, link));
            let lost = requests.extract_if(|_, request| Arc::ptr_eq(&request.goes, link));
            let awaited = lost.filter(|(_, request)| request.until > now);
            awaited.map(|(id, request)| (id, request.came)).collect()
        })
    }

    /// The pair is forgotten.
    pub(super) fn clear(&mut self, all: &mut All) {
        self.change(all, Map::clear);
    }

    /// Counts what comes and goes.
    fn change<T>(
        &mut self,
        all: &mut All,
        change: impl FnOnce(&mut Map<u64, Request<L>>) -> T,
    ) -> T {
        let before = self.requests.len();
        let changed = change(&mut self.requests);
        all.0 = all.0 + self.requests.len() - before;
        changed
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
        let (a, b, c) = (Arc::new(1), Arc::new(2), Arc::new(3));
        let (now, until) = (Millis(10), Millis(20));
        let mut all = All(ALL_MAX - 2);
        let mut pairs = [Open::default(), Open::default()];
        let begin = |open: &mut Open<_>, id, goes, until, all: &mut All| {
            open.begin(id, (&a, goes), (now, until), 100, all);
            open.requests.contains_key(&id)
        };
        let [one, other] = &mut pairs;
        // The same one again is no other one.
        assert!(begin(one, 1, &b, until, &mut all) && begin(one, 1, &b, until, &mut all));
        assert!(begin(other, 1, &b, until, &mut all));
        assert!(!begin(one, 2, &b, until, &mut all) && !begin(other, 2, &b, until, &mut all));

        assert_eq!(one.end(1, &mut all).as_deref(), Some(&1));
        assert_eq!(one.end(1, &mut all), None);
        assert!(begin(other, 2, &c, until, &mut all) && !begin(one, 2, &b, until, &mut all));
        let lost = other.lose(&c, now, &mut all);
        assert_eq!(lost.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [2]);
        assert!(begin(one, 2, &c, until, &mut all) && !begin(one, 3, &c, until, &mut all));
        other.clear(&mut all);
        one.clear(&mut all);
        assert_eq!(all.0, ALL_MAX - 2);

        // Those that are over make room when there are many.
        all.0 = 0;
        for id in 0..SWEEP_MIN as u64 {
            assert!(begin(one, id, &b, now, &mut all));
        }
        assert!(begin(one, 100, &b, until, &mut all));
        assert_eq!((all.0, one.awaited(now)), (1, 1));
    }
}
