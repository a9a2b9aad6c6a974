//! What has become of all calls and messages.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use seaway::{CallError, Stats};

use crate::{Result, must};

#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) messages: u64,
    pub(crate) cancelled: u64,
    answered: u64,
    /// Calls without a reply, by what their callers were told.
    failed: BTreeMap<String, u64>,
    /// Of the calls whose time was taken.
    times: Vec<Duration>,
}

impl Tally {
    /// A call has ended.
    pub(crate) fn call<R>(
        &mut self,
        outcome: &std::result::Result<R, CallError>,
        took: Option<Duration>,
    ) {
        let told = match outcome {
            Ok(_) => {
                self.answered += 1;
                self.times.extend(took);
                return;
            }
            Err(CallError::NotSent { reason, .. }) => format!("refused: {reason}"),
            Err(CallError::MaybeDone { cause, .. }) => format!("maybe done: {cause}"),
            Err(other) => other.to_string(),
        };
        *self.failed.entry(told).or_default() += 1;
    }

    fn calls(&self) -> u64 {
        self.answered + self.cancelled + self.failed.values().sum::<u64>()
    }

    /// The node has counted as well.
    pub(crate) fn check(&self, stats: &Stats) -> Result<()> {
        must(stats.accepted == self.messages && stats.lost == 0 && stats.bounced == 0, || {
            format!("of {} messages the node says {stats:?}", self.messages)
        })?;
        must(stats.calls_cancelled == self.cancelled, || {
            format!("{} calls were cancelled; the node says {stats:?}", self.cancelled)
        })
    }

    /// The time within which this part of all calls was answered.
    fn percentile(&self, percent: usize) -> Duration {
        let mut times = self.times.clone();
        times.sort_unstable();
        let rank = (times.len() * percent).div_ceil(100).saturating_sub(1);
        times.get(rank).copied().unwrap_or_default()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut row = |name: &str, count: u64| writeln!(f, "{count:>6}  {name}");
        row("messages sent, each of them handled", self.messages)?;
        row("calls made", self.calls())?;
        row("  answered", self.answered)?;
        row("  cancelled", self.cancelled)?;
        for (told, count) in &self.failed {
            row(&format!("  {told}"), *count)?;
        }
        let micros = |percent| self.percentile(percent).as_micros();
        write!(
            f,
            "p50 {} µs, p99 {} µs of {} calls, one after another",
            micros(50),
            micros(99),
            self.times.len()
        )
    }
}
