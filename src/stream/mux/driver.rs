//! Drives a connection: yamux, its control stream, and what both are asked to do.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::select;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::sleep;

use super::carry::yamux_config;
use super::{Host, Mux, Order, Pipe};
use crate::clock::{Millis, millis};
use crate::link::Carried;
use crate::stream::buffered::{Buffered, Output};
use crate::stream::control::Control;
use crate::stream::ends::Ends;
use crate::wire::{Break, End, Frame, GoAway, Header, Kind, Pulse};

/// How often a connection with streams looks for those that are idle, and whether it is stuck.
const TICK: Duration = Duration::from_millis(500);
/// More of what tells how streams end does not wait: the peer makes them end, and reads nothing.
const CONTROL_BYTES_MAX: usize = 1 << 20;
/// Why a connection is over whose peer is stuck.
const NOT_TAKEN: &str = "the peer does not take what is sent to it";
/// Why a connection is over that has died without a word.
const SILENT: &str = "nothing came from the peer for three heartbeats";
/// Why a connection is over in which yamux cannot be trusted any more.
pub(super) const PANICKED: &str = "yamux panicked";
/// The id of the last ping: whoever answers it has read all before it. Others have 0.
const LAST_PING: u64 = 1;
/// How long a connection that was left stays after its last stream.
const LINGER_MS: u64 = 1_000;

/// How far a connection is with opening no more streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaving {
    No,
    /// The peer has been told.
    Told {
        since: Millis,
    },
    /// Both ends know, and the lane is free for another connection.
    Left {
        empty_since: Option<Millis>,
    },
}

/// How far a connection is with its end, because the node stops. Whoever waits for it is told when
/// the peer has read all.
enum Finishing {
    No,
    /// Not all is written.
    Writing(oneshot::Sender<()>),
    /// The last ping is on its way.
    Asked(oneshot::Sender<()>),
    Done,
}

/// Why a driver stops, or does something else first.
enum Turn {
    Over(String),
    /// The peer opens no more streams on it.
    Leave,
    /// There is something to watch now.
    Watch,
}

pub(super) struct Driver {
    mux: Arc<Mux>,
    connection: yamux::Connection<Buffered>,
    output: Arc<Mutex<Output>>,
    inbox: mpsc::UnboundedReceiver<Order>,
    /// Streams to be opened.
    wanted: VecDeque<oneshot::Sender<Pipe>>,
    control: Control,
    is_dialer: bool,
    /// Others have had the chance to put more into the same write.
    has_yielded: bool,
    /// Streams opened so far, by this node.
    opened: usize,
    leaving: Leaving,
    is_watching: bool,
    /// There are streams since then, and when a ping was put last.
    beating: Option<(Millis, Millis)>,
    finishing: Finishing,
    host: Arc<dyn Host>,
}

impl Driver {
    pub(super) fn new(
        mux: &Arc<Mux>,
        carried: Carried,
        inbox: mpsc::UnboundedReceiver<Order>,
        host: &Arc<dyn Host>,
    ) -> Self {
        let is_dialer = carried.is_dialer;
        let (buffered, output) = Buffered::new(Arc::clone(&mux.session), carried);
        let mode = if is_dialer { yamux::Mode::Client } else { yamux::Mode::Server };
        let config = yamux_config(&mux.session.link.home.config);
        Self {
            mux: Arc::clone(mux),
            connection: yamux::Connection::new(buffered, config, mode),
            output,
            inbox,
            wanted: VecDeque::new(),
            control: Control::default(),
            is_dialer,
            has_yielded: false,
            opened: 0,
            leaving: Leaving::No,
            is_watching: false,
            beating: None,
            finishing: Finishing::No,
            host: Arc::clone(host),
        }
    }

