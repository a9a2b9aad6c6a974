//! What a harbor does with frames that are for others.
//!
//! ```text
//!  member of the own group ──▶ relay ──▶ harbor of the destination's group
//!  harbor of another group ──▶ relay ──▶ member of the own group
//! ```
//!
//! It adds to the hops and takes from the time left, and changes nothing else. It never waits: what
//! has no room is sent back.

mod downs;
mod moving;
mod open;
mod places;

use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::addr::LogicalAddr;
use crate::clock::Millis;
use crate::error::Code;
use crate::handshake::Lane as LaneId;
use crate::incarnation::Incarnation;
use crate::link::{Class, Home, Link, Put, PutError, Session, Unsent};
use crate::map::Map;
use crate::pair::Looks;
use crate::router::Router;
use crate::routing::HOPS_MAX;
use crate::wire::{
    Bounce, FLAG_NO_REPLY, Failure, Frame, HEADER_LEN, Header, Kind, NO_DEADLINE, Origin, Reason,
};

use downs::{Downs, Lost};
pub(crate) use moving::move_frames;
use open::{All, Open};
use places::Places;

/// A pair of which nothing has come for so long may take another way.
const IDLE_MS: u64 = 1_000;
/// So long after the last frame of a pair its receipt has come, if the destination is not busy.
const QUIET_MS: u64 = 200;
/// A source is told of a lost link if it sent over it no longer ago.
const DOWN_MS: u64 = 30_000;

/// See the module.
pub(crate) struct Relay {
    home: Arc<Home>,
    router: Arc<Router>,
    pairs: Mutex<Pairs>,
    downs: Downs,
}

struct Pairs {
    /// By source and destination.
    known: Map<(LogicalAddr, LogicalAddr), Passing>,
    places: Places,
    looks: Looks,
    /// Requests of all of them that are open.
    all: All,
}

/// A pair, as a harbor between its ends sees it.
struct Passing {
    /// Where its frames come from, and where they go.
    came: Arc<Link>,
    goes: Arc<Link>,
    used: Millis,
    /// Of the source.
    incarnation: Incarnation,
    open: Open,
}

/// Ways of frames that came one after another.
#[derive(Default)]
struct Ways(Vec<(Result<Arc<Link>, Reason>, usize)>);

impl Ways {
    /// The next ones go this way, or for this reason nowhere.
    fn add(&mut self, way: Result<&Arc<Link>, Reason>, frames: usize) {
        match (self.0.last_mut(), way) {
            (Some((Ok(last), count)), Ok(way)) if Arc::ptr_eq(last, way) => *count += frames,
            _ => self.0.push((way.map(Arc::clone), frames)),
        }
    }
}

impl Pairs {
    fn retain(&mut self, mut keep: impl FnMut(&Passing) -> bool) {
        let Self { known, places, all, .. } = self;
        known.retain(|_, passing| {
            let is_kept = keep(passing);
            if !is_kept {
                places.leave(passing.came.peer);
                passing.open.clear(all);
            }
            is_kept
        });
    }
}

impl Relay {
    pub(crate) fn new(home: Arc<Home>, router: Arc<Router>) -> Self {
        let places = Places::new(home.config.pairs_max);
        let (known, looks, all) = (Map::default(), Looks::default(), All::default());
        let pairs = Mutex::new(Pairs { known, places, looks, all });
        Self { home, router, pairs, downs: Downs::default() }
    }

    /// Hands frames on that have come on this session one after another. What other threads use,
    /// too, is asked for once for all of them.
    pub(crate) fn on_frames(&self, session: &Session, frames: &mut [Frame], now: Millis) {
        for Frame { header, .. } in &mut *frames {
            header.hops = header.hops.saturating_add(1);
        }
        let _not_moving = self.router.moving.read();
        let mut left = &*frames;
        for (way, count) in self.ways(session, frames, now) {
            let (run, after) = left.split_at(count);
            left = after;
            match way {
                Ok(goes) => self.pass(session, &goes, run, now),
                Err(reason) => {
                    for frame in run {
                        self.bounce(&session.link, &frame.header, frame.method(), reason);
                    }
                }
            }
        }
    }

