//! How a handshake message is built of fields.
//!
//! ```text
//!  message   length u16 | type u8 | field*      length counts what follows it
//!  field     tag u8 | length u16 | value        big endian, as everything
//! ```
//!
//! A tag means the same in every message. Unknown tags are skipped, so that later versions can add
//! some; a known one stands at most once. The proof is the last field and covers every byte that
//! either side sent before it.

use std::fmt;
use std::ops::RangeInclusive;

use super::error::HandshakeError;
use super::proof::{AuthKey, Role, Transcript};

/// The longest handshake message, its length field included.
pub(crate) const MESSAGE_BYTES_MAX: usize = 4096;

/// The bytes of a proof together with its tag and length.
const PROOF_FIELD_BYTES: usize = 3 + 32;

/// Tells how long the message is that `buffer` begins with, its length field included.
///
/// `None` until the length itself has come. Never more than [`MESSAGE_BYTES_MAX`], so that the
/// caller may make room for what it returns.
///
/// # Errors
///
/// When the length is beyond the limit or too short for a message.
pub(crate) fn message_len(buffer: &[u8]) -> Result<Option<usize>, HandshakeError> {
    let Some((length, _)) = buffer.split_first_chunk() else {
        return Ok(None);
    };
    match 2 + usize::from(u16::from_be_bytes(*length)) {
        2 => Err(HandshakeError::Malformed("it has no type")),
        len if len > MESSAGE_BYTES_MAX => Err(HandshakeError::TooLong(len)),
        len => Ok(Some(len)),
    }
}

/// The type of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Dialer: who I am, whom I mean, what for.
    Hello = 1,
    /// Acceptor: prove it.
    Challenge = 2,
    /// Dialer: here it is.
    Proof = 3,
    /// Acceptor: here is mine; begin.
    Ready = 4,
    /// Acceptor: no; with a proof or without.
    Refuse = 5,
}

/// What a field is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tag {
    /// The proof of the key; last in its message.
    Proof = 1,
    /// The name of the deployment.
    Deployment = 2,
    /// The lane.
    Lane = 3,
    /// The sender's address.
    Addr = 4,
    /// The address that the dialer means to reach.
    Meant = 5,
    /// The sender's incarnation.
    Incarnation = 6,
    /// The sender's nonce.
    Nonce = 7,
    /// Features offered, or in common.
    Features = 8,
    /// Labels of the keys offered.
    KeyIds = 9,
    /// The largest body of a frame.
    FrameBytesMax = 10,
    /// The sender's heartbeat interval.
    HeartbeatMs = 11,
    /// The sender's version, for people.
    VersionLabel = 12,
    /// Flags: bit 0, guest.
    Flags = 13,
    /// The counts of the last session.
    Counts = 14,
    /// The version chosen.
    Version = 15,
    /// The label of the key chosen.
    KeyId = 16,
    /// The session that begins.
    Session = 17,
    /// The number of a refusal.
    Reason = 18,
    /// A text for people.
    Text = 19,
    /// The versions that the refuser speaks.
    Versions = 20,
    /// The newer incarnation of the dialer's address.
    Newer = 21,
}

impl Tag {
    /// The known tags, in the order of their numbers, from 1 on.
    const ALL: [Self; 21] = [
        Self::Proof,
        Self::Deployment,
        Self::Lane,
        Self::Addr,
        Self::Meant,
        Self::Incarnation,
        Self::Nonce,
        Self::Features,
        Self::KeyIds,
        Self::FrameBytesMax,
        Self::HeartbeatMs,
        Self::VersionLabel,
        Self::Flags,
        Self::Counts,
        Self::Version,
        Self::KeyId,
        Self::Session,
        Self::Reason,
        Self::Text,
        Self::Versions,
        Self::Newer,
    ];

    /// The tag of a number, if it is known.
    pub(super) fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number).checked_sub(1)?).copied()
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({self:?})", *self as u8)
    }
}

/// Builds a message.
#[derive(Debug)]
pub(super) struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// Begins a message of this type.
    pub(super) fn new(kind: Kind) -> Self {
        Self { bytes: vec![0, 0, kind as u8] }
    }

    /// Adds a field; each tag once.
    pub(super) fn field(mut self, tag: Tag, value: &[u8]) -> Self {
        self.bytes.push(tag as u8);
        self.bytes.extend_from_slice(&length(value.len()));
        self.bytes.extend_from_slice(value);
        self
    }

    /// The message, without a proof.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.set_length(0);
        self.bytes
    }

    /// The message with the proof behind it, which covers `transcript` and this message. Both are
    /// added to the transcript.
    pub(super) fn seal(
        mut self,
        transcript: &mut Transcript,
        key: &AuthKey,
        role: Role,
    ) -> Vec<u8> {
        self.set_length(PROOF_FIELD_BYTES);
        transcript.absorb(&self.bytes);
        let covered = self.bytes.len();
        let proof = transcript.proof(key, role);
        let Self { bytes } = self.field(Tag::Proof, &*proof);
        transcript.absorb(bytes.get(covered..).unwrap_or_default());
        bytes
    }

    /// Writes the length of the message, to which `more` bytes will be added.
    fn set_length(&mut self, more: usize) {
        let body = self.bytes.len().saturating_sub(2) + more;
        if let Some(place) = self.bytes.first_chunk_mut() {
            *place = length(body);
        }
    }
}

/// A length as it stands on the wire. It always fits: every value that this crate writes is
/// limited (see `Local`), and all of them together are far below [`MESSAGE_BYTES_MAX`].
fn length(len: usize) -> [u8; 2] {
    u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes()
}

