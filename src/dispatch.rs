//! Inbound: from a frame to whom it is for. The only place that matches on the kind of a frame.

use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::task::{Context as TaskContext, Poll};

use parking_lot::Mutex;

use crate::addr::LogicalAddr;
use crate::clock::Millis;
use crate::context::{Bounced, Source, bounce};
use crate::handshake::Lane;
use crate::incarnation::Incarnation;
use crate::link::{Flow, Home, Inbound, Link, Loss, Session, Unsent, Upper, Violation};
use crate::messaging::{Messages, Notices, Shared};
use crate::router::Router;
use crate::rpc::{Caller, Outcome, Requests, Server};
use crate::wire::{Bounce, Frame, GoAway, Header, Kind, Pulse, Reason};

/// See the module.
pub(crate) struct Dispatch {
    pub(crate) home: Arc<Home>,
    pub(crate) router: Arc<Router>,
    pub(crate) caller: Arc<Caller>,
    pub(crate) server: Arc<Server>,
    pub(crate) messages: Arc<Shared>,
    pub(crate) notices: Arc<Notices>,
    pub(crate) sources: Mutex<HashMap<LogicalAddr, Arc<Source>>>,
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

    /// Requests that are being handled.
    pub(crate) fn requests_in_flight(&self) -> usize {
        self.sources.lock().values().map(|source| source.in_flight()).sum()
    }
}

impl Upper for Dispatch {
    fn inbound(&self, session: Arc<Session>) -> Box<dyn Inbound> {
        let source = self.source(session.link.peer);
        let Some(node) = self.node.upgrade() else { return Box::new(Nobody) };
        match session.lane {
            Lane::Rpc => Box::new(RpcLane {
                caller: Arc::clone(&self.caller),
                notices: Arc::clone(&self.notices),
                requests: Requests {
                    server: Arc::clone(&self.server),
                    session: Arc::clone(&session),
                    source,
                    node,
                    polled: Millis::default(),
                },
                session,
            }),
            Lane::Message | Lane::Stream => {
                let messages = Arc::clone(&self.messages);
                let messages = Messages::new(messages, Arc::clone(&session), &source, node);
                Box::new(MessageLane { session, messages })
            }
        }
    }

    fn on_unsent(&self, link: &Link, unsent: Unsent, reason: Reason) {
        let Unsent { header, .. } = unsent;
        if header.kind == Kind::Request && !header.is_one_way() {
            let hop = self.home.me;
            let outcome = Outcome::Refused { reason, hop };
            self.caller.pending.complete(header.id, header.to, outcome);
        } else {
            self.notices.on_unsent(link, &unsent, reason);
        }
        tracing::trace!(peer = %link.peer, kind = ?header.kind, %reason, "frame not sent");
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

    fn on_closed(&self, link: &Arc<Link>) {
        self.router.forget(link);
        // A handler still at work keeps its sender's turn, and its place, also if the peer returns.
        let is_used = |peer: &LogicalAddr| self.router.existing(*peer).is_some();
        self.sources.lock().retain(|peer, source| is_used(peer) || source.is_busy());
    }
}

/// Frames on the rpc lane. Nothing here waits.
struct RpcLane {
    caller: Arc<Caller>,
    notices: Arc<Notices>,
    session: Arc<Session>,
    requests: Requests,
}

impl Inbound for RpcLane {
    fn on_frame(&mut self, frame: Frame, now: Millis) -> Result<Flow, Violation> {
        let header = frame.header;
        check_from(&self.session, &header)?;
        match header.kind {
            Kind::Request => match misdirected(&self.session, &header) {
                None => self.requests.on_request(frame, now)?,
                Some(reason) => {
                    let method = frame.body.first_chunk().map_or(0, |m| u64::from_be_bytes(*m));
                    self.requests.refuse(&header, method, reason.into())?;
                }
            },
            Kind::Reply => {
                let outcome = Outcome::Reply(frame.body);
                self.complete(&header, outcome);
            }
            Kind::Cancel if misdirected(&self.session, &header).is_none() => {
                self.requests.source.cancel(self.session.id, header.id);
            }
            Kind::Cancel => {}
            Kind::Bounce => self.on_bounce(&header, &frame.body)?,
            Kind::Message => {
                return Err(Violation("a message came on the rpc lane".to_owned()));
            }
            _ => on_link_frame(&self.session, &frame)?,
        }
        Ok(Flow::Next)
    }

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Violation>> {
        Poll::Ready(Ok(()))
    }

    fn on_end(self: Box<Self>) {
        self.requests.source.cancel_session(self.session.id);
    }
}

impl RpcLane {
    fn complete(&self, header: &Header, outcome: Outcome) {
        let home = &self.session.link.home;
        if !is_answer_to(home, header)
            || !self.caller.pending.complete(header.id, header.from, outcome)
        {
            home.counters.replies_stray.add(1);
        }
    }

