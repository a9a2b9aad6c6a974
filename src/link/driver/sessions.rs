//! How a driver begins and ends the sessions of its link.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::io::{AsyncRead, AsyncWrite, split};
use tokio::net::TcpStream;

use super::{Driver, FAREWELL};
use crate::handshake::{Established, Lane as LaneId};
use crate::link::home::{Carried, Upper};
use crate::link::outbox::Batch;
use crate::link::pump::{self, PumpError};
use crate::link::session::Session;
use crate::link::state::{Cause, FRAMED, LANES};
use crate::loss::Loss;
use crate::wire::{GoAway, Reason};

/// What may be on its way from a node to itself on one lane.
const LOOP_BYTES: usize = 64 << 10;

impl Driver {
    /// A handshake is done: the session begins. `is_known`: the peer knows that, too.
    pub(super) fn begin(&mut self, stream: TcpStream, established: Established, is_known: bool) {
        let (lane, peer) = (established.lane, &established.peer);
        tracing::debug!(
            peer = %self.link.peer, ?lane, session = established.session,
            incarnation = %peer.incarnation, version = peer.version_label, "session begins"
        );
        let (reader, writer) = stream.into_split();
        if lane == LaneId::Stream {
            let carried =
                Carried { reader: Box::new(reader), writer: Box::new(writer), is_dialer: is_known };
            self.run_streams(carried, &established);
        } else {
            self.run_session(reader, writer, &established, is_known);
        }
    }

    /// A link of the node to itself has one session on each lane, in memory, for ever.
    pub(super) fn loop_back(&mut self) {
        for lane in FRAMED {
            let (near, far) = tokio::io::duplex(LOOP_BYTES);
            let (_, writer) = split(near);
            let (reader, _) = split(far);
            let established = self.link.home.to_self(lane);
            let now = self.now();
            self.machine.on_accepted(lane, established.session, 0, now);
            self.run_session(reader, writer, &established, true);
        }
        // One end opens streams, the other accepts them; they end together.
        let (near, far) = tokio::io::duplex(LOOP_BYTES);
        let established = self.link.home.to_self(LaneId::Stream);
        let now = self.now();
        self.machine.on_accepted(LaneId::Stream, established.session, 0, now);
        for (end, is_dialer) in [(far, false), (near, true)] {
            let (reader, writer) = split(end);
            let carried = Carried { reader: Box::new(reader), writer: Box::new(writer), is_dialer };
            self.run_streams(carried, &established);
        }
    }

    fn run_streams(&mut self, carried: Carried, established: &Established) {
        let Some(session) = self.begin_session(established, carried.is_dialer) else { return };
        let Some(upper) = self.upper() else { return };
        let carrying = upper.carry(Arc::clone(&session), carried);
        self.link.home.tasks.spawn(async move {
            let cause = carrying.await;
            session.leave(cause).await;
        });
    }

    fn run_session(
        &mut self,
        reader: impl AsyncRead + Send + Unpin + 'static,
        writer: impl AsyncWrite + Send + Unpin + 'static,
        established: &Established,
        is_known: bool,
    ) {
        let Some(session) = self.begin_session(established, is_known) else { return };
        let Some(upper) = self.upper() else { return };
        let inbound = upper.inbound(Arc::clone(&session));
        let (lane, tasks) = (established.lane, &self.link.home.tasks);
        let (reading, writing) = (Arc::clone(&session), Arc::clone(&session));
        tasks.spawn(async move {
            let error = pump::read(reader, Arc::clone(&reading), inbound).await;
            say_goodbye(&reading, &error).await;
            tell_ended(&reading, &error).await;
        });
        self.work[lane.index()].writer = Some(tasks.spawn(async move {
            let link = &writing.link;
            let report = |unsent, reason| upper.on_unsent(link, unsent, reason);
            let (batch, error) = pump::write(writer, Arc::clone(&writing), report).await;
            tell_ended(&writing, &error).await;
            batch
        }));
    }

