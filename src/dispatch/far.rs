//! Sources beyond harbors: what has come from each, and what it is told of that.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::sleep;

use crate::addr::LogicalAddr;
use crate::clock::Millis;
use crate::context::{Bounced, Source, bounce, send_back};
use crate::handshake::Lane;
use crate::incarnation::Incarnation;
use crate::link::{Far, Home, Session};
use crate::map::Map;
use crate::messaging::{FarMessages, Inbox};
use crate::pair::{Looks, RECEIPT_MS, STALE_MS};
use crate::wire::{Frame, Header, Reason};

/// All sources beyond harbors.
pub(crate) struct Fars {
    home: Arc<Home>,
    messages: FarMessages,
    sources: Mutex<Map<LogicalAddr, Arc<FarSource>>>,
    looks: Mutex<Looks>,
    /// How often sources were forgotten.
    forgotten: AtomicU64,
}

/// One run of one of them.
#[derive(Debug)]
pub(crate) struct FarSource {
    pub(crate) far: Arc<Far>,
    pub(crate) source: Arc<Source>,
    /// Over these its frames come, whichever harbor brings them.
    pub(crate) rpc: Arc<Session>,
    pub(crate) message: Arc<Session>,
    pub(crate) inbox: Inbox,
    used: Mutex<Millis>,
}

impl Fars {
    pub(crate) fn new(home: Arc<Home>, messages: FarMessages) -> Self {
        let (sources, looks) = (Mutex::default(), Mutex::default());
        Self { home, messages, sources, looks, forgotten: AtomicU64::new(0) }
    }

    /// The source of this frame; `None` if it is an earlier run than the one known, or one too many.
    pub(super) fn get(&self, carrier: &Session, header: &Header) -> Option<Arc<FarSource>> {
        let now = self.home.clock.lately();
        let mut sources = self.sources.lock();
        // The limits of a source, and the order of its messages, hold for all of its runs.
        let mut before = None;
        if let Some(known) = sources.get(&header.from) {
            // Numbers that begin again after a long time are those of a source that has forgotten.
            let is_stale = || now.since(*known.used.lock()) >= STALE_MS;
            let is_same = known.far.incarnation == header.incarnation;
            let is_anew = header.seq == 1 && is_stale() && known.inbox.is_empty();
            if is_same && !is_anew {
                *known.used.lock() = now;
                known.far.on_frame(&carrier.link);
                return Some(Arc::clone(known));
            }
            if known.far.incarnation > header.incarnation {
                self.home.counters.frames_skipped.add(1);
                return None;
            }
            if known.far.incarnation < header.incarnation {
                // Nobody waits for what the run before has asked.
                known.source.cancel_session(known.far.incarnation.bits());
            }
            // A source that did not restart goes on with its numbers: it sees by this that the
            // counts do not go on.
            self.forgotten.fetch_add(1, Ordering::Relaxed);
            before = Some((Arc::clone(&known.source), known.inbox.clone()));
        }
        let max = self.home.config.pairs_max;
        let is_full = sources.len() >= max && !sources.contains_key(&header.from);
        if is_full && !self.forget_idle(&mut sources, now) {
            self.home.counters.frames_skipped.add(1);
            return None;
        }
        let forgotten = self.forgotten.load(Ordering::Relaxed);
        let memory = self.home.incarnation().bits().saturating_add(forgotten);
        let memory = Incarnation::from_bits(memory);
        let far = Arc::new(Far::new(header.from, header.incarnation, memory, &carrier.link));
        let new = || (Source::new(&self.home.config), Inbox::default());
        let (source, inbox) = before.unwrap_or_else(new);
        let entered = Arc::new(FarSource {
            source,
            rpc: Session::beyond(&far, Lane::Rpc, carrier),
            message: Session::beyond(&far, Lane::Message, carrier),
            inbox,
            used: Mutex::new(now),
            far,
        });
        sources.insert(header.from, Arc::clone(&entered));
        Some(entered)
    }

    /// Makes room for others; whether there is any now.
    fn forget_idle(&self, sources: &mut Map<LogicalAddr, Arc<FarSource>>, now: Millis) -> bool {
        let mut looks = self.looks.lock();
        if !looks.look(now) {
            return false;
        }
        let (before, count) = (sources.len(), (self.home.config.pairs_max / 8).max(1));
        forget_idle(sources, count);
        let forgotten = before - sources.len();
        if forgotten == count {
            looks.was_worth_it();
        }
        self.forgotten.fetch_add(1, Ordering::Relaxed);
        forgotten > 0
    }

