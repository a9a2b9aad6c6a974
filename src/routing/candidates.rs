//! The members of one type that may be picked, made ready for picking. Pure.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::fmt;
use std::sync::{Arc, OnceLock};

use super::list::{List, Weighed};
use super::pick::below;
use super::table::{Lists, Table};
use crate::addr::{LogicalAddr, NodeType};
use crate::discovery::Member;

/// The members of one type that are available and can be reached: those of the own group first,
/// then others, in the order of their addresses.
#[derive(Debug)]
pub(crate) struct Candidates {
    lists: Arc<Lists>,
    all: Joined,
    /// Those in the zone of this node.
    near: Joined,
    /// How many of the type are known, and why not all of them are here.
    known: usize,
    unavailable: usize,
    unreachable: usize,
}

/// What several lists have to be picked from, one after another.
#[derive(Debug, Default)]
struct Joined {
    parts: Vec<Part>,
    /// The members themselves, made for who wants to see all of them.
    members: OnceLock<Vec<Arc<Member>>>,
}

/// A list that is not empty.
#[derive(Debug)]
struct Part {
    group: u16,
    /// How many there are up to and with this part, and what they weigh.
    count: usize,
    weight: usize,
}

impl Joined {
    fn add(&mut self, weighed: &Weighed) {
        let (count, weight) = self.parts.last().map_or((0, 0), |last| (last.count, last.weight));
        if let Some(first) = weighed.addresses().first() {
            let count = count + weighed.addresses().len();
            let weight = weight + usize::try_from(weighed.total()).unwrap_or(0);
            self.parts.push(Part { group: first.group(), count, weight });
        }
    }

    fn len(&self) -> usize {
        self.parts.last().map_or(0, |last| last.count)
    }
}

impl Candidates {
    /// Those of a type.
    pub(super) fn new(table: &Table, node_type: NodeType) -> Self {
        let me = table.me();
        let mut this = Self {
            lists: table.lists(node_type).cloned().unwrap_or_default(),
            all: Joined::default(),
            near: Joined::default(),
            known: 0,
            unavailable: 0,
            unreachable: 0,
        };
        let lists = Arc::clone(&this.lists);
        let own = lists.get(me.group());
        let others = lists.values().filter(|list| !own.is_some_and(|own| Arc::ptr_eq(own, list)));
        for list in own.into_iter().chain(others) {
            let available = list.weighed(false).addresses();
            this.known += list.len();
            this.unavailable += list.len() - available.len();
            // The ways to all of one group are the same.
            let Some(first) = available.first() else { continue };
            if table.leads_to(*first) {
                this.all.add(list.weighed(false));
                this.near.add(list.weighed(true));
            } else {
                this.unreachable += available.len();
            }
        }
        this
    }

    /// How many there are.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// The member at a place.
    pub(crate) fn get(&self, at: usize) -> Option<&Arc<Member>> {
        let address = self.drawn(false).get(at)?;
        self.lists.get(address.group())?.get(address.id())
    }

    /// Those to be drawn from.
    pub(super) fn drawn(&self, is_near: bool) -> Drawn<'_> {
        let is_near = is_near && self.near.len() > 0;
        let joined = if is_near { &self.near } else { &self.all };
        Drawn { lists: &self.lists, joined, is_near }
    }
}

/// Says what was seen, for one who finds nobody.
impl fmt::Display for Candidates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { all, known, unavailable, unreachable, .. } = self;
        match known {
            0 => return f.write_str("discovery has no member of this type in this group, and no exported one in another"),
            known => write!(f, "discovery has {known} of this type")?,
        }
        if *unavailable > 0 {
            write!(f, ", {unavailable} not available")?;
        }
        if *unreachable > 0 {
            write!(f, ", {unreachable} in groups that no harbor leads to")?;
        }
        if all.len() > 0 {
            write!(f, ", {} of which none was chosen", all.len())?;
        }
        Ok(())
    }
}

/// What is drawn from.
#[derive(Clone, Copy)]
pub(super) struct Drawn<'a> {
    lists: &'a Lists,
    joined: &'a Joined,
    is_near: bool,
}

impl<'a> Drawn<'a> {
    pub(super) fn len(self) -> usize {
        self.joined.len()
    }

    /// The one at a place.
    pub(super) fn get(self, at: usize) -> Option<LogicalAddr> {
        let (part, within) = self.at(at, |part| part.count)?;
        self.part(part)?.1.addresses().get(within).copied()
    }

    /// One of them, as often as its weight says.
    pub(super) fn by_weight(self, random: u64) -> Option<LogicalAddr> {
        let at = below(random, self.joined.parts.last()?.weight)?;
        let (part, within) = self.at(at, |part| part.weight)?;
        self.part(part)?.1.by_weight(within.try_into().ok()?)
    }

    /// All of them.
    pub(super) fn addresses(self) -> impl Iterator<Item = LogicalAddr> {
        self.parts().flat_map(|(_, weighed)| weighed.addresses().iter().copied())
    }

    /// All of them, and what each weighs.
    pub(super) fn weighed(self) -> impl Iterator<Item = (LogicalAddr, u32)> {
        self.parts().flat_map(|(_, weighed)| weighed.iter())
    }

    /// All of them, as who chooses by himself wants them.
    pub(super) fn members(self) -> &'a [Arc<Member>] {
        self.joined.members.get_or_init(|| {
            let members = self.parts().flat_map(|(list, weighed)| {
                weighed.addresses().iter().filter_map(|address| list.get(address.id()).cloned())
            });
            members.collect()
        })
    }

    /// The part that a place is in, and where in it, when each takes so many places.
    fn at(self, at: usize, until: impl Fn(&Part) -> usize) -> Option<(&'a Part, usize)> {
        let place = self.joined.parts.partition_point(|part| until(part) <= at);
        let before = place.checked_sub(1).and_then(|place| self.joined.parts.get(place));
        Some((self.joined.parts.get(place)?, at - before.map_or(0, until)))
    }

    fn part(self, part: &Part) -> Option<(&'a List, &'a Weighed)> {
        let list = self.lists.get(part.group)?;
        Some((list, list.weighed(self.is_near)))
    }

    fn parts(self) -> impl Iterator<Item = (&'a List, &'a Weighed)> {
        self.joined.parts.iter().filter_map(move |part| self.part(part))
    }
}
