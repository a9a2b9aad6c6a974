//! What has become of all calls and messages, and how long it took.

use std::fmt;
use std::time::{Duration, Instant};

use seaway::{CallError, Reason, Stats};

use crate::{Result, must};

/// Calls to one service, by what their callers were told.
#[derive(Default)]
pub(crate) struct Calls {
    /// When each answer came.
    answers: Vec<Instant>,
    /// Certainly not done, so that they were made again.
    pub(crate) not_sent: u64,
    pub(crate) maybe_done: u64,
}

impl Calls {
    /// A call has ended; whether it is safe to make it again.
    pub(crate) fn ended<R>(&mut self, outcome: &std::result::Result<R, CallError>) -> bool {
        match outcome {
            Ok(_) => self.answers.push(Instant::now()),
            Err(error) if error.is_safe_to_retry() => {
                self.not_sent += 1;
                return true;
            }
            Err(_) => self.maybe_done += 1,
        }
        false
    }

    pub(crate) fn answered(&self) -> u64 {
        self.answers.len() as u64
    }

    pub(crate) fn is_answered_since(&self, time: Instant) -> bool {
        self.answers.last().is_some_and(|answer| *answer > time)
    }

    /// The longest time without an answer.
    pub(crate) fn longest_pause(&self, from: Instant, to: Instant) -> Duration {
        let within = self.answers.iter().copied().filter(|at| (from..to).contains(at));
        let mut times: Vec<_> = within.chain([from, to]).collect();
        times.sort_unstable();
        let pauses = times.windows(2).map(|pair| pair[1] - pair[0]);
        pauses.max().unwrap_or_default()
    }
}

/// How long calls took.
#[derive(Default)]
pub(crate) struct Times(pub(crate) Vec<Duration>);

impl Times {
    /// The time within which this part of them was answered.
    fn percentile(&self, percent: usize) -> Duration {
        let mut times = self.0.clone();
        times.sort_unstable();
        let rank = (times.len() * percent).div_ceil(100).saturating_sub(1);
        times.get(rank).copied().unwrap_or_default()
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = |percent| self.percentile(percent).as_micros();
        write!(f, "p50 {:>5} µs, p99 {:>5} µs", micros(50), micros(99))
    }
}

/// All of it. Direct is within the cluster; across is over two harbors.
pub(crate) struct Table {
    /// To each service in the other cluster, under load.
    pub(crate) calls: [Calls; 2],
    /// What the sender was told of its messages.
    pub(crate) told: Stats,
    pub(crate) bounced: Vec<(Reason, u64)>,
    /// What the receivers have counted.
    pub(crate) handled: u64,
    pub(crate) out_of_order: u64,
    pub(crate) failover: Duration,
    pub(crate) direct: Times,
    pub(crate) across: Times,
}

impl Table {
    fn sum(&self, of: impl Fn(&Calls) -> u64) -> u64 {
        self.calls.iter().map(of).sum()
    }

    /// Messages that were accepted and of which nobody knows anything. Below 0 are those that were
    /// handled although they were told to be lost, or handled twice.
    fn lost_without_notice(&self) -> i128 {
        let Stats { accepted, bounced, lost, .. } = self.told;
        i128::from(accepted) - i128::from(self.handled) - i128::from(bounced) - i128::from(lost)
    }

    /// Whether the account closes.
    pub(crate) fn check(&self) -> Result<()> {
        let without_notice = self.lost_without_notice();
        must(without_notice == 0, || format!("lost without notice: {without_notice}"))?;
        let late = self.out_of_order;
        must(late == 0, || format!("{late} messages were handled twice or out of order"))?;
        // What the callers were told is what the node has counted.
        let times = self.direct.0.len() + self.across.0.len();
        let answered = self.sum(Calls::answered) + times as u64;
        let not_sent = self.sum(|calls| calls.not_sent);
        let maybe_done = self.sum(|calls| calls.maybe_done);
        let said = [answered + not_sent + maybe_done, answered, not_sent, maybe_done];
        let Stats { calls, calls_answered, calls_not_sent, calls_maybe_done, .. } = self.told;
        let counted = [calls, calls_answered, calls_not_sent, calls_maybe_done];
        must(said == counted, || format!("callers were told {said:?}, the node says {counted:?}"))?;
        // Promised is 1 s; a busy machine gets more.
        let failover = self.failover;
        must(failover < Duration::from_secs(3), || format!("no answer for {failover:?}"))
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let answered = self.sum(Calls::answered);
        let maybe_done = self.sum(|calls| calls.maybe_done);
        let not_sent = self.sum(|calls| calls.not_sent);
        let Self { told: Stats { accepted, bounced, lost, .. }, handled, .. } = self;
        let failover = self.failover.as_millis();

        let sent = answered + maybe_done;
        writeln!(f, "calls      {sent} sent = {answered} answered + {maybe_done} maybe done")?;
        writeln!(f, "           {not_sent} not sent, which is safe to try again, and was")?;
        let parts = format!("{handled} handled + {bounced} bounced + {lost} lost");
        writeln!(f, "messages   {accepted} sent = {parts}")?;
        for (reason, count) in &self.bounced {
            writeln!(f, "           {count} bounced: {reason}")?;
        }
        writeln!(f, "lost without notice: {}", self.lost_without_notice())?;
        writeln!(f, "failover   {failover} ms without an answer")?;
        writeln!(f, "direct     {}", self.direct)?;
        write!(f, "across     {}, over two harbors", self.across)
    }
}
