//! Requests that arrive.

use std::any::Any;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use bytes::{Buf, Bytes};
use tokio::time::timeout_at;

use super::limit::Limit;
use crate::clock::Millis;
use crate::context::{
    Asking, Bounced, Context, Handling, Origin, Panicked, Place, Refused, Slot, Source, Start,
    Unbegun, Unstarted, decode, refuse_request,
};
use crate::error::{Code, Status};
use crate::layer::{CallKind, Encoded, Ended, Handler, Incoming, Layers};
use crate::link::{PutError, Session, Violation};
use crate::map::Map;
use crate::wire::{Extension, Frame, Header, NO_DEADLINE, Reason};

/// A handler whose first poll takes longer than this holds up everything else on its lane. By a coarse
/// clock it may seem to, when it takes half as long.
const SLOW_POLL_MS: u64 = 10;

/// The methods that a node serves, by their numbers.
pub(crate) type Methods = Map<u64, Registered>;

/// One method.
pub(crate) struct Registered {
    pub(crate) name: &'static str,
    pub(crate) limit: Option<Limit>,
    /// The handler answers when it ends.
    start: Box<Start>,
    /// The same for layers: what it gives is the reply.
    layered: Arc<Handler>,
}

/// Hides a handler's types: what is left takes a request's bytes and ends when the answer is given.
pub(crate) fn erase<Q, R, H, F>(name: &'static str, handler: H) -> Registered
where
    Q: prost::Message + Default + 'static,
    R: prost::Message + 'static,
    H: Fn(Context, Q) -> F + Send + Sync + 'static,
    F: Future<Output = Result<R, Status>> + Send + 'static,
{
    let handler = Arc::new(handler);
    let layered = Arc::clone(&handler);
    let start =
        move |context: &Context, body: Bytes, slot: &mut Slot, may_run: &dyn Fn() -> bool| {
            let request = decode(body).map_err(Unstarted::Malformed)?;
            if !may_run() {
                return Err(Unstarted::Late);
            }
            let running = handler(context.clone(), request);
            slot.put(async move {
                let outcome = running.await;
                let give = |context: &Context| context.answer()?.give_now(outcome);
                // The context in which this runs is its own.
                if let Some(giving) = Context::of_current(give).flatten() {
                    giving.await;
                }
            });
            Ok(())
        };
    let layered: Arc<Handler> = Arc::new(move |context, body| {
        let request = decode(body)?;
        let handler = Arc::clone(&layered);
        Ok(Box::pin(async move {
            let reply = handler(context, request).await?;
            Ok(Encoded(reply.encode_to_vec().into()))
        }))
    });
    Registered { name, limit: None, start: Box::new(start), layered }
}

/// Serves a node's methods.
pub(crate) struct Server {
    methods: Methods,
    layers: Layers,
    is_draining: AtomicBool,
}

impl Server {
    pub(crate) fn new(methods: Methods, layers: Layers) -> Self {
        Self { methods, layers, is_draining: AtomicBool::new(false) }
    }

    /// From now on requests are refused as safe to retry.
    pub(crate) fn drain(&self) {
        self.is_draining.store(true, Ordering::Relaxed);
    }

    /// Everything that is checked before a handler starts.
    fn admit(
        &self,
        method: u64,
        extension: &Bytes,
        source: &Arc<Source>,
        body: &Bytes,
        time_left: u32,
    ) -> Result<(&Registered, Place), Refused> {
        if time_left == 0 {
            return Err(Reason::Expired.into());
        }
        if self.is_draining.load(Ordering::Relaxed) {
            return Err(Reason::Draining.into());
        }
        let registered = self.methods.get(&method).ok_or(Reason::Unimplemented)?;
        if !extension.is_empty()
            && let Err(tag) = Extension::read(extension)
        {
            let text = format!("the callee does not take field {tag} of its extension");
            return Err(Refused::new(Reason::Extension, text));
        }
        let busy = |what| {
            let text = format!("the callee handles no more at once than {what}");
            Refused::new(Reason::Busy, text)
        };
        let bytes = extension.len() + body.len();
        source.enter(bytes).map_err(busy)?;
        let limit = match registered.limit.as_ref().map(Limit::enter).transpose() {
            Ok(limit) => limit,
            Err(max) => {
                source.leave(bytes);
                return Err(busy(format!("{max} of this method, its `Limit`")));
            }
        };
        Ok((registered, Place { bytes, limit }))
    }
}

/// Takes the requests of one session.
pub(crate) struct Requests {
    server: Arc<Server>,
    pub(crate) session: Arc<Session>,
    pub(crate) source: Arc<Source>,
    node: Arc<dyn Any + Send + Sync>,
    /// For the next handler.
    handling: Handling,
}

impl Requests {
    pub(crate) fn new(
        server: Arc<Server>,
        session: Arc<Session>,
        source: Arc<Source>,
        node: Arc<dyn Any + Send + Sync>,
    ) -> Self {
        Self { server, session, source, node, handling: Handling::default() }
    }

    /// The same for another source, whose frames come over the same connection.
    pub(crate) fn beyond(&self, session: Arc<Session>, source: Arc<Source>) -> Self {
        Self::new(Arc::clone(&self.server), session, source, Arc::clone(&self.node))
    }

    /// Swaps what the next handler gets with those of another source: one is enough for all whose
    /// frames come over the same connection.
    pub(crate) fn swap_handling(&mut self, other: &mut Self) {
        std::mem::swap(&mut self.handling, &mut other.handling);
    }

    /// Takes a request that has arrived. Never waits: a handler that is not done when polled first
    /// goes on in a task of its own.
    pub(crate) fn on_request(&mut self, frame: Frame, now: Millis) -> Result<(), Violation> {
        let Frame { header, extension, mut body } = frame;
        let method = body.try_get_u64().unwrap_or(0);
        let admitted = self.server.admit(method, &extension, &self.source, &body, header.time_left);
        let (registered, place) = match admitted {
            Ok(admitted) => admitted,
            Err(refused) => return self.refuse(&header, method, refused),
        };
        let home = &self.session.link.home;
        let deadline = match header.time_left {
            NO_DEADLINE => Millis::NEVER,
            left => now.after(u64::from(left)),
        };
        self.handling.prepare(Origin {
            peer: header.from,
            clock: home.clock,
            deadline,
            extension: &extension,
            asked: Some(Asking {
                session: &self.session,
                source: &self.source,
                request: Bounced::request(&header, method),
                deadline,
                wants_reply: !header.is_one_way(),
                place,
            }),
            node: &self.node,
        });
        let session = &self.session;
        let layers = (!self.server.layers.is_empty()).then_some(&self.server.layers);
        let may_run = || !header.is_one_way() || session.count_handled();
        let before = home.clock.lately();
        let begun = self.handling.begin(|context, slot| match layers {
            None => (registered.start)(context, body, slot, &may_run),
            Some(layers) => {
                let context = context.clone();
                slot.put(layered(session, layers, registered, &header, context, body));
                Ok(())
            }
        });
        let method = registered.name;
        if let Err(Unbegun::Unstarted(unstarted)) = begun {
            return Ok(self.take_back(unstarted)?);
        }
        home.counters.requests.add(1);
        let took_ms = home.clock.lately().since(before);
        if took_ms + home.clock.late_ms() >= SLOW_POLL_MS {
            tracing::warn!(method, took_ms, "handler blocks its lane");
        }
        match begun {
            Ok(Poll::Ready(())) => Ok(()),
            Ok(Poll::Pending) => {
                let handling = std::mem::take(&mut self.handling);
                self.run(&header, handling, method)
            }
            Err(_) => {
                on_panic(self.handling.last().cloned(), method);
                Ok(())
            }
        }
    }

    /// The handler of the last request has not begun.
    fn take_back(&self, unstarted: Unstarted) -> Result<(), PutError> {
        let Some(context) = self.handling.last() else { return Ok(()) };
        match (context.clone().into_answer(), unstarted) {
            (Some(answer), Unstarted::Malformed(text)) => {
                answer.refuse(Refused::new(Reason::Malformed, text))
            }
            (Some(answer), Unstarted::Late) => {
                // The account of the session says that it did not arrive.
                answer.forget();
                Ok(())
            }
            (None, _) => Ok(()),
        }
    }

    /// Gives a handler a task of its own.
    fn run(
        &self,
        header: &Header,
        mut handling: Handling,
        method: &'static str,
    ) -> Result<(), Violation> {
        let Some(context) = handling.last().cloned() else { return Ok(()) };
        let home = &self.session.link.home;
        let deadline = home.clock.instant(context.deadline());
        let run = async move {
            // Past its deadline nobody waits for it.
            if let Ok(Err(Panicked)) = timeout_at(deadline, &mut handling).await {
                on_panic(handling.last().cloned(), method);
            }
        };
        if header.is_one_way() {
            // Nobody can take it back: it has no id.
            home.tasks.spawn(run);
            return Ok(());
        }
        let (session, id) = (self.session.id, header.id);
        if self.source.run(session, id, context, &home.tasks, run) {
            Ok(())
        } else {
            Err(Violation(format!("the call id {id} is in use")))
        }
    }

    /// Refuses a request that its handler shall not see.
    pub(crate) fn refuse(
        &self,
        header: &Header,
        method: u64,
        refused: Refused,
    ) -> Result<(), Violation> {
        let wants_reply = !header.is_one_way();
        let request = Bounced::request(header, method);
        Ok(refuse_request(&self.session, request, wants_reply, refused)?)
    }
}

/// Handles a request with layers around it.
fn layered(
    session: &Arc<Session>,
    layers: &Layers,
    registered: &Registered,
    header: &Header,
    context: Context,
    body: Bytes,
) -> impl Future<Output = ()> + Send + use<> {
    let (session, is_one_way) = (Arc::clone(session), header.is_one_way());
    let incoming = Incoming {
        home: Arc::clone(&session.link.home),
        layers: Arc::clone(layers),
        kind: if is_one_way { CallKind::Notification } else { CallKind::Call },
        method: registered.name,
        context: context.clone(),
        body,
        handler: Arc::clone(&registered.layered),
        count: Box::new(move || !is_one_way || session.count_handled()),
    };
    async move {
        let ended = incoming.run().await;
        match (context.into_answer(), ended) {
            (Some(answer), Ended::Handled(outcome)) => answer.give(outcome).await,
            (Some(answer), Ended::Refused(refused)) => answer.refuse_from_task(refused).await,
            (None, _) => {}
        }
    }
}

fn on_panic(context: Option<Context>, method: &'static str) {
    let Some(context) = context else { return };
    tracing::error!(method, peer = %context.peer(), "handler panicked");
    if let Some(mut answer) = context.into_answer() {
        answer.count_panic();
        answer.fail(Code::Internal, "the handler panicked");
    }
}
