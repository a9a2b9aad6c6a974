//! The discovery engines as their node asks them. An engine is somebody else's program: one that
//! hangs or panics is to the node one that cannot be asked, and never ends what the node itself
//! does.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::picture::Source;
use crate::addr::LogicalAddr;
use crate::discovery::{Announcement, Discovery, DiscoveryError, Member, Watch};
use crate::incarnation::Incarnation;

/// How long an engine may take for an answer.
const ANSWER: Duration = Duration::from_secs(5);

/// The engines of a node.
pub(super) struct Engines {
    pub(super) cluster: Engine,
    pub(super) harbors: Option<Engine>,
}

impl Engines {
    pub(super) fn all(&self) -> impl Iterator<Item = (Source, &Engine)> {
        let harbors = self.harbors.iter().map(|engine| (Source::Harbors, engine));
        std::iter::once((Source::Cluster, &self.cluster)).chain(harbors)
    }

    /// Asks all at once, so that one that does not answer holds up no other.
    pub(super) async fn ask_all<T, F: Future<Output = T>>(
        &self,
        ask: impl Fn(Source, Engine) -> F,
    ) -> (T, Option<T>) {
        let harbors = async { Some(ask(Source::Harbors, self.harbors.clone()?).await) };
        tokio::join!(ask(Source::Cluster, self.cluster.clone()), harbors)
    }
}

/// See the module.
#[derive(Clone)]
pub(super) struct Engine(Arc<dyn Discovery>);

impl Engine {
    pub(super) fn new(discovery: impl Discovery + 'static) -> Self {
        Self(Arc::new(discovery))
    }

    pub(super) async fn watch(&self) -> Result<Watch, DiscoveryError> {
        let engine = Arc::clone(&self.0);
        answer(async move { engine.watch().await }).await
    }

    pub(super) async fn announce(&self, me: &Announcement) -> Result<(), DiscoveryError> {
        let (engine, me) = (Arc::clone(&self.0), me.clone());
        answer(async move { engine.announce(&me).await }).await
    }

    pub(super) async fn withdraw(
        &self,
        me: LogicalAddr,
        incarnation: Incarnation,
    ) -> Result<(), DiscoveryError> {
        let engine = Arc::clone(&self.0);
        answer(async move { engine.withdraw(me, incarnation).await }).await
    }

    pub(super) async fn carry(
        &self,
        carrier: LogicalAddr,
        members: Vec<Member>,
        ttl: Duration,
    ) -> Result<(), DiscoveryError> {
        let engine = Arc::clone(&self.0);
        answer(async move { engine.carry(carrier, &members, ttl).await }).await
    }
}

/// What the engine answers, asked in a task of its own.
async fn answer<T: Send + 'static>(
    asked: impl Future<Output = Result<T, DiscoveryError>> + Send + 'static,
) -> Result<T, DiscoveryError> {
    let asked = AbortOnDropHandle::new(tokio::spawn(asked));
    match timeout(ANSWER, asked).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(panicked)) => Err(DiscoveryError::Unreachable(panicked.into())),
        Err(_) => Err(DiscoveryError::Unreachable(format!("no answer within {ANSWER:?}").into())),
    }
}
