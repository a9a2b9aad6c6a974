//! The members that a node may see, from what an engine tells. Pure.
//!
//! An engine is somebody else's program: it restarts, forgets, repeats itself and errs. The view
//! takes what makes sense, reports the rest, and knows when only a new watch helps.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::labels::Shared;
use super::member::{Member, MemberError};
use super::watch::{Change, Event};
use crate::addr::LogicalAddr;

/// The members that one node may see: those of its own group and itself, as they were entered for
/// it, exported ones of other groups, and for a harbor all other harbors.
#[derive(Debug)]
pub(crate) struct View {
    me: LogicalAddr,
    members: BTreeMap<LogicalAddr, Arc<Member>>,
    /// The state that the engine last told of; `None` before the first snapshot of a watch.
    known: Option<u64>,
    /// The same, of whichever watch.
    seen: Option<u64>,
    /// The engine was away, and has told no snapshot since.
    is_unsure: bool,
    labels: Shared,
    /// Carried members that an engine which was away has not told again.
    doubted: BTreeSet<LogicalAddr>,
}

/// What an event came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Applied {
    /// What is different now, in the order of the addresses, each at most once.
    pub(crate) changes: Vec<ViewChange>,
    /// What a person should know, for the log.
    pub(crate) reports: Vec<Report>,
    /// The event was ignored and the watch is of no more use: watch again, after a pause.
    pub(crate) rewatch: bool,
}

/// One difference between two states of the view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ViewChange {
    Added(Arc<Member>),
    Updated { old: Arc<Member>, new: Arc<Member> },
    Removed(Arc<Member>),
}

/// Something odd that an engine said, and what was made of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Report {
    #[error("discovery names {0} twice; the last one counts")]
    Duplicate(LogicalAddr),
    #[error("discovery says of {address} what cannot be, which is ignored: {cause}")]
    Invalid { address: LogicalAddr, cause: MemberError },
    #[error(
        "discovery says that there are no members any more; \
         {held} are kept until a removal confirms it"
    )]
    Emptied { held: usize },
    #[error("discovery went back from revision {seen} to {told}; a new watch counts anew")]
    WentBack { seen: u64, told: u64 },
    #[error("discovery went back from revision {known} to {told} within a watch; ignored")]
    Outdated { known: u64, told: u64 },
    #[error("discovery told changes of revision {base}, which is not the one known; ignored")]
    UnknownBase { base: u64 },
    #[error("discovery has a problem: {0}")]
    Problem(String),
}

/// What an event wants of the addresses that it speaks of; `None` is out of sight.
type Wanted = BTreeMap<LogicalAddr, Option<Arc<Member>>>;

impl View {
    pub(crate) fn new(me: LogicalAddr) -> Self {
        Self {
            me,
            members: BTreeMap::new(),
            known: None,
            seen: None,
            is_unsure: false,
            labels: Shared::default(),
            doubted: BTreeSet::new(),
        }
    }

    pub(crate) fn get(&self, address: LogicalAddr) -> Option<&Arc<Member>> {
        self.members.get(&address)
    }

    /// All in sight, in the order of their addresses.
    pub(crate) fn members(&self) -> impl Iterator<Item = &Arc<Member>> {
        self.members.values()
    }

    /// How many members are in sight, the node itself among them.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    /// Begins anew with the revisions: what comes next is from another watch, perhaps from an
    /// engine that has lost its state. The members stay until it says otherwise.
    pub(crate) fn on_new_watch(&mut self) {
        self.known = None;
        self.is_unsure = true;
    }

    /// Whether the engine was away and has told no snapshot since.
    pub(crate) fn is_unsure(&self) -> bool {
        self.is_unsure
    }

    /// Whether there are carried members that an engine which was away has not told again. It may
    /// have forgotten them until harbors carry them there again, so they stay until
    /// [`View::settle`].
    pub(crate) fn is_doubting(&self) -> bool {
        !self.doubted.is_empty()
    }

    /// Believes by now that the doubted members are gone, unless the engine is away again.
    pub(crate) fn settle(&mut self) -> Applied {
        let mut applied = Applied::default();
        if !self.is_unsure {
            let gone = std::mem::take(&mut self.doubted);
            applied.changes = self.change(gone.into_iter().map(|gone| (gone, None)).collect());
        }
        applied
    }

