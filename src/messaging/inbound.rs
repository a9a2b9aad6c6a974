//! Messages that arrive: one sender's are handled one after another, different senders' side by
//! side. The reader of the lane waits for the handler; that is the backpressure.

use std::any::Any;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use bytes::Bytes;
use tokio::sync::OwnedMutexGuard;

use crate::clock::Millis;
use crate::context::{
    Bounced, Context, Handling, Origin, Panicked, Slot, Source, Start, Unbegun, Unstarted, bounce,
    decode,
};
use crate::layer::{self, CallKind, Encoded, Ended, Incoming, Layers};
use crate::link::{Flow, Session, Violation};
use crate::map::Map;
use crate::name::{Message, MessageId};
use crate::wire::{Extension, Frame, Reason};

/// The message handlers of a node, by id.
pub(crate) type Handlers = Map<MessageId, Registered>;

/// A handler, and the name of what it is for.
pub(crate) struct Registered {
    /// For people.
    pub(crate) name: String,
    start: Box<Start>,
    /// What layers know it by.
    method: &'static str,
    /// The same for layers.
    layered: Arc<layer::Handler>,
}

/// A handler for messages of one type.
pub(crate) fn typed_handler<M, H, F>(handler: H) -> Registered
where
    M: Message,
    H: Fn(Context, M) -> F + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    erase(M::NAME.to_owned(), M::NAME, decode, handler)
}

/// A handler for bytes as they are.
pub(crate) fn bytes_handler<H, F>(id: MessageId, handler: H) -> Registered
where
    H: Fn(Context, Bytes) -> F + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    erase(format!("bytes with id {id}"), "bytes", Ok, handler)
}

/// Hides a handler's types.
fn erase<M, H, F>(
    name: String,
    method: &'static str,
    decode: fn(Bytes) -> Result<M, String>,
    handler: H,
) -> Registered
where
    M: Send + 'static,
    H: Fn(Context, M) -> F + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let handler = Arc::new(handler);
    let layered = Arc::clone(&handler);
    let start =
        move |context: &Context, body: Bytes, slot: &mut Slot, may_run: &dyn Fn() -> bool| {
            let message = decode(body).map_err(Unstarted::Malformed)?;
            if !may_run() {
                return Err(Unstarted::Late);
            }
            let running = handler(context.clone(), message);
            slot.put(async move {
                running.await;
            });
            Ok(())
        };
    let layered: Arc<layer::Handler> = Arc::new(move |context, body| {
        let message = decode(body)?;
        let handler = Arc::clone(&layered);
        Ok(Box::pin(async move {
            handler(context, message).await;
            Ok(Encoded::default())
        }))
    });
    Registered { name, start: Box::new(start), method, layered }
}

/// What the message lanes of a node share.
pub(crate) struct Shared {
    handlers: Handlers,
    layers: Layers,
}

/// Takes the messages of one session.
pub(crate) struct Messages {
    shared: Arc<Shared>,
    session: Arc<Session>,
    node: Arc<dyn Any + Send + Sync>,
    stage: Stage,
    /// For the next handler.
    handling: Handling,
    /// From the first message of a turn until its end: a count for each message would be shared by
    /// all lanes.
    at_work: Option<AtWork>,
}

enum Stage {
    /// Waits for its turn: a handler of an earlier session may still be at work.
    Queued(Pin<Box<dyn Future<Output = OwnedMutexGuard<()>> + Send>>, Option<Frame>),
    Idle(OwnedMutexGuard<()>),
    Handling(OwnedMutexGuard<()>, Working),
    /// Only while it changes.
    Moving,
}

impl Shared {
    pub(crate) fn new(handlers: Handlers, layers: Layers) -> Arc<Self> {
        Arc::new(Self { handlers, layers })
    }
}

impl Messages {
    pub(crate) fn new(
        shared: Arc<Shared>,
        session: Arc<Session>,
        source: &Source,
        node: Arc<dyn Any + Send + Sync>,
    ) -> Self {
        let turn = Arc::clone(&source.turn);
        let stage = match Arc::clone(&turn).try_lock_owned() {
            Ok(turn) => Stage::Idle(turn),
            Err(_) => Stage::Queued(Box::pin(turn.lock_owned()), None),
        };
        Self { shared, session, node, stage, handling: Handling::default(), at_work: None }
    }

    /// What comes from now on is of another run of the same source.
    pub(super) fn change_session(&mut self, session: &Arc<Session>) {
        if !Arc::ptr_eq(&self.session, session) {
            self.session = Arc::clone(session);
        }
    }

    /// Takes a message that has arrived.
    pub(crate) fn on_message(&mut self, frame: Frame) -> Result<Flow, Violation> {
        match &mut self.stage {
            Stage::Idle(_) => self.handle(frame),
            Stage::Queued(_, waiting @ None) => {
                *waiting = Some(frame);
                Ok(Flow::Wait)
            }
            _ => Err(Violation("a message came out of turn".to_owned())),
        }
    }

