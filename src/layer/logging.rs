//! Tells of each call.

use async_trait::async_trait;
use tokio::time::Instant;

use super::{Call, Layer, Next, Outcome};
use crate::error::CallError;

/// Tells of each call when it has ended, as an event of `tracing` with fields: debug, or warn for
/// what may have run and nobody knows ([`crate::CallError::MaybeDone`]).
///
/// ```
/// let builder = seaway::Node::builder("1.1.1").layer(seaway::layer::Logging::new());
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Logging;

impl Logging {
    /// A layer that logs.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }
}

#[async_trait]
impl Layer for Logging {
    async fn around(&self, call: Call, next: Next) -> Outcome {
        let (direction, kind, method) = (call.direction(), call.kind(), call.method());
        let (peer, bytes) = (call.peer().clone(), call.body_len());
        let began = Instant::now();
        let outcome = next.run(call).await;
        let took = began.elapsed();
        match &outcome {
            Ok(reply) => {
                let reply_bytes = reply.len();
                tracing::debug!(?direction, ?kind, %peer, method, bytes, reply_bytes, ?took, "done");
            }
            Err(error @ CallError::MaybeDone { .. }) => {
                tracing::warn!(?direction, ?kind, %peer, method, bytes, ?took, %error, "in doubt");
            }
            Err(error) => {
                tracing::debug!(?direction, ?kind, %peer, method, bytes, ?took, %error, "failed");
            }
        }
        outcome
    }
}
