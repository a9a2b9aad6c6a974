//! What this node says about itself in every handshake.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::Versions;
use super::fields::is_plain;
use super::proof::AuthKey;
use crate::addr::LogicalAddr;
use crate::clock::millis;
use crate::config::{ClusterKey, Config};
use crate::incarnation::Incarnation;

/// Lengths of a deployment's name, in bytes.
pub(super) const DEPLOYMENT_BYTES: RangeInclusive<usize> = 1..=64;
/// Lengths of a version label, in bytes.
pub(super) const LABEL_BYTES: RangeInclusive<usize> = 0..=64;
/// Lengths of a key's label, in bytes.
pub(super) const KEY_ID_BYTES: RangeInclusive<usize> = 1..=32;
/// The most keys that a node may have.
pub(super) const KEYS_MAX: usize = 8;
/// What the frame limit may be, in bytes.
pub(super) const FRAME_BYTES_MAX: RangeInclusive<u32> = 1 << 10..=64 << 20;
/// What the heartbeat interval may be, in milliseconds.
pub(super) const HEARTBEAT_MS: RangeInclusive<u32> = 100..=60_000;

/// What this node says about itself, checked, with its keys ready for use. Made once and shared by
/// all its handshakes.
#[derive(Clone, Debug)]
pub(crate) struct Local {
    /// Who this node is.
    pub(super) addr: LogicalAddr,
    /// Which run of it.
    pub(super) incarnation: Incarnation,
    /// The wire versions that it speaks.
    pub(super) versions: Versions,
    /// The features that it offers.
    pub(super) features: u64,
    /// The deployment that it belongs to.
    pub(super) deployment: String,
    /// The largest body of a frame that it takes, in bytes.
    pub(super) frame_bytes_max: u32,
    /// How often it sends when it has nothing to send, in milliseconds.
    pub(super) heartbeat_ms: u32,
    /// Its version, for people.
    pub(super) version_label: String,
    /// The keys that it accepts, the first to be offered first.
    pub(super) keys: Vec<AuthKey>,
}

impl Local {
    /// Takes what handshakes need from `config`; `features` are those that this node offers, `keys`
    /// those that it accepts, of which the first is offered first.
    ///
    /// # Errors
    ///
    /// When a field of the config is out of its limits, so that peers would not understand us.
    pub(crate) fn new(
        config: &Config,
        addr: LogicalAddr,
        incarnation: Incarnation,
        features: u64,
        keys: &[ClusterKey],
    ) -> Result<Self, LocalError> {
        if !is_plain(&config.deployment, &DEPLOYMENT_BYTES) {
            return Err(LocalError::Deployment(config.deployment.clone()));
        }
        if !is_plain(&config.version_label, &LABEL_BYTES) {
            return Err(LocalError::VersionLabel(config.version_label.clone()));
        }
        check_keys(keys)?;
        let frame_bytes = within(&FRAME_BYTES_MAX, u32::try_from(config.frame_bytes_max).ok());
        let heartbeat_ms = within(&HEARTBEAT_MS, u32::try_from(millis(config.heartbeat)).ok());
        Ok(Self {
            addr,
            incarnation,
            versions: Versions::OURS,
            features,
            deployment: config.deployment.clone(),
            frame_bytes_max: frame_bytes
                .ok_or(LocalError::FrameBytesMax(config.frame_bytes_max))?,
            heartbeat_ms: heartbeat_ms.ok_or(LocalError::Heartbeat(config.heartbeat))?,
            version_label: config.version_label.clone(),
            keys: keys.iter().map(|key| AuthKey::derive(key.id(), key.secret())).collect(),
        })
    }

    /// The same node as another incarnation: once, when its clock was behind.
    pub(crate) fn with_incarnation(&self, incarnation: Incarnation) -> Self {
        Self { incarnation, ..self.clone() }
    }

    /// The key that an acceptor takes: the first of the labels `offered` that it has. Without a key
    /// of its own it takes only dialers that have none either.
    pub(super) fn pick_key<'a>(
        &self,
        mut offered: impl Iterator<Item = &'a str>,
    ) -> Option<AuthKey> {
        if self.keys.is_empty() {
            return offered.next().is_none().then(AuthKey::none);
        }
        offered.find_map(|id| self.key(id))
    }

    /// The key that the acceptor chose, for a dialer. With a key of its own it never goes on
    /// without.
    pub(super) fn chosen_key(&self, id: &str) -> Option<AuthKey> {
        if self.keys.is_empty() { id.is_empty().then(AuthKey::none) } else { self.key(id) }
    }

    /// The key of a label.
    fn key(&self, id: &str) -> Option<AuthKey> {
        self.keys.iter().find(|key| key.id() == id).cloned()
    }
}

/// Whether the keys can be offered and told apart.
fn check_keys(keys: &[ClusterKey]) -> Result<(), LocalError> {
    if keys.len() > KEYS_MAX {
        return Err(LocalError::Keys(keys.len()));
    }
    for (at, key) in keys.iter().enumerate() {
        let is_twice = keys.iter().take(at).any(|earlier| earlier.id() == key.id());
        if is_twice || !is_plain(key.id(), &KEY_ID_BYTES) {
            return Err(LocalError::KeyId(key.id().to_owned()));
        }
    }
    Ok(())
}

/// The value, if it is within the limits.
fn within(limits: &RangeInclusive<u32>, value: Option<u32>) -> Option<u32> {
    value.filter(|value| limits.contains(value))
}

/// Which part of the config no peer would accept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LocalError {
    /// The name of the deployment.
    #[error("`deployment` is {0:?}; it must be 1 to 64 bytes of text without control characters")]
    Deployment(String),
    /// The version label.
    #[error(
        "`version_label` is {0:?}; it must be at most 64 bytes of text without control characters"
    )]
    VersionLabel(String),
    /// The frame limit.
    #[error("`frame_bytes_max` is {0}; it must be 1024 to 67108864")]
    FrameBytesMax(usize),
    /// The heartbeat.
    #[error("`heartbeat` is {0:?}; it must be 100ms to 60s")]
    Heartbeat(Duration),
    /// Too many keys.
    #[error("a node has at most 8 cluster keys, not {0}")]
    Keys(usize),
    /// Two keys with one label, or a label with control characters.
    #[error("the cluster key label {0:?} is used twice or has control characters")]
    KeyId(String),
}
