//! The frames of one session, on each lane.

use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use super::Dispatch;
use super::transit::{Transit, is_in_transit};
use crate::addr::LogicalAddr;
use crate::clock::Millis;
use crate::context::{Bounced, bounce};
use crate::handshake::Lane;
use crate::link::{Flow, Home, Inbound, Session, Violation};
use crate::map::Map;
use crate::messaging::Messages;
use crate::routing::may_speak;
use crate::rpc::{Outcome, Requests};
use crate::wire::{
    Bounce, Down, FLAG_NO_REPLY, FLAG_RECEIPT_WANTED, Frame, GoAway, Header, Kind, Pulse, Reason,
    Receipt,
};

/// Frames on the rpc lane. Nothing here waits.
pub(super) struct RpcLane {
    pub(super) dispatch: Arc<Dispatch>,
    pub(super) session: Arc<Session>,
    pub(super) requests: Requests,
    pub(super) transit: Transit,
    /// Of sources beyond harbors.
    pub(super) beyond: Map<LogicalAddr, Requests>,
}

impl Inbound for RpcLane {
    fn on_frame(&mut self, frame: Frame, now: Millis) -> Result<Flow, Violation> {
        let header = frame.header;
        check_from(&self.session, &header)?;
        if is_in_transit(&self.session, &header) {
            return self.transit.add(&self.session, frame);
        }
        self.transit.hand_on(&self.dispatch, &self.session, now);
        let is_from_beyond = header.from != self.session.link.peer;
        match header.kind {
            Kind::Request if is_from_beyond && header.to == self.dispatch.home.me => {
                self.on_request_from_beyond(frame, now);
            }
            Kind::Request => match misdirected(&self.session, &header) {
                None => self.requests.on_request(frame, now)?,
                Some(reason) => {
                    let method = frame.method();
                    self.requests.refuse(&header, method, reason.into())?;
                }
            },
            Kind::Reply => {
                let outcome = Outcome::Reply(frame.body);
                self.complete(&header, outcome);
            }
            Kind::Cancel if is_from_beyond => self.dispatch.fars.cancel(&header),
            Kind::Cancel if misdirected(&self.session, &header).is_none() => {
                self.requests.source.cancel(self.session.id, header.id);
            }
            Kind::Cancel => {}
            Kind::Bounce => self.on_bounce(&header, &frame.body)?,
            Kind::Receipt => self.on_receipt(&header, &frame.body),
            Kind::Down => self.on_down(&header, &frame.body),
            _ => on_link_frame(&self.session, &frame)?,
        }
        Ok(Flow::Next)
    }

    fn on_pause(&mut self, now: Millis) {
        self.transit.hand_on(&self.dispatch, &self.session, now);
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
            || !self.dispatch.caller.pending.complete(header.id, header.from, outcome)
        {
            home.counters.replies_stray.add(1);
        }
    }

    fn on_bounce(&self, header: &Header, body: &[u8]) -> Result<(), Violation> {
        let Some(bounce) = Bounce::read(body) else {
            if header.from != self.session.link.peer {
                self.skip();
                return Ok(());
            }
            return Err(Violation("a bounce is malformed".to_owned()));
        };
        let link = &self.session.link;
        if !is_answer_to(&link.home, header) {
            return Ok(());
        }
        let Dispatch { notices, pairs, caller, .. } = &*self.dispatch;
        let (from, seq) = (header.from, bounce.seq);
        let is_known = match bounce.kind {
            Kind::Request if header.id != 0 => {
                let outcome = Outcome::Refused { reason: bounce.reason, hop: bounce.hop };
                if !caller.pending.refuse(header.id, from, link.peer, outcome) {
                    link.home.counters.replies_stray.add(1);
                }
                return Ok(());
            }
            kind if seq != 0 => pairs.on_bounce(from, Lane::of(kind), seq),
            // What has no number was the peer's.
            _ if from != link.peer => false,
            kind => link.lane(Lane::of(kind)).on_bounce(bounce.session),
        };
        if is_known {
            notices.on_bounce(from, header.id, &bounce);
        }
        Ok(())
    }

    fn on_request_from_beyond(&mut self, frame: Frame, now: Millis) {
        let header = frame.header;
        let Some(source) = self.dispatch.fars.get(&self.session, &header) else { return };
        let is_known = |requests: &&mut Requests| Arc::ptr_eq(&requests.session, &source.rpc);
        let requests = match self.beyond.get_mut(&header.from).filter(is_known) {
            Some(requests) => requests,
            None => {
                if self.beyond.len() >= self.dispatch.home.config.pairs_max {
                    self.beyond.clear();
                }
                let (session, permits) = (Arc::clone(&source.rpc), Arc::clone(&source.source));
                let requests = self.requests.beyond(session, permits);
                self.beyond.entry(header.from).insert_entry(requests).into_mut()
            }
        };
        let (seq, len) = (header.seq, frame.len());
        if header.is_one_way() && !self.dispatch.fars.arrive(&source, Lane::Rpc, seq) {
            let late = Bounced::request(&header, frame.method());
            self.dispatch.fars.overtaken(&source.rpc, late);
            return;
        }
        requests.swap_handling(&mut self.requests);
        let outcome = requests.on_request(frame, now);
        requests.swap_handling(&mut self.requests);
        if let Err(violation) = outcome {
            // The harbor that brought it is not to blame.
            tracing::warn!(peer = %header.from, %violation, "request from beyond refused");
        }
        if header.is_one_way() {
            self.dispatch.fars.settle(&source, Lane::Rpc, seq, len);
        }
    }

