//! The right, and the duty, to answer one request.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::task::AbortHandle;
use tokio_util::task::TaskTracker;

use super::Context;
use crate::clock::Millis;
use crate::config::Config;
use crate::error::{Code, Status};
use crate::link::{Class, LONGER, Link, Put, PutError, Session};
use crate::wire::{Bounce, Failure, HEADER_LEN, Header, Kind, Origin, Reason, ReplyBody, cut};

/// All requests of one peer that are being handled.
#[derive(Debug)]
pub(crate) struct Source {
    /// Messages of one sender are handled one after another: whoever has this may.
    pub(crate) turn: Arc<tokio::sync::Mutex<()>>,
    requests: AtomicUsize,
    bytes: AtomicUsize,
    requests_max: usize,
    bytes_max: usize,
    running: Mutex<HashMap<Key, Running>>,
}

/// What a caller can take back: a part of its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    session: u64,
    id: u64,
    part: Part,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Part {
    /// A handler that was pending when polled first, and has a task now.
    Handler,
    /// A reply that was deferred.
    Reply,
}

#[derive(Debug)]
struct Running {
    task: Option<AbortHandle>,
    context: Context,
}

/// Keeps a part of a request in its source's table.
#[derive(Debug)]
struct Entry {
    source: Arc<Source>,
    key: Key,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.source.running.lock().remove(&self.key);
    }
}

impl Source {
    pub(crate) fn new(config: &Config) -> Arc<Self> {
        Arc::new(Self {
            turn: Arc::default(),
            requests: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            requests_max: config.requests_max,
            bytes_max: config.request_bytes_max,
            running: Mutex::default(),
        })
    }

    /// A permit for a request of `bytes`; when too much is in flight, of what.
    pub(crate) fn permit(self: &Arc<Self>, bytes: usize) -> Result<Permit, String> {
        // Counted first, checked then: two at once may both be refused, never both let in.
        let permit = Permit { source: Arc::clone(self), bytes, limit: None };
        let requests = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        let in_flight = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if requests > self.requests_max {
            return Err(format!("{} requests of one peer, its `requests_max`", self.requests_max));
        }
        // A request larger than the limit passes when it is alone.
        if in_flight > self.bytes_max && in_flight != bytes {
            return Err(format!(
                "{} bytes of requests of one peer, its `request_bytes_max`",
                self.bytes_max
            ));
        }
        Ok(permit)
    }

    /// Whether a handler of the peer's messages or requests is at work.
    pub(crate) fn is_busy(&self) -> bool {
        self.in_flight() > 0 || self.turn.try_lock().is_err()
    }

    /// Requests in flight.
    pub(crate) fn in_flight(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }

    /// Gives the handler of a request a task, in which it can be cancelled. `false`: the peer has
    /// used the id for another one that is not done, and the handler is dropped.
    pub(crate) fn run(
        self: &Arc<Self>,
        session: u64,
        id: u64,
        context: Context,
        tasks: &TaskTracker,
        handling: impl Future<Output = ()> + Send + 'static,
    ) -> bool {
        let key = Key { session, id, part: Part::Handler };
        let mut running = self.running.lock();
        if running.contains_key(&key) {
            return false;
        }
        running.insert(key, Running { task: None, context });
        drop(running);
        let entry = Entry { source: Arc::clone(self), key };
        let run = async move {
            handling.await;
            drop(entry);
        };
        // Not under the lock: a runtime that goes away drops the task, and its entry, here and now.
        let task = tasks.spawn(run).abort_handle();
        if let Some(running) = self.running.lock().get_mut(&key) {
            running.task = Some(task);
        }
        true
    }

    /// Keeps the context of a request whose handler may be done before its reply is given.
    fn defer(self: &Arc<Self>, session: u64, id: u64, context: Context) -> Entry {
        let key = Key { session, id, part: Part::Reply };
        self.running.lock().insert(key, Running { task: None, context });
        Entry { source: Arc::clone(self), key }
    }

    /// The caller has given up.
    pub(crate) fn cancel(&self, session: u64, id: u64) {
        let mut running = self.running.lock();
        let cancelled =
            [Part::Handler, Part::Reply].map(|part| running.remove(&Key { session, id, part }));
        drop(running);
        cancelled.into_iter().flatten().for_each(Running::cancel);
    }

    /// The session is over: nobody waits for its replies any more.
    pub(crate) fn cancel_session(&self, session: u64) {
        let mut running = self.running.lock();
        let cancelled: Vec<_> = running.extract_if(|key, _| key.session == session).collect();
        drop(running);
        cancelled.into_iter().for_each(|(_, running)| running.cancel());
    }
}

impl Running {
    fn cancel(self) {
        self.context.cancel();
        if let Some(task) = self.task {
            task.abort();
        }
    }
}