    /// Whether the next message may come.
    pub(crate) fn poll_ready(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), Violation>> {
        loop {
            match &mut self.stage {
                Stage::Queued(turn, frame) => {
                    let Poll::Ready(turn) = turn.as_mut().poll(cx) else { return Poll::Pending };
                    let frame = frame.take();
                    self.stage = Stage::Idle(turn);
                    if let Some(frame) = frame {
                        self.handle(frame)?;
                    }
                }
                Stage::Handling(_, handling) => {
                    if Pin::new(handling).poll(cx).is_pending() {
                        return Poll::Pending;
                    }
                    if let Stage::Handling(turn, _) =
                        std::mem::replace(&mut self.stage, Stage::Moving)
                    {
                        self.stage = Stage::Idle(turn);
                    }
                }
                Stage::Idle(_) | Stage::Moving => return Poll::Ready(Ok(())),
            }
        }
    }

    /// Starts the message's handler, in turn.
    fn handle(&mut self, frame: Frame) -> Result<Flow, Violation> {
        let Frame { header, extension, body } = frame;
        let id = header.id;
        let bounced = Bounced { kind: header.kind, id, subject: id, seq: header.seq };
        let refuse = |reason| {
            bounce(&self.session, bounced, reason)?;
            Ok(Flow::Next)
        };
        if header.time_left == 0 {
            return refuse(Reason::Expired);
        }
        let Some(registered) = self.shared.handlers.get(&MessageId::new(id)) else {
            return refuse(Reason::UnknownMessage);
        };
        if !extension.is_empty() && Extension::read(&extension).is_err() {
            return refuse(Reason::Extension);
        }
        let (session, layers) = (&self.session, &self.shared.layers);
        // Layers may change it.
        if !extension.is_empty() || !layers.is_empty() || !self.handling.is_plain(header.from) {
            self.handling.prepare(Origin {
                peer: header.from,
                clock: session.link.home.clock,
                deadline: Millis::NEVER,
                extension: &extension,
                asked: None,
                node: &self.node,
            });
        }
        let at_work = self.at_work.take().unwrap_or_else(|| AtWork::new(session));
        let begun = self.handling.begin(|context, slot| {
            if layers.is_empty() {
                return (registered.start)(context, body, slot, &|| session.count_handled());
            }
            let context = context.clone();
            slot.put(layered(session, layers, registered, bounced, context, body));
            Ok(())
        });
        if let Ok(Poll::Pending) = begun {
            let handling = std::mem::take(&mut self.handling);
            let working = Working { handling, at_work, id };
            if let Stage::Idle(turn) = std::mem::replace(&mut self.stage, Stage::Moving) {
                self.stage = Stage::Handling(turn, working);
            }
            return Ok(Flow::Wait);
        }
        self.at_work = Some(at_work);
        match begun {
            Ok(_) => Ok(Flow::Next),
            Err(Unbegun::Unstarted(Unstarted::Malformed(_))) => refuse(Reason::Malformed),
            // The session is over: its account says that this one did not arrive.
            Err(Unbegun::Unstarted(Unstarted::Late)) => Ok(Flow::Wait),
            Err(Unbegun::Panicked) => {
                on_panic(session, id);
                Ok(Flow::Next)
            }
        }
    }

    /// No message comes for now.
    pub(crate) fn on_pause(&mut self) {
        self.at_work = None;
    }

    /// The session is over. A handler at work finishes, and only then the next session's begin.
    pub(crate) fn on_end(self) {
        if let Stage::Handling(turn, handling) = self.stage {
            let tasks = self.session.link.home.tasks.clone();
            tasks.spawn(async move {
                handling.await;
                drop(turn);
            });
        }
    }
}

/// Handles a message with layers around it.
fn layered(
    session: &Arc<Session>,
    layers: &Layers,
    registered: &Registered,
    bounced: Bounced,
    context: Context,
    body: Bytes,
) -> impl Future<Output = ()> + Send + use<> {
    let session = Arc::clone(session);
    let counted = Arc::clone(&session);
    let incoming = Incoming {
        home: Arc::clone(&session.link.home),
        layers: Arc::clone(layers),
        kind: CallKind::Message,
        method: registered.method,
        context,
        body,
        handler: Arc::clone(&registered.layered),
        count: Box::new(move || counted.count_handled()),
    };
    async move {
        if let Ended::Refused(refused) = incoming.run().await
            && bounce(&session, bounced, refused.reason).is_err()
        {
            session.give_up().await;
        }
    }
}

/// The node waits for it when it stops.
struct AtWork(Arc<Session>);

impl AtWork {
    fn new(session: &Arc<Session>) -> Self {
        session.link.home.begin_handling();
        Self(Arc::clone(session))
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.link.home.end_handling();
    }
}

/// A handler that was not done when it was polled first.
struct Working {
    handling: Handling,
    at_work: AtWork,
    id: u64,
}

impl Future for Working {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<()> {
        let ended = Pin::new(&mut self.handling).poll(cx);
        ended.map(|ended| ended.unwrap_or_else(|Panicked| on_panic(&self.at_work.0, self.id)))
    }
}

fn on_panic(session: &Session, id: u64) {
    session.link.home.counters.panics.add(1);
    let (message, peer) = (MessageId::new(id), session.source());
    tracing::error!(%message, %peer, "message handler panicked");
}
