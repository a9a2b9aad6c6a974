//! Time as pure code sees it: milliseconds since the node was built.

use std::time::Duration;

use tokio::time::Instant;

/// A moment, in milliseconds since the node's [`Clock`] began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Millis(pub(crate) u64);

impl Millis {
    /// Never comes.
    pub(crate) const NEVER: Self = Self(u64::MAX);

    pub(crate) const fn after(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// A deadline for what may take `timeout`. More than 24 days are as good as 24: frames in an
    /// outbox know the low 31 bits of their deadlines.
    pub(crate) fn deadline(self, timeout: Duration) -> Self {
        self.after(millis(timeout).min(24 * 24 * 60 * 60 * 1000))
    }

    /// Milliseconds from `earlier` until here; 0 if that is later.
    pub(crate) const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Turns tokio's time into [`Millis`]; the only place of the crate that reads it for frames.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    began: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { began: Instant::now() }
    }

    pub(crate) fn now(&self) -> Millis {
        Millis(millis(self.began.elapsed()))
    }

    /// The moment `at` as tokio's timers take it.
    pub(crate) fn instant(&self, at: Millis) -> Instant {
        // Thirty years are as good as never, and cannot overflow.
        self.began + Duration::from_millis(at.0.min(1_000_000_000_000))
    }
}

/// Whole milliseconds of a duration; what does not fit is as good as for ever.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
