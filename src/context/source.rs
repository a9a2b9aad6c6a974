//! The requests of one peer that are being handled.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::task::AbortHandle;
use tokio_util::task::TaskTracker;

use super::Context;
use crate::config::Config;
use crate::map::Map;

/// All requests of one peer that are being handled.
#[derive(Debug)]
pub(crate) struct Source {
    /// Messages of one sender are handled one after another: whoever has this may.
    pub(crate) turn: Arc<tokio::sync::Mutex<()>>,
    /// Requests in flight, in the high bits, and their bytes.
    in_flight: AtomicU64,
    requests_max: usize,
    bytes_max: usize,
    running: Mutex<Map<Key, Running>>,
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
pub(super) struct Entry {
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
            in_flight: AtomicU64::new(0),
            requests_max: config.requests_max,
            bytes_max: config.request_bytes_max,
            running: Mutex::default(),
        })
    }

    /// Takes a place for a request of `bytes`, which [`Source::leave`] gives back; when too much is
    /// in flight, says of what.
    pub(crate) fn enter(&self, bytes: usize) -> Result<(), String> {
        // Counted first, checked then: two at once may both be refused, never both let in.
        let place = place(bytes);
        let in_flight = self.in_flight.fetch_add(place, Ordering::Relaxed).wrapping_add(place);
        let refused = if requests(in_flight) > self.requests_max {
            format!("{} requests of one peer, its `requests_max`", self.requests_max)
        } else if bytes_of(in_flight) > self.bytes_max && bytes_of(in_flight) != bytes {
            // A request larger than the limit passes when it is alone.
            format!("{} bytes of requests of one peer, its `request_bytes_max`", self.bytes_max)
        } else {
            return Ok(());
        };
        self.leave(bytes);
        Err(refused)
    }

    /// Gives the place of a request of `bytes` back.
    pub(crate) fn leave(&self, bytes: usize) {
        self.in_flight.fetch_sub(place(bytes), Ordering::Relaxed);
    }

    /// Whether a handler of the peer's messages or requests is at work.
    pub(crate) fn is_busy(&self) -> bool {
        self.in_flight() > 0 || self.turn.try_lock().is_err()
    }

    /// Requests in flight.
    pub(crate) fn in_flight(&self) -> usize {
        requests(self.in_flight.load(Ordering::Relaxed))
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
    pub(super) fn defer(self: &Arc<Self>, session: u64, id: u64, context: Context) -> Entry {
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

/// How many low bits count bytes: a frame has less than 2³² of them, and of more than 2²⁴ requests
/// the table of their handlers would not fit into memory.
const BYTE_BITS: u32 = 40;

/// One request in [`Source::in_flight`].
const fn place(bytes: usize) -> u64 {
    (1 << BYTE_BITS) + bytes as u64
}

const fn requests(in_flight: u64) -> usize {
    (in_flight >> BYTE_BITS) as usize
}

const fn bytes_of(in_flight: u64) -> usize {
    (in_flight & ((1 << BYTE_BITS) - 1)) as usize
}
