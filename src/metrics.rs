//! Numbers that a node keeps about itself.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::stripe::{STRIPES, stripe};
use crate::wire::Reason;

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// What a node has counted since it started; see [`crate::Node::stats`].
        ///
        /// For the one-way frames of each sender `accepted = handled + bounced + lost` holds once
        /// both ends have compared their counts; *handled* is counted by the receiver.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Stats {
            $($(#[doc = $doc])+ pub $name: u64,)+
        }

        /// The live form of [`Stats`].
        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $(pub(crate) $name: Counter,)+
            /// Of `bounced`, by reason.
            pub(crate) bounced_by: ByReason,
        }

        impl Counters {
            pub(crate) fn stats(&self) -> Stats {
                Stats { $($name: self.$name.get(),)+ }
            }
        }
    };
}

counters! {
    /// Messages and notifications that `send`, `try_send` and `notify` accepted.
    accepted,
    /// Messages and notifications that were handed to a handler of this node.
    handled,
    /// Notices of messages and notifications that came back, for whatever reason.
    bounced,
    /// Messages and notifications that were in a connection when it broke: an upper bound until
    /// the ends have met again, exact from then on.
    lost,
    /// Calls made.
    calls,
    /// Calls that ended with a reply of the handler, `Ok` or not.
    calls_answered,
    /// Calls that ended as not sent.
    calls_not_sent,
    /// Calls that ended as maybe done.
    calls_maybe_done,
    /// Calls that their caller dropped.
    calls_cancelled,
    /// Requests whose handler was started.
    requests,
    /// Requests refused before their handler ran.
    requests_refused,
    /// Notifications whose handler ran and failed.
    notifications_failed,
    /// Handlers that panicked.
    panics,
    /// Replies that came too late, or for another run of this node.
    replies_stray,
    /// Replies that could not be sent because their caller's connection was gone.
    replies_dropped,
    /// Connections opened by this node.
    dialed,
    /// Connections let in by this node.
    accepted_connections,
    /// Connections and handshakes turned away.
    refused_connections,
    /// Frames of others that this node, a harbor, has handed on.
    relayed,
    /// Messages and requests of others that it has sent back.
    relayed_bounced,
    /// Answers and notices of others that it could not hand on.
    relayed_dropped,
    /// Frames of kinds that this version may skip.
    frames_skipped,
    /// Streams that this node has opened and others have accepted.
    streams_opened,
    /// Streams of others that went to a handler of this node.
    streams_accepted,
    /// Streams of others that this node has refused.
    streams_refused,
    /// Streams of others that this node, a harbor, has handed on.
    streams_relayed,
}

/// One number for each reason that a frame can come back for.
#[derive(Debug)]
pub(crate) struct ByReason([AtomicU64; 256]);

impl ByReason {
    pub(crate) fn add(&self, reason: Reason) {
        self.0[usize::from(reason.byte())].fetch_add(1, Relaxed);
    }

    /// Those that are not 0.
    pub(crate) fn all(&self) -> Vec<(Reason, u64)> {
        let numbers =
            (0..=u8::MAX).zip(&self.0).map(|(byte, n)| (Reason::from_byte(byte), n.load(Relaxed)));
        numbers.filter(|(_, n)| *n > 0).collect()
    }
}

impl Default for ByReason {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::default()))
    }
}

/// One number, in parts that have a cache line each: threads that count the same thing would
/// otherwise wait for each other's.
#[derive(Debug, Default)]
pub(crate) struct Counter([Part; STRIPES]);

#[derive(Debug, Default)]
#[repr(align(64))]
struct Part(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, n: u64) {
        self.part().fetch_add(n, Relaxed);
    }

    /// Takes back what turned out not to be so.
    pub(crate) fn sub(&self, n: u64) {
        // A part may go below 0; their sum does not.
        self.part().fetch_sub(n, Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.iter().fold(0, |sum, part| sum.wrapping_add(part.0.load(Relaxed)))
    }

    fn part(&self) -> &AtomicU64 {
        &self.0[stripe() % STRIPES].0
    }
}
