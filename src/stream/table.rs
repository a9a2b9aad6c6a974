//! Which connection carries streams to which peer.

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::mux::{self, Host, Mux, Pipe};
use super::serve::Services;
use super::{Stream, serve};
use crate::addr::LogicalAddr;
use crate::link::{Carried, Carrying, Home, Session};
use crate::router::Router;
use crate::wire::{Break, End, Reason};

/// All that a node has to do with streams.
pub(crate) struct Streams {
    pub(super) home: Arc<Home>,
    pub(super) router: Arc<Router>,
    pub(super) services: Services,
    /// What contexts lead back to.
    pub(super) node: Weak<dyn Any + Send + Sync>,
    pub(super) this: Weak<Self>,
    peers: Mutex<HashMap<LogicalAddr, Arc<Peer>>>,
    /// Connections that carry streams, those among them that take no more.
    carrying: Mutex<Vec<Weak<Mux>>>,
    /// Streams that handlers of this node have, or that it relays.
    at_work: AtomicUsize,
    is_draining: AtomicBool,
}

/// One peer.
pub(super) struct Peer {
    /// The connection for what is opened next.
    pub(super) current: watch::Sender<Option<Arc<Mux>>>,
    /// Places for streams that this node opens, and for those that the peer does.
    pub(super) opening: Arc<Semaphore>,
    accepting: Arc<Semaphore>,
}

/// Counts a stream as at work, as long as it is there.
pub(super) struct AtWork(Arc<Streams>);

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.at_work.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Streams {
    pub(crate) fn new(
        (home, router): (&Arc<Home>, &Arc<Router>),
        services: Services,
        node: Weak<dyn Any + Send + Sync>,
    ) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            home: Arc::clone(home),
            router: Arc::clone(router),
            services,
            node,
            this: Weak::clone(this),
            peers: Mutex::default(),
            carrying: Mutex::default(),
            at_work: AtomicUsize::new(0),
            is_draining: AtomicBool::new(false),
        })
    }

    pub(super) fn peer(&self, address: LogicalAddr) -> Arc<Peer> {
        let mut peers = self.peers.lock();
        let peer = peers.entry(address).or_insert_with(|| {
            let places = || Arc::new(Semaphore::new(self.home.config.streams_max));
            let current = watch::Sender::new(None);
            Arc::new(Peer { current, opening: places(), accepting: places() })
        });
        Arc::clone(peer)
    }

    /// Carries streams over a new session of the stream lane.
    pub(crate) fn carry(self: &Arc<Self>, session: Arc<Session>, carried: Carried) -> Carrying {
        let this = Arc::clone(self);
        Box::pin(async move {
            let host: Arc<dyn Host> = Arc::<Self>::clone(&this);
            let is_dialer = carried.is_dialer;
            mux::carry(session, carried, host, |mux| this.on_begin(mux, is_dialer)).await
        })
    }

    fn on_begin(&self, mux: &Arc<Mux>, is_dialer: bool) {
        let mut carrying = self.carrying.lock();
        carrying.retain(|mux| mux.strong_count() > 0);
        carrying.push(Arc::downgrade(mux));
        drop(carrying);
        let peer = mux.session.link.peer;
        // Of the two ends of a connection to itself a node opens streams on one.
        if peer != self.home.me || is_dialer {
            self.peer(peer).current.send_replace(Some(Arc::clone(mux)));
        }
    }

    /// The link to a peer is closed for good: nobody may wait for it.
    pub(crate) fn on_closed(&self, peer: LogicalAddr) {
        self.peers.lock().remove(&peer);
        for mux in self.all().iter().filter(|mux| mux.session.link.peer == peer) {
            mux.gone.cancel();
        }
    }

    /// From now on streams are refused.
    pub(crate) fn drain(&self) {
        self.is_draining.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Relaxed)
    }

    /// Streams that handlers of this node have, or that it relays.
    pub(crate) fn at_work(&self) -> usize {
        self.at_work.load(Ordering::Relaxed)
    }

    pub(super) fn begin_work(self: &Arc<Self>) -> AtWork {
        self.at_work.fetch_add(1, Ordering::Relaxed);
        AtWork(Arc::clone(self))
    }

    /// Breaks off what is open, and sees to it that the peers have read all, and why.
    pub(crate) async fn finish(&self) {
        let mut finishing = JoinSet::new();
        for mux in self.all() {
            finishing.spawn(async move { mux.finish().await });
        }
        finishing.join_all().await;
    }

    fn all(&self) -> Vec<Arc<Mux>> {
        self.carrying.lock().iter().filter_map(Weak::upgrade).collect()
    }
}

impl Host for Streams {
    fn arrive(&self, mux: &Arc<Mux>, pipe: Pipe) {
        let Some(this) = self.this.upgrade() else { return };
        let peer = mux.session.link.peer;
        let accepting = Arc::clone(&self.peer(peer).accepting);
        match accepting.try_acquire_owned() {
            Ok(permit) => {
                let stream = Stream::new(pipe, Arc::clone(mux), peer, permit);
                let stop = self.home.stop.clone();
                let arriving = serve::arrive(this, stream);
                self.home.tasks.spawn(async move { stop.run_until_cancelled(arriving).await });
            }
            Err(_) => refuse_one_too_many(mux, pipe, self.home.config.streams_max),
        }
    }

    fn close(&self, mux: &Arc<Mux>) {
        let peers = self.peers.lock();
        if let Some(peer) = peers.get(&mux.session.link.peer) {
            peer.current.send_if_modified(|current| {
                let is_it = current.as_ref().is_some_and(|current| Arc::ptr_eq(current, mux));
                is_it && current.take().is_some()
            });
        }
    }
}

fn refuse_one_too_many(mux: &Mux, pipe: Pipe, max: usize) {
    let number = pipe.yamux.id().val();
    let text = format!("it takes no more than {max} at once from one peer, its `streams_max`");
    let fault = mux.fault(Break::Refused(Reason::Busy), text);
    mux.end(number, End { bytes: 0, fault: Some(fault) }, None);
    mux.session.link.home.counters.streams_refused.add(1);
}

impl fmt::Debug for Streams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streams").field("home", &self.home).finish_non_exhaustive()
    }
}
