//! Every limit and time that a user may set, with its default.

use std::fmt;
use std::time::Duration;

use zeroize::Zeroizing;

/// Limits and times of a node. Every field has a default that is right on a laptop and in most
/// clusters; `start` checks that the fields fit each other.
///
/// ```
/// let mut config = seaway::Config::default();
/// config.frame_bytes_max = 4 << 20;
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
    /// bytes; 256 KiB. When that is full too, the link is closed.
    pub outbox_reserve_bytes: usize,
    /// Calls that wait for a reply from one peer; 4,096. One more is refused with `Busy`.
    pub calls_max: usize,
    /// Requests of one peer that are being handled; 4,096. One more is refused with `Busy`.
    pub requests_max: usize,
    /// Bodies of one peer's requests that are being handled, in bytes; 16 MiB.
    pub request_bytes_max: usize,
    /// How long a call takes at most, when neither `within` nor the handler that makes it says
    /// otherwise; 5 s.
    pub call_timeout: Duration,
    /// How long a message may wait here and at harbors; 5 s.
    pub message_timeout: Duration,
    /// A link that sent nothing for this long sends a ping, and one that received nothing for
    /// three times as long is dead; 100 ms – 60 s; 1 s.
    pub heartbeat: Duration,
    /// How long one attempt to connect may last; 800 ms.
    pub connect_timeout: Duration,
    /// How long a handshake may last, on either side; 3 s.
    pub handshake_timeout: Duration,
    /// The first pause after a failed attempt to connect; it doubles up to `backoff_max`, and the
    /// real pause is a random part of it; 50 ms.
    pub backoff_min: Duration,
    /// The longest pause between two attempts to connect; 500 ms.
    pub backoff_max: Duration,
    /// How long a node that stops by itself, because discovery no longer has it, lets its handlers
    /// finish; 30 s. A peer that discovery no longer has gets as long to say its last words.
    pub stop_timeout: Duration,
    /// Connections that have not yet proved who they are; 256. When one more comes, the oldest is
    /// closed. At most 64 more, which were refused, are open for up to 500 ms to hear why.
    pub unauthenticated_max: usize,
    /// The same from one remote IP address, loopback exempt; 64.
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
    /// Whether the fields fit each other; what handshakes do not check.
    pub(crate) fn check(&self) -> Result<(), String> {
        if !(1 << 10..=64 << 20).contains(&self.frame_bytes_max) {
            return Err("frame_bytes_max is 1 KiB to 64 MiB".to_owned());
        }
        let queues = [
            ("outbox_bytes_max", self.outbox_bytes_max),
            ("request_bytes_max", self.request_bytes_max),
        ];
        if let Some((name, _)) = queues.iter().find(|(_, max)| *max < self.frame_bytes_max) {
            return Err(format!("{name} must be at least frame_bytes_max"));
        }
        if self.requests_max == 0 {
            return Err("requests_max is at least 1".to_owned());
        }
        // A frame of each pending call may have to be taken back.
        let cancels = self.calls_max.saturating_mul(crate::wire::HEADER_LEN);
        if self.calls_max == 0 || cancels > self.outbox_reserve_bytes {
            let max = self.outbox_reserve_bytes / crate::wire::HEADER_LEN;
            return Err(format!("calls_max is 1 to {max}, or outbox_reserve_bytes must be larger"));
        }
        if self.backoff_min.is_zero() || self.backoff_min > self.backoff_max {
            return Err("backoff_min is above 0 and at most backoff_max".to_owned());
        }
        let times = [
            ("call_timeout", self.call_timeout),
            ("message_timeout", self.message_timeout),
            ("connect_timeout", self.connect_timeout),
            ("handshake_timeout", self.handshake_timeout),
        ];
        if let Some((name, _)) = times.iter().find(|(_, time)| time.is_zero()) {
            return Err(format!("{name} must be above 0"));
        }
        if self.unauthenticated_max == 0 || self.unauthenticated_per_ip_max == 0 {
            return Err(
                "unauthenticated_max and unauthenticated_per_ip_max are at least 1".to_owned()
            );
        }
        Ok(())
    }
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
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The label is empty or too long.
    #[error("the label of a cluster key is 1 to 32 bytes, not {0}")]
    Id(usize),
    /// The secret is too short to stand against guessing.
    #[error("the secret of a cluster key is at least 32 random bytes, not {0}")]
    Secret(usize),
}
