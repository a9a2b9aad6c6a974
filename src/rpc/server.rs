//! Requests that arrive.

use std::any::Any;
use std::collections::HashMap;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context as TaskContext, Poll, Waker};

use bytes::{Buf, Bytes};
use foldhash::fast::RandomState;
use tokio::time::timeout_at;

use super::limit::Limit;
use crate::clock::Millis;
use crate::context::{
    Answer, Bounced, Context, Origin, Permit, Refused, Source, decode, refuse_request,
};
use crate::error::{Code, Status};
use crate::layer::{CallKind, Encoded, Ended, Handler, Incoming, Layers};
use crate::link::{Session, Violation};
use crate::wire::{Extension, Frame, Header, NO_DEADLINE, Reason};

/// A handler whose first poll takes longer than this holds up everything else on its lane.
const SLOW_POLL_MS: u64 = 10;

type Running = Pin<Box<dyn Future<Output = ()> + Send>>;
/// Gives no future for bytes that do not decode, but says why.
type Start = Box<dyn Fn(Context, Bytes) -> Result<Running, String> + Send + Sync>;

/// The methods that a node serves, by their numbers.
pub(crate) type Methods = HashMap<u64, Registered, RandomState>;

/// One method.
pub(crate) struct Registered {
    pub(crate) name: &'static str,
    pub(crate) limit: Option<Limit>,
    start: Start,
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
    let start = move |context: Context, body: Bytes| -> Result<Running, String> {
        let request = decode(body)?;
        let handler = Arc::clone(&handler);
        Ok(Box::pin(async move {
            let outcome = handler(context.clone(), request).await;
            if let Some(answer) = context.take_answer() {
                answer.give(outcome).await;
            }
        }))
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
    ) -> Result<(&Registered, Permit), Refused> {
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
        let mut permit = source.permit(extension.len() + body.len()).map_err(busy)?;
        if let Some(limit) = &registered.limit {
            let place = limit.enter();
            permit.limit =
                Some(place.map_err(|max| busy(format!("{max} of this method, its `Limit`")))?);
        }
        Ok((registered, permit))
    }
}

/// Takes the requests of one session.
pub(crate) struct Requests {
    pub(crate) server: Arc<Server>,
    pub(crate) session: Arc<Session>,
    pub(crate) source: Arc<Source>,
    pub(crate) node: Arc<dyn Any + Send + Sync>,
    /// When the last handler was polled, or the frames were read if that was later.
    pub(crate) polled: Millis,
}

impl Requests {
    /// Takes a request that has arrived. Never waits: a handler that is not done when polled first
    /// goes on in a task of its own.
    pub(crate) fn on_request(&mut self, frame: Frame, now: Millis) -> Result<(), Violation> {
        let Frame { header, extension, mut body } = frame;
        let method = body.try_get_u64().unwrap_or(0);
        let admitted = self.server.admit(method, &extension, &self.source, &body, header.time_left);
        let (registered, permit) = match admitted {
            Ok(admitted) => admitted,
            Err(refused) => return self.refuse(&header, method, refused),
        };
        let home = &self.session.link.home;
        let deadline = match header.time_left {
            NO_DEADLINE => Millis::NEVER,
            left => now.after(u64::from(left)),
        };
        let context = Context::new(Origin {
            peer: header.from,
            clock: home.clock,
            deadline,
            extension,
            answer: Some(Answer::new(&self.session, &header, method, deadline, permit)),
            node: Arc::clone(&self.node),
        });
        let has_layers = !self.server.layers.is_empty();
        let running = if has_layers {
            Ok(self.layered(registered, &header, context.clone(), body))
        } else {
            (registered.start)(context.clone(), body)
        };
        let running = match running {
            Ok(running) => running,
            Err(text) => {
                if let Some(answer) = context.take_answer() {
                    answer.refuse(Refused::new(Reason::Malformed, text))?;
                }
                return Ok(());
            }
        };
        let handling = Handling { running: Some(running), context, method: registered.name };
        if header.is_one_way() && !has_layers && !self.session.count_handled() {
            return Ok(());
        }
        home.counters.requests.add(1);
        let polled = handling.poll_once();
        let before = std::mem::replace(&mut self.polled, home.clock.now()).max(now);
        let took_ms = self.polled.since(before);
        if took_ms >= SLOW_POLL_MS {
            tracing::warn!(method = registered.name, took_ms, "handler blocks its lane");
        }
        if let Some(handling) = polled {
            return self.run(&header, handling);
        }
        Ok(())
    }

    /// Handles a request with layers around it.
    fn layered(
        &self,
        registered: &Registered,
        header: &Header,
        context: Context,
        body: Bytes,
    ) -> Running {
        let (session, is_one_way) = (Arc::clone(&self.session), header.is_one_way());
        let incoming = Incoming {
            home: Arc::clone(&session.link.home),
            layers: Arc::clone(&self.server.layers),
            kind: if is_one_way { CallKind::Notification } else { CallKind::Call },
            method: registered.name,
            context: context.clone(),
            body,
            handler: Arc::clone(&registered.layered),
            count: Box::new(move || !is_one_way || session.count_handled()),
        };
        Box::pin(async move {
            let ended = incoming.run().await;
            match (context.take_answer(), ended) {
                (Some(answer), Ended::Handled(outcome)) => answer.give(outcome).await,
                (Some(answer), Ended::Refused(refused)) => answer.refuse_from_task(refused).await,
                (None, _) => {}
            }
        })
    }

    /// Gives a handler a task of its own.
    fn run(&self, header: &Header, handling: Handling) -> Result<(), Violation> {
        let home = &self.session.link.home;
        let context = handling.context.clone();
        let deadline = home.clock.instant(context.deadline());
        let run = async move {
            // Past its deadline nobody waits for it.
            timeout_at(deadline, handling).await.ok();
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

/// A handler at work: its panics stay its own, and what it calls inherits its context.
struct Handling {
    running: Option<Running>,
    context: Context,
    method: &'static str,
}

impl Handling {
    /// Polls without waiting; `None` when it is done.
    fn poll_once(mut self) -> Option<Self> {
        // Nobody is woken by this poll: the task that gets it polls again at once.
        let poll = Pin::new(&mut self).poll(&mut TaskContext::from_waker(Waker::noop()));
        poll.is_pending().then_some(self)
    }

    fn on_panic(&mut self) {
        tracing::error!(method = self.method, peer = %self.context.peer(), "handler panicked");
        self.running = None;
        if let Some(mut answer) = self.context.take_answer() {
            answer.count_panic();
            answer.fail(Code::Internal, "the handler panicked");
        }
    }
}

impl Future for Handling {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<()> {
        let this = &mut *self;
        let Some(running) = &mut this.running else { return Poll::Ready(()) };
        let context = &this.context;
        let poll = || context.enter(|| running.as_mut().poll(cx));
        match catch_unwind(AssertUnwindSafe(poll)) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(())) => {
                this.running = None;
                Poll::Ready(())
            }
            Err(_) => {
                this.on_panic();
                Poll::Ready(())
            }
        }
    }
}

impl Drop for Handling {
    fn drop(&mut self) {
        // The future goes first: only then has the work really ended, and the permit with it.
        let running = self.running.take();
        let was_running = running.is_some();
        let ended = catch_unwind(AssertUnwindSafe(|| drop(running)));
        if let Some(answer) = was_running.then(|| self.context.take_answer()).flatten() {
            if ended.is_err() {
                answer.count_panic();
            }
            // Cancelled, or past its deadline: nobody waits.
            answer.forget();
        }
    }
}