    /// Where the frames go on, or why they do not, each for as many as follow one another.
    fn ways(
        &self,
        session: &Session,
        frames: &[Frame],
        now: Millis,
    ) -> Vec<(Result<Arc<Link>, Reason>, usize)> {
        let mut ways = Ways::default();
        let mut pairs = self.pairs.lock();
        let sort = |Frame { header, .. }: &Frame| {
            let Header { from, to, incarnation, .. } = *header;
            (from, to, incarnation, header.is_answer(), self.check(session, header))
        };
        for alike in frames.chunk_by(|one, next| sort(one) == sort(next)) {
            let Some(Frame { header, .. }) = alike.first() else { continue };
            if let Err(reason) = self.check(session, header) {
                ways.add(Err(reason), alike.len());
            } else if header.is_answer() {
                self.ways_back(&mut pairs, alike, &mut ways);
            } else {
                let passing = self.passing(&mut pairs, &session.link, header, now);
                let way = passing.map(|(passing, all)| self.note(passing, all, alike, now));
                ways.add(way, alike.len());
            }
        }
        ways.0
    }

    /// Whether a frame may go on at all.
    fn check(&self, session: &Session, header: &Header) -> Result<(), Reason> {
        let (me, peer, to) = (self.home.me.group(), session.link.peer, header.to);
        // What may be is decided by groups alone: then nothing circles, whatever anybody believes.
        let is_on_its_way = if peer.group() == me { to.group() != me } else { to.group() == me };
        // A member speaks as the run that it has proved to be.
        let is_own = header.from == peer && !header.is_answer();
        if is_own && header.incarnation != session.incarnation {
            Err(Reason::Incarnation)
        } else if header.hops > HOPS_MAX {
            Err(Reason::Hops)
        } else if header.time_left == 0 {
            Err(Reason::Expired)
        } else if !is_on_its_way {
            Err(Reason::NoRoute)
        } else {
            Ok(())
        }
    }

    /// Puts frames that go the same way, and sees to those that have no room.
    fn pass(&self, session: &Session, goes: &Arc<Link>, frames: &[Frame], now: Millis) {
        let puts = frames.iter().map(|frame| put_of(&self.home, frame, now));
        let refused = goes.lane(session.lane).put_all(puts);
        self.home.counters.relayed.add((frames.len() - refused.len()) as u64);
        for (place, error) in refused {
            let Some(frame) = frames.get(place) else { continue };
            let reason = match error {
                PutError::Closed(reason) => reason,
                _ if frame.header.kind == Kind::Reply => {
                    self.cut(goes, &frame.header, error == PutError::TooLarge);
                    continue;
                }
                PutError::Overflow if frame.header.kind == Kind::Down => {
                    self.downs.pass_on(&self.home, Arc::clone(goes), frame);
                    continue;
                }
                PutError::TooLarge => Reason::TooLarge,
                _ => Reason::Busy,
            };
            self.bounce(&session.link, &frame.header, frame.method(), reason);
        }
    }

