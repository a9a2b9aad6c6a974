//! The discovery engine as its node asks it. An engine is somebody else's program: one that hangs
//! or panics is to the node one that cannot be asked, and never ends what the node itself does.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use crate::addr::LogicalAddr;
use crate::discovery::{Announcement, Discovery, DiscoveryError, Watch};
use crate::incarnation::Incarnation;

/// How long an engine may take for an answer.
const ANSWER: Duration = Duration::from_secs(5);

/// See the module.
pub(super) struct Engine(Arc<dyn Discovery>);

impl Engine {
    pub(super) fn new(discovery: impl Discovery + 'static) -> Self {
        Self(Arc::new(discovery))
    }
}

#[async_trait]
impl Discovery for Engine {
    async fn watch(&self) -> Result<Watch, DiscoveryError> {
        let engine = Arc::clone(&self.0);
        answer(async move { engine.watch().await }).await
    }

    async fn announce(&self, me: &Announcement) -> Result<(), DiscoveryError> {
        let (engine, me) = (Arc::clone(&self.0), me.clone());
        answer(async move { engine.announce(&me).await }).await
    }

    async fn withdraw(
        &self,
        me: LogicalAddr,
        incarnation: Incarnation,
    ) -> Result<(), DiscoveryError> {
        let engine = Arc::clone(&self.0);
        answer(async move { engine.withdraw(me, incarnation).await }).await
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
