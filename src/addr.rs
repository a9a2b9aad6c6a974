//! Logical addresses: who a node is, wherever it runs.
//!
//! ```text
//!  31        20 19      12 11         0
//! +------------+----------+------------+
//! |  group 12  |  type 8  |   id 12    |      written `group.type.id`, such as `1.2.3`
//! +------------+----------+------------+
//! ```

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::debug::debug_by_text;

/// The largest group number.
const GROUP_MAX: u16 = 4095;
/// The largest id.
const ID_MAX: u16 = 4095;

/// The kind of service a node offers: 1–254, or 255 for a harbor.
///
/// ```
/// use seaway::NodeType;
/// const ROOMS: NodeType = NodeType::new(7);
/// assert_eq!(ROOMS.get(), 7);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeType(u8);

impl NodeType {
    /// The type of nodes that relay between clusters.
    pub const HARBOR: Self = Self(255);

    /// Makes a type from its number, 1–254.
    ///
    /// # Panics
    ///
    /// On 0 and 255; in a `const` that is an error when compiling. [`NodeType::HARBOR`] is the
    /// type 255.
    #[must_use]
    pub const fn new(number: u8) -> Self {
        assert!(number != 0 && number != 255, "a node type is 1 to 254");
        Self(number)
    }

    /// The number, 1–255.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl fmt::Display for NodeType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for NodeType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeType({})", self.0)
    }
}

/// The name of a node: 32 bits, `group.type.id`.
///
/// Whoever knows an address can talk to the node behind it. All nodes of one group form one
/// cluster and connect directly; type 255 is a *harbor*, which relays between clusters.
/// `Option<LogicalAddr>` takes no more room than the address itself.
///
/// ```
/// use seaway::LogicalAddr;
/// let room: LogicalAddr = "1.7.42".parse()?;
/// assert_eq!((room.group(), room.node_type().get(), room.id()), (1, 7, 42));
///
/// const GATE: LogicalAddr = LogicalAddr::new(1, 2, 3);
/// assert_eq!(GATE.to_string(), "1.2.3");
/// # Ok::<(), seaway::AddrError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogicalAddr(NonZeroU32);

impl LogicalAddr {
    /// Makes the address of an ordinary node: group 1–4095, type 1–254, id 0–4095. For numbers that
    /// are not in the code there is [`LogicalAddr::try_new`].
    ///
    /// # Panics
    ///
    /// When a part is out of its range; in a `const` that is an error when compiling.
    #[must_use]
    #[track_caller]
    pub const fn new(group: u16, node_type: u8, id: u16) -> Self {
        Self::checked(Self::try_new(group, node_type, id))
    }

    /// Makes the address of a harbor (type 255): group 1–4095, id 0–4095.
    ///
    /// # Panics
    ///
    /// As [`LogicalAddr::new`].
    #[must_use]
    #[track_caller]
    pub const fn harbor(group: u16, id: u16) -> Self {
        Self::checked(Self::from_parts(group, 255, id))
    }

    /// Makes the address of an ordinary node from numbers that may be wrong.
    ///
    /// # Errors
    ///
    /// When a part is out of its range; type 255 is made by [`LogicalAddr::harbor`] or from text.
    pub const fn try_new(group: u16, node_type: u8, id: u16) -> Result<Self, AddrError> {
        if node_type == 0 || node_type == 255 {
            return Err(AddrError::Type(node_type as u64));
        }
        Self::from_parts(group, node_type, id)
    }

    #[track_caller]
    #[expect(clippy::panic, reason = "documented; a constant can be checked in no other way")]
    const fn checked(made: Result<Self, AddrError>) -> Self {
        match made {
            Ok(addr) => addr,
            Err(AddrError::Group(_)) => panic!("the group of a logical address is 1 to 4095"),
            Err(AddrError::Id(_)) => panic!("the id of a logical address is 0 to 4095"),
            Err(_) => panic!("the type of a logical address is 1 to 254; harbors have `harbor`"),
        }
    }

    const fn from_parts(group: u16, node_type: u8, id: u16) -> Result<Self, AddrError> {
        if group == 0 || group > GROUP_MAX {
            return Err(AddrError::Group(group as u64));
        }
        if id > ID_MAX {
            return Err(AddrError::Id(id as u64));
        }
        let bits = (group as u32) << 20 | (node_type as u32) << 12 | id as u32;
        match NonZeroU32::new(bits) {
            Some(bits) => Ok(Self(bits)),
            None => Err(AddrError::Group(0)),
        }
    }

