//! Outbound: from a target to an address, and from that to the link that leads there.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

use crate::addr::{LogicalAddr, NodeType};
use crate::discovery::Member;
use crate::link::{Home, LONGER, Link, PutError};
use crate::map::Map;
use crate::routing::{Candidates, Hop, NoRoute, Pick, Table, Target};
use crate::wire::Reason;

/// See the module.
pub(crate) struct Router {
    home: Arc<Home>,
    table: ArcSwap<Table>,
    /// Another table is there.
    pub(crate) changed: Notify,
    /// Looked into for each frame, and changed seldom.
    links: ArcSwap<Links>,
    /// Held by who changes the links.
    changing: Mutex<()>,
    /// Of picks one after another, by type.
    turns: Vec<AtomicUsize>,
    /// Held while frames are moved from one harbor to another; who sends shares it.
    pub(crate) moving: RwLock<()>,
}

type Links = Map<LogicalAddr, Arc<Link>>;

/// Why a call or a message was not put, with a text for people that may be empty.
#[derive(Debug)]
pub(crate) struct Denied {
    pub(crate) reason: Reason,
    pub(crate) detail: String,
}

impl Denied {
    pub(crate) fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into() }
    }

    /// By a lane of the link.
    pub(crate) fn by(link: &Link, error: PutError) -> Self {
        let reason = match error {
            PutError::Full | PutError::Overflow | PutError::Window => Reason::Full,
            PutError::TooLarge => Reason::TooLarge,
            PutError::Closed(reason) => reason,
            PutError::Over => Reason::Unreachable,
            PutError::Longer => return Self::new(Reason::TooLarge, LONGER),
        };
        Self { reason, detail: link.detail(reason) }
    }
}

impl Router {
    pub(crate) fn new(home: Arc<Home>) -> Self {
        let table = ArcSwap::from_pointee(Table::new(home.me));
        let mut turns = Vec::new();
        turns.resize_with(1 + usize::from(u8::MAX), AtomicUsize::default);
        Self {
            home,
            table,
            changed: Notify::new(),
            links: ArcSwap::default(),
            changing: Mutex::default(),
            turns,
            moving: RwLock::default(),
        }
    }

    /// What discovery knows, as of now.
    pub(crate) fn table(&self) -> Arc<Table> {
        self.table.load_full()
    }

    pub(crate) fn set_table(&self, table: Table) {
        self.table.store(Arc::new(table));
        self.changed.notify_waiters();
    }

    /// Who is meant now.
    #[inline]
    pub(crate) fn resolve(&self, target: &Target) -> Result<LogicalAddr, Denied> {
        match target {
            Target::Address(address) => Ok(*address),
            Target::Pick(pick) => self.pick(pick),
        }
    }

    fn pick(&self, pick: &Pick) -> Result<LogicalAddr, Denied> {
        let candidates = self.candidates(pick.node_type());
        let now = self.home.clock.now();
        let turn = || {
            let turn = self.turns.get(usize::from(pick.node_type().get()));
            turn.map_or(0, |turn| turn.fetch_add(1, Ordering::Relaxed))
        };
        let is_good = |peer| self.existing(peer).is_none_or(|link| link.is_promising(now));
        let picked = pick.choose(&candidates, || self.home.random(), turn, is_good);
        picked.ok_or_else(|| Denied::new(Reason::NotAMember, candidates.to_string()))
    }

    /// Those of a type that may be picked.
    pub(crate) fn candidates(&self, node_type: NodeType) -> Arc<Candidates> {
        self.table.load().candidates(node_type)
    }

    /// Whether frames to this address go over harbors.
    pub(crate) fn is_beyond(&self, to: LogicalAddr) -> bool {
        let me = self.home.me;
        to.group() != me.group() && !(me.is_harbor() && to.is_harbor())
    }

    /// Does something with the link to a neighbour, if there is one, without a share of it, which
    /// all threads would count.
    pub(crate) fn with_neighbour<T>(
        &self,
        to: LogicalAddr,
        work: impl FnOnce(&Link) -> T,
    ) -> Option<T> {
        if self.is_beyond(to) {
            return None;
        }
        let links = self.links.load();
        links.get(&to).filter(|link| link.is_member()).map(|link| work(link))
    }

