//! A limit on the time of each call.

use std::time::Duration;

use async_trait::async_trait;

use super::{Call, Layer, Next, Outcome};

/// Gives each call at most so much time, also one whose caller allows more. What comes in and takes
/// longer is dropped and ends as [`crate::Code::DeadlineExceeded`]; a message's handler is dropped.
///
/// Behind [`super::Retry`] it limits each attempt:
///
/// ```
/// use seaway::layer::{Retry, Timeout};
/// use std::time::Duration;
/// let builder = seaway::Node::builder("1.1.1")
///     .layer_outgoing(Retry::new())
///     .layer_outgoing(Timeout::new(Duration::from_millis(300)));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Timeout(Duration);

impl Timeout {
    /// A layer that allows so much time.
    #[must_use]
    pub const fn new(limit: Duration) -> Self {
        Self(limit)
    }
}

#[async_trait]
impl Layer for Timeout {
    async fn around(&self, mut call: Call, next: Next) -> Outcome {
        call.shorten(self.0);
        next.run(call).await
    }
}
