//! The right, and the duty, to answer one request.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::Context;
use super::source::{Entry, Source};
use crate::clock::Millis;
use crate::error::{Code, Status};
use crate::link::{Class, LONGER, Lane, Link, Put, PutError, Session};
use crate::wire::{Bounce, Failure, HEADER_LEN, Header, Kind, Origin, Reason, ReplyBody};

/// A request that came in, and has its place among those of its source.
pub(crate) struct Asking<'a> {
    pub(crate) session: &'a Arc<Session>,
    pub(crate) source: &'a Arc<Source>,
    pub(crate) request: Bounced,
    pub(crate) deadline: Millis,
    pub(crate) wants_reply: bool,
    pub(crate) place: Place,
}

/// A place among the requests in flight.
pub(crate) struct Place {
    /// Of the request.
    pub(crate) bytes: usize,
    /// A place among those of a [`crate::Limit`] as well.
    pub(crate) limit: Option<Arc<AtomicUsize>>,
}

/// What a context knows of the request that it is for.
pub(super) struct Asked {
    session: Arc<Session>,
    source: Arc<Source>,
    /// Where the request of a source beyond harbors came from, which may have taken another way
    /// since.
    came: Option<Arc<Link>>,
    request: Bounced,
    deadline: Millis,
    wants_reply: bool,
    /// Held until the answer is in the outbox, and given back before anybody can read it.
    place: Place,
    has_place: AtomicBool,
}

impl Asked {
    pub(super) fn new(asking: Asking<'_>) -> Self {
        let Asking { session, source, request, deadline, wants_reply, place } = asking;
        Self {
            session: Arc::clone(session),
            source: Arc::clone(source),
            came: came(session),
            request,
            deadline,
            wants_reply,
            place,
            has_place: AtomicBool::new(true),
        }
    }

    /// The same for another request.
    pub(super) fn renew(&mut self, asking: Asking<'_>) {
        let Asking { session, source, request, deadline, wants_reply, place } = asking;
        // Mostly it is the same one.
        if !Arc::ptr_eq(&self.session, session) {
            self.session = Arc::clone(session);
        }
        if !Arc::ptr_eq(&self.source, source) {
            self.source = Arc::clone(source);
        }
        self.came = came(session);
        self.request = request;
        self.deadline = deadline;
        self.wants_reply = wants_reply;
        self.place = place;
        *self.has_place.get_mut() = true;
    }

    /// Gives the place back, once: only who answers does, or the last who knows of the request.
    fn give_place_back(&self) {
        if !self.has_place.load(Ordering::Relaxed) {
            return;
        }
        self.has_place.store(false, Ordering::Relaxed);
        self.source.leave(self.place.bytes);
        if let Some(limit) = &self.place.limit {
            limit.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.give_place_back();
    }
}

fn came(session: &Session) -> Option<Arc<Link>> {
    session.far.as_ref().map(|far| far.way_back())
}

/// Whose answer it is.
pub(super) enum Of<'a> {
    Borrowed(&'a Context),
    Owned(Context),
    /// Another answer has it now.
    Nobody,
}

impl Of<'_> {
    fn context(&self) -> Option<&Context> {
        match self {
            Self::Borrowed(context) => Some(context),
            Self::Owned(context) => Some(context),
            Self::Nobody => None,
        }
    }

    fn asked(&self) -> Option<&Asked> {
        self.context()?.0.asked.as_ref()
    }
}

/// See the module. Dropped without having been given, it tells the caller so.
pub(crate) struct Answer<'a> {
    of: Of<'a>,
    /// Set when it was taken out of its handler.
    deferred: Option<Entry>,
    is_given: bool,
}

impl<'a> Answer<'a> {
    /// Only who has taken the right to answer makes one.
    pub(super) fn new(of: Of<'a>) -> Self {
        Self { of, deferred: None, is_given: false }
    }

