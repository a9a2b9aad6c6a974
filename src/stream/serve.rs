//! Streams that arrive: each goes to the handler of its service, or on to another node.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::table::Streams;
use super::{ACCEPTED, Stream, relay};
use crate::clock::Millis;
use crate::context::{Context, Origin};
use crate::incarnation::Incarnation;
use crate::routing::may_speak;
use crate::wire::{
    Break, Extension, Frame, FrameLimits, HEADER_LEN, Header, Kind, Open, Reason, decode,
};

/// A preamble has no large body.
const LIMITS: FrameLimits = FrameLimits { body_bytes_max: 1 << 10 };
/// The longest preamble: with the largest extension.
const PREAMBLE_BYTES_MAX: usize = HEADER_LEN + (16 << 10) + LIMITS.body_bytes_max;

type Running = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What a service does with a stream.
pub(crate) struct Service {
    pub(crate) name: String,
    start: Box<dyn Fn(Context, Stream) -> Running + Send + Sync>,
}

/// The services of a node, by the hashes of their names.
pub(crate) type Services = HashMap<u64, Service>;

/// Hides a handler's types.
pub(crate) fn service<H, F>(name: String, handler: H) -> Service
where
    H: Fn(Context, Stream) -> F + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    Service { name, start: Box::new(move |context, stream| Box::pin(handler(context, stream))) }
}

/// Why a stream is not accepted.
pub(super) struct Refused {
    reason: Reason,
    text: String,
}

impl Refused {
    pub(super) fn new(reason: Reason, text: impl Into<String>) -> Self {
        Self { reason, text: text.into() }
    }
}

impl From<Reason> for Refused {
    fn from(reason: Reason) -> Self {
        Self::new(reason, "")
    }
}

/// Takes a stream that a peer has opened, to its end.
pub(super) async fn arrive(streams: Arc<Streams>, mut stream: Stream) {
    let limit = streams.home.config.handshake_timeout;
    let frame = match timeout(limit, read_preamble(&mut stream)).await {
        Ok(Ok(frame)) => frame,
        Ok(Err(refused)) => return refuse(&streams, stream, refused),
        Err(_) => {
            let text = format!("its preamble did not come within {limit:?}");
            return refuse(&streams, stream, Refused::new(Reason::Expired, text));
        }
    };
    if let Err(refused) = admit(&streams, &stream, &frame) {
        return refuse(&streams, stream, refused);
    }
    stream.peer = frame.header.from;
    let _at_work = streams.begin_work();
    if frame.header.to == streams.home.me {
        serve(&streams, stream, frame).await;
    } else {
        relay::pass_on(&streams, stream, frame).await;
    }
}

/// Reads exactly the first frame, so that nothing of the bytes behind it is lost.
async fn read_preamble(stream: &mut Stream) -> Result<Frame, Refused> {
    let malformed = |text: String| Refused::new(Reason::Malformed, text);
    let mut buffer = BytesMut::with_capacity(HEADER_LEN);
    loop {
        let missing = match decode(&mut buffer, LIMITS) {
            Ok(Ok(frame)) => return Ok(frame),
            Ok(Err(missing)) => missing,
            Err(error) => return Err(malformed(error.to_string())),
        };
        let known = buffer.len();
        buffer.resize((known + missing).min(PREAMBLE_BYTES_MAX), 0);
        let fresh = buffer.get_mut(known..).unwrap_or_default();
        stream.read_exact(fresh).await.map_err(|error| malformed(error.to_string()))?;
    }
}

/// What holds for streams that end here and for those that go on.
fn admit(streams: &Streams, stream: &Stream, frame: &Frame) -> Result<(), Refused> {
    let (session, me) = (&stream.mux.session, streams.home.me);
    let (peer, header) = (session.link.peer, &frame.header);
    let Header { kind, from, to, .. } = *header;
    if kind != Kind::Open {
        return Err(Refused::new(Reason::Malformed, format!("a stream begins with a {kind:?}")));
    }
    if from != peer && !may_speak(me, peer, from) {
        tracing::warn!(%peer, name = %from, "stream opened in the name of another node");
        let text = format!("{peer} opened it in the name of {from}");
        return Err(Refused::new(Reason::Refused, text));
    }
    if to != me && !me.is_harbor() {
        return Err(Reason::NoRoute.into());
    }
    // A peer speaks as the run that it has proved to be.
    if from == peer && from != me && header.incarnation != session.incarnation {
        return Err(Reason::Incarnation.into());
    }
    if header.time_left == 0 {
        return Err(Reason::Expired.into());
    }
    if streams.is_draining() {
        return Err(Reason::Draining.into());
    }
    Ok(())
}

/// Runs the handler.
async fn serve(streams: &Streams, mut stream: Stream, frame: Frame) {
    let (service, extension) = match find(streams, &frame) {
        Ok(found) => found,
        Err(refused) => return refuse(streams, stream, refused),
    };
    let Some(node) = streams.node.upgrade() else { return };
    if stream.write_all(&[ACCEPTED]).await.is_err() {
        // Whoever opened it has given it up.
        return;
    }
    let home = &streams.home;
    home.counters.streams_accepted.add(1);
    let context = Context::new(Origin {
        peer: frame.header.from,
        clock: home.clock,
        deadline: Millis::NEVER,
        extension: &extension,
        asked: None,
        node: &node,
    });
    let started = catch_unwind(AssertUnwindSafe(|| (service.start)(context.clone(), stream)));
    let Ok(mut running) = started else {
        return on_panic(streams, service);
    };
    let run = std::future::poll_fn(|cx| {
        let polled = catch_unwind(AssertUnwindSafe(|| running.as_mut().poll(cx)));
        match polled {
            Ok(polled) => polled,
            Err(_) => {
                on_panic(streams, service);
                std::task::Poll::Ready(())
            }
        }
    });
    context.run(run).await;
}

fn on_panic(streams: &Streams, service: &Service) {
    streams.home.counters.panics.add(1);
    tracing::error!(service = service.name, "a handler of streams panicked");
}

fn find<'s>(streams: &'s Streams, frame: &Frame) -> Result<(&'s Service, Bytes), Refused> {
    let Some(open) = Open::read(&frame.body) else {
        return Err(Refused::new(Reason::Malformed, "its preamble has no service"));
    };
    let wanted = open.incarnation;
    if wanted != Incarnation::from_bits(0) && wanted != streams.home.incarnation() {
        return Err(Reason::Incarnation.into());
    }
    let service = streams
        .services
        .get(&open.service)
        .ok_or_else(|| Refused::new(Reason::Unimplemented, "no such service of streams"))?;
    if let Err(tag) = Extension::read(&frame.extension) {
        let text = format!("the callee does not take field {tag} of its extension");
        return Err(Refused::new(Reason::Extension, text));
    }
    Ok((service, frame.extension.clone()))
}

/// Says no to whoever has opened the stream.
pub(super) fn refuse(streams: &Streams, stream: Stream, refused: Refused) {
    streams.home.counters.streams_refused.add(1);
    let fault = stream.mux.fault(Break::Refused(refused.reason), refused.text);
    stream.break_off(fault);
}
