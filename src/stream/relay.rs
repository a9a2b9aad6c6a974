//! Streams between clusters: a harbor opens the next leg and carries bytes both ways.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_io::AsyncWrite as _;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::time::sleep;
use tokio::{select, try_join};

use super::Stream;
use super::mux::Mux;
use super::open::Preamble;
use super::serve::{Refused, refuse};
use super::table::Streams;
use crate::error::StreamError;
use crate::router::Denied;
use crate::routing::HOPS_MAX;
use crate::wire::{Break, Fault, Frame, NO_DEADLINE, Reason};

/// What a harbor holds of one direction of a stream, beside the windows of its two legs.
const COPY_BYTES: usize = 16 << 10;

/// How long the bytes before a break may take to be handed on, when their reader is slow.
const LAST_BYTES: Duration = Duration::from_millis(200);

/// Hands a stream on, to its end.
pub(super) async fn pass_on(streams: &Arc<Streams>, mut near: Stream, frame: Frame) {
    let (home, came) = (&streams.home, near.mux.session.link.peer);
    let Frame { mut header, extension, body } = frame;
    header.hops = header.hops.saturating_add(1);
    if header.hops > HOPS_MAX {
        return refuse(streams, near, Reason::Hops.into());
    }
    let now = home.clock.now();
    let deadline = match header.time_left {
        NO_DEADLINE => now.deadline(home.config.call_timeout),
        left => now.after(u64::from(left)),
    };
    let way = || {
        let goes = streams.router.next(header.from, header.to)?;
        if goes.peer == came { Err(Denied::new(Reason::NoRoute, "")) } else { Ok(goes) }
    };
    near.acknowledge().await;
    let leg = select! {
        biased;
        // Whoever opened it has given it up.
        _ = near.ends.broken() => return,
        leg = streams.leg(way, Preamble { header, extension, body }, deadline) => leg,
    };
    match leg {
        Ok(far) => {
            home.counters.streams_relayed.add(1);
            join(near, far).await;
        }
        Err(Denied { reason, detail }) => refuse(streams, near, Refused::new(reason, detail)),
    }
}

/// Carries bytes, ends and breaks from each of the two to the other.
async fn join(mut near: Stream, mut far: Stream) {
    let (near_ends, far_ends) = (Arc::clone(&near.ends), Arc::clone(&far.ends));
    let mux = Arc::clone(&near.mux);
    let broken = async {
        let fault = select! {
            fault = near_ends.broken() => fault,
            fault = far_ends.broken() => fault,
        };
        // What came before it goes on, if it can.
        sleep(LAST_BYTES).await;
        fault
    };
    let carried = async {
        let (near_reader, near_writer) = split(&mut near);
        let (far_reader, far_writer) = split(&mut far);
        try_join!(carry(near_reader, far_writer), carry(far_reader, near_writer))
    };
    let fault = select! {
        fault = broken => fault,
        carried = carried => match carried {
            Ok((Ok(()), Ok(()))) => return,
            Ok((Err(error), _) | (_, Err(error))) | Err(error) => fault_of(&mux, &error),
        }
    };
    near.hand_on(&fault);
    far.hand_on(&fault);
}

/// Carries one direction to its end; fails with what broke the leg that it reads. A write that
/// fails is no more than the outcome: what broke the leg that is written may stand behind bytes
/// that came from there, and behind their end, and these are for the other direction to read first.
async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
) -> io::Result<io::Result<()>> {
    let mut bytes = vec![0; COPY_BYTES];
    loop {
        let read = from.read(&mut bytes).await?;
        if read == 0 {
            return Ok(to.shutdown().await);
        }
        if let Err(error) = to.write_all(bytes.get(..read).unwrap_or_default()).await {
            return Ok(Err(error));
        }
    }
}

fn fault_of(mux: &Mux, error: &io::Error) -> Fault {
    match StreamError::of(error) {
        Some(StreamError { cause, hop, detail }) => {
            Fault { cause: *cause, hop: *hop, text: detail.clone() }
        }
        None => mux.fault(Break::Lost, error.to_string()),
    }
}

impl Stream {
    /// Lets the peer know that the stream is there. Of those that it does not know that of yamux
    /// opens no more than 256, and others must not wait for the next hop of these.
    async fn acknowledge(&mut self) {
        // If it cannot be told it is broken, which the next to use it finds.
        poll_fn(|cx| Pin::new(&mut self.yamux).poll_write(cx, &[])).await.ok();
    }

    /// Breaks off what its other leg broke; nothing is said to whoever has said it.
    fn hand_on(self, fault: &Fault) {
        if !self.ends.is_broken() {
            self.break_off(fault.clone());
        }
    }
}