    /// Makes the lane's new session known to all who have to do with it.
    fn begin_session(&mut self, established: &Established, is_known: bool) -> Option<Arc<Session>> {
        let upper = self.upper()?;
        let now = self.now();
        let session = Session::new(Arc::clone(&self.link), established, is_known);
        self.has_failed = false;
        self.link.failed.store(0, Ordering::Relaxed);
        self.link.is_wanted.store(false, Ordering::Relaxed);
        self.link.heard.store(now.0, Ordering::Relaxed);
        self.link.awake.store(now.0, Ordering::Relaxed);
        let (settled, incarnation) = (established.peer.counts, self.link.home.incarnation());
        let port = self.link.lane(established.lane);
        let (loss, too_large) = port.begin(&session, settled, incarnation, now);
        self.report(&upper, loss);
        for unsent in too_large {
            upper.on_unsent(&self.link, unsent, Reason::TooLarge);
        }
        Some(session)
    }

    /// Ends a session: its counts become final, and what it had not sent waits again.
    pub(super) async fn end(&mut self, lane: LaneId, cause: Cause) {
        let port = self.link.lane(lane);
        let Some(session) = port.session() else { return };
        tracing::debug!(peer = %self.link.peer, ?lane, session = session.id, ?cause, "session over");
        if cause != Cause::Closed {
            self.link.set_trouble(cause.to_string());
        }
        let last = session.close();
        let mut batch = match self.work[lane.index()].writer.take() {
            // It ends at once: it waits for nothing but the connection and `ended`.
            Some(writer) => writer.await.unwrap_or_default(),
            None => Batch::default(),
        };
        let (handed, loss) = port.end(last, &mut batch);
        if lane != LaneId::Rpc && self.link.rpc().session().is_none() {
            // Bounces alone are not worth a connection to a peer that may never come back.
            port.on_bounces_dropped(self.link.rpc().drop_fleeting());
        }
        let Some(upper) = self.upper() else { return };
        self.report(&upper, loss);
        let is_bad = matches!(cause, Cause::Closed | Cause::Silent | Cause::Stalled);
        self.has_failed |= lane == LaneId::Rpc && is_bad;
        // What this node has finished itself was read to its end: nothing is lost.
        let is_lost = cause != Cause::Closed || !session.is_finishing();
        if is_lost && lane != LaneId::Stream {
            upper.on_lane_lost(&self.link, lane);
        }
        if self.has_failed && LANES.into_iter().all(|lane| self.link.lane(lane).session().is_none())
        {
            self.has_failed = false;
            upper.on_failed(&self.link);
        }
        if lane == LaneId::Rpc {
            // Whoever answers next has not said that it drains.
            self.link.is_draining.store(false, Ordering::Relaxed);
            upper.on_calls_cut(&self.link, handed.below);
            for lane in FRAMED {
                let gone = self.link.lane(lane).on_bounces_gone();
                self.report(&upper, gone);
            }
        }
    }

    fn report(&self, upper: &Arc<dyn Upper>, loss: Option<Loss>) {
        if let Some(loss) = loss {
            upper.on_loss(&self.link, loss);
        }
    }
}

/// Tells a peer that broke a rule which one, before its connection is closed.
async fn say_goodbye(session: &Session, error: &PumpError) {
    if !matches!(error, PumpError::Frame(_) | PumpError::Violation(_)) {
        return;
    }
    let link = &session.link;
    tracing::warn!(peer = %link.peer, lane = ?session.lane, %error, "peer broke a rule");
    let text = GoAway::Closing(error.to_string());
    if link.put_go_away(session, &text).is_ok() {
        link.lane(session.lane).flushed(FAREWELL).await;
    }
}

async fn tell_ended(session: &Session, error: &PumpError) {
    if !matches!(error, PumpError::Ended) {
        session.leave(error.to_string()).await;
    }
}
