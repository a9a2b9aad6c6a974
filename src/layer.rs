//! What stands around each call: to see it, refuse it, change its metadata, or try again.
//!
//! A [`Layer`] is given to [`crate::Builder::layer`] for what comes in, calls and messages, or to
//! [`crate::Builder::layer_outgoing`] for the calls that the node makes. The first one given is the
//! outermost. A closure is a layer, too; one for what comes in gets messages as well, and they have
//! no metadata:
//!
//! ```
//! use seaway::layer::{Call, CallKind, Concurrency, Logging, Next, Retry};
//! use seaway::{Code, Node, Status};
//!
//! let builder = Node::builder("1.1.1")
//!     .layer(Logging::new())
//!     .layer(Concurrency::new(1_000))
//!     .layer(|call: Call, next: Next| async move {
//!         if call.kind() != CallKind::Message && call.metadata("tenant").is_none() {
//!             return Err(Status::new(Code::Unauthenticated, "which tenant?").into());
//!         }
//!         next.run(call).await
//!     })
//!     .layer_outgoing(Retry::new());
//! ```
//!
//! Without layers a call does not pass here. With layers, its request and its reply are encoded one
//! time more, and each layer costs a box.

mod encoded;
mod incoming;
mod limits;
mod logging;
mod retry;
mod timeout;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

pub(crate) use encoded::Encoded;
pub(crate) use incoming::{Ended, Handler, Incoming};
pub use limits::{Concurrency, RateLimit};
pub use logging::Logging;
pub use retry::Retry;
pub use timeout::Timeout;

use crate::addr::LogicalAddr;
use crate::clock::{Clock, Millis};
use crate::error::CallError;
use crate::link::Home;
use crate::routing::Target;
use crate::wire::Reason;

/// What stands around a call, or around a message that comes in.
///
/// Whatever is not handed to `next` does not happen: the outcome is then the layer's. Messages have
/// no metadata, so a layer that demands some refuses all of them unless it looks at [`Call::kind`].
///
/// Needs the `async-trait` crate to be written by hand; a closure `|call: Call, next: Next| async
/// move { … }` needs nothing.
#[async_trait]
pub trait Layer: Send + Sync {
    /// Takes the call on its way in, and its outcome on the way out.
    ///
    /// # Errors
    ///
    /// What the caller is to see: [`Call::refuse`] for what is safe to retry, a
    /// [`crate::Status`] for what is not. A message that ends with an error before its handler ran
    /// comes back to its sender, for the reason given or as [`Reason::Refused`].
    ///
    /// # Cancel safety
    ///
    /// The future is dropped where it waits when the caller gives up.
    async fn around(&self, call: Call, next: Next) -> Outcome;
}

#[async_trait]
impl<F, R> Layer for F
where
    F: Fn(Call, Next) -> R + Send + Sync,
    R: Future<Output = Outcome> + Send,
{
    async fn around(&self, call: Call, next: Next) -> Outcome {
        self(call, next).await
    }
}

/// How a call ended. What comes in ends with a [`crate::Status`] if its handler said no.
pub type Outcome = Result<Reply, CallError>;

/// A reply on its way; empty for what has none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply(pub(crate) Bytes);

impl Reply {
    /// Its bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Which way a call goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Direction {
    /// Made by this node.
    Outgoing,
    /// Made by a peer.
    Incoming,
}

/// What a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CallKind {
    /// A call that wants a reply.
    Call,
    /// A request that wants none.
    Notification,
    /// A message.
    Message,
}

/// A call, a notification or a message, as layers see it.
#[derive(Clone)]
pub struct Call {
    pub(crate) direction: Direction,
    pub(crate) kind: CallKind,
    pub(crate) peer: Target,
    /// This node.
    pub(crate) me: LogicalAddr,
    pub(crate) method: &'static str,
    pub(crate) clock: Clock,
    pub(crate) deadline: Millis,
    pub(crate) metadata: Vec<(String, String)>,
    pub(crate) trace_parent: Option<String>,
    pub(crate) body: Bytes,
}

impl Call {
    /// Which way it goes.
    #[must_use]
    pub const fn direction(&self) -> Direction {
        self.direction
    }

    /// What it is.
    #[must_use]
    pub const fn kind(&self) -> CallKind {
        self.kind
    }

    /// Whom it is for, or who sent it.
    #[must_use]
    pub const fn peer(&self) -> &Target {
        &self.peer
    }

