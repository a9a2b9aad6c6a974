//! An engine inside the process: for tests, and for deployments of one process.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use tokio::time::Instant;

use self::carried::Carried;
use super::labels::Shared;
use super::member::{Announcement, Member};
use super::watch::{Change, Event, Watch, WatchSender};
use super::{Discovery, DiscoveryError};
use crate::addr::LogicalAddr;
use crate::incarnation::Incarnation;

mod carried;

/// How many changes are remembered for all watchers together; whoever is further behind gets a
/// snapshot instead.
const LOG_MAX: usize = 256;
/// How long a member that is new here has time to announce itself before it counts as silent.
const FIRST_TTL: Duration = Duration::from_secs(10);

/// Discovery for the nodes of one process. Clones are handles of the same members.
///
/// Somebody says who the members are ([`put`](Self::put), [`remove`](Self::remove)), and nodes
/// announce themselves on top of that: an announced label goes before a configured one with the
/// same key, and a member is available when it is in both places. Harbors [`carry`](Self::carry)
/// members of other groups here, which go after those that were put. All this expires only when
/// somebody calls [`expire`](Self::expire).
///
/// Any number of nodes may watch. A slow one costs nothing: it is told the sum of what it missed.
///
/// ```
/// use seaway::LogicalAddr;
/// use seaway::discovery::{InProcess, Member};
/// const GATE: LogicalAddr = LogicalAddr::new(1, 1, 1);
/// const ROOM: LogicalAddr = LogicalAddr::new(1, 7, 1);
///
/// let discovery = InProcess::new();
/// discovery.put(Member::new(GATE, "127.0.0.1:7001"))?;
/// discovery.put(Member::new(ROOM, "127.0.0.1:7002"))?;
/// discovery.set_available(ROOM, false)?;
/// assert_eq!(discovery.members().len(), 2);
/// # Ok::<(), seaway::discovery::DiscoveryError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct InProcess {
    state: watch::Sender<State>,
}

impl InProcess {
    /// Makes an engine without members.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a member, or replaces what was configured for its address. What a node has announced
    /// there stays, unless `member` names a later incarnation.
    ///
    /// # Errors
    ///
    /// When the member [is invalid](Member::check); nothing is changed then.
    pub fn put(&self, mut member: Member) -> Result<(), DiscoveryError> {
        member.carried_by = None;
        self.modify(|state| {
            let known = state.members.get(&member.address).cloned();
            let is_past = known.as_ref().is_none_or(|known| {
                known.announced.as_ref().map(|announced| announced.incarnation) < member.incarnation
            });
            let entry = match known {
                Some(known) if !is_past => Entry { configured: member, ..known },
                _ => Entry::new(member),
            };
            state.set(entry)
        })
    }

    /// Removes a member that was put and returns what was said of it, if it was one. If harbors
    /// carry it, it stays as one of theirs.
    #[expect(clippy::must_use_candidate, reason = "mostly called for what it does")]
    pub fn remove(&self, address: LogicalAddr) -> Option<Member> {
        let mut removed = None;
        self.state.send_if_modified(|state| {
            removed = state.remove(address);
            removed.is_some()
        });
        removed
    }

    /// Sets whether pickers should choose a member; `false` holds whatever the node announces.
    ///
    /// # Errors
    ///
    /// When it is not a member.
    pub fn set_available(
        &self,
        address: LogicalAddr,
        available: bool,
    ) -> Result<(), DiscoveryError> {
        self.modify(|state| state.edit(address, |entry| entry.configured.available = available))
    }

    /// Sets whether nodes of other groups may know of a member.
    ///
    /// # Errors
    ///
    /// When it is not a member.
    pub fn set_exported(&self, address: LogicalAddr, exported: bool) -> Result<(), DiscoveryError> {
        self.modify(|state| state.edit(address, |entry| entry.configured.exported = exported))
    }

    /// Sets where a member is reached.
    ///
    /// # Errors
    ///
    /// When it is not a member, or `network` is not a network address.
    pub fn set_network(
        &self,
        address: LogicalAddr,
        network: impl Into<String>,
    ) -> Result<(), DiscoveryError> {
        let network = network.into();
        self.modify(|state| state.edit(address, |entry| entry.configured.network = network))
    }

    /// All members as the nodes are told of them, in the order of their addresses.
    #[must_use]
    pub fn members(&self) -> Vec<Member> {
        self.state.borrow().members()
    }

    /// All members as they were put and set, without what nodes have announced.
    #[must_use]
    pub fn configured(&self) -> Vec<Member> {
        self.state.borrow().members.values().map(|entry| entry.configured.clone()).collect()
    }