    /// Runs until the connection is over; says why.
    pub(super) async fn run(&mut self) -> String {
        let mux = Arc::clone(&self.mux);
        let (mut ended, tick) = (mux.session.ended.clone(), self.tick());
        loop {
            self.is_watching = self.is_to_watch();
            let turn = select! {
                biased;
                // The peer has left already, and has come with another connection.
                () = ended.cancelled(), if self.is_told() => Some(Turn::Leave),
                () = ended.cancelled() => return mux.session.link.trouble(),
                () = mux.session.probed.notified() => { self.ping(0); continue }
                () = sleep(tick), if self.is_watching => self.on_tick(),
                turn = poll_fn(|cx| self.poll(cx)) => Some(turn),
            };
            match turn {
                None | Some(Turn::Watch) => {}
                Some(Turn::Over(cause)) => return cause,
                Some(Turn::Leave) => {
                    // From here on it beats by itself: the pulse may be another one soon, or
                    // none yet.
                    ended = mux.gone.clone();
                    self.leave().await;
                }
            }
        }
    }

    fn is_told(&self) -> bool {
        matches!(self.leaving, Leaving::Told { .. })
    }

    fn tick(&self) -> Duration {
        let config = &self.mux.session.link.home.config;
        let tick = TICK.min(config.heartbeat / 2);
        let idle = config.stream_idle_timeout;
        let tick = if idle.is_zero() { tick } else { tick.min(idle / 4) };
        tick.max(Duration::from_millis(1))
    }

