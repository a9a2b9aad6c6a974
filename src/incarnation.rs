//! Which run of a node.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One run of a node. A later run of the same address is greater.
///
/// The upper 42 bits are the milliseconds since 1970 at which it started (good until the year
/// 2109), the lower 22 are random, so that two starts within one millisecond differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Incarnation(u64);

impl Incarnation {
    /// Makes the incarnation of a start at `unix_ms`, told apart by the low 22 bits of `random`.
    #[must_use]
    pub const fn from_start(unix_ms: u64, random: u32) -> Self {
        Self(unix_ms << 22 | (random & 0x3f_ffff) as u64)
    }

    /// Reads an incarnation from its 64 bits, as they stand on the wire.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The 64 bits.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The next greater incarnation.
    pub(crate) const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_start_is_greater_whatever_the_random_part() {
        assert!(Incarnation::from_start(1_000, 0) > Incarnation::from_start(999, u32::MAX));
        assert_ne!(Incarnation::from_start(1_000, 0), Incarnation::from_start(1_000, 1));
    }
}
