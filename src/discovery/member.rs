//! What discovery says of a node, and what a node says of itself. Pure.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::net::SocketAddrV6;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::labels::Labels;
use crate::addr::LogicalAddr;
use crate::debug::debug_by_text;
use crate::incarnation::Incarnation;

/// The most labels of a member.
const LABELS_MAX: usize = 32;
/// The most bytes of all keys and values of a member's labels.
const LABEL_BYTES_MAX: usize = 4 << 10;
/// The longest host name that DNS can carry.
const HOST_BYTES_MAX: usize = 253;

/// What discovery says of a node.
///
/// The fields are free to be set; [`Member::check`] says whether they make sense, and a node
/// leaves out, and reports, a member whose fields do not. When deserialized, everything but
/// `address` and `network` may be missing.
///
/// ```
/// use seaway::LogicalAddr;
/// use seaway::discovery::Member;
/// const ROOM: LogicalAddr = LogicalAddr::new(1, 7, 42);
/// let member = Member::new(ROOM, "10.0.0.7:7001").exported(true).label("zone", "a");
/// assert!(member.available && member.exported && member.check().is_ok());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Member {
    /// Its logical address.
    pub address: LogicalAddr,
    /// Where it is reached: `host:port`, with an IPv6 address in brackets. A name is resolved each
    /// time the node is dialled.
    pub network: String,
    /// Whether nodes of other groups may know of it; `false`.
    #[serde(default)]
    pub exported: bool,
    /// Whether pickers should choose it; `true`. One that is not available can still be named.
    #[serde(default = "yes")]
    pub available: bool,
    /// Which run of it was last heard of, if any was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<Incarnation>,
    /// Free words for those who pick: at most 32 pairs and 4 KiB in all.
    #[serde(default, skip_serializing_if = "is_none")]
    pub labels: Labels,
    /// The harbor that has carried it here from another discovery; `None` if it was entered here.
    /// Engines set it, see [`Discovery::carry`](super::Discovery::carry).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub carried_by: Option<LogicalAddr>,
}

fn yes() -> bool {
    true
}

fn is_none(labels: &Labels) -> bool {
    labels.is_empty()
}

impl Member {
    /// Makes an available member that other groups do not see, without labels.
    pub fn new(address: LogicalAddr, network: impl Into<String>) -> Self {
        Self {
            address,
            network: network.into(),
            exported: false,
            available: true,
            incarnation: None,
            labels: Labels::default(),
            carried_by: None,
        }
    }

    /// Sets whether nodes of other groups may know of it.
    #[must_use]
    pub fn exported(mut self, exported: bool) -> Self {
        self.exported = exported;
        self
    }

    /// Sets whether pickers should choose it.
    #[must_use]
    pub fn available(mut self, available: bool) -> Self {
        self.available = available;
        self
    }

    /// Sets which run of it was last heard of.
    #[must_use]
    pub fn incarnation(mut self, incarnation: Incarnation) -> Self {
        self.incarnation = Some(incarnation);
        self
    }

    /// Adds a label, or replaces the one with the same key.
    #[must_use]
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(key.into(), value.into());
        self
    }

    /// Sets which harbor has carried it here.
    #[must_use]
    pub fn carried_by(mut self, carrier: LogicalAddr) -> Self {
        self.carried_by = Some(carrier);
        self
    }

    /// Whether it stands where a harbor of another group than its own has carried it: with those
    /// for whom that was done, and not for others to take it further.
    pub(crate) fn is_brought_in(&self) -> bool {
        self.carried_by.is_some_and(|carrier| carrier.group() != self.address.group())
    }

    /// Says whether the fields make sense. Nothing is resolved or asked.
    ///
    /// # Errors
    ///
    /// When the network address is not `host:port` or the labels are too many or too long.
    pub fn check(&self) -> Result<(), MemberError> {
        if !is_network(&self.network) {
            return Err(MemberError::Network(self.network.chars().take(64).collect()));
        }
        if self.labels.len() > LABELS_MAX {
            return Err(MemberError::Labels(self.labels.len()));
        }
        let bytes = self.labels.iter().map(|(key, value)| key.len() + value.len()).sum();
        if bytes > LABEL_BYTES_MAX {
            return Err(MemberError::LabelBytes(bytes));
        }
        Ok(())
    }
}

/// `name:port`, `1.2.3.4:port` or `[::1]:port`, spelled so that the resolver takes it.
fn is_network(text: &str) -> bool {
    if text.starts_with('[') {
        return text.parse::<SocketAddrV6>().is_ok_and(|addr| addr.port() != 0);
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        return false;
    };
    // `parse` alone would take a sign.
    let is_port = port.bytes().all(|byte| byte.is_ascii_digit())
        && port.parse::<u16>().is_ok_and(|port| port != 0);
    // No colon: an IPv6 address without brackets leaves open where it ends.
    let is_host = (1..=HOST_BYTES_MAX).contains(&host.len())
        && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    is_host && is_port
}

/// Why something cannot be a member.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MemberError {
    /// The network address has not the form that it must have; its first 64 characters.
    #[error(
        "a network address is host:port with a port from 1 to 65535, such as db.local:7001, \
         10.0.0.7:7001 or [::1]:7001, not {0:?}"
    )]
    Network(String),
    /// There are too many labels.
    #[error("a member has at most {LABELS_MAX} labels, not {0}")]
    Labels(usize),
    /// The labels are too long.
    #[error("the labels of a member take at most {LABEL_BYTES_MAX} bytes in all, not {0}")]
    LabelBytes(usize),
}

debug_by_text!(MemberError: Network, Labels, LabelBytes);

/// What a node says of itself, again and again while it lives.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Announcement {
    /// The node.
    pub address: LogicalAddr,
    /// Which run of it.
    pub incarnation: Incarnation,
    /// Whether pickers should choose it; `true`, until it drains.
    pub available: bool,
    /// Labels that are added to those it has in discovery; the same limits as there.
    pub labels: Labels,
    /// For how long this holds when no other follows; 10 s.
    pub ttl: Duration,
}

impl Announcement {
    /// Makes the announcement of an available node without labels, good for 10 s.
    #[must_use]
    pub fn new(address: LogicalAddr, incarnation: Incarnation) -> Self {
        Self {
            address,
            incarnation,
            available: true,
            labels: Labels::default(),
            ttl: Duration::from_secs(10),
        }
    }

    /// Sets whether pickers should choose it.
    #[must_use]
    pub fn available(mut self, available: bool) -> Self {
        self.available = available;
        self
    }

    /// Adds a label, or replaces the one with the same key.
    #[must_use]
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(key.into(), value.into());
        self
    }

    /// Sets for how long it holds.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }
}

#[cfg(test)]
mod tests;
