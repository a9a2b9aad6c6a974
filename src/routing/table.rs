//! The members that a node sees, arranged for looking up. Pure.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::sync::{Arc, OnceLock};

use super::candidates::Candidates;
use super::list::List;
use super::paged::Paged;
use crate::addr::{LogicalAddr, NodeType};
use crate::discovery::{Member, ViewChange};

/// All members of one type: a list for each group, none of them empty.
pub(super) type Lists = Paged<List>;

/// The members that a node sees; immutable.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    me: LogicalAddr,
    /// The zone that the node says it is in.
    said: Option<Arc<str>>,
    /// The zone that it is in: that, or what discovery says.
    zone: Option<Arc<str>>,
    /// By type before group, so that all nodes of a type lie together.
    types: Vec<Option<Arc<Lists>>>,
    /// By type, made when first asked for.
    candidates: Vec<OnceLock<Arc<Candidates>>>,
}

impl Table {
    /// Makes the table of a node that sees nobody yet.
    pub(crate) fn new(me: LogicalAddr) -> Self {
        let types = vec![None; 1 + usize::from(u8::MAX)];
        let candidates = vec![OnceLock::new(); types.len()];
        Self { me, said: None, zone: None, types, candidates }
    }

    /// The same for a node that says which zone it is in.
    pub(crate) fn in_zone(mut self, zone: Option<&str>) -> Self {
        self.said = zone.map(Arc::from);
        self.find_zone();
        self
    }

    /// The node whose table it is.
    pub(crate) fn me(&self) -> LogicalAddr {
        self.me
    }

    /// How many members there are.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.members().count()
    }

    /// The member with this address.
    pub(crate) fn get(&self, address: LogicalAddr) -> Option<&Arc<Member>> {
        self.lists(address.node_type())?.get(address.group())?.get(address.id())
    }

    /// All members, by type and then by address.
    pub(crate) fn members(&self) -> impl Iterator<Item = &Arc<Member>> {
        let lists = self.types.iter().flatten();
        lists.flat_map(|lists| lists.values()).flat_map(|list| list.members())
    }

    /// Those of a type that may be picked.
    pub(crate) fn candidates(&self, node_type: NodeType) -> Arc<Candidates> {
        let make = || Arc::new(Candidates::new(self, node_type));
        match self.candidates.get(usize::from(node_type.get())) {
            Some(made) => Arc::clone(made.get_or_init(make)),
            None => make(),
        }
    }

    /// Forgets the candidates that a change of this member may touch.
    fn forget_candidates(&mut self, changed: LogicalAddr) {
        if changed.is_harbor() || changed == self.me {
            // Who can be reached, and who is near, may be different now.
            self.candidates.fill(OnceLock::new());
        } else if let Some(made) = self.candidates.get_mut(usize::from(changed.node_type().get())) {
            *made = OnceLock::new();
        }
    }

    /// The harbors of a group, available or not, in the order of their ids; some at a time.
    pub(crate) fn harbors(&self, group: u16) -> impl Iterator<Item = &[Arc<Member>]> {
        let list = self.lists(NodeType::HARBOR).and_then(|lists| lists.get(group));
        list.into_iter().flat_map(|list| list.pages())
    }

    pub(super) fn lists(&self, node_type: NodeType) -> Option<&Arc<Lists>> {
        self.types.get(usize::from(node_type.get()))?.as_ref()
    }

    /// The table after these changes. They are best given in the order of addresses: then each
    /// list that they touch is copied once. All other lists are shared.
    pub(crate) fn with(&self, changes: &[ViewChange]) -> Self {
        let mut next = self.clone();
        let key = |change: &ViewChange| (change.address().node_type(), change.address().group());
        for changes in changes.chunk_by(|a, b| key(a) == key(b)) {
            next.change_list(changes);
        }
        if changes.iter().any(|change| change.address() == next.me) {
            next.find_zone();
        }
        next
    }

    /// Takes in changes of one list.
    fn change_list(&mut self, changes: &[ViewChange]) {
        let Some(address) = changes.first().map(ViewChange::address) else { return };
        changes.iter().for_each(|change| self.forget_candidates(change.address()));
        let Some(lists) = self.types.get_mut(usize::from(address.node_type().get())) else {
            return;
        };
        let lists = Arc::make_mut(lists.get_or_insert_default());
        let mut list = lists.set(address.group(), None).unwrap_or_default();
        Arc::make_mut(&mut list).change(changes, self.zone.as_deref());
        lists.set(address.group(), (list.len() > 0).then_some(list));
    }

    /// Finds out which zone the node is in, and who is near then.
    fn find_zone(&mut self) {
        let told = || self.get(self.me)?.labels.get("zone").map(|zone| Arc::from(zone.as_str()));
        let zone = self.said.clone().or_else(told);
        if zone == self.zone {
            return;
        }
        for lists in self.types.iter_mut().flatten() {
            *lists = Arc::new(lists.map(|list| list.in_zone(zone.as_deref())));
        }
        self.zone = zone;
    }
}

#[cfg(test)]
mod tests;