    /// Keeps in mind which requests of the pair begin and end. Returns the way of all its frames.
    fn note<'a>(
        &self,
        passing: &'a mut Passing,
        all: &mut All,
        frames: &[Frame],
        now: Millis,
    ) -> &'a Arc<Link> {
        let Passing { came, goes, open, .. } = passing;
        for Frame { header, .. } in frames {
            match header.kind {
                Kind::Request if !header.is_one_way() => {
                    let until = deadline(&self.home, header, now);
                    let max = self.home.config.calls_max;
                    open.begin(header.id, (came, goes), (now, until), max, all);
                }
                Kind::Cancel => drop(open.end(header.id, all)),
                _ => {}
            }
        }
        goes
    }

    /// What is known of the pair, with its way on; and what is counted of all.
    fn passing<'a>(
        &self,
        pairs: &'a mut Pairs,
        came: &Arc<Link>,
        header: &Header,
        now: Millis,
    ) -> Result<(&'a mut Passing, &'a mut All), Reason> {
        let Header { from, to, incarnation, .. } = *header;
        let choose = || {
            let goes = self.router.next(from, to).map_err(|denied| denied.reason)?;
            if goes.peer == came.peer { Err(Reason::NoRoute) } else { Ok(goes) }
        };
        let is_new = || !pairs.known.contains_key(&(from, to));
        if !pairs.places.has_room(came.peer) && is_new() && pairs.looks.look(now) {
            pairs.retain(|passing| now.since(passing.used) < DOWN_MS);
        }
        let Pairs { known, places, all, .. } = pairs;
        match known.entry((from, to)) {
            Entry::Occupied(known) => {
                let passing = known.into_mut();
                passing.incarnation = incarnation;
                if passing.came.peer != came.peer {
                    places.leave(passing.came.peer);
                    places.take(came.peer);
                }
                if !Arc::ptr_eq(&passing.came, came) {
                    passing.came = Arc::clone(came);
                }
                if !passing.goes.is_trusted() || now.since(passing.used) >= IDLE_MS {
                    // What it still knows is needed if the new way fails, too.
                    passing.goes = choose()?;
                }
                passing.used = now;
                Ok((passing, all))
            }
            Entry::Vacant(new) => {
                let goes = choose()?;
                if !places.has_room(came.peer) {
                    return Err(Reason::Busy);
                }
                places.take(came.peer);
                let (came, open) = (Arc::clone(came), Open::default());
                Ok((new.insert(Passing { came, goes, used: now, incarnation, open }), all))
            }
        }
    }

    /// Answers go where that came from which they answer: then each connection that loses one is on
    /// the way of the source, which is told. Only if that way is lost they take another.
    fn ways_back(&self, pairs: &mut Pairs, answers: &[Frame], ways: &mut Ways) {
        let Some(Header { from, to, .. }) = answers.first().map(|frame| frame.header) else {
            return;
        };
        let Pairs { known, all, .. } = pairs;
        let mut passing = known.get_mut(&(to, from));
        for Frame { header, .. } in answers {
            let is_ended = matches!(header.kind, Kind::Reply | Kind::Bounce);
            let request = passing.as_mut().filter(|_| is_ended);
            let request = request.and_then(|passing| passing.open.end(header.id, all));
            let last = passing.as_deref().map(|passing| &passing.came);
            // The pair may have taken another way since.
            let is_other = |came: &Arc<Link>| !last.is_some_and(|last| Arc::ptr_eq(last, came));
            let request = request.filter(|came| is_other(came) && came.is_up());
            match request.as_ref().or(last).filter(|came| came.is_well()) {
                Some(came) => ways.add(Ok(came), 1),
                None => match self.router.next(from, to) {
                    Ok(next) => ways.add(Ok(&next), 1),
                    Err(denied) => ways.add(Err(denied.reason), 1),
                },
            }
        }
    }

    /// A reply that cannot go on is cut to an error without a body.
    fn cut(&self, goes: &Link, header: &Header, is_too_large: bool) {
        let (me, peer) = (self.home.me, goes.peer);
        let (code, text) = if is_too_large {
            (
                Code::ResourceExhausted,
                format!("the reply is too large for the way from {me} to {peer}"),
            )
        } else {
            (Code::Unavailable, format!("the reply found no room at {me}"))
        };
        self.fail(goes, header, code, text);
    }

    /// Answers in the place of a destination whose own answer does not come.
    fn fail(&self, goes: &Link, header: &Header, code: Code, text: String) {
        let failure =
            Failure { status: code.number(), origin: Origin::Unknown, text, details: Bytes::new() };
        let header = Header { hops: header.hops.max(1), ..*header };
        let put = Put::control(header, self.home.notice_deadline(), failure.len());
        if goes.rpc().put(put, |out| failure.put(out)).is_err() {
            self.home.counters.replies_dropped.add(1);
        }
    }

    /// A frame that was relayed left the outbox without being sent.
    pub(crate) fn on_unsent(&self, link: &Link, unsent: &Unsent, reason: Reason) {
        let Unsent { header, method } = unsent;
        if header.kind == Kind::Reply && reason == Reason::TooLarge {
            return self.cut(link, header, true);
        }
        let came = {
            let pairs = self.pairs.lock();
            pairs.known.get(&(header.from, header.to)).map(|passing| Arc::clone(&passing.came))
        };
        if let Some(came) = came {
            self.bounce(&came, header, *method, reason);
        }
    }

    /// Sends a message or request back the way it came. Nothing is said of what answers.
    fn bounce(&self, came: &Link, subject: &Header, method: u64, reason: Reason) {
        if !matches!(subject.kind, Kind::Message | Kind::Request) {
            self.home.counters.relayed_dropped.add(1);
            return;
        }
        self.home.counters.relayed_bounced.add(1);
        let is_message = subject.kind == Kind::Message;
        let body = Bounce {
            reason,
            kind: subject.kind,
            hop: self.home.me,
            subject: if is_message { subject.id } else { method },
            seq: subject.seq,
            session: 0,
        };
        // In the name of whom it was for: the source keeps its account by that.
        let (from, to, id) = (subject.to, subject.from, subject.id);
        let header = Header::new(Kind::Bounce, from, to, id, subject.incarnation);
        let mut bytes = Vec::with_capacity(HEADER_LEN);
        body.put(&mut bytes);
        self.tell(came, header, &bytes);
        let Pairs { known, all, .. } = &mut *self.pairs.lock();
        if let Some(passing) = known.get_mut(&(subject.from, subject.to)) {
            passing.open.end(subject.id, all);
        }
    }

    fn tell(&self, link: &Link, header: Header, body: &[u8]) {
        let header = Header { hops: 1, ..header };
        let put = Put::control(header, self.home.notice_deadline(), body.len());
        if link.rpc().put(put, |out| out.extend_from_slice(body)).is_err() {
            // The source's account misses it.
            self.home.counters.relayed_dropped.add(1);
        }
    }

    /// A lane of a link is lost: tells those who sent over it.
    pub(crate) fn on_lane_lost(&self, link: &Arc<Link>, lane: LaneId) {
        for (came, header) in self.lose(link, lane) {
            if header.kind == Kind::Reply {
                let text =
                    format!("the connection from {} to {} was lost", self.home.me, link.peer);
                self.fail(&came, &header, Code::Unavailable, text);
                continue;
            }
            let (pair, incarnation) = ((header.to, header.from), header.incarnation);
            let has_calls = header.flags & FLAG_NO_REPLY == 0;
            self.downs.enter(&self.home, pair, Lost { came, incarnation, lane, has_calls });
        }
        self.downs.tell(&self.home);
    }

    /// Tells of lost links when there was no room for it, until dropped.
    pub(crate) async fn keep_telling(&self) {
        self.downs.keep_telling(&self.home).await;
    }

    /// What is to be said of that, and to whom, in the name of the destinations as a bounce is: a
    /// down to each source whose pair goes over the link, and an answer to each call that such a
    /// down does not reach, because its pair has taken another way since.
    fn lose(&self, link: &Arc<Link>, lane: LaneId) -> Vec<(Arc<Link>, Header)> {
        let now = self.home.clock.now();
        let mut told = Vec::new();
        let Pairs { known, all, .. } = &mut *self.pairs.lock();
        for ((from, to), passing) in known {
            let Passing { came, goes, used, incarnation, open } = passing;
            let calls = if lane == LaneId::Rpc { open.lose(link, now, all) } else { Vec::new() };
            let has_down = Arc::ptr_eq(goes, link) && now.since(*used) < DOWN_MS;
            let header = |kind, id| Header::new(kind, *to, *from, id, *incarnation);
            let mut has_calls = false;
            for (id, call_came) in calls {
                if has_down && Arc::ptr_eq(&call_came, came) {
                    has_calls = true;
                } else {
                    told.push((call_came, header(Kind::Reply, id)));
                }
            }
            if has_down {
                let mut header = header(Kind::Down, 0);
                if !has_calls {
                    // The source may have begun one meanwhile, which goes another way.
                    header.flags = FLAG_NO_REPLY;
                }
                told.push((Arc::clone(came), header));
            }
        }
        told
    }

    /// A link is closed for good.
    pub(crate) fn on_closed(&self, link: &Arc<Link>) {
        let uses = |passing: &Passing| {
            Arc::ptr_eq(&passing.came, link) || Arc::ptr_eq(&passing.goes, link)
        };
        self.pairs.lock().retain(|passing| !uses(passing));
    }

    /// Whether frames were handed on that may be answered yet.
    pub(crate) fn is_awaited(&self) -> bool {
        let now = self.home.clock.now();
        // An answer that ends a request is in its outbox before this goes on.
        let _none_passes = self.router.moving.write();
        let is_awaited =
            |passing: &Passing| now.since(passing.used) < QUIET_MS || passing.open.awaited(now) > 0;
        self.pairs.lock().known.values().any(is_awaited)
    }

    /// Requests that were handed on and may be answered yet.
    pub(crate) fn requests_awaited(&self) -> usize {
        let now = self.home.clock.now();
        self.pairs.lock().known.values().map(|passing| passing.open.awaited(now)).sum()
    }
}

/// A frame as it is, with the time that it has left, and what writes it.
fn put_of<'a>(home: &Home, frame: &'a Frame, now: Millis) -> (Put, impl FnOnce(&mut Vec<u8>) + 'a) {
    let Frame { header, extension, body } = frame;
    let deadline = deadline(home, header, now);
    let class = match header.kind {
        Kind::Message | Kind::Request | Kind::Reply => Class::Data,
        _ => Class::Control,
    };
    let (extension_len, body_len) = (extension.len(), body.len());
    let put = Put { class, header: *header, deadline, extension_len, body_len, only_session: None };
    let write = move |out: &mut Vec<u8>| {
        out.extend_from_slice(extension);
        out.extend_from_slice(body);
    };
    (put, write)
}

/// Until when a frame may go on.
fn deadline(home: &Home, header: &Header, now: Millis) -> Millis {
    match header.time_left {
        NO_DEADLINE if header.is_lasting() => now.deadline(home.config.message_timeout),
        NO_DEADLINE => Millis::NEVER,
        left => now.after(u64::from(left)),
    }
}

impl fmt::Debug for Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relay").field("home", &self.home).finish_non_exhaustive()
    }
}
