//! Inbound: from a frame to whom it is for. The only place that matches on the kind of a frame.

mod far;
mod lanes;
mod transit;

use std::any::Any;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::sleep;

use crate::addr::LogicalAddr;
use crate::context::Source;
use crate::handshake::Lane;
use crate::incarnation::Incarnation;
use crate::link::{Carried, Carrying, Home, Inbound, Link, Session, Unsent, Upper};
use crate::loss::Loss;
use crate::map::Map;
use crate::messaging::{Messages, Notices, Shared};
use crate::pairs::Pairs;
use crate::relay::{Relay, move_frames};
use crate::router::Router;
use crate::rpc::{Caller, Outcome, Requests, Server};
use crate::stream::Streams;
use crate::wire::{Kind, Reason};
pub(crate) use far::Fars;
use lanes::{MessageLane, Nobody, RpcLane};
use transit::Transit;

/// How often pairs that wait for a receipt are looked at.
const ACCOUNTS: Duration = Duration::from_millis(200);

/// See the module.
pub(crate) struct Dispatch {
    pub(crate) home: Arc<Home>,
    pub(crate) router: Arc<Router>,
    pub(crate) caller: Arc<Caller>,
    pub(crate) server: Arc<Server>,
    pub(crate) messages: Arc<Shared>,
    pub(crate) notices: Arc<Notices>,
    pub(crate) sources: Mutex<Map<LogicalAddr, Arc<Source>>>,
    pub(crate) pairs: Arc<Pairs>,
    /// Of sources beyond harbors.
    pub(crate) fars: Fars,
    pub(crate) streams: Arc<Streams>,
    /// Only a harbor has one.
    pub(crate) relay: Option<Relay>,
    /// Itself.
    pub(crate) this: Weak<Self>,
    /// What contexts lead back to.
    pub(crate) node: Weak<dyn Any + Send + Sync>,
    /// Decides what to do about a later run of this node.
    pub(crate) on_superseded: Box<dyn Fn(Incarnation) -> bool + Send + Sync>,
}

impl Dispatch {
    fn source(&self, peer: LogicalAddr) -> Arc<Source> {
        let mut sources = self.sources.lock();
        let source = sources.entry(peer).or_insert_with(|| Source::new(&self.home.config));
        Arc::clone(source)
    }

    /// What waits for a harbor goes over another.
    fn move_frames(&self, link: &Arc<Link>, has_failed: bool) {
        for (unsent, reason) in move_frames(&self.home, &self.router, link, has_failed) {
            self.on_unsent(link, unsent, reason);
        }
    }

    /// A harbor behind this link has lost the way to `to`.
    fn on_down(&self, link: &Arc<Link>, to: LogicalAddr, lane: Lane, has_calls: bool) {
        if lane == Lane::Rpc && has_calls {
            self.caller.pending.cut_beyond(link.peer, to);
        }
        self.tell_losses(self.pairs.on_break(link, lane, Some(to)));
    }

    fn tell_losses(&self, losses: Vec<(LogicalAddr, Loss)>) {
        for (to, loss) in losses {
            self.notices.on_loss(to, loss);
        }
    }

    /// Sees to receipts, to pairs that wait for them, and to what else must be told, until dropped.
    pub(crate) async fn keep_accounts(&self) {
        let downs = async {
            if let Some(relay) = &self.relay {
                relay.keep_telling().await;
            }
        };
        tokio::join!(self.fars.keep_telling(), downs, async {
            loop {
                self.pairs.unsettled().await;
                sleep(ACCOUNTS).await;
                self.tell_losses(self.pairs.on_timer());
            }
        });
    }

    /// Requests that are being handled.
    pub(crate) fn requests_in_flight(&self) -> usize {
        let near: usize = self.sources.lock().values().map(|source| source.in_flight()).sum();
        near + self.fars.requests_in_flight()
    }
}