    fn now(&self) -> Millis {
        self.mux.session.link.home.clock.now()
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Turn> {
        self.take_orders(cx);
        let polled = catch_unwind(AssertUnwindSafe(|| self.poll_connection(cx)));
        let Ok(mut turn) = polled else {
            return Poll::Ready(Turn::Over(PANICKED.to_owned()));
        };
        // Also when the connection has ended: what it brought before is still to be heard.
        while let Poll::Ready(frame) = self.control.poll_frame(cx) {
            match frame.and_then(|frame| self.on_frame(&frame)) {
                Ok(None) => {}
                Ok(Some(next)) if turn.is_pending() => turn = Poll::Ready(next),
                Ok(Some(_)) => {}
                Err(cause) if turn.is_pending() => return Poll::Ready(Turn::Over(cause)),
                Err(_) => break,
            }
        }
        if turn.is_ready() {
            return turn;
        }
        if self.control.len() > CONTROL_BYTES_MAX {
            return Poll::Ready(Turn::Over(NOT_TAKEN.to_owned()));
        }
        let turn = self.poll_output(cx);
        if turn.is_pending() && !self.is_watching && self.is_to_watch() {
            return Poll::Ready(Turn::Watch);
        }
        turn
    }

    /// Whether a time matters that passes: not on a connection that is idle.
    fn is_to_watch(&self) -> bool {
        self.mux.len() > 0
            || self.leaving != Leaving::No
            || self.output.lock().stuck_since().is_some()
    }

    fn take_orders(&mut self, cx: &mut Context<'_>) {
        while let Poll::Ready(Some(order)) = self.inbox.poll_recv(cx) {
            match order {
                Order::Open(opened) if self.opens() => self.wanted.push_back(opened),
                // Whoever asked for it finds another connection.
                Order::Open(_) => {}
                Order::End { number, end, permit } => self.put_end(number, &end, permit),
                Order::Finish(done) => {
                    for (number, ends) in self.mux.all() {
                        self.break_off(number, &ends, Break::Stopped);
                    }
                    self.finishing = Finishing::Writing(done);
                    self.wanted.clear();
                }
            }
        }
    }

    /// Whether streams may still be opened.
    fn opens(&self) -> bool {
        self.leaving == Leaving::No && matches!(self.finishing, Finishing::No)
    }

    /// Breaks a stream off at both ends, whatever waits to be read.
    fn break_off(&mut self, number: u32, ends: &Ends, cause: Break) {
        let fault = self.mux.fault(cause, "");
        ends.break_off(fault.clone(), false);
        self.put_end(number, &End { bytes: 0, fault: Some(fault) }, None);
    }

    /// Drives yamux until it has nothing to do.
    fn poll_connection(&mut self, cx: &mut Context<'_>) -> Poll<Turn> {
        if let Poll::Ready(Err(error)) = self.poll_open(cx) {
            return Poll::Ready(Turn::Over(error.to_string()));
        }
        if let Poll::Ready(Err(error)) = self.control.poll_write(cx) {
            return Poll::Ready(Turn::Over(error.to_string()));
        }
        loop {
            match self.connection.poll_next_inbound(cx) {
                Poll::Ready(Some(Ok(yamux))) => self.on_stream(yamux),
                Poll::Ready(Some(Err(error))) => {
                    return Poll::Ready(Turn::Over(error.to_string()));
                }
                Poll::Ready(None) => {
                    return Poll::Ready(Turn::Over("closed by the peer".to_owned()));
                }
                Poll::Pending if self.output.lock().make_room_to_read() => {}
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Opens the streams that are wanted, the control stream before all others.
    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), yamux::ConnectionError>> {
        if self.is_dialer && !self.control.has_begun() {
            match self.connection.poll_new_outbound(cx) {
                Poll::Ready(Ok(pipe)) => self.control.begin(pipe),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
            // A stream comes to be with its first bytes.
            self.ping(0);
        }
        self.wanted.retain(|wanted| !wanted.is_closed());
        let opened_max = self.mux.session.link.home.config.streams_per_connection_max;
        while !self.wanted.is_empty() {
            if self.opened >= opened_max {
                self.begin_leaving();
                return Poll::Ready(Ok(()));
            }
            match self.connection.poll_new_outbound(cx) {
                Poll::Ready(Ok(yamux)) => {
                    self.opened += 1;
                    let pipe = self.mux.pipe(yamux);
                    if let Some(wanted) = self.wanted.pop_front() {
                        // It may be given up at this moment.
                        wanted.send(pipe).ok();
                    }
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(()))
    }

    fn on_stream(&mut self, yamux: yamux::Stream) {
        let number = yamux.id().val();
        if !self.is_dialer && number == 1 && !self.control.has_begun() {
            self.control.begin(yamux);
            return;
        }
        let pipe = self.mux.pipe(yamux);
        self.host.arrive(&self.mux, pipe);
    }

    /// `None`: nothing is to be done about it.
    fn on_frame(&mut self, frame: &Frame) -> Result<Option<Turn>, String> {
        let link = &self.mux.session.link;
        let Header { kind, from, id, .. } = frame.header;
        if from != link.peer {
            return Err(format!("{} sent a frame in the name of {from}", link.peer));
        }
        match kind {
            Kind::End => {
                let end = End::read(&frame.body).ok_or("an end is malformed")?;
                self.mux.on_end(u32::try_from(id).map_err(|_| "an end has no number")?, end);
            }
            Kind::Ping => {
                let pong = link.header(Kind::Pong, id);
                self.control.put(&pong, None, |out| Pulse::default().put(out));
            }
            Kind::GoAway => match self.leaving {
                Leaving::No | Leaving::Told { .. } => return Ok(Some(Turn::Leave)),
                Leaving::Left { .. } => {}
            },
            Kind::Pong if id == LAST_PING => {
                self.finishing = match mem::replace(&mut self.finishing, Finishing::Done) {
                    Finishing::Asked(done) => {
                        // Whoever waits for it may be gone.
                        done.send(()).ok();
                        Finishing::Done
                    }
                    unasked => unasked,
                };
            }
            // That it came is all that another pong says.
            Kind::Pong => {}
            Kind::Optional(_) => link.home.counters.frames_skipped.add(1),
            other => return Err(format!("a {other:?} came on the control stream")),
        }
        Ok(None)
    }

    fn put_end(&mut self, number: u32, end: &End, permit: Option<OwnedSemaphorePermit>) {
        let header = self.mux.session.link.header(Kind::End, u64::from(number));
        self.control.put(&header, permit, |out| end.put(out));
    }

    fn ping(&mut self, id: u64) {
        let header = self.mux.session.link.header(Kind::Ping, id);
        self.control.put(&header, None, |out| Pulse::default().put(out));
    }

    /// Tells the peer that another connection is to carry what is opened from now on.
    fn begin_leaving(&mut self) {
        self.wanted.clear();
        if self.leaving == Leaving::No {
            self.leaving = Leaving::Told { since: self.now() };
            self.put_go_away();
            self.host.close(&self.mux);
        }
    }

    fn put_go_away(&mut self) {
        let header = self.mux.session.link.header(Kind::GoAway, 0);
        self.control.put(&header, None, |out| GoAway::Draining.put(out));
    }

    /// Both ends know: the lane is free, and this connection stays for the streams that it has.
    async fn leave(&mut self) {
        let is_answer = self.leaving == Leaving::No;
        self.leaving = Leaving::Left { empty_since: None };
        self.wanted.clear();
        self.host.close(&self.mux);
        self.mux.session.leave("it has carried as many streams as it may".to_owned()).await;
        // Only now may the peer come with another one.
        if is_answer {
            self.put_go_away();
        }
    }

    /// Writes to the connection, once others have had their turn.
    fn poll_output(&mut self, cx: &mut Context<'_>) -> Poll<Turn> {
        let mut output = self.output.lock();
        let was_empty = output.is_empty();
        if was_empty {
            self.has_yielded = false;
        } else if !self.has_yielded && self.mux.len() > 1 {
            self.has_yielded = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        match output.poll_write_out(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(error)) => Poll::Ready(Turn::Over(error.to_string())),
            Poll::Ready(Ok(()))
                if !was_empty && matches!(self.finishing, Finishing::Writing(_)) =>
            {
                // There may be room now for what yamux still has.
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Ready(Ok(())) => {
                self.has_yielded = false;
                if self.mux.len() == 0 {
                    output.shrink();
                }
                drop(output);
                if self.control.len() == 0 {
                    self.ask_last(cx);
                }
                Poll::Pending
            }
        }
    }

    /// All is written: asks the peer to say when it has read that, if somebody waits for it.
    fn ask_last(&mut self, cx: &Context<'_>) {
        self.finishing = match mem::replace(&mut self.finishing, Finishing::No) {
            Finishing::Writing(done) => {
                self.ping(LAST_PING);
                cx.waker().wake_by_ref();
                Finishing::Asked(done)
            }
            other => other,
        };
    }

    /// Writes the rest, says that nothing more comes, and reads until the peer says so, too.
    pub(super) fn poll_farewell(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.output.lock().poll_shutdown(cx).is_pending() {
            return Poll::Pending;
        }
        let mut is_over = false;
        while !is_over && let Poll::Ready(next) = self.connection.poll_next_inbound(cx) {
            is_over = !matches!(next, Some(Ok(_)));
        }
        while let Poll::Ready(Ok(frame)) = self.control.poll_frame(cx) {
            // Whatever else it says makes no difference any more.
            drop(self.on_frame(&frame));
        }
        if is_over { Poll::Ready(()) } else { Poll::Pending }
    }

    fn on_tick(&mut self) -> Option<Turn> {
        let (now, home) = (self.now(), Arc::clone(&self.mux.session.link.home));
        let stuck_since = self.output.lock().stuck_since();
        if stuck_since.is_some_and(|since| now.since(since) >= home.dead_ms()) {
            return Some(Turn::Over(NOT_TAKEN.to_owned()));
        }
        if let Leaving::Told { since } = self.leaving
            && now.since(since) >= home.dead_ms()
        {
            return Some(Turn::Over("the peer does not answer".to_owned()));
        }
        if let Some(over) = self.beat(now) {
            return Some(over);
        }
        let idle = home.config.stream_idle_timeout;
        if !idle.is_zero() {
            for (number, ends) in self.mux.all() {
                if !ends.is_broken() && ends.idle_ms(now) >= millis(idle) {
                    self.break_off(number, &ends, Break::Idle);
                }
            }
        }
        if let Leaving::Left { empty_since } = &mut self.leaving {
            let since = empty_since.get_or_insert(now);
            if self.mux.len() > 0 {
                *empty_since = None;
            } else if now.since(*since) >= LINGER_MS {
                return Some(Turn::Over("its last stream is over".to_owned()));
            }
        }
        None
    }

    /// While there are streams both ends speak with each heartbeat: else one that only reads would
    /// wait for ever on a connection that died alone.
    fn beat(&mut self, now: Millis) -> Option<Turn> {
        if self.mux.len() == 0 {
            self.beating = None;
            return None;
        }
        let home = Arc::clone(&self.mux.session.link.home);
        let (since, pinged) = match self.beating {
            Some(beating) if now.since(beating.1) < millis(home.config.heartbeat) => beating,
            before => {
                self.ping(0);
                (before.map_or(now, |(since, _)| since), now)
            }
        };
        self.beating = Some((since, pinged));
        let heard = self.output.lock().heard().max(since);
        (now.since(heard) >= home.dead_ms()).then(|| Turn::Over(SILENT.to_owned()))
    }
}
