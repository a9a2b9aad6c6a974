//! How many pairs a harbor keeps, and how many of them for one link. Pure.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use crate::addr::LogicalAddr;
use crate::map::Map;

/// Half of the places at most are for pairs that come over one link: no neighbour shuts out all
/// others.
pub(super) struct Places {
    max: usize,
    share_max: usize,
    taken: usize,
    /// By the peer of the link.
    shares: Map<LogicalAddr, usize>,
}

impl Places {
    pub(super) fn new(max: usize) -> Self {
        Self { max, share_max: max.div_ceil(2), taken: 0, shares: Map::default() }
    }

    /// Whether one more pair may come over the link to this peer.
    pub(super) fn has_room(&self, peer: LogicalAddr) -> bool {
        let share = || self.shares.get(&peer).copied().unwrap_or(0);
        self.taken < self.share_max || (self.taken < self.max && share() < self.share_max)
    }

    /// A pair comes over the link to this peer. One that has changed its link may go beyond the
    /// share: it is no new one.
    pub(super) fn take(&mut self, peer: LogicalAddr) {
        self.taken += 1;
        *self.shares.entry(peer).or_default() += 1;
    }

    /// It does not any more.
    pub(super) fn leave(&mut self, peer: LogicalAddr) {
        self.taken = self.taken.saturating_sub(1);
        if let Some(share) = self.shares.get_mut(&peer) {
            *share -= 1;
            if *share == 0 {
                self.shares.remove(&peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(text: &str) -> LogicalAddr {
        text.parse().unwrap()
    }

    #[test]
    fn p08_one_link_has_half_of_the_places_and_all_links_have_all() {
        let (a, b, c) = (peer("1.255.1"), peer("1.255.2"), peer("1.255.3"));
        let mut places = Places::new(5);
        let fill = |places: &mut Places, peer| {
            let mut count = 0;
            while places.has_room(peer) {
                places.take(peer);
                count += 1;
            }
            count
        };
        assert_eq!((fill(&mut places, a), fill(&mut places, b), fill(&mut places, c)), (3, 2, 0));
        // One changes its link, which frees no place.
        places.leave(b);
        places.take(a);
        assert!(!places.has_room(b));
        // One is forgotten: there is a place, but not for the link that has its share.
        places.leave(a);
        assert_eq!((places.has_room(a), places.has_room(b)), (false, true));
        assert_eq!((fill(&mut places, c), places.shares.len()), (1, 3));
        places.leave(c);
        assert_eq!(places.shares.len(), 2);
    }
}
