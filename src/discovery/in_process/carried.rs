//! What harbors carry here: for each harbor the latest set, and of several the word that counts.

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::Instant;

use crate::addr::LogicalAddr;
use crate::discovery::Member;

/// See the module. No set is empty.
#[derive(Debug, Default)]
pub(super) struct Carried {
    sets: BTreeMap<LogicalAddr, Set>,
    /// Counts the words.
    words: u64,
}

#[derive(Debug)]
struct Set {
    members: BTreeMap<LogicalAddr, Said>,
    /// When it is forgotten unless it is said again; `None` is never.
    until: Option<Instant>,
}

#[derive(Debug)]
struct Said {
    member: Member,
    /// The word in which just this was new.
    since: u64,
}

impl Carried {
    /// What counts of an address.
    pub(super) fn get(&self, address: LogicalAddr) -> Option<Member> {
        let said = self.sets.iter().filter_map(|(carrier, set)| {
            let said = set.members.get(&address)?;
            Some((carrier.group() == address.group(), said.since, carrier, &said.member))
        });
        // News count before what is only repeated: its carrier may have been cut off from where
        // it has it from.
        let (.., carrier, member) = said.max_by_key(|(is_home, since, ..)| (*is_home, *since))?;
        Some(member.clone().carried_by(*carrier))
    }

    pub(super) fn addresses(&self) -> impl Iterator<Item = LogicalAddr> {
        self.sets.values().flat_map(|set| set.members.keys().copied())
    }

    /// The addresses that a harbor carries.
    pub(super) fn of(&self, carrier: LogicalAddr) -> BTreeSet<LogicalAddr> {
        let set = self.sets.get(&carrier);
        set.map(|set| set.members.keys().copied().collect()).unwrap_or_default()
    }

    /// How many members each harbor carries.
    pub(super) fn counts(&self) -> BTreeMap<LogicalAddr, usize> {
        self.sets.iter().map(|(carrier, set)| (*carrier, set.members.len())).collect()
    }

    /// Takes the place of what the harbor said before.
    pub(super) fn set(&mut self, carrier: LogicalAddr, all: &[Member], until: Option<Instant>) {
        let before = self.sets.remove(&carrier).map(|set| set.members).unwrap_or_default();
        self.words += 1;
        let mut members = BTreeMap::new();
        for member in all {
            let known = before.get(&member.address).filter(|known| known.member == *member);
            let since = known.map_or(self.words, |known| known.since);
            members.insert(member.address, Said { member: member.clone(), since });
        }
        if !members.is_empty() {
            self.sets.insert(carrier, Set { members, until });
        }
    }

    /// Those whose word holds no more at `now`.
    pub(super) fn expired(&self, now: Instant) -> Vec<LogicalAddr> {
        let is_over = |set: &Set| set.until.is_some_and(|end| end <= now);
        let over = self.sets.iter().filter(|(_, set)| is_over(set));
        over.map(|(carrier, _)| *carrier).collect()
    }
}