    fn into_owned(mut self) -> Answer<'static> {
        let of = match std::mem::replace(&mut self.of, Of::Nobody) {
            Of::Borrowed(context) => Of::Owned(context.clone()),
            Of::Owned(context) => Of::Owned(context),
            Of::Nobody => Of::Nobody,
        };
        Answer { of, deferred: self.deferred.take(), is_given: self.is_given }
    }

    fn asked(&self) -> Option<&Asked> {
        self.of.asked()
    }

    /// It is given from elsewhere, and the caller may give up before that.
    pub(crate) fn defer(&mut self) {
        if let (Some(context), Some(asked)) = (self.of.context(), self.of.asked())
            && asked.wants_reply
        {
            let (session, id) = (asked.session.id, asked.request.id);
            self.deferred = Some(asked.source.defer(session, id, context.clone()));
        }
    }

    /// The handler panicked.
    pub(crate) fn count_panic(&self) {
        if let Some(asked) = self.asked() {
            asked.session.link.home.counters.panics.add(1);
        }
    }

    /// Nobody waits for it any more.
    pub(crate) fn forget(mut self) {
        self.is_given = true;
    }

    /// Gives what the handler returned. Waits for room in the outbox, until the deadline.
    pub(crate) async fn give<R: prost::Message + 'static>(self, outcome: Result<R, Status>) {
        if let Some(giving) = self.give_now(outcome) {
            giving.await;
        }
    }

    /// The same, but only if there is no room it takes a future.
    pub(crate) fn give_now<R: prost::Message + 'static>(
        mut self,
        outcome: Result<R, Status>,
    ) -> Option<Giving> {
        let asked = self.of.asked()?;
        if !asked.wants_reply {
            self.is_given = true;
            if let Err(status) = outcome {
                asked.session.link.home.counters.notifications_failed.add(1);
                tracing::debug!(peer = %asked.session.source(), %status, "notification failed");
            }
            return None;
        }
        let reply = Reply::new(outcome, asked.session.frame_bytes_max);
        let beyond = asked.way_beyond();
        let lane = beyond.as_ref().unwrap_or(&asked.session.link).rpc();
        let put = asked.frame(Class::Data, reply.len);
        let outcome = asked.put(lane, put, &reply, &mut self.is_given);
        if outcome == Err(PutError::Full) {
            return Some(Box::pin(self.into_owned().give_later(reply)));
        }
        asked.conclude(lane, outcome, reply.len);
        None
    }

    async fn give_later<R: prost::Message>(mut self, reply: Reply<R>) {
        let Some(asked) = self.of.asked() else { return };
        let beyond = asked.way_beyond();
        let lane = beyond.as_ref().unwrap_or(&asked.session.link).rpc();
        let put = asked.frame(Class::Data, reply.len);
        // Who drops it while it waits has given up waiting.
        let is_given = &mut self.is_given;
        let attempt = || asked.put(lane, put, &reply, is_given);
        let home = &asked.session.link.home;
        let outcome = lane.in_line(home, asked.deadline, attempt).await;
        asked.conclude(lane, outcome, reply.len);
    }

    /// Tells the caller that the handler did not run: at once, from the reserve.
    pub(crate) fn refuse(mut self, refused: Refused) -> Result<(), PutError> {
        self.is_given = true;
        let Some(asked) = self.asked() else { return Ok(()) };
        refuse_request(&asked.session, asked.request, asked.wants_reply, refused)
    }

    /// The same from a task, which ends the session itself if the peer does not take it.
    pub(crate) async fn refuse_from_task(self, refused: Refused) {
        let session = self.asked().map(|asked| Arc::clone(&asked.session));
        if self.refuse(refused).is_err()
            && let Some(session) = session
        {
            session.give_up().await;
        }
    }

    /// Tells the caller something that no handler said: at once, from the reserve.
    pub(crate) fn fail(&mut self, code: Code, text: &str) {
        self.is_given = true;
        if let Some(asked) = self.asked() {
            asked.fail(code, text);
        }
    }
}

/// Waits for room for a reply.
pub(crate) type Giving = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What is to be told of an outcome.
struct Reply<R> {
    /// Bytes of the frame's body.
    len: usize,
    what: Result<R, Failure>,
}

impl<R: prost::Message> Reply<R> {
    fn new(outcome: Result<R, Status>, len_max: usize) -> Self {
        let status = match outcome {
            Ok(message) => {
                let len = 1 + message.encoded_len();
                if len <= len_max {
                    return Self { len, what: Ok(message) };
                }
                Status::new(Code::ResourceExhausted, too_large(len, len_max))
            }
            Err(status) => status,
        };
        let mut failure = failure(&status);
        failure.fit(len_max);
        Self { len: failure.len(), what: Err(failure) }
    }

    fn put(&self, out: &mut Vec<u8>) {
        match &self.what {
            Ok(message) => {
                out.push(ReplyBody::OK);
                // Fails only without room, and a Vec grows.
                message.encode(out).ok();
            }
            Err(failure) => failure.put(out),
        }
    }
}

impl Asked {
    /// Puts a reply: then it is given.
    fn put<R: prost::Message>(
        &self,
        lane: &Lane,
        put: Put,
        reply: &Reply<R>,
        is_given: &mut bool,
    ) -> Result<(), PutError> {
        *is_given = true;
        let body = |out: &mut Vec<u8>| {
            // A message may panic when it is encoded.
            *is_given = false;
            reply.put(out);
            *is_given = true;
            self.give_place_back();
        };
        lane.put(put, body).map(drop)
    }

    fn conclude(&self, lane: &Lane, outcome: Result<(), PutError>, len: usize) {
        match outcome {
            Ok(()) => {}
            Err(PutError::TooLarge) => {
                // The way of a source beyond harbors may be another than that of its first frame.
                let limit = lane.session().map_or(0, |session| session.frame_bytes_max);
                self.fail(Code::ResourceExhausted, &too_large(len, limit));
            }
            Err(PutError::Longer) => self.fail(Code::Internal, &format!("the reply: {LONGER}")),
            Err(_) => self.session.link.home.counters.replies_dropped.add(1),
        }
    }

