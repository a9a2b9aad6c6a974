//! The facade: what users hold in their hands.

mod address;
mod assembly;
mod builder;
mod carrying;
mod engine;
mod error;
mod membership;
mod picture;
mod stop;

use std::any::Any;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use address::IntoAddr;
pub use builder::{Builder, Serve};
pub use error::StartError;
pub use stop::{Report, StopCause};

use engine::Engines;

use crate::addr::{LogicalAddr, NodeType};
use crate::context::Context;
use crate::discovery::Member;
use crate::dispatch::Dispatch;
use crate::error::SendError;
use crate::incarnation::Incarnation;
use crate::link::Home;
use crate::messaging::{Raw, Sender, Subject};
use crate::metrics::Stats;
use crate::name::{Message, MessageId, Method};
use crate::router::{Denied, Router};
use crate::routing::Target;
use crate::rpc::{Caller, Request};
use crate::stream::OpenStream;
use crate::wire::Reason;

/// This process's endpoint in the cluster: it calls, sends, and serves under its address.
///
/// Cheap to clone. Several nodes may run in one process. When the last handle is dropped, the node
/// stops at once; [`Node::shutdown`] lets it finish first.
#[derive(Clone)]
pub struct Node {
    pub(crate) inner: Arc<Inner>,
    /// Stops the node when the last handle goes.
    _guard: Option<Arc<Guard>>,
}

pub(crate) struct Inner {
    home: Arc<Home>,
    router: Arc<Router>,
    caller: Arc<Caller>,
    sender: Sender,
    dispatch: Arc<Dispatch>,
    engines: Engines,
    labels: Vec<(String, String)>,
    local_addr: SocketAddr,
    /// Why the node stops, once it does.
    stopping: watch::Sender<Option<StopCause>>,
    /// What was given up; told to all who asked the node to stop.
    report: Mutex<Report>,
    /// Everything has ended.
    stopped: CancellationToken,
    guard: Weak<Guard>,
}

impl Inner {
    /// This, as those who keep it hold it.
    fn this(&self) -> Option<Arc<Self>> {
        self.dispatch.node.upgrade()?.downcast().ok()
    }
}

struct Guard(Arc<Home>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.stop.cancel();
    }
}

impl Node {
    /// Begins the making of a node with this address: a [`LogicalAddr`], or a text such as `1.2.3`.
    pub fn builder(address: impl IntoAddr) -> Builder {
        Builder::new(address)
    }

    fn new(inner: Arc<Inner>) -> Self {
        let guard = inner.guard.upgrade();
        Self { inner, _guard: guard }
    }

    /// The node's address.
    #[must_use]
    pub fn address(&self) -> LogicalAddr {
        self.inner.home.me
    }