    /// The caller has given up.
    pub(super) fn cancel(&self, header: &Header) {
        let known = self.sources.lock().get(&header.from).cloned();
        if let Some(known) = known {
            known.source.cancel(header.incarnation.bits(), header.id);
        }
    }

    /// A one-way frame has come; whether it may be handled. The first one is answered by a receipt
    /// at once, so that the source knows which run this is.
    pub(super) fn arrive(&self, source: &FarSource, lane: Lane, seq: u32) -> bool {
        let mut arrivals = source.far.arrivals(lane);
        let is_first = arrivals.is_fresh();
        let is_new = arrivals.arrive(seq);
        drop(arrivals);
        if is_first {
            self.messages.receipts.tell(&source.far, lane);
        }
        is_new
    }

    /// A message has come.
    pub(super) fn on_message(&self, source: &Arc<FarSource>, frame: Frame, now: Millis) {
        let Header { kind, id, seq, .. } = frame.header;
        let bounced = Bounced { kind, id, subject: id, seq };
        if !self.arrive(source, Lane::Message, seq) {
            self.overtaken(&source.message, bounced);
            return;
        }
        let len = frame.len();
        let FarSource { inbox, message, source: permits, .. } = &**source;
        if self.messages.take(inbox, message, permits, frame, now).is_err() {
            bounce(&source.message, bounced, Reason::Busy).ok();
            self.settle(source, Lane::Message, seq, len);
        }
    }

    /// A one-way frame came behind a later one.
    pub(super) fn overtaken(&self, session: &Arc<Session>, bounced: Bounced) {
        // What finds no room its account misses.
        send_back(session, bounced, Reason::Overtaken).ok();
    }

    /// A one-way frame was handled or sent back.
    pub(super) fn settle(&self, source: &FarSource, lane: Lane, seq: u32, bytes: usize) {
        self.messages.receipts.settle(&source.far, lane, seq, bytes, false);
    }

    /// A source asks how far its frames are, and wants those up to `close` to be late from now on.
    pub(super) fn on_ask(&self, source: &FarSource, lane: Lane, close: u32) {
        if close != 0 {
            source.far.arrivals(lane).forbid(close);
        }
        self.messages.receipts.tell(&source.far, lane);
    }

    /// Tells sources what they were not told for a while, until dropped.
    pub(super) async fn keep_telling(&self) {
        loop {
            self.home.untold.notified().await;
            sleep(Duration::from_millis(RECEIPT_MS)).await;
            self.tell_all();
        }
    }

    /// Tells sources what they were not told yet.
    pub(crate) fn tell_all(&self) {
        let sources: Vec<_> = self.sources.lock().values().cloned().collect();
        for source in sources {
            for lane in [Lane::Rpc, Lane::Message] {
                if source.far.arrivals(lane).is_untold() {
                    self.messages.receipts.tell(&source.far, lane);
                }
            }
        }
    }

    /// Whether messages wait for their turn, or are being handled.
    pub(crate) fn is_handling(&self) -> bool {
        self.sources.lock().values().any(|source| !source.inbox.is_empty())
    }

    /// Messages that wait for their turn.
    pub(crate) fn messages_waiting(&self) -> usize {
        self.sources.lock().values().map(|source| source.inbox.waiting()).sum()
    }

    pub(super) fn requests_in_flight(&self) -> usize {
        self.sources.lock().values().map(|source| source.source.in_flight()).sum()
    }
}

/// Forgets those that have not been heard for longest, if nothing of theirs is at work.
fn forget_idle(sources: &mut Map<LogicalAddr, Arc<FarSource>>, count: usize) {
    let is_idle = |source: &Arc<FarSource>| source.inbox.is_empty() && !source.source.is_busy();
    let mut idle: Vec<_> = sources
        .iter()
        .filter(|(_, source)| is_idle(source))
        .map(|(address, source)| (*source.used.lock(), *address))
        .collect();
    idle.sort_unstable();
    for (_, address) in idle.into_iter().take(count) {
        sources.remove(&address);
    }
}

impl fmt::Debug for Fars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fars").field("len", &self.sources.lock().len()).finish_non_exhaustive()
    }
}
