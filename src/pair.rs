//! What both ends keep of a pair, a source and a destination that talk through harbors. Pure.
//!
//! A direct connection keeps order, and its end tells both sides what may be lost. Between a pair
//! there are several connections and processes, so the source numbers its one-way frames, and the
//! destination says which numbers it has had:
//!
//! ```text
//!   source: Window                                destination: Arrivals
//!   number, bytes on their way  ── frame n ──▶    n higher than all before? handle : send back
//!   account                     ◀── receipt ──    up to, how many of them handled
//! ```
//!
//! Each lane of a pair has its own numbers, from 1 in each incarnation of the source. They are
//! compared modulo 2³², and 0 is none: it is what frames have that are not relayed.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod arrivals;
mod looks;
#[cfg(test)]
mod tests;
mod window;

pub(crate) use arrivals::{Arrivals, DUE_MS as RECEIPT_MS};
pub(crate) use looks::Looks;
pub(crate) use window::{Ask, Window};

/// A source that begins with number 1 again, after it sent nothing for so long, has forgotten the
/// pair; see [`Arrivals`].
pub(crate) const STALE_MS: u64 = 600_000;

/// The number after `n`.
const fn next(n: u32) -> u32 {
    if n == u32::MAX { 1 } else { n + 1 }
}

/// Whether `a` comes after `b`; all numbers come after none.
const fn is_after(a: u32, b: u32) -> bool {
    match (a, b) {
        (0, _) => false,
        (_, 0) => true,
        _ => a != b && a.wrapping_sub(b) <= u32::MAX / 2,
    }
}