    /// Takes note of an event. An entry that is invalid changes nothing: what was known of its
    /// address stays.
    pub(crate) fn apply(&mut self, event: Event) -> Applied {
        let mut reports = Vec::new();
        let wanted = match event {
            Event::Snapshot { revision, members } => {
                self.on_snapshot(revision, members, &mut reports)
            }
            Event::Delta { base, revision, changes } => {
                self.on_delta(base, revision, changes, &mut reports)
            }
            Event::Problem(problem) => {
                self.is_unsure = true;
                reports.push(Report::Problem(problem));
                Some(Wanted::new())
            }
        };
        let rewatch = wanted.is_none();
        Applied { changes: self.change(wanted.unwrap_or_default()), reports, rewatch }
    }

    /// What a snapshot wants; `None` if it is not to be believed.
    fn on_snapshot(
        &mut self,
        revision: u64,
        members: Vec<Member>,
        reports: &mut Vec<Report>,
    ) -> Option<Wanted> {
        if let Some(known) = self.known
            && revision < known
        {
            // Perhaps the engine counts anew. A new watch tells, so this cannot last.
            reports.push(Report::Outdated { known, told: revision });
            return None;
        }
        if let Some(seen) = self.seen
            && revision < seen
        {
            reports.push(Report::WentBack { seen, told: revision });
        }
        self.advance(revision);
        let was_away = std::mem::take(&mut self.is_unsure);

        if members.is_empty() && !self.members.is_empty() {
            reports.push(Report::Emptied { held: self.members.len() });
            return Some(Wanted::new());
        }
        let mut wanted = Wanted::new();
        let mut named = BTreeSet::new();
        for member in members {
            if !named.insert(member.address) {
                reports.push(Report::Duplicate(member.address));
            }
            self.want(member, &mut wanted, reports);
        }
        for (address, member) in &self.members {
            if named.contains(address) {
                continue;
            }
            if member.carried_by.is_some() && (was_away || self.doubted.contains(address)) {
                self.doubted.insert(*address);
            } else {
                wanted.insert(*address, None);
            }
        }
        Some(wanted)
    }

    /// What a delta wants; `None` if it is not to be believed.
    fn on_delta(
        &mut self,
        base: u64,
        revision: u64,
        changes: Vec<Change>,
        reports: &mut Vec<Report>,
    ) -> Option<Wanted> {
        if self.known != Some(base) {
            reports.push(Report::UnknownBase { base });
            return None;
        }
        if revision < base {
            reports.push(Report::Outdated { known: base, told: revision });
            return None;
        }
        self.advance(revision);

        let mut wanted = Wanted::new();
        for change in changes {
            match change {
                Change::Put(member) => self.want(member, &mut wanted, reports),
                Change::Remove(address) => {
                    wanted.insert(address, None);
                }
            }
        }
        Some(wanted)
    }

    fn advance(&mut self, revision: u64) {
        self.known = Some(revision);
        self.seen = Some(revision);
    }

    fn want(&mut self, mut member: Member, wanted: &mut Wanted, reports: &mut Vec<Report>) {
        let address = member.address;
        match member.check() {
            Ok(()) => {
                self.labels.share(&mut member.labels);
                wanted.insert(address, self.sees(&member).then(|| Arc::new(member)));
            }
            Err(cause) => reports.push(Report::Invalid { address, cause }),
        }
    }

    fn sees(&self, member: &Member) -> bool {
        if member.address.group() == self.me.group() {
            // What was carried out and comes back is an echo: where it began is known better.
            return member.carried_by.is_none();
        }
        member.exported || (member.address.is_harbor() && self.me.is_harbor())
    }

    /// Makes the members what is wanted, and says what that changed.
    fn change(&mut self, wanted: Wanted) -> Vec<ViewChange> {
        let mut changes = Vec::new();
        for (address, new) in wanted {
            self.doubted.remove(&address);
            let old = self.members.get(&address).cloned();
            if old == new {
                continue;
            }
            match &new {
                Some(new) => self.members.insert(address, Arc::clone(new)),
                None => self.members.remove(&address),
            };
            changes.extend(match (old, new) {
                (None, None) => None,
                (None, Some(new)) => Some(ViewChange::Added(new)),
                (Some(old), Some(new)) => Some(ViewChange::Updated { old, new }),
                (Some(old), None) => Some(ViewChange::Removed(old)),
            });
        }
        changes
    }
}

impl ViewChange {
    pub(crate) fn address(&self) -> LogicalAddr {
        match self {
            Self::Added(member) | Self::Removed(member) => member.address,
            Self::Updated { new, .. } => new.address,
        }
    }
}

#[cfg(test)]
mod tests;