    fn on_bounce(&self, header: &Header, body: &[u8]) -> Result<(), Violation> {
        let Some(bounce) = Bounce::read(body) else {
            return Err(Violation("a bounce is malformed".to_owned()));
        };
        let link = &self.session.link;
        if !is_answer_to(&link.home, header) {
            return Ok(());
        }
        let lane = match bounce.kind {
            Kind::Request if header.id != 0 => {
                let outcome = Outcome::Refused { reason: bounce.reason, hop: bounce.hop };
                self.complete(header, outcome);
                return Ok(());
            }
            Kind::Request => link.rpc(),
            _ => link.message(),
        };
        if lane.on_bounce(bounce.session) {
            self.notices.on_bounce(header.from, header.id, &bounce);
        }
        Ok(())
    }
}

/// Frames on the message lane.
struct MessageLane {
    session: Arc<Session>,
    messages: Messages,
}

impl Inbound for MessageLane {
    fn on_frame(&mut self, frame: Frame, _: Millis) -> Result<Flow, Violation> {
        let header = frame.header;
        check_from(&self.session, &header)?;
        match header.kind {
            Kind::Message => match misdirected(&self.session, &header) {
                None => return self.messages.on_message(frame),
                Some(reason) => {
                    let (kind, id, seq) = (header.kind, header.id, header.seq);
                    let bounced = Bounced { kind, id, subject: id, seq };
                    bounce(&self.session, bounced, reason)?;
                }
            },
            Kind::Request | Kind::Reply | Kind::Cancel | Kind::Bounce => {
                return Err(Violation(format!("a {:?} came on the message lane", header.kind)));
            }
            _ => on_link_frame(&self.session, &frame)?,
        }
        Ok(Flow::Next)
    }

    fn poll_ready(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), Violation>> {
        self.messages.poll_ready(cx)
    }

    fn on_end(self: Box<Self>) {
        self.messages.on_end();
    }
}

/// Takes the frames of a session that began while the node went away.
struct Nobody;

impl Inbound for Nobody {
    fn on_frame(&mut self, _: Frame, _: Millis) -> Result<Flow, Violation> {
        Err(Violation("this node has stopped".to_owned()))
    }

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Violation>> {
        Poll::Ready(Ok(()))
    }

    fn on_end(self: Box<Self>) {}
}

/// A peer is held to the name that it proved.
fn check_from(session: &Session, header: &Header) -> Result<(), Violation> {
    let peer = session.link.peer;
    if header.from == peer {
        return Ok(());
    }
    Err(Violation(format!("{peer} sent a frame in the name of {}", header.from)))
}

/// Why a frame is not for a handler of this node, if it is not.
fn misdirected(session: &Session, header: &Header) -> Option<Reason> {
    let home = &session.link.home;
    if header.to != home.me {
        return Some(Reason::NoRoute);
    }
    let is_of_peer = is_of_oneself(home, header) || header.incarnation == session.incarnation;
    (!is_of_peer).then_some(Reason::Incarnation)
}

/// Whether an answer is for something that this run of this node has sent; one to an earlier run
/// may hit an id of this one.
fn is_answer_to(home: &Home, header: &Header) -> bool {
    header.to == home.me
        && (is_of_oneself(home, header) || header.incarnation == home.incarnation())
}

/// Whether a node sent it to itself: there is no other run then, though its incarnation may have
/// changed meanwhile.
fn is_of_oneself(home: &Home, header: &Header) -> bool {
    header.from == home.me
}

/// Frames that are the link's own business, on either lane.
fn on_link_frame(session: &Arc<Session>, frame: &Frame) -> Result<(), Violation> {
    let link = &session.link;
    match frame.header.kind {
        kind @ (Kind::Ping | Kind::Pong) => {
            let Some(pulse) = Pulse::read(&frame.body) else {
                return Err(Violation("a pulse is malformed".to_owned()));
            };
            link.on_pulse(&pulse);
            if kind == Kind::Ping {
                link.put_pong(session)?;
            } else {
                session.on_pong();
            }
        }
        Kind::GoAway => match GoAway::read(&frame.body) {
            Some(GoAway::Draining) => link.on_draining(),
            Some(GoAway::Closing(text)) => {
                tracing::warn!(peer = %link.peer, lane = ?session.lane, text, "peer closes the lane");
                link.set_trouble(format!("the peer closed the connection: {text}"));
            }
            None => return Err(Violation("a go-away is malformed".to_owned())),
        },
        // Only harbors send receipts and down notices, and may send what is optional.
        _ => link.home.counters.frames_skipped.add(1),
    }
    Ok(())
}