    /// This run of the node.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.inner.home.incarnation()
    }

    /// The network address that it listens on.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.inner.local_addr
    }

    /// Calls a method: a [`Request`] to be awaited.
    ///
    /// A call to a member that cannot be reached waits for it until its deadline,
    /// [`crate::Config::call_timeout`] (5 s) unless [`Request::within`] says less, and then ends as
    /// [`crate::CallError::NotSent`] with what went wrong last.
    pub fn call<Q, R>(
        &self,
        to: impl Into<Target>,
        method: Method<Q, R>,
        message: Q,
    ) -> Request<'_, Q, R>
    where
        Q: prost::Message,
        R: prost::Message + Default,
    {
        Request::new(&self.inner.caller, to.into(), method, message)
    }

    /// Sends a message. `Ok` says that it waits in the bounded outbox of a link that is up or being
    /// dialled; what becomes of it, if it does not arrive, goes to
    /// [`Builder::on_undeliverable`]. While the lane is full it waits, until the message's deadline:
    /// [`crate::Config::message_timeout`], or what is left of the handler's.
    ///
    /// Messages of one node to another are handled in the order in which they were accepted.
    ///
    /// # Errors
    ///
    /// When it was not accepted; nothing was sent then. [`Reason::Full`] after the deadline.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it is done, nothing was sent.
    pub async fn send<M: Message>(
        &self,
        to: impl Into<Target>,
        message: &M,
    ) -> Result<(), SendError> {
        let to = to.into();
        self.check_sending(&to, Subject::of::<M>())?;
        self.inner.sender.send(&to, Subject::of::<M>(), message).await
    }

    /// Sends a message without ever waiting; preferred inside message handlers, which hold up
    /// their sender while they wait.
    ///
    /// # Errors
    ///
    /// As [`Node::send`]; [`Reason::Full`] at once.
    pub fn try_send<M: Message>(
        &self,
        to: impl Into<Target>,
        message: &M,
    ) -> Result<(), SendError> {
        let to = to.into();
        self.check_sending(&to, Subject::of::<M>())?;
        self.inner.sender.try_send(&to, Subject::of::<M>(), message)
    }

    /// Sends bytes as a message, for a handler of [`Builder::on_bytes`], where an example is. For
    /// everything else see [`Node::send`].
    ///
    /// # Errors
    ///
    /// As [`Node::send`].
    ///
    /// # Cancel safety
    ///
    /// Dropped before it is done, nothing was sent.
    pub async fn send_bytes(
        &self,
        to: impl Into<Target>,
        id: MessageId,
        bytes: &[u8],
    ) -> Result<(), SendError> {
        let to = to.into();
        self.check_sending(&to, Subject::bytes(id))?;
        self.inner.sender.send(&to, Subject::bytes(id), &Raw(bytes)).await
    }

    /// Sends bytes as a message without ever waiting.
    ///
    /// # Errors
    ///
    /// As [`Node::try_send`].
    pub fn try_send_bytes(
        &self,
        to: impl Into<Target>,
        id: MessageId,
        bytes: &[u8],
    ) -> Result<(), SendError> {
        let to = to.into();
        self.check_sending(&to, Subject::bytes(id))?;
        self.inner.sender.try_send(&to, Subject::bytes(id), &Raw(bytes))
    }

    /// Opens a stream of bytes to a service of another node, or of this one: an [`OpenStream`] to be
    /// awaited, which gives the [`crate::Stream`] once the other end has accepted it. All streams
    /// between two nodes share one connection; neither disturbs another. See
    /// [`Builder::on_stream`] for the other end.
    pub fn open_stream(&self, to: impl Into<Target>, service: impl Into<String>) -> OpenStream<'_> {
        OpenStream::new(&self.inner.dispatch.streams, to.into(), service.into())
    }

    /// A node that drains takes nothing new, but lets handlers at work finish what they do.
    fn check_sending(&self, to: &Target, subject: Subject) -> Result<(), SendError> {
        if self.inner.home.is_draining() && Context::of_current(|_| ()).is_none() {
            return Err(
                subject.refused(to.clone(), Denied::new(Reason::Draining, "it is this node"))
            );
        }
        Ok(())
    }

    /// Those that a [`crate::Pick`] of this type would pick from: the available ones of the own
    /// group, the node itself among them, then those exported by other groups.
    ///
    /// ```no_run
    /// # #[derive(Clone, PartialEq, prost::Message)] struct Line {}
    /// # impl seaway::Message for Line { const NAME: &'static str = "chat.Line"; }
    /// # async fn example(node: seaway::Node, line: Line) -> Result<(), seaway::SendError> {
    /// const ROOMS: seaway::NodeType = seaway::NodeType::new(7);
    /// for room in node.members(ROOMS) {
    ///     node.send(room.address, &line).await?;
    /// }
    /// # Ok(()) }
    /// ```
    pub fn members(&self, node_type: NodeType) -> impl Iterator<Item = Arc<Member>> + use<> {
        let candidates = self.inner.router.candidates(node_type);
        (0..).map_while(move |at| candidates.get(at).cloned())
    }

    /// All members that discovery knows and this node may see, available or not, by type and then
    /// by address.
    #[must_use]
    pub fn all_members(&self) -> Vec<Arc<Member>> {
        self.inner.router.table().members().cloned().collect()
    }

    /// Waits until the members are as wanted, which is asked at once and after each change of what
    /// discovery knows. A node that has stopped hears of none, so put a timeout around it.
    ///
    /// ```no_run
    /// # async fn example(node: seaway::Node) {
    /// const ROOMS: seaway::NodeType = seaway::NodeType::new(7);
    /// node.members_until(|node| node.members(ROOMS).count() >= 3).await;
    /// # }
    /// ```
    ///
    /// # Cancel safety
    ///
    /// Safe: nothing is lost when the future is dropped.
    pub async fn members_until(&self, mut is_wanted: impl FnMut(&Self) -> bool) {
        loop {
            // Made first, so that no change is missed while it is asked.
            let changed = self.inner.router.changed.notified();
            if is_wanted(self) {
                return;
            }
            changed.await;
        }
    }

    /// What the node has counted since it started.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.inner.home.counters.stats()
    }

    /// How many messages and notifications came back, by reason; only those above 0.
    #[must_use]
    pub fn bounced_by_reason(&self) -> Vec<(Reason, u64)> {
        self.inner.home.counters.bounced_by.all()
    }

    /// Waits until the node has stopped, and says why it did.
    ///
    /// # Cancel safety
    ///
    /// Safe: nothing is lost when the future is dropped.
    pub async fn stopped(&self) -> StopCause {
        self.inner.stopped.cancelled().await;
        self.inner.stopping.borrow().clone().unwrap_or(StopCause::Dropped)
    }

    /// Waits until the node begins to stop, for whatever reason: time for handlers of streams to
    /// come to an end.
    ///
    /// # Cancel safety
    ///
    /// Safe: nothing is lost when the future is dropped.
    pub async fn draining(&self) -> StopCause {
        let mut stopping = self.inner.stopping.subscribe();
        let cause = stopping.wait_for(Option::is_some).await;
        cause.ok().and_then(|cause| cause.clone()).unwrap_or(StopCause::Dropped)
    }

    /// Stops the node in good order: it becomes unavailable in discovery and tells its peers, takes
    /// nothing new, finishes the requests, messages and streams that it has, writes what waits, and closes.
    /// After `within`, what is not done is abandoned; the report says how much that was. Of several
    /// who ask, the one with the least patience decides, and all get the same report.
    ///
    /// # Cancel safety
    ///
    /// When dropped, the node goes on stopping.
    pub async fn shutdown(&self, within: Duration) -> Report {
        stop::shutdown(Arc::clone(&self.inner), StopCause::Asked, within).await
    }
}

impl Context {
    /// The node that handles this, for calls and messages of its own.
    ///
    /// # Panics
    ///
    /// Never: a context is made by a node only.
    #[must_use]
    pub fn node(&self) -> Node {
        let node: Arc<dyn Any + Send + Sync> = Arc::clone(self.home());
        #[expect(clippy::panic, reason = "a context is made by a node only")]
        match node.downcast::<Inner>() {
            Ok(inner) => Node::new(inner),
            Err(_) => panic!("a context without a node"),
        }
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("address", &self.address()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner").field("home", &self.home).finish_non_exhaustive()
    }
}