    /// How many members each harbor carries here.
    #[must_use]
    pub fn carried(&self) -> BTreeMap<LogicalAddr, usize> {
        self.state.borrow().carried.counts()
    }

    /// Makes each member unavailable of which nothing was announced for the `ttl` of its last
    /// announcement, or for 10 s since it was put. It is available again when it announces itself.
    /// Forgets what a harbor carries that has not said it again within its `ttl`.
    ///
    /// Nothing does this by itself: who tells the members to nodes that may die calls it now and
    /// then.
    pub fn expire(&self) {
        self.state.send_if_modified(|state| state.expire(Instant::now()));
    }

    /// Lets `change` change the members and wakes the watchers if it says that it did.
    fn modify(
        &self,
        change: impl FnOnce(&mut State) -> Result<bool, DiscoveryError>,
    ) -> Result<(), DiscoveryError> {
        let mut outcome = Ok(false);
        self.state.send_if_modified(|state| {
            outcome = change(state);
            matches!(outcome, Ok(true))
        });
        outcome.map(drop)
    }
}

#[async_trait]
impl Discovery for InProcess {
    async fn watch(&self) -> Result<Watch, DiscoveryError> {
        // One event is enough: what happens meanwhile is added up in the state.
        let (sender, watch) = Watch::channel(1);
        tokio::spawn(tell(self.state.subscribe(), sender));
        Ok(watch)
    }

    async fn announce(&self, me: &Announcement) -> Result<(), DiscoveryError> {
        self.modify(|state| {
            let entry =
                state.members.get(&me.address).ok_or(DiscoveryError::NotAMember(me.address))?;
            if let Some(recorded) = entry.incarnation()
                && recorded > me.incarnation
            {
                return Err(DiscoveryError::Superseded {
                    address: me.address,
                    announced: me.incarnation,
                    recorded,
                });
            }
            state.edit(me.address, |entry| {
                entry.announced = Some(me.clone());
                entry.heard(me.ttl);
            })
        })
    }

    async fn withdraw(
        &self,
        me: LogicalAddr,
        incarnation: Incarnation,
    ) -> Result<(), DiscoveryError> {
        self.modify(|state| match state.members.get(&me) {
            Some(entry) if entry.incarnation() == Some(incarnation) => state.edit(me, |entry| {
                let announced = entry.announced.take();
                let announced = announced.unwrap_or_else(|| Announcement::new(me, incarnation));
                entry.announced = Some(announced.available(false));
            }),
            _ => Ok(false),
        })
    }

    async fn carry(
        &self,
        carrier: LogicalAddr,
        members: &[Member],
        ttl: Duration,
    ) -> Result<(), DiscoveryError> {
        members.iter().try_for_each(Member::check)?;
        let until = Instant::now().checked_add(ttl);
        self.modify(|state| Ok(state.carry(carrier, members, until)))
    }
}

/// Tells one watcher what it does not know yet, until it or the engine is gone.
async fn tell(mut state: watch::Receiver<State>, watcher: WatchSender) {
    let mut told = None;
    loop {
        let news = state.borrow_and_update().since(told);
        if let Some((revision, event)) = news {
            told = Some(revision);
            if watcher.send(event).await.is_err() {
                return;
            }
        } else {
            tokio::select! {
                changed = state.changed() => if changed.is_err() { return },
                () = watcher.closed() => return,
            }
        }
    }
}

/// The members, and how they came to be that.
#[derive(Debug, Default)]
struct State {
    members: BTreeMap<LogicalAddr, Entry>,
    carried: Carried,
    labels: Shared,
    /// Counts the changes.
    revision: u64,
    /// The latest changes; the last of them led to `revision`.
    log: VecDeque<Change>,
    /// What was told before the latest change of the address that it changed.
    last_changed: Option<Member>,
}

impl State {
    /// What is told of an address.
    fn told(&self, address: LogicalAddr) -> Option<Member> {
        let put = self.members.get(&address).map(Entry::member);
        put.or_else(|| self.carried.get(address))
    }

    fn members(&self) -> Vec<Member> {
        let put = self.members.keys().copied();
        let all: BTreeSet<_> = put.chain(self.carried.addresses()).collect();
        all.into_iter().filter_map(|address| self.told(address)).collect()
    }

    /// Changes what is known of a member; whether watchers have to know.
    fn edit(
        &mut self,
        address: LogicalAddr,
        change: impl FnOnce(&mut Entry),
    ) -> Result<bool, DiscoveryError> {
        let known = self.members.get(&address).ok_or(DiscoveryError::NotAMember(address))?;
        let mut entry = known.clone();
        change(&mut entry);
        self.set(entry)
    }