/// A place among the requests in flight; given back when dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    source: Arc<Source>,
    bytes: usize,
    /// A place among those of a [`crate::Limit`] as well.
    pub(crate) limit: Option<Arc<AtomicUsize>>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.source.requests.fetch_sub(1, Ordering::Relaxed);
        self.source.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        if let Some(limit) = &self.limit {
            limit.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// See the module. Dropped without having been given, it tells the caller so.
pub(crate) struct Answer {
    session: Arc<Session>,
    /// Where the request of a source beyond harbors came from, which may have taken another way
    /// since.
    came: Option<Arc<Link>>,
    request: Bounced,
    deadline: Millis,
    wants_reply: bool,
    /// Held until the answer is in the outbox, and given back before anybody can read it.
    permit: Option<Permit>,
    /// Set when it was taken out of its handler.
    deferred: Option<Entry>,
    is_given: bool,
}

impl Answer {
    pub(crate) fn new(
        session: &Arc<Session>,
        request: &Header,
        method: u64,
        deadline: Millis,
        permit: Permit,
    ) -> Self {
        Self {
            session: Arc::clone(session),
            came: session.far.as_ref().map(|far| far.way_back()),
            request: Bounced::request(request, method),
            deadline,
            wants_reply: !request.is_one_way(),
            permit: Some(permit),
            deferred: None,
            is_given: false,
        }
    }

    /// It is given from elsewhere, and the caller may give up before that.
    pub(crate) fn defer(&mut self, context: &Context) {
        if self.wants_reply
            && let Some(permit) = &self.permit
        {
            let (session, context) = (self.session.id, context.clone());
            self.deferred = Some(permit.source.defer(session, self.request.id, context));
        }
    }

    /// The handler panicked.
    pub(crate) fn count_panic(&self) {
        self.session.link.home.counters.panics.add(1);
    }

    /// Nobody waits for it any more.
    pub(crate) fn forget(mut self) {
        self.is_given = true;
    }

    /// Gives what the handler returned. Waits for room in the outbox, until the deadline.
    pub(crate) async fn give<R: prost::Message>(mut self, outcome: Result<R, Status>) {
        if !self.wants_reply {
            self.is_given = true;
            if let Err(status) = outcome {
                self.session.link.home.counters.notifications_failed.add(1);
                tracing::debug!(peer = %self.session.source(), %status, "notification failed");
            }
            return;
        }
        match outcome {
            Ok(message) => {
                let len = 1 + message.encoded_len();
                if len > self.session.frame_bytes_max {
                    let text = too_large(len, self.session.frame_bytes_max);
                    let status = Status::new(Code::ResourceExhausted, text);
                    return self.give_failure(failure(&status)).await;
                }
                let encode = |out: &mut Vec<u8>| {
                    out.push(ReplyBody::OK);
                    // Fails only without room, and a Vec grows.
                    message.encode(out).ok();
                };
                self.put(len, encode).await;
            }
            Err(status) => self.give_failure(failure(&status)).await,
        }
    }

    async fn give_failure(&mut self, mut failure: Failure) {
        let len_max = self.session.frame_bytes_max;
        if failure.len() > len_max {
            failure.details = Bytes::new();
        }
        if failure.len() > len_max {
            failure.text = cut(&failure.text, len_max.saturating_sub(Failure::HEAD_LEN)).to_owned();
        }
        self.put(failure.len(), |out| failure.put(out)).await;
    }

    async fn put(&mut self, len: usize, mut body: impl FnMut(&mut Vec<u8>)) {
        let put = self.frame(Class::Data, len);
        let beyond = self.way_beyond();
        let lane = beyond.as_ref().unwrap_or(&self.session.link).rpc();
        let (permit, is_given) = (&mut self.permit, &mut self.is_given);
        // Who drops it while it waits for room has given up waiting.
        *is_given = true;
        let mut body = |out: &mut Vec<u8>| {
            // A message may panic when it is encoded.
            *is_given = false;
            body(out);
            *is_given = true;
            *permit = None;
        };
        let mut outcome = lane.put(put, &mut body);
        if outcome == Err(PutError::Full) {
            let attempt = || lane.put(put, &mut body);
            outcome = lane.in_line(&self.session.link.home, self.deadline, attempt).await;
        }
        match outcome {
            Ok(_) => {}
            Err(PutError::TooLarge) => {
                // The way of a source beyond harbors may be another than that of its first frame.
                let limit = lane.session().map_or(0, |session| session.frame_bytes_max);
                self.fail(Code::ResourceExhausted, &too_large(len, limit));
            }
            Err(PutError::Longer) => self.fail(Code::Internal, &format!("the reply: {LONGER}")),
            Err(_) => self.session.link.home.counters.replies_dropped.add(1),
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

    /// Tells the caller that the handler did not run: at once, from the reserve.
    pub(crate) fn refuse(mut self, refused: Refused) -> Result<(), PutError> {
        self.is_given = true;
        refuse_request(&self.session, self.request, self.wants_reply, refused)
    }

    /// The same from a task, which ends the session itself if the peer does not take it.
    pub(crate) async fn refuse_from_task(self, refused: Refused) {
        let session = Arc::clone(&self.session);
        if self.refuse(refused).is_err() {
            session.give_up().await;
        }
    }

    /// Tells the caller something that no handler said: at once, from the reserve.
    pub(crate) fn fail(&mut self, code: Code, text: &str) {
        self.is_given = true;
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
            self.permit = None;
        });
        if outcome.is_err() {
            self.session.link.home.counters.replies_dropped.add(1);
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if self.is_given {
            return;
        }
        if std::thread::panicking() {
            self.count_panic();
            self.fail(Code::Internal, "the handler panicked");
        } else {
            self.fail(Code::Internal, "the handler ended without an answer");
        }
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer")
            .field("session", &self.session)
            .field("id", &self.request.id)
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