    /// Reads an address from its 32 bits, as they stand on the wire.
    ///
    /// # Errors
    ///
    /// When the group or the type is 0.
    pub const fn from_bits(bits: u32) -> Result<Self, AddrError> {
        let node_type = (bits >> 12 & 0xff) as u8;
        if node_type == 0 {
            return Err(AddrError::Type(0));
        }
        Self::from_parts((bits >> 20) as u16, node_type, (bits & 0xfff) as u16)
    }

    /// The 32 bits of the address; never 0.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0.get()
    }

    /// The group (the cluster), 1–4095.
    #[must_use]
    pub const fn group(self) -> u16 {
        (self.0.get() >> 20) as u16
    }

    /// The type.
    #[must_use]
    pub const fn node_type(self) -> NodeType {
        NodeType((self.0.get() >> 12 & 0xff) as u8)
    }

    /// The id, 0–4095.
    #[must_use]
    pub const fn id(self) -> u16 {
        (self.0.get() & 0xfff) as u16
    }

    /// Whether the node is a harbor, which relays between clusters.
    #[must_use]
    pub const fn is_harbor(self) -> bool {
        self.node_type().0 == 255
    }
}

impl fmt::Display for LogicalAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.group(), self.node_type(), self.id())
    }
}

impl fmt::Debug for LogicalAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LogicalAddr({self})")
    }
}

impl FromStr for LogicalAddr {
    type Err = AddrError;

    fn from_str(text: &str) -> Result<Self, AddrError> {
        let mut parts = text.split('.');
        let (Some(group), Some(node_type), Some(id), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(AddrError::Parts(text.split('.').count()));
        };
        let group = number("group", group)?;
        let node_type = number("type", node_type)?;
        let id = number("id", id)?;
        Self::from_parts(
            u16::try_from(group).map_err(|_| AddrError::Group(group))?,
            match u8::try_from(node_type) {
                Ok(0) | Err(_) => return Err(AddrError::Type(node_type)),
                Ok(node_type) => node_type,
            },
            u16::try_from(id).map_err(|_| AddrError::Id(id))?,
        )
    }
}

/// Digits only: no sign, no blank, no leading zero, so that each address has one spelling.
fn number(part: &'static str, text: &str) -> Result<u64, AddrError> {
    let is_plain = !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_digit())
        && (text.len() == 1 || !text.starts_with('0'));
    if !is_plain {
        return Err(AddrError::NotANumber { part });
    }
    // What does not fit u64 is out of range for every part.
    Ok(text.parse().unwrap_or(u64::MAX))
}

impl TryFrom<&str> for LogicalAddr {
    type Error = AddrError;

    fn try_from(text: &str) -> Result<Self, AddrError> {
        text.parse()
    }
}

impl TryFrom<String> for LogicalAddr {
    type Error = AddrError;

    fn try_from(text: String) -> Result<Self, AddrError> {
        text.parse()
    }
}

impl Serialize for LogicalAddr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_u32(self.bits())
        }
    }
}

impl<'de> Deserialize<'de> for LogicalAddr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
            text.parse().map_err(de::Error::custom)
        } else {
            Self::from_bits(u32::deserialize(deserializer)?).map_err(de::Error::custom)
        }
    }
}

/// Why something is not a logical address: which part, and what it may be.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddrError {
    /// The text has not three parts.
    #[error("a logical address has three parts, group.type.id, such as 1.2.3; this has {0}")]
    Parts(usize),
    /// A part is not a plain decimal number.
    #[error(
        "the {part} of a logical address is {}, in decimal digits without sign or leading zero",
        range(part)
    )]
    NotANumber {
        /// The part: `group`, `type` or `id`.
        part: &'static str,
    },
    /// The group is out of range.
    #[error("the group of a logical address is {}, not {}", range("group"), found(*.0))]
    Group(u64),
    /// The type is out of range.
    #[error("the type of a logical address is {}, not {}", range("type"), found(*.0))]
    Type(u64),
    /// The id is out of range.
    #[error("the id of a logical address is {}, not {}", range("id"), found(*.0))]
    Id(u64),
}

/// What a part is instead.
fn found(number: u64) -> String {
    if number == u64::MAX { "a number of 20 digits or more".to_owned() } else { number.to_string() }
}

/// What a part may be.
fn range(part: &str) -> &'static str {
    match part {
        "group" => "1 to 4095",
        "type" => "1 to 254, or 255 for a harbor",
        _ => "0 to 4095",
    }
}

debug_by_text!(AddrError: Parts, NotANumber, Group, Type, Id);

#[cfg(test)]
mod tests;
