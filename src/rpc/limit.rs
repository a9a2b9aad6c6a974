//! Limits on methods.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many requests of one method, or of several that share it, may be handled at once. One more
/// is refused with `Busy`, which is safe to retry elsewhere.
///
/// ```
/// let limit = seaway::Limit::concurrent(64);
/// let shared_with_another_method = limit.clone();
/// ```
#[derive(Clone, Debug)]
pub struct Limit {
    max: usize,
    running: Arc<AtomicUsize>,
}

impl Limit {
    /// At most `max` at once; clones of the limit share the count.
    #[must_use]
    pub fn concurrent(max: usize) -> Self {
        Self { max, running: Arc::default() }
    }

    /// Takes a place; whoever has the counter gives it back. When there is none, says how many
    /// there are.
    pub(super) fn enter(&self) -> Result<Arc<AtomicUsize>, usize> {
        if self.running.fetch_add(1, Ordering::Relaxed) < self.max {
            return Ok(Arc::clone(&self.running));
        }
        self.running.fetch_sub(1, Ordering::Relaxed);
        Err(self.max)
    }
}
