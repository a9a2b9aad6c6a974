//! Spreads what many threads change over several places, so that they seldom meet at one.

/// How many places there are.
pub(crate) const STRIPES: usize = 16;

thread_local! {
    /// Where it lies tells one thread from another.
    static MARK: u8 = const { 0 };
}

/// The place that this thread uses; another thread may have the same.
#[inline]
pub(crate) fn stripe() -> usize {
    let at = MARK.with(|mark| std::ptr::from_ref(mark).addr());
    // Fibonacci hashing, Knuth, TAOCP 6.4: the highest bits depend on all of them.
    let hash = (at as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (hash >> 60) as usize % STRIPES
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::thread;

    use super::*;

    #[test]
    fn threads_are_spread_and_each_keeps_its_place() {
        let start = std::sync::Barrier::new(32);
        let places: BTreeSet<_> = thread::scope(|scope| {
            let threads: Vec<_> = (0..32)
                .map(|_| {
                    scope.spawn(|| {
                        start.wait();
                        assert_eq!(stripe(), stripe());
                        stripe()
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(places.len() > 4, "{places:?}");
        assert!(places.iter().all(|place| *place < STRIPES));
    }
}