    /// The full name of the method, `chat.Room/Join`, or of the message, `chat.Line`; `bytes` for
    /// a message that is bytes.
    #[must_use]
    pub const fn method(&self) -> &'static str {
        self.method
    }

    /// How much time is left; `None` for a message, unless a layer has set it.
    #[must_use]
    pub fn time_left(&self) -> Option<Duration> {
        let left = self.deadline.since(self.clock.now());
        (self.deadline != Millis::NEVER).then(|| Duration::from_millis(left))
    }

    /// Leaves it at most so much time; never more than it has.
    pub fn shorten(&mut self, within: Duration) {
        self.deadline = self.deadline.min(self.clock.now().deadline(within));
    }

    /// How many bytes its body has.
    #[must_use]
    pub fn body_len(&self) -> usize {
        self.body.len()
    }

    /// The first value of a key of the metadata; messages have none, unless a layer has set it.
    #[must_use]
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.metadata_pairs().find(|(found, _)| *found == key).map(|(_, value)| value)
    }

    /// All metadata, in order.
    pub fn metadata_pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.metadata.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// The W3C `traceparent` that the caller gave, or that came from it.
    #[must_use]
    pub fn trace_parent(&self) -> Option<&str> {
        self.trace_parent.as_deref()
    }

    /// Sets the value of a key, in the place of all that it had. The limits are those of
    /// [`crate::Request::metadata`]; a call that breaks them fails.
    pub fn set_metadata(&mut self, key: impl Into<String>, value: impl Into<String>) {
        let key = key.into();
        self.remove_metadata(&key);
        self.metadata.push((key, value.into()));
    }

    /// Takes all values of a key out.
    pub fn remove_metadata(&mut self, key: &str) {
        self.metadata.retain(|(found, _)| found != key);
    }

    /// The error that says that it did not run and why, so that the caller may try again. `detail`
    /// is for people.
    ///
    /// Once its handler has run, nobody can say that any more: what comes in ends as
    /// [`crate::Code::Internal`] then.
    #[must_use]
    pub fn refuse(&self, reason: Reason, detail: impl Into<String>) -> CallError {
        let to = match self.direction {
            Direction::Outgoing => self.peer.clone(),
            Direction::Incoming => self.me.into(),
        };
        CallError::NotSent { to, method: self.method, reason, detail: detail.into() }
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("direction", &self.direction)
            .field("kind", &self.kind)
            .field("peer", &self.peer)
            .field("method", &self.method)
            .field("time_left", &self.time_left())
            .finish_non_exhaustive()
    }
}

pub(crate) type Running = Pin<Box<dyn Future<Output = Outcome> + Send>>;
/// What stands behind the last layer.
type End = dyn Fn(Call) -> Running + Send + Sync;

/// All layers on one side of a node, the outermost first.
pub(crate) type Layers = Arc<[Arc<dyn Layer>]>;

/// What stands behind a layer: the others, and then the handler or the network.
#[derive(Clone)]
pub struct Next {
    layers: Layers,
    at: usize,
    end: Arc<End>,
    home: Arc<Home>,
}

impl Next {
    pub(crate) fn new(
        home: &Arc<Home>,
        layers: &Layers,
        end: impl Fn(Call) -> Running + Send + Sync + 'static,
    ) -> Self {
        Self { layers: Arc::clone(layers), at: 0, end: Arc::new(end), home: Arc::clone(home) }
    }

    /// A random number from 0 to 1.
    fn jitter(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "53 bits are what a double holds")]
        let fraction = (self.home.random() >> 11) as f64 / (1_u64 << 53) as f64;
        fraction
    }

    /// Goes on. An outgoing call may go on several times, through a clone of `next`, and each time
    /// is a call of its own; what comes in reaches its handler once, and after that ends with
    /// [`crate::Code::Internal`].
    ///
    /// # Errors
    ///
    /// What the layers behind, the handler or the network say.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future takes the call back.
    pub async fn run(mut self, call: Call) -> Outcome {
        match self.layers.get(self.at).cloned() {
            Some(layer) => {
                self.at += 1;
                layer.around(call, self).await
            }
            None => (self.end)(call).await,
        }
    }
}

impl fmt::Debug for Next {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Next").field("layers_left", &(self.layers.len() - self.at)).finish()
    }
}
