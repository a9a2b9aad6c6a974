//! The system's coarse clock: it is read without asking the processor for its time.

/// How far behind the clock may be that is good enough, in milliseconds: that of kernels with 250
/// ticks a second and more.
pub(super) const TICK_MS_MAX: u64 = 4;

const NANOS_OF_MS: u64 = 1_000_000;

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(super) struct Coarse {
    /// In nanoseconds of the system's monotonic clock.
    began: u64,
}

impl Coarse {
    /// Begins now; `None` where it is not good enough, or there is none.
    pub(super) fn start() -> Option<Self> {
        let is_good = system::tick()? <= TICK_MS_MAX * NANOS_OF_MS;
        is_good.then(|| Self { began: system::exact() })
    }

    /// Milliseconds since it began; 0 until the first tick.
    pub(super) fn now_ms(self) -> u64 {
        system::coarse().saturating_sub(self.began) / NANOS_OF_MS
    }
}

/// In nanoseconds.
#[cfg(target_os = "linux")]
mod system {
    use rustix::time::{ClockId, Timespec, clock_getres, clock_gettime};

    pub(super) fn tick() -> Option<u64> {
        Some(nanos(clock_getres(ClockId::MonotonicCoarse)))
    }

    pub(super) fn exact() -> u64 {
        nanos(clock_gettime(ClockId::Monotonic))
    }

    pub(super) fn coarse() -> u64 {
        nanos(clock_gettime(ClockId::MonotonicCoarse))
    }

    /// Enough for five centuries since the system started.
    const fn nanos(time: Timespec) -> u64 {
        time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned()
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    pub(super) const fn tick() -> Option<u64> {
        None
    }

    pub(super) const fn exact() -> u64 {
        0
    }

    pub(super) const fn coarse() -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn the_coarse_clock_goes_on_and_is_never_ahead() {
        let exact = Instant::now();
        let Some(coarse) = Coarse::start() else { return };
        let ahead = Duration::from_micros(100);
        let mut read = 0;
        while read < 50 {
            read = coarse.now_ms();
            let after = exact.elapsed() + ahead;
            assert!(Duration::from_millis(read) <= after, "{read} ms is after {after:?}");
        }
    }
}