    fn on_receipt(&self, header: &Header, body: &[u8]) {
        if header.flags & FLAG_RECEIPT_WANTED != 0 {
            self.on_ask(header, body);
            return;
        }
        let Some(receipt) = Receipt::read(body) else {
            self.skip();
            return;
        };
        if is_answer_to(&self.dispatch.home, header)
            && let Some(loss) = self.dispatch.pairs.on_receipt(header.from, receipt)
        {
            self.dispatch.notices.on_loss(header.from, loss);
        }
    }

    fn on_ask(&self, header: &Header, body: &[u8]) {
        let is_from_beyond = header.from != self.session.link.peer;
        let lane = match body.first().and_then(|lane| Lane::from_number(*lane)) {
            Some(lane @ (Lane::Rpc | Lane::Message)) if is_from_beyond => lane,
            // Only what comes from beyond harbors has numbers, and on no other lane.
            _ => return self.skip(),
        };
        if header.to == self.dispatch.home.me
            && let Some(source) = self.dispatch.fars.get(&self.session, header)
        {
            self.dispatch.fars.on_ask(&source, lane, header.seq);
        }
    }

    /// Whoever brought it is not to blame: it comes from somebody beyond harbors.
    fn skip(&self) {
        self.dispatch.home.counters.frames_skipped.add(1);
    }

    fn on_down(&self, header: &Header, body: &[u8]) {
        let Some(down) = Down::read(body) else {
            self.skip();
            return;
        };
        // In the name of the destination: nobody beyond harbors can speak of another one.
        if let Some(lane) = Lane::from_number(down.lane)
            && down.address == header.from
            && is_answer_to(&self.dispatch.home, header)
        {
            tracing::debug!(to = %down.address, hop = %down.hop, ?lane, "a harbor has lost the way");
            let has_calls = header.flags & FLAG_NO_REPLY == 0;
            self.dispatch.on_down(&self.session.link, down.address, lane, has_calls);
        }
    }
}

/// Frames on the message lane.
pub(super) struct MessageLane {
    pub(super) dispatch: Arc<Dispatch>,
    pub(super) session: Arc<Session>,
    pub(super) messages: Messages,
    pub(super) transit: Transit,
}

impl Inbound for MessageLane {
    fn on_frame(&mut self, frame: Frame, now: Millis) -> Result<Flow, Violation> {
        let header = frame.header;
        check_from(&self.session, &header)?;
        if is_in_transit(&self.session, &header) {
            return self.transit.add(&self.session, frame);
        }
        self.transit.hand_on(&self.dispatch, &self.session, now);
        let is_from_beyond = header.from != self.session.link.peer;
        match header.kind {
            Kind::Message if is_from_beyond && header.to == self.dispatch.home.me => {
                if let Some(source) = self.dispatch.fars.get(&self.session, &header) {
                    self.dispatch.fars.on_message(&source, frame, now);
                }
            }
            Kind::Message => match misdirected(&self.session, &header) {
                None => return self.messages.on_message(frame),
                Some(reason) => {
                    let (kind, id, seq) = (header.kind, header.id, header.seq);
                    let bounced = Bounced { kind, id, subject: id, seq };
                    bounce(&self.session, bounced, reason)?;
                }
            },
            _ => on_link_frame(&self.session, &frame)?,
        }
        Ok(Flow::Next)
    }

    fn on_pause(&mut self, now: Millis) {
        self.transit.hand_on(&self.dispatch, &self.session, now);
        self.messages.on_pause();
    }

    fn poll_ready(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), Violation>> {
        self.messages.poll_ready(cx)
    }

    fn on_end(self: Box<Self>) {
        self.messages.on_end();
    }
}

/// Takes the frames of a session that began while the node went away.
pub(super) struct Nobody;

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
    let (me, peer) = (session.link.home.me, session.link.peer);
    if header.from == peer || may_speak(me, peer, header.from) {
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

/// A frame of this kind has nothing to do on the session's lane.
pub(super) fn out_of_lane(session: &Session, kind: Kind) -> Violation {
    let lane = if session.lane == Lane::Rpc { "rpc" } else { "message" };
    Violation(format!("a {kind:?} came on the {lane} lane"))
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
        Kind::Optional(_) => link.home.counters.frames_skipped.add(1),
        kind => return Err(out_of_lane(session, kind)),
    }
    Ok(())
}
