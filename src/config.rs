//! Every limit and time that a user may set, with its default.

use std::fmt;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::debug::debug_by_text;

/// Limits and times of a node. Every field has a default that is right on a laptop and in most
/// clusters; `start` checks that the fields fit each other.
///
/// ```
/// let mut config = seaway::Config::default();
/// config.frame_bytes_max = 4 << 20;
/// let builder = seaway::Node::builder("1.2.3").config(config);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// The name of the deployment; nodes of two deployments refuse each other. 1–64 bytes;
    /// `"default"`.
    pub deployment: String,
    /// The largest body of a frame, in bytes: 1 KiB – 64 MiB; 1 MiB. A link takes the lower one of
    /// its two ends. A decoded protobuf message can take some 40 times the bytes that it had on
    /// the wire, so raise this with care; bulk belongs on streams.
    pub frame_bytes_max: usize,
    /// What may wait in one lane's outbox, in bytes; 4 MiB, at least `frame_bytes_max`. When it is
    /// full, `send` waits and `try_send` fails.
    pub outbox_bytes_max: usize,
    /// Room beyond `outbox_bytes_max` for frames that cannot wait (pong, bounce, refusal), in
    /// bytes; 256 KiB, at least 44 for each of `calls_max`. When that is full too, the link is
    /// closed.
    pub outbox_reserve_bytes: usize,
    /// Calls that wait for a reply from one peer; 4,096, at least 1. One more is refused with
    /// `Busy`.
    pub calls_max: usize,
    /// Requests of one peer that are being handled; 4,096, at least 1. One more is refused with
    /// `Busy`.
    pub requests_max: usize,
    /// Requests of one peer that are being handled, in bytes without their headers; 16 MiB, at
    /// least `frame_bytes_max`. One more is refused with `Busy`.
    pub request_bytes_max: usize,
    /// What may be on its way to one destination beyond harbors without a receipt, in bytes, for
    /// messages and for notifications each; also what a harbor keeps of one pair for one lane, and
    /// a destination of one source. 1 MiB; a frame larger than that goes alone. When it is full,
    /// `send` waits and `try_send` fails; a harbor and a destination send back.
    pub pair_bytes_max: usize,
    /// How many pairs a node keeps: destinations beyond harbors, sources beyond harbors, and pairs
    /// that a harbor relays, each; 65,536, at least 1. Settled ones are forgotten first. Half of
    /// those that a harbor relays, at most, are for what comes over one link.
    pub pairs_max: usize,
    /// What a harbor keeps of all frames that it relays, in bytes; 256 MiB, at least
    /// `frame_bytes_max`. An eighth of it is for what answers, such as receipts; of the rest no lane
    /// has more than is left for others. Beyond that it sends back, and drops what answers: a source
    /// asks again then, or counts as lost what nobody told it of.
    pub relay_bytes_max: usize,
    /// Streams that are open with one peer at once, as many opened by this node, and as many by the
    /// peer; 1,024, 1 – 65,536. One more is refused with `Busy`. A stream that nobody reads holds
    /// 256 KiB, so a peer can make this node hold twice as many times that; at a harbor each stream
    /// counts with two peers.
    pub streams_max: usize,
    /// What all streams of one peer together may hold beyond 256 KiB each, in bytes; 16 MiB. It
    /// lets streams over long ways go fast: the window of one that is read as fast as it comes
    /// grows to twice of what is on its way.
    pub stream_growth_bytes_max: usize,
    /// How many streams a node opens over one connection before it goes on with another, which
    /// disturbs none; 2³⁰, 1 – 2³⁰.
    pub streams_per_connection_max: usize,
    /// A stream of which no byte was read or written at this node for so long is broken off; 0, which
    /// is never, or at least 10 ms; 0. That is found at most a quarter of it later.
    pub stream_idle_timeout: Duration,
    /// How long a call takes at most, when neither `within` nor the handler that makes it says
    /// otherwise; 5 s, above 0.
    pub call_timeout: Duration,
    /// How long a message may wait here and at harbors; 5 s, above 0.
    pub message_timeout: Duration,
    /// A link that sent nothing for this long sends a ping, and one that received nothing for
    /// three times as long is dead; 100 ms – 60 s; 1 s.
    pub heartbeat: Duration,
    /// How long one attempt to connect may last; 800 ms, above 0.
    pub connect_timeout: Duration,
    /// How long a handshake may last, on either side; 3 s, above 0.
    pub handshake_timeout: Duration,
    /// The first pause after a failed attempt to connect; it doubles up to `backoff_max`, and the
    /// real pause is a random part of it; 50 ms, above 0.
    pub backoff_min: Duration,
    /// The longest pause between two attempts to connect; 500 ms, at least `backoff_min`.
    pub backoff_max: Duration,
    /// How long a node that stops by itself, because discovery no longer has it, lets its handlers
    /// finish; 30 s. A peer that discovery no longer has gets as long to say its last words, and a
    /// node beyond harbors to say what became of messages that may be lost.
    pub stop_timeout: Duration,
    /// Connections that have not yet proved who they are; 256, at least 1. When one more comes, the
    /// oldest is closed. At most 64 more, which were refused, are open for up to 500 ms to hear why.
    pub unauthenticated_max: usize,
    /// The same from one remote IP address, loopback exempt; 64, at least 1.
    pub unauthenticated_per_ip_max: usize,
    /// Allows to bind to and dial addresses beyond loopback without a cluster key, so that
    /// whoever reaches the port can act as any node; `false`.
    pub insecure_remote: bool,
    /// A label for people, such as a build number, shown to peers in their logs; at most 64 bytes;
    /// empty.
    pub version_label: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            deployment: "default".to_owned(),
            frame_bytes_max: 1 << 20,
            outbox_bytes_max: 4 << 20,
            outbox_reserve_bytes: 256 << 10,
            calls_max: 4096,
            requests_max: 4096,
            request_bytes_max: 16 << 20,
            pair_bytes_max: 1 << 20,
            pairs_max: 65_536,
            relay_bytes_max: 256 << 20,
            streams_max: 1024,
            stream_growth_bytes_max: 16 << 20,
            streams_per_connection_max: 1 << 30,
            stream_idle_timeout: Duration::ZERO,
            call_timeout: Duration::from_secs(5),
            message_timeout: Duration::from_secs(5),
            heartbeat: Duration::from_secs(1),
            connect_timeout: Duration::from_millis(800),
            handshake_timeout: Duration::from_secs(3),
            backoff_min: Duration::from_millis(50),
            backoff_max: Duration::from_millis(500),
            stop_timeout: Duration::from_secs(30),
            unauthenticated_max: 256,
            unauthenticated_per_ip_max: 64,
            insecure_remote: false,
            version_label: String::new(),
        }
    }
}

