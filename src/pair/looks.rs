//! How often all pairs are looked through for those that can be forgotten. Pure.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use crate::clock::Millis;

/// So long after a look in vain there is no other: whoever names ever new pairs costs little.
const PAUSE_MS: u64 = 1_000;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Looks {
    last: Option<Millis>,
}

impl Looks {
    /// Whether all may be looked through now; it counts as done, and in vain.
    pub(crate) fn look(&mut self, now: Millis) -> bool {
        let is_due = self.last.is_none_or(|last| now.since(last) >= PAUSE_MS);
        if is_due {
            self.last = Some(now);
        }
        is_due
    }

    /// The last look has made room for so many that each of them has paid for it.
    pub(crate) fn was_worth_it(&mut self) {
        self.last = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p08_all_pairs_are_looked_through_in_vain_once_a_second_at_most() {
        let mut looks = Looks::default();
        let looked: Vec<_> = (0..5_000).filter(|ms| looks.look(Millis(*ms))).collect();
        assert_eq!(looked, [0, 1_000, 2_000, 3_000, 4_000]);
        assert!(!looks.look(Millis(4_999)));
        looks.was_worth_it();
        assert!(looks.look(Millis(4_999)));
    }
}