    /// The link on which something new from this node to `to` goes out; made when used first.
    pub(crate) fn link(&self, to: LogicalAddr) -> Result<Arc<Link>, Denied> {
        // A neighbour that has a link needs no look into the table.
        let neighbour = if self.is_beyond(to) { None } else { self.existing(to) };
        let link = match neighbour.filter(|link| link.is_member()) {
            Some(link) => link,
            None => self.next(self.home.me, to)?,
        };
        if link.is_draining() {
            return Err(Denied::new(Reason::Draining, format!("{} has said so", link.peer)));
        }
        Ok(link)
    }

    /// The link on which a frame of this pair goes on from here, also to one that drains. Of several
    /// harbors the one that the pair's hash prefers among those to which the connection is well.
    pub(crate) fn next(&self, from: LogicalAddr, to: LogicalAddr) -> Result<Arc<Link>, Denied> {
        let table = self.table.load();
        let me = self.home.me;
        let is_down = |harbor| self.existing(harbor).is_some_and(|link| !link.is_trusted());
        let hop = match table.next_hop(from, to, is_down) {
            Ok(Hop::Local) => me,
            Ok(Hop::Direct(member) | Hop::Harbor(member)) => member.address,
            Err(NoRoute::NotAMember(_)) => return Err(Denied::new(Reason::NotAMember, "")),
            Err(error @ (NoRoute::NoHarbor(_) | NoRoute::NotOnTheWay { .. })) => {
                return Err(Denied::new(Reason::NoRoute, error.to_string()));
            }
        };
        self.link_to(hop).map_err(|reason| Denied::new(reason, "it is this node"))
    }

    pub(crate) fn home(&self) -> &Arc<Home> {
        &self.home
    }

    /// The link to a member.
    fn link_to(&self, peer: LogicalAddr) -> Result<Arc<Link>, Reason> {
        if let Some(link) = self.existing(peer) {
            return Ok(link);
        }
        let _changing = self.changing.lock();
        if let Some(link) = self.existing(peer) {
            return Ok(link);
        }
        if self.home.stop.is_cancelled() {
            return Err(Reason::Draining);
        }
        let link = Link::start(Arc::clone(&self.home), peer);
        self.change(|links| drop(links.insert(peer, Arc::clone(&link))));
        Ok(link)
    }

    /// The link to somebody who has proved to be `peer`; `None` if no such member is known.
    pub(crate) fn link_of(&self, peer: LogicalAddr) -> Option<Arc<Link>> {
        self.member(peer)?;
        self.link_to(peer).ok()
    }

    pub(crate) fn member(&self, address: LogicalAddr) -> Option<Arc<Member>> {
        self.table.load().get(address).cloned()
    }

    /// The link to a peer, if there is one.
    pub(crate) fn existing(&self, peer: LogicalAddr) -> Option<Arc<Link>> {
        self.links.load().get(&peer).cloned()
    }

    /// All links there are.
    pub(crate) fn links(&self) -> Vec<Arc<Link>> {
        self.links.load().values().cloned().collect()
    }

    /// Forgets all links, when the node has stopped.
    pub(crate) fn forget_all(&self) {
        let _changing = self.changing.lock();
        self.links.store(Arc::default());
    }

    /// Forgets a link that is closed for good.
    pub(crate) fn forget(&self, link: &Arc<Link>) {
        let _changing = self.changing.lock();
        if self.existing(link.peer).is_some_and(|known| Arc::ptr_eq(&known, link)) {
            self.change(|links| drop(links.remove(&link.peer)));
        }
    }

    /// Puts a changed copy in the place of the links.
    fn change(&self, change: impl FnOnce(&mut Links)) {
        let mut links = Links::clone(&self.links.load());
        change(&mut links);
        self.links.store(Arc::new(links));
    }
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Router").field("me", &self.home.me).finish_non_exhaustive()
    }
}
