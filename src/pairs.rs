//! Sending to destinations beyond harbors: each has a window and a path of its own.
//!
//! A path is the harbor of the own group over which a pair goes. It is left at once when the
//! connection to that harbor is lost. Otherwise only when nothing is on its way over it: what goes
//! over another would arrive before.

mod receipts;

use std::fmt;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

use crate::addr::LogicalAddr;
use crate::clock::{Millis, millis};
use crate::handshake::Lane as LaneId;
use crate::link::{Home, Line, Link, Put, PutError};
use crate::loss::Loss;
use crate::map::Map;
use crate::pair::{Ask, Looks, Window};
use crate::router::{Denied, Router};
use crate::wire::{FLAG_RECEIPT_WANTED, HEADER_LEN, Kind, Reason, Receipt};

pub(crate) use receipts::Receipts;

/// A pair over which nothing went for so long may be forgotten, if all is known of it. It begins
/// with number 1 again then, so the destination must have been ready for that for long. So long a
/// member is asked that does not answer, too.
const FORGET_MS: u64 = 2 * crate::pair::STALE_MS;
/// A pair over which nothing went for so long may take a better path.
const IDLE_MS: u64 = 1_000;

/// The pairs of which this node is the source.
pub(crate) struct Pairs {
    home: Arc<Home>,
    router: Arc<Router>,
    pairs: RwLock<Map<(LogicalAddr, LaneId), Arc<Pair>>>,
    looks: Mutex<Looks>,
}

/// One lane of a pair.
pub(crate) struct Pair {
    to: LogicalAddr,
    lane: LaneId,
    state: Mutex<State>,
    line: Line,
}

#[derive(Default)]
struct State {
    window: Window,
    path: Option<Arc<Link>>,
    /// When a frame last went.
    used: Millis,
}

/// Where frames to a destination go.
enum Way {
    /// To itself.
    Direct(Arc<Link>),
    /// Over harbors.
    Beyond { pair: Arc<Pair>, router: Arc<Router> },
}

impl Way {
    /// Puts a one-way frame; see [`crate::link::Lane::put`].
    fn put(
        &self,
        lane: LaneId,
        put: &Put,
        body: impl FnOnce(&mut Vec<u8>),
    ) -> Result<u64, PutError> {
        match self {
            Self::Direct(link) => link.lane(lane).put(*put, body),
            Self::Beyond { pair, router } => pair.put(router, *put, body),
        }
    }

    /// Waits for room until the frame's deadline, then lets `attempt` put it.
    ///
    /// # Cancel safety
    ///
    /// When dropped, nothing was put and the place in the line is free.
    async fn in_line(
        &self,
        home: &Home,
        lane: LaneId,
        deadline: Millis,
        full: PutError,
        mut attempt: impl FnMut() -> Result<u64, PutError>,
    ) -> Result<u64, PutError> {
        let mut outcome = Err(full);
        while home.clock.now() < deadline {
            outcome = match (outcome, self) {
                (Err(PutError::Window), Self::Beyond { pair, .. }) => {
                    pair.line.wait(home, deadline, PutError::Window, &mut attempt).await
                }
                (Err(PutError::Full), _) => {
                    let Some(link) = self.link() else { return outcome };
                    let is_moved = || self.link().is_none_or(|now| !Arc::ptr_eq(&now, &link));
                    let attempt = || match attempt() {
                        // There is no room on another path: that is where to wait.
                        Err(PutError::Full) if is_moved() => Err(PutError::Window),
                        outcome => outcome,
                    };
                    link.lane(lane).in_line(home, deadline, attempt).await
                }
                _ => return outcome,
            };
        }
        outcome
    }

    fn link(&self) -> Option<Arc<Link>> {
        match self {
            Self::Direct(link) => Some(Arc::clone(link)),
            Self::Beyond { pair, .. } => pair.state.lock().path.clone(),
        }
    }

    /// Why a frame was not put.
    fn denied(&self, error: PutError) -> Denied {
        match (error, self) {
            (PutError::Window, Self::Beyond { pair, router }) => {
                let max = router.home().config.pair_bytes_max;
                let detail = format!(
                    "{max} bytes are on their way to {} without a receipt, its `pair_bytes_max`",
                    pair.to
                );
                Denied::new(Reason::Full, detail)
            }
            (PutError::Closed(reason), Self::Beyond { pair, router }) => {
                router.link(pair.to).err().unwrap_or_else(|| Denied::new(reason, ""))
            }
            _ => match self.link() {
                Some(link) => Denied::by(&link, error),
                None => Denied::new(Reason::Unreachable, ""),
            },
        }
    }
}