    /// Takes note of an entry; whether watchers have to know.
    fn set(&mut self, mut entry: Entry) -> Result<bool, DiscoveryError> {
        self.labels.share(&mut entry.configured.labels);
        let member = entry.member();
        member.check()?;
        let before = self.told(member.address);
        self.members.insert(member.address, entry);
        Ok(self.note_since(member.address, before))
    }

    fn remove(&mut self, address: LogicalAddr) -> Option<Member> {
        let member = self.members.remove(&address)?.member();
        self.note_since(address, Some(member.clone()));
        Some(member)
    }

    /// Takes note of what a harbor carries; whether watchers have to know.
    fn carry(&mut self, carrier: LogicalAddr, all: &[Member], until: Option<Instant>) -> bool {
        let mut touched = self.carried.of(carrier);
        touched.extend(all.iter().map(|member| member.address));
        let before: Vec<_> = touched.iter().map(|address| self.told(*address)).collect();
        self.carried.set(carrier, all, until);
        let mut is_news = false;
        for (address, before) in touched.into_iter().zip(before) {
            is_news |= self.note_since(address, before);
        }
        is_news
    }

    /// Takes note of who is silent at `now`; whether watchers have to know.
    fn expire(&mut self, now: Instant) -> bool {
        let is_silent =
            |entry: &Entry| !entry.is_silent && entry.until.is_some_and(|end| end <= now);
        let silent: Vec<_> =
            self.members.values().filter(|entry| is_silent(entry)).cloned().collect();
        let mut is_news = false;
        for entry in silent {
            // An entry that was valid stays so.
            is_news |= self.set(Entry { is_silent: true, ..entry }).unwrap_or(false);
        }
        for carrier in self.carried.expired(now) {
            is_news |= self.carry(carrier, &[], None);
        }
        is_news
    }

    /// Takes note of what is different about an address of which `before` was told.
    fn note_since(&mut self, address: LogicalAddr, before: Option<Member>) -> bool {
        let now = self.told(address);
        let is_news = now != before;
        if is_news {
            self.note(now.map_or(Change::Remove(address), Change::Put));
            self.last_changed = before;
        }
        is_news
    }

    fn note(&mut self, change: Change) {
        self.revision += 1;
        self.log.push_back(change);
        if self.log.len() > LOG_MAX {
            self.log.pop_front();
        }
    }

    /// What to tell somebody who knows the revision `told`, or nothing yet, and what they know
    /// then; `None` when there is nothing to tell.
    fn since(&self, told: Option<u64>) -> Option<(u64, Event)> {
        let revision = self.revision;
        let Some(told) = told else {
            return Some((revision, Event::Snapshot { revision, members: self.members() }));
        };
        let missed = usize::try_from(revision - told).unwrap_or(usize::MAX);
        if missed == 0 {
            return None;
        }
        if let Some(from) = self.log.len().checked_sub(missed) {
            let changes = self.log.range(from..).cloned().collect();
            return Some((revision, Event::Delta { base: told, revision, changes }));
        }
        let members = self.members();
        // An empty snapshot would be doubted although all these removals were real. So tell the
        // state before the last one; that one follows from the log.
        if members.is_empty()
            && let Some(last) = &self.last_changed
        {
            let (revision, members) = (revision - 1, vec![last.clone()]);
            return Some((revision, Event::Snapshot { revision, members }));
        }
        Some((revision, Event::Snapshot { revision, members }))
    }
}

/// What two sources say of one member.
#[derive(Clone, Debug)]
struct Entry {
    configured: Member,
    announced: Option<Announcement>,
    /// When it counts as silent unless it is heard of again; `None` is never.
    until: Option<Instant>,
    is_silent: bool,
}

impl Entry {
    fn new(configured: Member) -> Self {
        let mut this = Self { configured, announced: None, until: None, is_silent: false };
        this.heard(FIRST_TTL);
        this
    }

    fn heard(&mut self, ttl: Duration) {
        self.until = Instant::now().checked_add(ttl);
        self.is_silent = false;
    }

    /// The later one of both sources.
    fn incarnation(&self) -> Option<Incarnation> {
        let announced = self.announced.as_ref().map(|announced| announced.incarnation);
        self.configured.incarnation.max(announced)
    }

    /// Both together, as nodes are told.
    fn member(&self) -> Member {
        let mut member = self.configured.clone();
        member.incarnation = self.incarnation();
        member.available &= !self.is_silent;
        if let Some(announced) = &self.announced {
            member.available &= announced.available;
            if !announced.labels.is_empty() {
                let added = announced.labels.iter();
                member.labels.extend(added.map(|(key, value)| (key.clone(), value.clone())));
            }
        }
        member
    }
}

#[cfg(test)]
mod tests;