    /// Tells the caller something that no handler said: at once, from the reserve.
    fn fail(&self, code: Code, text: &str) {
        if !self.wants_reply {
            self.session.link.home.counters.notifications_failed.add(1);
            return;
        }
        let failure = failure(&Status::new(code, text));
        let put = self.frame(Class::Control, failure.len());
        let beyond = self.way_beyond();
        let lane = beyond.as_ref().unwrap_or(&self.session.link).rpc();
        let outcome = lane.put(put, |out| {
            failure.put(out);
            self.give_place_back();
        });
        if outcome.is_err() {
            self.session.link.home.counters.replies_dropped.add(1);
        }
    }

    /// The link towards a source beyond harbors: the one that brought the request, while it is up.
    fn way_beyond(&self) -> Option<Arc<Link>> {
        let came = self.came.as_ref()?;
        Some(if came.is_up() { Arc::clone(came) } else { self.session.way_back() })
    }

    fn frame(&self, class: Class, body_len: usize) -> Put {
        let header = self.session.answer(Kind::Reply, self.request.id);
        let only_session = self.session.bound();
        let deadline = self.session.answers_until();
        Put { class, header, deadline, extension_len: 0, body_len, only_session }
    }
}

impl Drop for Answer<'_> {
    fn drop(&mut self) {
        if !self.is_given {
            if std::thread::panicking() {
                self.count_panic();
                self.fail(Code::Internal, "the handler panicked");
            } else {
                self.fail(Code::Internal, "the handler ended without an answer");
            }
        }
        if let Some(asked) = self.asked() {
            asked.give_place_back();
        }
    }
}

impl fmt::Debug for Answer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let asked = self.asked();
        f.debug_struct("Answer")
            .field("session", &asked.map(|asked| &asked.session))
            .field("id", &asked.map(|asked| asked.request.id))
            .finish()
    }
}

/// Refuses a request before its handler runs: an answer for one that wants a reply, a bounce for
/// one that does not.
pub(crate) fn refuse_request(
    session: &Arc<Session>,
    request: Bounced,
    wants_reply: bool,
    refused: Refused,
) -> Result<(), PutError> {
    let Refused { reason, text } = refused;
    session.link.home.counters.requests_refused.add(1);
    if !wants_reply {
        return bounce(session, request, reason);
    }
    let put = |class, failure: Failure| {
        let header = session.answer(Kind::Reply, request.id);
        let (deadline, extension_len, body_len) = (session.answers_until(), 0, failure.len());
        let only_session = session.bound();
        let put = Put { class, header, deadline, extension_len, body_len, only_session };
        session.way_back().rpc().put(put, |out| failure.put(out))
    };
    let refusal = Failure::refused(reason);
    // The reserve is for what must be said, and the text need not be.
    if !text.is_empty() && put(Class::Data, Failure { text, ..refusal.clone() }).is_ok() {
        return Ok(());
    }
    let outcome = put(Class::Control, refusal);
    if session.far.is_some() { Ok(()) } else { outcome.map(drop) }
}

/// Why a request is refused before its handler runs.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) reason: Reason,
    /// More, for people at the caller; may be empty. A bounce has no room for it.
    pub(crate) text: String,
}

impl Refused {
    pub(crate) fn new(reason: Reason, text: String) -> Self {
        Self { reason, text }
    }
}

impl From<Reason> for Refused {
    fn from(reason: Reason) -> Self {
        Self { reason, text: String::new() }
    }
}

/// Which frame is sent back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounced {
    pub(crate) kind: Kind,
    pub(crate) id: u64,
    /// Message id or method.
    pub(crate) subject: u64,
    pub(crate) seq: u32,
}

impl Bounced {
    pub(crate) fn request(header: &Header, method: u64) -> Self {
        Self { kind: Kind::Request, id: header.id, subject: method, seq: header.seq }
    }
}

/// Sends a one-way frame back and counts it, unless the session is over: then the account of the
/// session covers it.
pub(crate) fn bounce(
    session: &Arc<Session>,
    bounced: Bounced,
    reason: Reason,
) -> Result<(), PutError> {
    if !session.count_bounced() {
        return Ok(());
    }
    send_back(session, bounced, reason)
}

/// Sends a one-way frame back that does not count: it never had its turn.
pub(crate) fn send_back(
    session: &Arc<Session>,
    bounced: Bounced,
    reason: Reason,
) -> Result<(), PutError> {
    let Bounced { kind, id, subject, seq } = bounced;
    let counted = session.bound().unwrap_or_default();
    let body = Bounce { reason, kind, hop: session.link.home.me, subject, seq, session: counted };
    let header = session.answer(Kind::Bounce, id);
    let mut bytes = Vec::with_capacity(HEADER_LEN);
    body.put(&mut bytes);
    let put = Put::control(header, session.answers_until(), bytes.len());
    session.put_back(put, |out| out.extend_from_slice(&bytes))
}

fn failure(status: &Status) -> Failure {
    Failure {
        status: status.code().number(),
        origin: Origin::Handler,
        text: status.text().to_owned(),
        details: status.details().clone(),
    }
}

fn too_large(len: usize, limit: usize) -> String {
    format!("the reply has {len} bytes; a frame takes {limit}")
}