impl Upper for Dispatch {
    fn inbound(&self, session: Arc<Session>) -> Box<dyn Inbound> {
        let source = self.source(session.link.peer);
        let (Some(node), Some(dispatch)) = (self.node.upgrade(), self.this.upgrade()) else {
            return Box::new(Nobody);
        };
        let transit = Transit::default();
        match session.lane {
            Lane::Rpc => {
                let server = Arc::clone(&self.server);
                let requests = Requests::new(server, Arc::clone(&session), source, node);
                Box::new(RpcLane { dispatch, session, requests, transit, beyond: Map::default() })
            }
            Lane::Message => {
                let messages = Arc::clone(&self.messages);
                let messages = Messages::new(messages, Arc::clone(&session), &source, node);
                Box::new(MessageLane { dispatch, session, messages, transit })
            }
            // Has no frames: see `carry`.
            Lane::Stream => Box::new(Nobody),
        }
    }

    fn carry(&self, session: Arc<Session>, carried: Carried) -> Carrying {
        self.streams.carry(session, carried)
    }

    fn on_unsent(&self, link: &Link, unsent: Unsent, reason: Reason) {
        let header = unsent.header;
        tracing::trace!(peer = %link.peer, kind = ?header.kind, %reason, "frame not sent");
        if let (true, Some(relay)) = (header.hops > 0, &self.relay) {
            relay.on_unsent(link, &unsent, reason);
            return;
        }
        match header.kind {
            Kind::Request if !header.is_one_way() => {
                let outcome = Outcome::Refused { reason, hop: self.home.me };
                self.caller.pending.complete(header.id, header.to, outcome);
            }
            Kind::Message | Kind::Request => {
                let lane = Lane::of(header.kind);
                if header.seq == 0 || self.pairs.on_bounce(header.to, lane, header.seq) {
                    self.notices.on_unsent(link, &unsent, reason);
                }
            }
            // Answers to nodes beyond harbors.
            _ => self.home.counters.replies_dropped.add(1),
        }
    }

    fn on_calls_cut(&self, link: &Link, below: u64) {
        self.caller.pending.cut(link.peer, below);
    }

    fn on_loss(&self, link: &Link, loss: Loss) {
        self.notices.on_loss(link.peer, loss);
    }

    fn on_superseded(&self, newer: Incarnation) -> bool {
        (self.on_superseded)(newer)
    }

    fn network_address(&self, peer: LogicalAddr) -> Option<String> {
        self.router.member(peer).map(|member| member.network.clone())
    }

    fn known_incarnation(&self, peer: LogicalAddr) -> Option<Incarnation> {
        self.router.member(peer)?.incarnation
    }

    fn link_to(&self, peer: LogicalAddr) -> Option<Arc<Link>> {
        self.router.link_of(peer)
    }

    fn link_toward(&self, to: LogicalAddr) -> Option<Arc<Link>> {
        self.router.next(self.home.me, to).ok()
    }

    fn on_lane_lost(&self, link: &Arc<Link>, lane: Lane) {
        if link.peer.is_harbor() {
            self.tell_losses(self.pairs.on_break(link, lane, None));
        }
        if let Some(relay) = &self.relay {
            relay.on_lane_lost(link, lane);
        }
    }

    fn on_failed(&self, link: &Arc<Link>) {
        if link.peer.is_harbor() {
            self.move_frames(link, true);
        } else {
            link.fail(self.home.clock.now());
        }
    }

    fn on_unreachable(&self, link: &Arc<Link>) {
        if link.peer.is_harbor() {
            self.move_frames(link, false);
        }
    }

    fn on_closed(&self, link: &Arc<Link>) {
        if let Some(relay) = &self.relay {
            relay.on_closed(link);
        }
        self.router.forget(link);
        self.streams.on_closed(link.peer);
        // A handler still at work keeps its sender's turn, and its place, also if the peer returns.
        let is_used = |peer: &LogicalAddr| self.router.existing(*peer).is_some();
        self.sources.lock().retain(|peer, source| is_used(peer) || source.is_busy());
    }
}
