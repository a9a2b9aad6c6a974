//! One picture of the members from all discoveries of a node. Pure.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::fmt;
use std::sync::Arc;

use crate::addr::LogicalAddr;
use crate::discovery::{Applied, Event, Member, View, ViewChange};
use crate::routing::Table;

/// A discovery of a node, by whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// That of the node's own group.
    Cluster,
    /// That of all harbors, which only a harbor has.
    Harbors,
}

impl Source {
    /// The one that a harbor has besides this.
    pub(super) fn other(self) -> Self {
        match self {
            Self::Cluster => Self::Harbors,
            Self::Harbors => Self::Cluster,
        }
    }
}

/// What the discoveries of a node say, each for itself and all together.
///
/// Of the own group only its own discovery speaks. Of others both do: who is in either is there,
/// and where both know something the harbors' discovery counts, because it is the nearer one to the
/// other group.
#[derive(Debug)]
pub(super) struct Picture {
    me: LogicalAddr,
    cluster: View,
    harbors: View,
    together: Table,
}

impl Picture {
    pub(super) fn new(me: LogicalAddr) -> Self {
        let (cluster, harbors) = (View::new(me), View::new(me));
        Self { me, cluster, harbors, together: Table::new(me) }
    }

    /// The same for a node that says which zone it is in.
    pub(super) fn in_zone(mut self, zone: Option<&str>) -> Self {
        self.together = self.together.in_zone(zone);
        self
    }

    /// What a discovery says of the node itself.
    pub(super) fn me(&self, source: Source) -> Option<&Arc<Member>> {
        self.view(source).get(self.me)
    }

    /// See [`View::on_new_watch`].
    pub(super) fn on_new_watch(&mut self, source: Source) {
        self.view_mut(source).on_new_watch();
    }

    /// What a harbor carries into a discovery: into the harbors' what its own group exports, into
    /// its group's what others do, except what is there without it. What is carried is not carried
    /// on, so there is no echo.
    pub(super) fn load(&self, into: Source) -> Vec<Member> {
        let is_meant = |member: &Member| {
            let is_own = member.address.group() == self.me.group();
            member.exported
                && !member.address.is_harbor()
                && is_own == (into == Source::Harbors)
                && !member.is_brought_in()
        };
        let is_there = |address| self.view(into).get(address).is_some_and(|it| !it.is_brought_in());
        let all = self.view(into.other()).members();
        all.filter(|member| is_meant(member) && !is_there(member.address))
            .map(|member| Member { carried_by: None, ..Member::clone(member) })
            .collect()
    }

    /// See [`View::is_unsure`].
    pub(super) fn is_unsure(&self, source: Source) -> bool {
        self.view(source).is_unsure()
    }

    /// See [`View::is_doubting`].
    pub(super) fn is_doubting(&self, source: Source) -> bool {
        self.view(source).is_doubting()
    }

    /// See [`View::settle`].
    pub(super) fn settle(&mut self, source: Source) -> Applied {
        let settled = self.view_mut(source).settle();
        self.merge(settled)
    }

    /// Both together.
    pub(super) fn table(&self) -> &Table {
        &self.together
    }

    /// See [`View::apply`]; the changes are those of both together.
    pub(super) fn apply(&mut self, source: Source, event: Event) -> Applied {
        let applied = self.view_mut(source).apply(event);
        self.merge(applied)
    }

    /// Makes of what is different in one what is different in both together.
    fn merge(&mut self, mut applied: Applied) -> Applied {
        let said = std::mem::take(&mut applied.changes);
        applied.changes = said.iter().filter_map(|said| self.change(said.address())).collect();
        if !applied.changes.is_empty() {
            self.together = self.together.with(&applied.changes);
        }
        applied
    }

    /// What is different about an address now.
    fn change(&self, address: LogicalAddr) -> Option<ViewChange> {
        match (self.together.get(address).cloned(), self.merged(address)) {
            (Some(old), Some(new)) if old == new => None,
            (Some(old), Some(new)) => Some(ViewChange::Updated { old, new }),
            (None, Some(new)) => Some(ViewChange::Added(new)),
            (Some(old), None) => Some(ViewChange::Removed(old)),
            (None, None) => None,
        }
    }

    fn merged(&self, address: LogicalAddr) -> Option<Arc<Member>> {
        let (cluster, harbors) = (self.cluster.get(address), self.harbors.get(address));
        let is_own = address.group() == self.me.group();
        let member = if is_own { cluster } else { harbors.or(cluster) }?;
        // A run that either has heard of is a fact.
        let latest = cluster.into_iter().chain(harbors).filter_map(|said| said.incarnation).max();
        if latest == member.incarnation {
            return Some(Arc::clone(member));
        }
        let mut member = Member::clone(member);
        member.incarnation = latest;
        Some(Arc::new(member))
    }

    fn view(&self, source: Source) -> &View {
        match source {
            Source::Cluster => &self.cluster,
            Source::Harbors => &self.harbors,
        }
    }

    fn view_mut(&mut self, source: Source) -> &mut View {
        match source {
            Source::Cluster => &mut self.cluster,
            Source::Harbors => &mut self.harbors,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cluster => "discovery",
            Self::Harbors => "the harbors' discovery",
        })
    }
}

#[cfg(test)]
mod tests;