impl Pairs {
    pub(crate) fn new(home: Arc<Home>, router: Arc<Router>) -> Self {
        Self { home, router, pairs: RwLock::default(), looks: Mutex::default() }
    }

    /// Puts a one-way frame; waits for room until its deadline.
    ///
    /// # Cancel safety
    ///
    /// When dropped, nothing was put.
    pub(crate) async fn put(
        &self,
        lane: LaneId,
        put: &Put,
        body: impl Fn(&mut Vec<u8>),
    ) -> Result<(), Denied> {
        let Some((way, full)) = self.put_now(lane, put, &body)? else { return Ok(()) };
        let attempt = || way.put(lane, put, &body);
        let outcome = way.in_line(&self.home, lane, put.deadline, full, attempt).await;
        self.conclude(&way, outcome)
    }

    /// Puts a one-way frame at once, or says why not.
    pub(crate) fn try_put(
        &self,
        lane: LaneId,
        put: &Put,
        body: impl Fn(&mut Vec<u8>),
    ) -> Result<(), Denied> {
        match self.put_now(lane, put, body)? {
            None => Ok(()),
            Some((way, full)) => Err(way.denied(full)),
        }
    }

    /// Puts a one-way frame at once, or says what it would have to wait for.
    fn put_now(
        &self,
        lane: LaneId,
        put: &Put,
        body: impl Fn(&mut Vec<u8>),
    ) -> Result<Option<(Way, PutError)>, Denied> {
        let to = put.header.to;
        // The simplest way, and the one of most frames.
        let near = self.router.with_neighbour(to, |link| link.lane(lane).put(*put, &body));
        if let Some(Ok(_)) = near {
            self.home.counters.accepted.add(1);
            return Ok(None);
        }
        let way = self.way(to, lane)?;
        match way.put(lane, put, body) {
            Err(full @ (PutError::Full | PutError::Window)) => Ok(Some((way, full))),
            outcome => self.conclude(&way, outcome).map(|()| None),
        }
    }

    fn conclude(&self, way: &Way, outcome: Result<u64, PutError>) -> Result<(), Denied> {
        outcome.map_err(|error| way.denied(error))?;
        self.home.counters.accepted.add(1);
        Ok(())
    }

    /// Where one-way frames to this address go on a lane.
    fn way(&self, to: LogicalAddr, lane: LaneId) -> Result<Way, Denied> {
        if !self.router.is_beyond(to) {
            return self.router.link(to).map(Way::Direct);
        }
        let known = self.pairs.read().get(&(to, lane)).map(Arc::clone);
        let pair = match known {
            Some(pair) => pair,
            None => {
                // Says at once what cannot be.
                self.router.link(to)?;
                self.enter(to, lane)?
            }
        };
        Ok(Way::Beyond { pair, router: Arc::clone(&self.router) })
    }

    fn enter(&self, to: LogicalAddr, lane: LaneId) -> Result<Arc<Pair>, Denied> {
        let mut pairs = self.pairs.write();
        let max = self.home.config.pairs_max;
        let now = self.home.clock.now();
        let is_full = pairs.len() >= max && !pairs.contains_key(&(to, lane));
        if is_full && self.looks.lock().look(now) {
            let is_needed = |pair: &Arc<Pair>| {
                let state = pair.state.lock();
                let is_young = now.since(state.used) < FORGET_MS;
                Arc::strong_count(pair) > 1 || is_young || !state.window.is_settled()
            };
            pairs.retain(|_, pair| is_needed(pair));
        }
        if pairs.len() >= max {
            let detail = format!("it sends to {max} destinations beyond harbors, its `pairs_max`");
            return Err(Denied::new(Reason::Busy, detail));
        }
        let new = || Arc::new(Pair { to, lane, state: Mutex::default(), line: Line::default() });
        Ok(Arc::clone(pairs.entry((to, lane)).or_insert_with(new)))
    }

    fn get(&self, to: LogicalAddr, lane: LaneId) -> Option<Arc<Pair>> {
        self.pairs.read().get(&(to, lane)).cloned()
    }

    fn all(&self) -> Vec<Arc<Pair>> {
        self.pairs.read().values().cloned().collect()
    }

    /// A destination has told how far it is.
    pub(crate) fn on_receipt(&self, from: LogicalAddr, receipt: Receipt) -> Option<Loss> {
        let lane = LaneId::from_number(receipt.lane)?;
        let pair = self.get(from, lane)?;
        let mut state = pair.state.lock();
        let loss = state.window.on_receipt(receipt, self.home.clock.now());
        if !state.window.is_settled() {
            self.home.unsettled.notify_one();
        }
        drop(state);
        pair.line.wake();
        loss
    }