impl Config {
    /// Whether each field is in its range and they fit each other; what handshakes do not check.
    pub(crate) fn check(&self) -> Result<(), String> {
        within("frame_bytes_max", self.frame_bytes_max, (1 << 10, 64 << 20))?;
        within("streams_max", self.streams_max, (1, 1 << 16))?;
        within("streams_per_connection_max", self.streams_per_connection_max, (1, 1 << 30))?;
        within("stream_growth_bytes_max", self.stream_growth_bytes_max, (0, 1 << 30))?;
        if !self.stream_idle_timeout.is_zero() {
            let least = Duration::from_millis(10);
            at_least("stream_idle_timeout", self.stream_idle_timeout, (least, ", or 0 for never"))?;
        }
        for (field, max) in [
            ("outbox_bytes_max", self.outbox_bytes_max),
            ("request_bytes_max", self.request_bytes_max),
            ("relay_bytes_max", self.relay_bytes_max),
        ] {
            at_least(field, max, (self.frame_bytes_max, " as `frame_bytes_max` is"))?;
        }
        for (field, max) in [
            ("calls_max", self.calls_max),
            ("requests_max", self.requests_max),
            ("pairs_max", self.pairs_max),
            ("unauthenticated_max", self.unauthenticated_max),
            ("unauthenticated_per_ip_max", self.unauthenticated_per_ip_max),
        ] {
            at_least(field, max, (1, ""))?;
        }
        // A frame of each pending call may have to be taken back.
        let each = crate::wire::HEADER_LEN;
        let cancels = self.calls_max.saturating_mul(each);
        let why = format!(", which is {each} for each of `calls_max`, {}", self.calls_max);
        at_least("outbox_reserve_bytes", self.outbox_reserve_bytes, (cancels, &why))?;
        for (field, time) in [
            ("call_timeout", self.call_timeout),
            ("message_timeout", self.message_timeout),
            ("connect_timeout", self.connect_timeout),
            ("handshake_timeout", self.handshake_timeout),
            ("backoff_min", self.backoff_min),
        ] {
            if time.is_zero() {
                return Err(format!("`{field}` is {time:?}; it must be above 0"));
            }
        }
        at_least("backoff_max", self.backoff_max, (self.backoff_min, " as `backoff_min` is"))
    }
}

