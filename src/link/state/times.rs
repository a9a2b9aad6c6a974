//! How long things take and may take, as the config has it.

use std::time::Duration;

use crate::clock::millis;
use crate::config::Config;

/// Times that the machine goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Times {
    pub(crate) heartbeat_ms: u64,
    pub(crate) backoff_min_ms: u64,
    pub(crate) backoff_max_ms: u64,
}

impl Times {
    pub(crate) fn of(config: &Config) -> Self {
        let at_least_one = |duration: Duration| millis(duration).max(1);
        Self {
            heartbeat_ms: at_least_one(config.heartbeat),
            backoff_min_ms: at_least_one(config.backoff_min),
            backoff_max_ms: at_least_one(config.backoff_max),
        }
    }

    /// Full jitter: somewhere between nothing and a bound that doubles with each failure. See Marc
    /// Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    pub(super) fn backoff_ms(self, failures: u32, jitter: f64) -> u64 {
        let bound = self.backoff_min_ms.saturating_mul(1 << failures.min(16));
        let bound = Duration::from_millis(bound.min(self.backoff_max_ms));
        millis(bound.mul_f64(jitter.clamp(0.0, 1.0))).max(1)
    }
}