    /// A numbered frame came back, or never left this node; `false` if it counts as lost already.
    #[must_use]
    pub(crate) fn on_bounce(&self, to: LogicalAddr, lane: LaneId, seq: u32) -> bool {
        let Some(pair) = self.get(to, lane) else { return false };
        let is_known = pair.state.lock().window.on_bounce(seq);
        pair.line.wake();
        is_known
    }

    /// A connection of this lane to a harbor is lost, or one behind it on the way to `to`.
    pub(crate) fn on_break(
        &self,
        link: &Arc<Link>,
        lost: LaneId,
        to: Option<LogicalAddr>,
    ) -> Vec<(LogicalAddr, Loss)> {
        let is_hit = |pair: &Arc<Pair>| {
            (lost == LaneId::Rpc || lost == pair.lane) && to.is_none_or(|to| to == pair.to)
        };
        let mut losses = Vec::new();
        for pair in self.all().into_iter().filter(is_hit) {
            let mut state = pair.state.lock();
            if state.path.as_ref().is_some_and(|path| Arc::ptr_eq(path, link)) {
                losses.extend(state.window.on_break().map(|loss| (pair.to, loss)));
            }
        }
        losses
    }

    /// Asks where an answer is due, and gives up what nobody will tell of any more.
    pub(crate) fn on_timer(&self) -> Vec<(LogicalAddr, Loss)> {
        let now = self.home.clock.now();
        let mut losses = Vec::new();
        for pair in self.all() {
            let patience = self.patience_ms(pair.to);
            let mut state = pair.state.lock();
            let given_up = state.window.give_up(now, patience);
            let (loss, ask) = state.window.on_timer(now);
            drop(state);
            losses.extend(given_up.into_iter().chain(loss).map(|loss| (pair.to, loss)));
            if let Some(ask) = ask {
                self.ask(&pair, ask);
            }
            pair.line.wake();
        }
        losses
    }

    /// How long a destination that says nothing is asked.
    fn patience_ms(&self, to: LogicalAddr) -> u64 {
        match self.router.member(to) {
            Some(_) => FORGET_MS,
            // A peer that discovery does not have gets no longer.
            None => millis(self.home.config.stop_timeout),
        }
    }

    fn ask(&self, pair: &Pair, ask: Ask) {
        let Ok(link) = self.router.next(self.home.me, pair.to) else { return };
        let mut header = self.home.header(Kind::Receipt, pair.to, 0);
        header.flags = FLAG_RECEIPT_WANTED;
        header.seq = ask.close;
        let put = Put::control(header, self.home.notice_deadline(), 1);
        // Without room for it, it is asked again.
        link.rpc().put(put, |out| out.push(pair.lane.number())).ok();
    }

    /// Waits until something was sent of which not all is known.
    pub(crate) async fn unsettled(&self) {
        while self.is_settled() {
            self.home.unsettled.notified().await;
        }
    }

    /// Whether nothing that was sent is without an answer.
    pub(crate) fn is_settled(&self) -> bool {
        self.pairs.read().values().all(|pair| pair.state.lock().window.is_settled())
    }
}

impl Pair {
    fn put(
        &self,
        router: &Router,
        mut put: Put,
        body: impl FnOnce(&mut Vec<u8>),
    ) -> Result<u64, PutError> {
        let home = router.home();
        let now = home.clock.lately();
        let len = HEADER_LEN + put.extension_len + put.body_len;
        let _not_moving = router.moving.read();
        let mut state = self.state.lock();
        state.choose(router, self.to, now)?;
        if !state.window.has_room(len, home.config.pair_bytes_max) {
            return Err(PutError::Window);
        }
        let Some(link) = &state.path else { return Err(PutError::Over) };
        put.header.seq = state.window.next();
        let position = link.lane(self.lane).put(put, body)?;
        if state.window.is_clear() {
            home.unsettled.notify_one();
        }
        state.window.send(len, put.deadline);
        state.used = now;
        Ok(position)
    }
}

impl State {
    /// Sees to it that there is a path, and that it may be used.
    fn choose(&mut self, router: &Router, to: LogicalAddr, now: Millis) -> Result<(), PutError> {
        if let Some(path) = &self.path {
            let is_good = path.is_trusted();
            if is_good && (!self.window.is_clear() || now.since(self.used) < IDLE_MS) {
                return Ok(());
            }
            if path.is_draining() && !self.window.is_clear() {
                // Soon nothing is on its way over it.
                return Err(PutError::Window);
            }
        }
        let link = router.link(to).map_err(|denied| PutError::Closed(denied.reason))?;
        self.path = Some(link);
        Ok(())
    }
}

impl fmt::Debug for Pairs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pairs").field("len", &self.pairs.read().len()).finish_non_exhaustive()
    }
}