fn within<T: PartialOrd + fmt::Debug>(
    field: &str,
    value: T,
    (min, max): (T, T),
) -> Result<(), String> {
    if min <= value && value <= max {
        return Ok(());
    }
    Err(format!("`{field}` is {value:?}; it must be {min:?} to {max:?}"))
}

fn at_least<T: PartialOrd + fmt::Debug>(
    field: &str,
    value: T,
    (min, why): (T, &str),
) -> Result<(), String> {
    if value >= min {
        return Ok(());
    }
    Err(format!("`{field}` is {value:?}; it must be at least {min:?}{why}"))
}

/// A secret that all nodes of a deployment share, with a public label that tells it from others.
///
/// Several can be given at once, so that a key can be replaced without stopping the deployment:
/// add the new one everywhere behind the old, then make it the first, then take the old one away.
/// The secret is wiped from memory when dropped and never printed.
///
/// A shared key keeps strangers out. It does not hide what is said from somebody on the path, and
/// any holder of it may claim any address.
#[derive(Clone)]
pub struct ClusterKey {
    id: String,
    secret: Zeroizing<Vec<u8>>,
}

impl ClusterKey {
    /// Makes a key from its public label (1–32 bytes) and its secret (at least 32 bytes).
    ///
    /// # Errors
    ///
    /// When the label or the secret has not the length that it must have.
    ///
    /// ```
    /// # use seaway::ClusterKey;
    /// let key = ClusterKey::new("2026-11", [7u8; 32])?;
    /// assert!(ClusterKey::new("2026-11", b"too short").is_err());
    /// assert_eq!(format!("{key:?}"), "ClusterKey { id: \"2026-11\", .. }");
    /// # Ok::<(), seaway::KeyError>(())
    /// ```
    pub fn new(id: impl Into<String>, secret: impl AsRef<[u8]>) -> Result<Self, KeyError> {
        let (id, secret) = (id.into(), secret.as_ref());
        if id.is_empty() || id.len() > 32 {
            return Err(KeyError::Id(id.len()));
        }
        if secret.len() < 32 {
            return Err(KeyError::Secret(secret.len()));
        }
        Ok(Self { id, secret: Zeroizing::new(secret.to_vec()) })
    }

    /// The public label.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn secret(&self) -> &[u8] {
        &self.secret
    }
}

impl fmt::Debug for ClusterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Why a cluster key is not one.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The label is empty or too long.
    #[error("the label of a cluster key must be 1 to 32 bytes, not {0}")]
    Id(usize),
    /// The secret is too short to stand against guessing.
    #[error("the secret of a cluster key must be at least 32 random bytes, not {0}")]
    Secret(usize),
}

debug_by_text!(KeyError: Id, Secret);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_out_of_range_is_told_with_the_value_and_the_range() {
        type Change = fn(&mut Config);
        let wrong: [(&str, Change); 6] = [
            ("`frame_bytes_max` is 1023; it must be 1024 to 67108864", |config| {
                config.frame_bytes_max = 1023;
            }),
            (
                "`outbox_bytes_max` is 7; it must be at least 1048576 as `frame_bytes_max` is",
                |config| config.outbox_bytes_max = 7,
            ),
            ("`requests_max` is 0; it must be at least 1", |config| config.requests_max = 0),
            (
                "`outbox_reserve_bytes` is 262144; it must be at least 352000, \
                 which is 44 for each of `calls_max`, 8000",
                |config| config.calls_max = 8000,
            ),
            ("`call_timeout` is 0ns; it must be above 0", |config| {
                config.call_timeout = Duration::ZERO;
            }),
            ("`backoff_max` is 10ms; it must be at least 50ms as `backoff_min` is", |config| {
                config.backoff_max = Duration::from_millis(10);
            }),
        ];
        for (text, change) in wrong {
            let mut config = Config::default();
            change(&mut config);
            assert_eq!(config.check(), Err(text.to_owned()));
        }
        assert_eq!(Config::default().check(), Ok(()));
    }
}
