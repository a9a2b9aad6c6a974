//! Rendezvous hashing: many choose among the same few without asking each other, and agree. Pure.
//!
//! Each candidate gets a score from the key and its own address, and the highest one wins. When a
//! candidate goes, only the keys that had chosen it choose anew; when one comes, it takes its share
//! evenly from the others. What the functions return must never change: nodes of different
//! versions have to choose alike.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use crate::addr::LogicalAddr;

/// Mixes the bits of a number: one step of SplitMix64 (Steele, Lea, Flood: "Fast splittable
/// pseudorandom number generators", OOPSLA 2014; constants of the public-domain C version by
/// Sebastiano Vigna). Two numbers never give the same one.
pub(crate) const fn mix(number: u64) -> u64 {
    let z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// How much `key` wants `candidate`. Two candidates never have the same score for one key.
pub(crate) const fn score(key: u64, candidate: LogicalAddr) -> u64 {
    // The key is mixed alone first, so that keys which differ in few bits, as the addresses of
    // neighbours do, cannot cancel out the bits in which candidates differ.
    mix(mix(key) ^ candidate.bits() as u64)
}

#[cfg(test)]
mod tests;
