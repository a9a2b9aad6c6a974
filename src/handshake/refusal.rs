//! Why a node refuses a connection, as it stands on the wire.

use std::fmt;

use super::Versions;
use super::error::HandshakeError;
use super::fields::{Fields, Tag, Writer};
use crate::incarnation::Incarnation;

/// Why a connection was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// No wire version in common; carries what the refuser speaks.
    Version(Versions),
    /// The refuser has too many connections that have not yet proved themselves.
    TooManyConnections,
    /// No key in common, or a wrong proof.
    Authentication,
    /// The refuser has another address than the one meant.
    WrongAddress,
    /// The refuser does not know the dialer as a member.
    UnknownMember,
    /// The refuser knows a newer incarnation of the dialer's address; carries that one.
    OlderIncarnation(Incarnation),
    /// The refuser is shutting down.
    Draining,
    /// The lane is already up, or the refuser's own dial wins.
    Duplicate,
    /// The two nodes belong to different deployments.
    Deployment,
    /// The refuser takes no guests.
    Guest,
    /// The refuser does not know the lane.
    Lane,
    /// The dialer has the address of the refuser.
    OwnAddress,
    /// A reason of a later version.
    Other(u8),
}

impl Refusal {
    /// The reason's number on the wire.
    pub(crate) const fn number(self) -> u8 {
        match self {
            Self::Version(_) => 1,
            Self::TooManyConnections => 2,
            Self::Authentication => 3,
            Self::WrongAddress => 4,
            Self::UnknownMember => 5,
            Self::OlderIncarnation(_) => 6,
            Self::Draining => 7,
            Self::Duplicate => 8,
            Self::Deployment => 9,
            Self::Guest => 10,
            Self::Lane => 11,
            Self::OwnAddress => 12,
            Self::Other(number) => number,
        }
    }

    /// Writes the reason, and what it carries, as fields.
    pub(super) fn write(self, writer: Writer) -> Writer {
        let writer = writer.field(Tag::Reason, &[self.number()]);
        match self {
            Self::Version(Versions { lowest, highest }) => {
                writer.field(Tag::Versions, &[lowest, highest])
            }
            Self::OlderIncarnation(newer) => writer.field(Tag::Newer, &newer.bits().to_be_bytes()),
            _ => writer,
        }
    }

    /// Reads the reason, and what it carries.
    pub(super) fn read(fields: &Fields<'_>) -> Result<Self, HandshakeError> {
        Ok(match fields.u8(Tag::Reason)? {
            1 => {
                let [lowest, highest] = fields.required(Tag::Versions)?;
                Self::Version(Versions { lowest, highest })
            }
            2 => Self::TooManyConnections,
            3 => Self::Authentication,
            4 => Self::WrongAddress,
            5 => Self::UnknownMember,
            6 => Self::OlderIncarnation(Incarnation::from_bits(fields.u64(Tag::Newer)?)),
            7 => Self::Draining,
            8 => Self::Duplicate,
            9 => Self::Deployment,
            10 => Self::Guest,
            11 => Self::Lane,
            12 => Self::OwnAddress,
            number => Self::Other(number),
        })
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(theirs) => write!(
                f,
                "no wire version in common, the refuser speaks {theirs}; upgrade the older node"
            ),
            Self::TooManyConnections => {
                f.write_str("too many connections that have not proved themselves; try again later")
            }
            Self::Authentication => f.write_str(
                "not authenticated; give both nodes a cluster key of the same label and secret",
            ),
            Self::WrongAddress => f.write_str(
                "another node answered at this network address; discovery is out of date",
            ),
            Self::UnknownMember => f.write_str(
                "the dialer is not a member that the refuser knows yet; try again soon, and \
                 register the dialer in discovery if it stays so",
            ),
            Self::OlderIncarnation(newer) => write!(
                f,
                "a newer incarnation {newer} of the dialer's address runs; stop this one, or set \
                 its clock if it is behind"
            ),
            Self::Draining => f.write_str("the refuser is shutting down; use another node"),
            Self::Duplicate => {
                f.write_str("another connection of this lane is up or wins; use that one")
            }
            Self::Deployment => f.write_str(
                "the nodes belong to different deployments; correct `deployment` or discovery",
            ),
            Self::Guest => f.write_str("the refuser takes no guests; connect as a member"),
            Self::Lane => f.write_str("the refuser does not know this lane; upgrade it"),
            Self::OwnAddress => {
                f.write_str("a node dialled its own address; give every node an address of its own")
            }
            Self::Other(number) => {
                write!(f, "reason {number}, which this version does not know; upgrade this node")
            }
        }
    }
}