/// The fields of a message that came.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    /// The type, perhaps one that we do not know.
    kind: u8,
    /// The values of the known tags, in the order of their numbers.
    values: [Option<&'a [u8]>; Tag::ALL.len()],
    /// The proof, if there is one.
    sealed: Option<Sealed<'a>>,
}

/// The proof of a message that came, and what it covers of that message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sealed<'a> {
    /// The message up to the proof.
    pub(super) covered: &'a [u8],
    /// The field that is the proof, with tag and length.
    pub(super) field: &'a [u8],
    /// The proof itself.
    pub(super) proof: &'a [u8; 32],
}

impl<'a> Fields<'a> {
    /// Takes a message apart; `message` is one whole message, as [`message_len`] tells.
    pub(super) fn parse(message: &'a [u8]) -> Result<Self, HandshakeError> {
        if message_len(message)? != Some(message.len()) {
            return Err(HandshakeError::Malformed("its length is not what it says"));
        }
        let Some((&[_, _, kind], mut rest)) = message.split_first_chunk() else {
            return Err(HandshakeError::Malformed("it has no type"));
        };
        let mut fields = Self { kind, values: [None; Tag::ALL.len()], sealed: None };
        while let [number, high, low, after @ ..] = rest {
            let len = usize::from(u16::from_be_bytes([*high, *low]));
            let Some((value, next)) = after.split_at_checked(len) else {
                return Err(HandshakeError::Malformed("a field is longer than its message"));
            };
            if fields.sealed.is_some() {
                return Err(HandshakeError::Malformed("a field follows the proof"));
            }
            if let Some(tag) = Tag::from_number(*number) {
                fields.keep(tag, value)?;
                if tag == Tag::Proof {
                    let covered = message.get(..message.len() - rest.len()).unwrap_or_default();
                    let proof = value.try_into().map_err(|_| HandshakeError::Invalid(tag))?;
                    fields.sealed = Some(Sealed { covered, field: rest, proof });
                }
            }
            rest = next;
        }
        if rest.is_empty() {
            Ok(fields)
        } else {
            Err(HandshakeError::Malformed("it ends within a field"))
        }
    }

    /// Keeps a known field, unless the message had it already.
    fn keep(&mut self, tag: Tag, value: &'a [u8]) -> Result<(), HandshakeError> {
        let slot = self.values.get_mut(tag as usize - 1);
        match slot.and_then(|slot| slot.replace(value)) {
            Some(_) => Err(HandshakeError::Twice(tag)),
            None => Ok(()),
        }
    }

    /// Whether the message is of this type.
    pub(super) fn is(&self, kind: Kind) -> bool {
        self.kind == kind as u8
    }

    /// Errs unless the message is of this type.
    pub(super) fn expect(&self, kind: Kind) -> Result<(), HandshakeError> {
        if self.is(kind) {
            Ok(())
        } else {
            Err(HandshakeError::Unexpected { expected: kind as u8, found: self.kind })
        }
    }

    /// The proof, if the message has one.
    pub(super) fn sealed(&self) -> Option<Sealed<'a>> {
        self.sealed
    }

    /// A value of any length.
    pub(super) fn bytes(&self, tag: Tag) -> Result<&'a [u8], HandshakeError> {
        let value = self.values.get(tag as usize - 1).copied().flatten();
        value.ok_or(HandshakeError::Missing(tag))
    }

    /// A value of exactly `N` bytes.
    pub(super) fn required<const N: usize>(&self, tag: Tag) -> Result<[u8; N], HandshakeError> {
        self.bytes(tag)?.try_into().map_err(|_| HandshakeError::Invalid(tag))
    }

    /// A value of exactly `N` bytes, or none at all.
    pub(super) fn optional<const N: usize>(
        &self,
        tag: Tag,
    ) -> Result<Option<[u8; N]>, HandshakeError> {
        match self.required(tag) {
            Err(HandshakeError::Missing(_)) => Ok(None),
            other => other.map(Some),
        }
    }

    /// A value of one byte.
    pub(super) fn u8(&self, tag: Tag) -> Result<u8, HandshakeError> {
        self.required(tag).map(u8::from_be_bytes)
    }

    /// A value of eight bytes.
    pub(super) fn u64(&self, tag: Tag) -> Result<u64, HandshakeError> {
        self.required(tag).map(u64::from_be_bytes)
    }

    /// A u32 within its limits.
    pub(super) fn u32(
        &self,
        tag: Tag,
        limits: &RangeInclusive<u32>,
    ) -> Result<u32, HandshakeError> {
        let value = self.required(tag).map(u32::from_be_bytes)?;
        if limits.contains(&value) { Ok(value) } else { Err(HandshakeError::Invalid(tag)) }
    }

    /// A text that [`is_plain`] within its limits of length.
    pub(super) fn text(
        &self,
        tag: Tag,
        limits: &RangeInclusive<usize>,
    ) -> Result<&'a str, HandshakeError> {
        let text = std::str::from_utf8(self.bytes(tag)?).ok();
        text.filter(|text| is_plain(text, limits)).ok_or(HandshakeError::Invalid(tag))
    }
}

/// Whether a text may stand on the wire: of the right length in bytes, and without control
/// characters, which would let a stranger write lines of his own into our logs.
pub(super) fn is_plain(text: &str, limits: &RangeInclusive<usize>) -> bool {
    limits.contains(&text.len()) && !text.chars().any(char::is_control)
}
