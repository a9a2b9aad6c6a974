//! Limits on methods.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many requests of one method, or of several that share it, may be handled at once, of all
/// callers together; set with [`crate::Builder::limit`]. One more is refused with
/// [`crate::Reason::Busy`], which is safe to retry elsewhere. Without a limit only those of
/// [`crate::Config::requests_max`] and [`crate::Config::request_bytes_max`] hold, for each caller.
///
/// ```
/// # #[derive(Clone, PartialEq, prost::Message)] struct Search {}
/// # #[derive(Clone, PartialEq, prost::Message)] struct Hits {}
/// use seaway::{Limit, Method, Node};
/// const SEARCH: Method<Search, Hits> = Method::new("books.Index/Search");
/// const SUGGEST: Method<Search, Hits> = Method::new("books.Index/Suggest");
///
/// // Not more than 64 of both together: they use the same disk.
/// let limit = Limit::concurrent(64);
/// let builder = Node::builder("1.3.1")
///     .on_call(SEARCH, |_, _: Search| async { Ok(Hits {}) })
///     .on_call(SUGGEST, |_, _: Search| async { Ok(Hits {}) })
///     .limit(SEARCH.name(), limit.clone())
///     .limit(SUGGEST.name(), limit);
/// ```
#[derive(Clone, Debug)]
pub struct Limit {
    max: usize,
    running: Arc<AtomicUsize>,
}

impl Limit {
    /// At most `max` at once; clones of the limit share the count. 0 refuses all.
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
