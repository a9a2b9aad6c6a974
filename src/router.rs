//! Outbound: from an address to the link that leads there.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::RwLock;

use crate::addr::LogicalAddr;
use crate::discovery::Member;
use crate::link::{Home, Link};
use crate::routing::{Hop, NoRoute, Table};
use crate::wire::Reason;

/// See the module.
pub(crate) struct Router {
    home: Arc<Home>,
    table: ArcSwap<Table>,
    links: RwLock<HashMap<LogicalAddr, Arc<Link>>>,
}

impl Router {
    pub(crate) fn new(home: Arc<Home>) -> Self {
        let table = ArcSwap::from_pointee(Table::new(home.me));
        Self { home, table, links: RwLock::default() }
    }

    /// What discovery knows, as of now.
    pub(crate) fn table(&self) -> Arc<Table> {
        self.table.load_full()
    }

    pub(crate) fn set_table(&self, table: Table) {
        self.table.store(Arc::new(table));
    }

    /// The link on which a frame of this node to `to` goes out; made when used first.
    pub(crate) fn link(&self, to: LogicalAddr) -> Result<Arc<Link>, Reason> {
        let table = self.table.load();
        let hop = match table.next_hop(self.home.me, to, |_| false) {
            Ok(Hop::Local) => self.home.me,
            Ok(Hop::Direct(member) | Hop::Harbor(member)) => member.address,
            Err(NoRoute::NotAMember(_)) => return Err(Reason::NotAMember),
            Err(_) => return Err(Reason::NoRoute),
        };
        self.link_to(hop)
    }

    /// The link to a member.
    fn link_to(&self, peer: LogicalAddr) -> Result<Arc<Link>, Reason> {
        if let Some(link) = self.links.read().get(&peer) {
            return Ok(Arc::clone(link));
        }
        let mut links = self.links.write();
        if self.home.stop.is_cancelled() {
            return Err(Reason::Draining);
        }
        let link = links.entry(peer).or_insert_with(|| Link::start(Arc::clone(&self.home), peer));
        Ok(Arc::clone(link))
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
        self.links.read().get(&peer).cloned()
    }

    /// All links there are.
    pub(crate) fn links(&self) -> Vec<Arc<Link>> {
        self.links.read().values().cloned().collect()
    }

    /// Forgets all links, when the node has stopped.
    pub(crate) fn forget_all(&self) {
        self.links.write().clear();
    }

    /// Forgets a link that is closed for good.
    pub(crate) fn forget(&self, link: &Arc<Link>) {
        let mut links = self.links.write();
        if links.get(&link.peer).is_some_and(|known| Arc::ptr_eq(known, link)) {
            links.remove(&link.peer);
        }
    }
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Router").field("me", &self.home.me).finish_non_exhaustive()
    }
}
