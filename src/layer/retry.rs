//! Makes calls again that did not run.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::sleep;

use super::{Call, Layer, Next, Outcome};
use crate::error::CallError;
use crate::wire::Reason;

/// Thousandths of a token: what one attempt more costs.
const ONE: u64 = 1_000;

/// Makes an outgoing call again that certainly did not run ([`crate::CallError::NotSent`]), as long
/// as it has time left, there are attempts left and the budget allows: when everything fails, tries
/// must not add to the load that makes it fail.
///
/// A call to a [`crate::Pick`] is picked for anew. What can never work is not tried again: too
/// large, or of a form that is not understood there.
///
/// The pause before an attempt is random, up to a bound that doubles each time ("full jitter": Marc
/// Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015). The budget is that of
/// gRPC's retry throttling (proposal A6): each call adds a part of a token, each try again takes
/// one.
///
/// ```
/// use seaway::layer::Retry;
/// use std::time::Duration;
/// let retry = Retry::new().attempts(5).backoff(Duration::from_millis(5), Duration::from_millis(200));
/// let builder = seaway::Node::builder("1.1.1").layer_outgoing(retry);
/// ```
#[derive(Debug)]
pub struct Retry {
    attempts: u32,
    backoff_min: Duration,
    backoff_max: Duration,
    /// What a call adds, and what there may be, in thousandths of a token.
    added: u64,
    most: u64,
    left: AtomicU64,
}

impl Default for Retry {
    fn default() -> Self {
        Self::new()
    }
}

impl Retry {
    /// At most 4 attempts, pauses of up to 10 ms, 20 ms and so on to 1 s, and a budget of 1,000
    /// tries at once and 0.2 for each call.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            attempts: 4,
            backoff_min: Duration::from_millis(10),
            backoff_max: Duration::from_secs(1),
            added: ONE / 5,
            most: 1_000 * ONE,
            left: AtomicU64::new(1_000 * ONE),
        }
    }

    /// How often a call is made at most, the first time counted; at least 1.
    #[must_use]
    pub const fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    /// The bound of the first pause, and that of the longest.
    #[must_use]
    pub const fn backoff(mut self, min: Duration, max: Duration) -> Self {
        (self.backoff_min, self.backoff_max) = (min, max);
        self
    }

    /// How many tries again there may be at once, and how many each call adds to them: 0.2 means
    /// that in the long run one call in five is made again. Counted in thousandths.
    #[must_use]
    pub fn budget(mut self, at_once: u32, for_each_call: f64) -> Self {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
        let added = (for_each_call * 1_000.0) as u64;
        let most = u64::from(at_once) * ONE;
        (self.added, self.most, self.left) = (added, most, AtomicU64::new(most));
        self
    }

    fn earn(&self) {
        let earned = |left: u64| Some(left.saturating_add(self.added).min(self.most));
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, earned).ok();
    }

    fn spend(&self) -> bool {
        let spent = |left: u64| left.checked_sub(ONE);
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spent).is_ok()
    }

    fn bound(&self, attempt: u32) -> Duration {
        self.backoff_min.saturating_mul(1 << attempt.min(16)).min(self.backoff_max)
    }
}

/// Whether another attempt may fare better.
fn is_worth_it(outcome: &Outcome) -> bool {
    let Err(CallError::NotSent { reason, .. }) = outcome else { return false };
    !matches!(reason, Reason::TooLarge | Reason::Extension | Reason::Malformed)
}

#[async_trait]
impl Layer for Retry {
    async fn around(&self, call: Call, next: Next) -> Outcome {
        self.earn();
        let mut attempt = 0;
        loop {
            let outcome = next.clone().run(call.clone()).await;
            attempt += 1;
            if attempt >= self.attempts || !is_worth_it(&outcome) {
                return outcome;
            }
            let pause = self.bound(attempt - 1).mul_f64(next.jitter());
            if call.time_left().is_some_and(|left| left <= pause) || !self.spend() {
                return outcome;
            }
            if let Err(error) = &outcome {
                tracing::debug!(peer = %call.peer(), method = call.method(), attempt, %error, "trying again");
            }
            sleep(pause).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_spent_by_tries_and_earned_by_calls() {
        let retry = Retry::new().budget(2, 0.5);
        assert_eq!([(); 3].map(|()| retry.spend()), [true, true, false]);
        retry.earn();
        assert!(!retry.spend(), "half a token is none");
        retry.earn();
        assert_eq!([(); 2].map(|()| retry.spend()), [true, false]);
        (0..100).for_each(|_| retry.earn());
        assert_eq!([(); 3].map(|()| retry.spend()), [true, true, false], "no more than at first");
    }

    #[test]
    fn the_bound_of_a_pause_doubles() {
        let retry = Retry::new().backoff(Duration::from_millis(10), Duration::from_millis(35));
        assert_eq!([0, 1, 2, 99].map(|n| retry.bound(n).as_millis()), [10, 20, 35, 35]);
    }
}
