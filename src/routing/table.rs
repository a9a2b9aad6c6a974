//! The members that a node sees, arranged for looking up. Pure.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use super::candidates::Candidates;
use crate::addr::{LogicalAddr, NodeType};
use crate::discovery::{Member, ViewChange};

/// All members of one type in one group, in the order of their ids.
type List = Arc<[Arc<Member>]>;

/// The members that a node sees; immutable.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    me: LogicalAddr,
    /// By type before group, so that all nodes of a type lie together. No list is empty.
    lists: BTreeMap<(NodeType, u16), List>,
    /// By type, made when first asked for.
    candidates: Vec<OnceLock<Arc<Candidates>>>,
}

impl Table {
    /// Makes the table of a node that sees nobody yet.
    pub(crate) fn new(me: LogicalAddr) -> Self {
        let candidates = vec![OnceLock::new(); 1 + usize::from(u8::MAX)];
        Self { me, lists: BTreeMap::new(), candidates }
    }

    /// The node whose table it is.
    pub(crate) fn me(&self) -> LogicalAddr {
        self.me
    }

    /// How many members there are.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.lists.values().map(|list| list.len()).sum()
    }

    /// The member with this address.
    pub(crate) fn get(&self, address: LogicalAddr) -> Option<&Arc<Member>> {
        let list = self.list(address.node_type(), address.group());
        let at = list.binary_search_by_key(&address.id(), |member| member.address.id()).ok()?;
        list.get(at)
    }

    /// All members, by type and then by address.
    pub(crate) fn members(&self) -> impl Iterator<Item = &Arc<Member>> {
        self.lists.values().flat_map(|list| list.iter())
    }

    /// All members of a type, available or not: first those of the own group, then the others, in
    /// the order of their addresses.
    pub(crate) fn of_type(&self, node_type: NodeType) -> impl Iterator<Item = &Arc<Member>> {
        let own = self.me.group();
        let others = self
            .lists
            .range((node_type, 0)..=(node_type, u16::MAX))
            .filter(move |((_, group), _)| *group != own)
            .flat_map(|(_, list)| list.iter());
        self.list(node_type, own).iter().chain(others)
    }

    /// Those of a type that may be picked; `zone` is where this node says it is.
    pub(crate) fn candidates(&self, node_type: NodeType, zone: Option<&str>) -> Arc<Candidates> {
        let make = || Arc::new(Candidates::new(self, node_type, zone));
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

    /// The harbors of a group, available or not, in the order of their ids.
    pub(crate) fn harbors(&self, group: u16) -> &[Arc<Member>] {
        self.list(NodeType::HARBOR, group)
    }

    fn list(&self, node_type: NodeType, group: u16) -> &[Arc<Member>] {
        self.lists.get(&(node_type, group)).map_or(&[], |list| list)
    }

    /// The table after these changes. They are best given in the order of addresses: then each
    /// list that they touch is copied once. All other lists are shared.
    pub(crate) fn with(&self, changes: &[ViewChange]) -> Self {
        let mut next = self.clone();
        let key = |change: &ViewChange| (change.address().node_type(), change.address().group());
        for chunk in changes.chunk_by(|a, b| key(a) == key(b)) {
            // `chunk_by` gives no empty chunk.
            if let Some(first) = chunk.first() {
                next.change_list(key(first), chunk);
            }
        }
        next
    }

    fn change_list(&mut self, key: (NodeType, u16), changes: &[ViewChange]) {
        let old = self.lists.remove(&key).unwrap_or_default();
        let by_id = |member: &Arc<Member>| (member.address.id(), Arc::clone(member));
        let mut members: BTreeMap<u16, Arc<Member>> = old.iter().map(by_id).collect();
        for change in changes {
            self.forget_candidates(change.address());
            match change {
                ViewChange::Added(member) | ViewChange::Updated { new: member, .. } => {
                    members.extend([by_id(member)]);
                }
                ViewChange::Removed(member) => {
                    members.remove(&member.address.id());
                }
            }
        }
        if !members.is_empty() {
            self.lists.insert(key, members.into_values().collect());
        }
    }
}

#[cfg(test)]
mod tests;
