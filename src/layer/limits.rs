//! Limits on how many calls there are, at once and in a second.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use parking_lot::Mutex;

use super::{Call, Direction, Layer, Next, Outcome};
use crate::clock::Millis;
use crate::routing::Target;
use crate::wire::Reason;

/// At most so many calls at once, of whatever method, on the side where it is set. One more is
/// refused with [`Reason::Busy`], which is safe to retry elsewhere. A limit of one method is
/// [`crate::Limit`].
///
/// ```
/// let builder = seaway::Node::builder("1.1.1").layer(seaway::layer::Concurrency::new(1_000));
/// ```
#[derive(Clone, Debug)]
pub struct Concurrency {
    max: usize,
    running: Arc<AtomicUsize>,
}

impl Concurrency {
    /// At most `max` at once; clones share the count.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self { max, running: Arc::default() }
    }
}

/// Gives a place back, whatever becomes of the call.
struct Place<'a>(&'a AtomicUsize);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[async_trait]
impl Layer for Concurrency {
    async fn around(&self, call: Call, next: Next) -> Outcome {
        let before = self.running.fetch_add(1, Ordering::Relaxed);
        let _place = Place(&self.running);
        if before >= self.max {
            let detail = format!("the `Concurrency` of {}: {} at once", call.me, self.max);
            return Err(call.refuse(Reason::Busy, detail));
        }
        next.run(call).await
    }
}

/// How many peers a [`RateLimit`] keeps apart.
const PEERS_MAX: usize = 65_536;
/// A bucket counts in thousandths: what one call costs, and what a token a second earns in one.
const ONE: u64 = 1_000;
/// How often room is made for other peers.
const CLEAN_MS: u64 = 1_000;

/// At most so many calls in a second from each peer, or to each with
/// [`crate::Builder::layer_outgoing`]; those to a [`crate::Pick`] count by its type. One more is
/// refused with [`Reason::Busy`].
///
/// By a token bucket for each of 65,536 peers that called lately; when there are more, the others
/// share one.
///
/// ```
/// let limit = seaway::layer::RateLimit::per_peer(100, 500);
/// let builder = seaway::Node::builder("1.1.1").layer(limit);
/// ```
#[derive(Debug)]
pub struct RateLimit {
    per_second: u64,
    burst: u64,
    buckets: Mutex<Buckets>,
}

#[derive(Debug, Default)]
struct Buckets {
    of: HashMap<u64, Bucket>,
    of_others: Option<Bucket>,
    cleaned: Millis,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    left: u64,
    seen: Millis,
}

impl RateLimit {
    /// `per_second` in the long run, and up to `burst` at once after a pause.
    #[must_use]
    pub fn per_peer(per_second: u32, burst: u32) -> Self {
        let (per_second, burst) = (per_second.into(), burst.into());
        Self { per_second, burst, buckets: Mutex::default() }
    }

    fn take(&self, peer: &Target, now: Millis) -> bool {
        let key = match peer {
            Target::Address(address) => u64::from(address.bits()),
            Target::Pick(pick) => u64::from(pick.node_type().get()) << 32 | 1 << 63,
        };
        let full = self.burst * ONE;
        let refilled = |bucket: &Bucket| {
            let earned = now.since(bucket.seen).saturating_mul(self.per_second);
            bucket.left.saturating_add(earned).min(full)
        };
        let mut buckets = self.buckets.lock();
        let Buckets { of, of_others, cleaned } = &mut *buckets;
        if of.len() >= PEERS_MAX && now.since(*cleaned) >= CLEAN_MS {
            // A full bucket says no more than none.
            of.retain(|_, bucket| refilled(bucket) < full);
            *cleaned = now;
        }
        let new = Bucket { left: full, seen: now };
        let bucket = if of.len() < PEERS_MAX || of.contains_key(&key) {
            of.entry(key).or_insert(new)
        } else {
            of_others.get_or_insert(new)
        };
        let left = refilled(bucket);
        let taken = left.checked_sub(ONE);
        *bucket = Bucket { left: taken.unwrap_or(left), seen: now };
        taken.is_some()
    }
}

#[async_trait]
impl Layer for RateLimit {
    async fn around(&self, call: Call, next: Next) -> Outcome {
        if !self.take(call.peer(), call.clock.now()) {
            let (Self { per_second, burst, .. }, me) = (self, call.me);
            let side = if call.direction() == Direction::Incoming { "from" } else { "to" };
            let detail = format!(
                "the `RateLimit` of {me}: {per_second} a second {side} each peer, {burst} at once"
            );
            return Err(call.refuse(Reason::Busy, detail));
        }
        next.run(call).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::LogicalAddr;

    fn peer(bits: u32) -> Target {
        LogicalAddr::from_bits(0x0010_1000 + bits).unwrap().into()
    }

    #[test]
    fn a_burst_passes_and_then_so_many_a_second_of_each_peer() {
        let limit = RateLimit::per_peer(10, 3);
        let taken = |peer: &Target, at| limit.take(peer, Millis(at));
        let (one, two) = (peer(1), peer(2));
        assert_eq!([(); 4].map(|()| taken(&one, 0)), [true, true, true, false]);
        assert!(taken(&two, 0), "each has its own");
        assert!(!taken(&one, 99));
        assert!(taken(&one, 100) && !taken(&one, 100));
        assert_eq!([(); 4].map(|()| taken(&one, 99_999)), [true, true, true, false]);
    }

    #[test]
    fn beyond_so_many_peers_the_others_share_one_bucket_until_there_is_room() {
        let limit = RateLimit::per_peer(1, 1);
        for n in 0..65_536 {
            assert!(limit.take(&peer(n), Millis(0)));
        }
        assert!(limit.take(&peer(65_536), Millis(0)));
        assert!(!limit.take(&peer(65_537), Millis(0)), "the bucket of the others is empty");
        assert!(!limit.take(&peer(5), Millis(999)) && limit.take(&peer(5), Millis(1_000)));
        assert!(
            limit.take(&peer(65_538), Millis(1_000)) && limit.take(&peer(65_539), Millis(1_000))
        );
        assert_eq!(limit.buckets.lock().of.len(), 3);
    }
}
