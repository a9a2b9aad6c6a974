//! The members of one type in one group. Pure.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::sync::Arc;

use super::paged::Paged;
use crate::addr::LogicalAddr;
use crate::discovery::{Member, ViewChange};

/// The most that a label `weight` counts. Of a whole list it must fit into 32 bits.
const WEIGHT_MAX: u32 = 1_000_000;

/// All members of one type in one group, in the order of their ids.
#[derive(Clone, Debug, Default)]
pub(super) struct List {
    members: Paged<Member>,
    /// Those that are available.
    all: Weighed,
    /// Those of them in the zone of the node whose table it is.
    near: Weighed,
}

/// Members to be picked from, and what each weighs.
#[derive(Clone, Debug, Default)]
pub(super) struct Weighed {
    addresses: Vec<LogicalAddr>,
    /// For each, the sum of the weights up to and with its own.
    sums: Vec<u32>,
}

impl List {
    pub(super) fn get(&self, id: u16) -> Option<&Arc<Member>> {
        self.members.get(id)
    }

    /// How many there are, available or not.
    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    /// All of them, available or not.
    pub(super) fn members(&self) -> impl Iterator<Item = &Arc<Member>> {
        self.members.values()
    }

    /// All of them, some at a time.
    pub(super) fn pages(&self) -> impl Iterator<Item = &[Arc<Member>]> {
        self.members.pages()
    }

    pub(super) fn weighed(&self, is_near: bool) -> &Weighed {
        if is_near { &self.near } else { &self.all }
    }

    /// Takes in changes of its members; `zone` is where the node is.
    pub(super) fn change(&mut self, changes: &[ViewChange], zone: Option<&str>) {
        for change in changes {
            let address = change.address();
            let member = match change {
                ViewChange::Added(member) | ViewChange::Updated { new: member, .. } => Some(member),
                ViewChange::Removed(_) => None,
            };
            let available = member.filter(|member| member.available);
            let near = available.filter(|member| is_near(member, zone));
            self.all.set(address, available.map(|member| weight(member)));
            self.near.set(address, near.map(|member| weight(member)));
            self.members.set(address.id(), member.map(Arc::clone));
        }
        self.all.shrink();
        self.near.shrink();
    }

    /// The same members as a node sees them that is in another zone.
    pub(super) fn in_zone(&self, zone: Option<&str>) -> Self {
        let mut near = Weighed::default();
        for member in self.members().filter(|member| member.available) {
            near.set(member.address, is_near(member, zone).then(|| weight(member)));
        }
        Self { near, ..self.clone() }
    }
}

fn is_near(member: &Member, zone: Option<&str>) -> bool {
    zone.is_some() && member.labels.get("zone").map(String::as_str) == zone
}

fn weight(member: &Member) -> u32 {
    let label = member.labels.get("weight").and_then(|weight| weight.parse().ok());
    let weight = label.unwrap_or(1_u64).min(WEIGHT_MAX.into());
    weight.try_into().unwrap_or(WEIGHT_MAX)
}

impl Weighed {
    pub(super) fn addresses(&self) -> &[LogicalAddr] {
        &self.addresses
    }

    /// All of them, and what each weighs.
    pub(super) fn iter(&self) -> impl Iterator<Item = (LogicalAddr, u32)> {
        let mut before = 0;
        self.addresses
            .iter()
            .zip(&self.sums)
            .map(move |(address, sum)| (*address, sum - std::mem::replace(&mut before, *sum)))
    }

    /// What all of them weigh.
    pub(super) fn total(&self) -> u32 {
        self.sums.last().copied().unwrap_or(0)
    }

    /// The one at this place, if each took as many places as it weighs.
    pub(super) fn by_weight(&self, place: u32) -> Option<LogicalAddr> {
        self.addresses.get(self.sums.partition_point(|sum| *sum <= place)).copied()
    }

    /// Sets what one weighs; `None` takes it away.
    fn set(&mut self, address: LogicalAddr, weight: Option<u32>) {
        let place = self.addresses.binary_search(&address);
        let at = place.unwrap_or_else(|at| at);
        let before = at.checked_sub(1).and_then(|at| self.sums.get(at)).copied().unwrap_or(0);
        if place.is_ok() {
            self.addresses.remove(at);
            let own = self.sums.remove(at) - before;
            self.sums.iter_mut().skip(at).for_each(|sum| *sum -= own);
        }
        if let Some(own) = weight {
            self.addresses.insert(at, address);
            self.sums.insert(at, before);
            self.sums.iter_mut().skip(at).for_each(|sum| *sum += own);
        }
    }

    fn shrink(&mut self) {
        self.addresses.shrink_to_fit();
        self.sums.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests;
