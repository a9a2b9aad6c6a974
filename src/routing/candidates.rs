//! The members of one type that may be picked, made ready for picking. Pure.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::fmt;
use std::sync::Arc;

use super::pick::below;
use super::table::Table;
use crate::addr::{LogicalAddr, NodeType};
use crate::discovery::Member;

/// The most that a label `weight` counts.
const WEIGHT_MAX: u64 = 1_000_000;

/// The members of one type that are available and can be reached.
#[derive(Clone, Debug, Default)]
pub(crate) struct Candidates {
    all: Weighed,
    /// Those in the zone of this node.
    near: Weighed,
    /// How many of the type are known, and why not all of them are here.
    known: usize,
    unavailable: usize,
    unreachable: usize,
}

#[derive(Clone, Debug, Default)]
struct Weighed {
    members: Vec<Arc<Member>>,
    /// For each member, the sum of the weights up to and with its own.
    sums: Vec<u64>,
}

impl Weighed {
    fn new(members: Vec<Arc<Member>>) -> Self {
        let mut sum = 0;
        let sums = members.iter().map(|member| {
            sum += weight(member);
            sum
        });
        Self { sums: sums.collect(), members }
    }
}

fn weight(member: &Member) -> u64 {
    let label = member.labels.get("weight").and_then(|weight| weight.parse().ok());
    label.unwrap_or(1).min(WEIGHT_MAX)
}

impl Candidates {
    /// Those of a type; `zone` is where this node says it is, or else discovery does.
    pub(super) fn new(table: &Table, node_type: NodeType, zone: Option<&str>) -> Self {
        let me = table.me();
        let mut candidates = Self::default();
        let mut all = Vec::new();
        for member in table.of_type(node_type) {
            candidates.known += 1;
            if !member.available {
                candidates.unavailable += 1;
            } else if table.next_hop(me, member.address, |_| false).is_err() {
                candidates.unreachable += 1;
            } else {
                all.push(Arc::clone(member));
            }
        }
        let zone_of = |member: &Member| member.labels.get("zone").cloned();
        let here = zone.map(str::to_owned).or_else(|| table.get(me).and_then(|me| zone_of(me)));
        let is_near = |member: &&Arc<Member>| here.is_some() && zone_of(member) == here;
        candidates.near = Weighed::new(all.iter().filter(is_near).cloned().collect());
        candidates.all = Weighed::new(all);
        candidates
    }

    /// Just these.
    pub(super) fn of(members: Vec<Arc<Member>>) -> Self {
        Self { known: members.len(), all: Weighed::new(members), ..Self::default() }
    }

    /// All of them, in the order of the table.
    pub(crate) fn all(&self) -> &[Arc<Member>] {
        &self.all.members
    }

    /// Those to be drawn from.
    pub(super) fn drawn(&self, is_near: bool) -> Drawn<'_> {
        let is_near = is_near && !self.near.members.is_empty();
        let Weighed { members, sums } = if is_near { &self.near } else { &self.all };
        Drawn { members, sums }
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
        if !all.members.is_empty() {
            write!(f, ", {} of which none was chosen", all.members.len())?;
        }
        Ok(())
    }
}

/// What is drawn from.
#[derive(Clone, Copy)]
pub(super) struct Drawn<'a> {
    pub(super) members: &'a [Arc<Member>],
    sums: &'a [u64],
}

impl Drawn<'_> {
    /// One of them, as often as its weight says.
    pub(super) fn by_weight(&self, random: u64) -> Option<LogicalAddr> {
        let total = usize::try_from(*self.sums.last()?).ok()?;
        let at = u64::try_from(below(random, total)?).ok()?;
        let place = self.sums.partition_point(|sum| *sum <= at);
        self.members.get(place).map(|member| member.address)
    }
}
