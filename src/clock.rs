//! Time as pure code sees it: milliseconds since the node was built.

mod coarse;

use std::time::Duration;

use tokio::time::Instant;

use coarse::Coarse;

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

/// Timeouts from here on are counted from a moment that is only nearly now.
const LONG: Duration = Duration::from_millis(200);

/// Turns time into [`Millis`]; the only place of the crate that reads it for frames.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    began: Instant,
    coarse: Option<Coarse>,
}

impl Clock {
    pub(crate) fn start() -> Self {
        let began = Instant::now();
        // Tests may stop tokio's time, of which the system knows nothing; they are not optimized.
        let coarse = if cfg!(debug_assertions) { None } else { Coarse::start() };
        Self { began, coarse }
    }

    pub(crate) fn now(&self) -> Millis {
        Millis(millis(self.began.elapsed()))
    }

    /// A moment that is now, or up to 4 ms ago, for a tenth of what it takes to know better.
    pub(crate) fn lately(&self) -> Millis {
        self.coarse.map_or_else(|| self.now(), |coarse| Millis(coarse.now_ms()))
    }

    /// How many milliseconds [`Clock::lately`] may be behind.
    pub(crate) const fn late_ms(&self) -> u64 {
        if self.coarse.is_some() { coarse::TICK_MS_MAX } else { 0 }
    }

    /// From when on something is counted that may take `timeout`.
    pub(crate) fn now_for(&self, timeout: Duration) -> Millis {
        if timeout < LONG { self.now() } else { self.lately() }
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
