//! The messages of the handshake: which fields each has.

use super::error::HandshakeError;
use super::fields::{Fields, Kind, Tag, Writer};
use super::local::{
    DEPLOYMENT_BYTES, FRAME_BYTES_MAX, HEARTBEAT_MS, KEY_ID_BYTES, KEYS_MAX, LABEL_BYTES,
};
use super::proof::{AuthKey, Role, Transcript};
use super::refusal::Refusal;
use super::{Counts, MAGIC, PREFACE_BYTES, Peer, Versions};
use crate::addr::LogicalAddr;
use crate::incarnation::Incarnation;

/// The bit of the flags that marks a guest.
const FLAG_GUEST: u8 = 1;
/// The longest text of a refusal, in bytes.
const TEXT_BYTES_MAX: usize = 256;

/// The preface of a node that speaks `versions`.
pub(super) fn write_preface(versions: Versions) -> [u8; PREFACE_BYTES] {
    let [a, b, c, d] = MAGIC;
    [a, b, c, d, versions.lowest, versions.highest, 0, 0]
}

/// The versions that a preface offers. Its last two bytes mean nothing yet.
pub(super) fn read_preface(preface: [u8; PREFACE_BYTES]) -> Result<Versions, HandshakeError> {
    let [a, b, c, d, lowest, highest, _, _] = preface;
    if [a, b, c, d] != MAGIC {
        return Err(HandshakeError::NotSeaway);
    }
    if lowest == 0 || lowest > highest {
        return Err(HandshakeError::Malformed("the preface has no range of versions"));
    }
    Ok(Versions { lowest, highest })
}

/// What the dialer says first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hello {
    /// The sender.
    pub(super) peer: Peer,
    /// The deployment that the dialer belongs to.
    pub(super) deployment: String,
    /// The number of the lane, perhaps one that we do not know.
    pub(super) lane: u8,
    /// The node that the dialer means to reach.
    pub(super) meant: LogicalAddr,
    /// Random bytes that were never sent before.
    pub(super) nonce: [u8; 32],
    /// Features: those offered in HELLO, those in common in READY.
    pub(super) features: u64,
    /// The labels of the keys that the dialer has, the preferred one first.
    pub(super) key_ids: Vec<String>,
    /// The frame limit: the dialer's in HELLO, the lower one in READY.
    pub(super) frame_bytes_max: u32,
    /// Whether the dialer is a tool and not a member.
    pub(super) is_guest: bool,
}

impl Hello {
    /// The bytes of the message.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut key_ids = Vec::new();
        for id in &self.key_ids {
            // Longer labels than 32 bytes do not exist.
            key_ids.push(u8::try_from(id.len()).unwrap_or(u8::MAX));
            key_ids.extend_from_slice(id.as_bytes());
        }
        let writer = Writer::new(Kind::Hello)
            .field(Tag::Deployment, self.deployment.as_bytes())
            .field(Tag::Lane, &[self.lane])
            .field(Tag::Meant, &self.meant.bits().to_be_bytes())
            .field(Tag::Nonce, &self.nonce)
            .field(Tag::Features, &self.features.to_be_bytes())
            .field(Tag::KeyIds, &key_ids)
            .field(Tag::FrameBytesMax, &self.frame_bytes_max.to_be_bytes())
            .field(Tag::Flags, &[if self.is_guest { FLAG_GUEST } else { 0 }]);
        write_peer(writer, &self.peer).finish()
    }

    /// Reads the message and checks every limit.
    pub(super) fn decode(fields: &Fields<'_>) -> Result<Self, HandshakeError> {
        fields.expect(Kind::Hello)?;
        Ok(Self {
            peer: read_peer(fields)?,
            deployment: fields.text(Tag::Deployment, &DEPLOYMENT_BYTES)?.to_owned(),
            lane: fields.u8(Tag::Lane)?,
            meant: read_addr(fields, Tag::Meant)?,
            nonce: fields.required(Tag::Nonce)?,
            features: fields.u64(Tag::Features)?,
            key_ids: read_key_ids(fields.bytes(Tag::KeyIds)?)
                .ok_or(HandshakeError::Invalid(Tag::KeyIds))?,
            frame_bytes_max: fields.u32(Tag::FrameBytesMax, &FRAME_BYTES_MAX)?,
            // Flags that we do not know are ignored, as everywhere on the wire.
            is_guest: fields.u8(Tag::Flags)? & FLAG_GUEST != 0,
        })
    }
}

/// The labels in a list of length and label each; `None` if it is not one.
fn read_key_ids(mut list: &[u8]) -> Option<Vec<String>> {
    let mut ids = Vec::new();
    while let Some((&len, rest)) = list.split_first() {
        let (id, rest) = rest.split_at_checked(usize::from(len))?;
        if ids.len() == KEYS_MAX || !KEY_ID_BYTES.contains(&id.len()) {
            return None;
        }
        ids.push(std::str::from_utf8(id).ok()?.to_owned());
        list = rest;
    }
    Some(ids)
}

/// What the acceptor answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Challenge {
    /// The version chosen.
    pub(super) version: u8,
    /// Random bytes that were never sent before.
    pub(super) nonce: [u8; 32],
    /// Empty for none.
    pub(super) key_id: String,
}

impl Challenge {
    /// The bytes of the message.
    pub(super) fn encode(&self) -> Vec<u8> {
        Writer::new(Kind::Challenge)
            .field(Tag::Version, &[self.version])
            .field(Tag::Nonce, &self.nonce)
            .field(Tag::KeyId, self.key_id.as_bytes())
            .finish()
    }

    /// Reads the message and checks every limit.
    pub(super) fn decode(fields: &Fields<'_>) -> Result<Self, HandshakeError> {
        fields.expect(Kind::Challenge)?;
        Ok(Self {
            version: fields.u8(Tag::Version)?,
            nonce: fields.required(Tag::Nonce)?,
            key_id: fields.text(Tag::KeyId, &(0..=*KEY_ID_BYTES.end()))?.to_owned(),
        })
    }
}

/// What the acceptor says when the dialer may begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ready {
    /// The sender.
    pub(super) peer: Peer,
    /// Features: those offered in HELLO, those in common in READY.
    pub(super) features: u64,
    /// The frame limit: the dialer's in HELLO, the lower one in READY.
    pub(super) frame_bytes_max: u32,
    /// The session that begins; never 0.
    pub(super) session: u64,
}

impl Ready {
    /// The bytes of the message, with its proof; adds them to the transcript.
    pub(super) fn encode(&self, transcript: &mut Transcript, key: &AuthKey) -> Vec<u8> {
        let writer = Writer::new(Kind::Ready)
            .field(Tag::Features, &self.features.to_be_bytes())
            .field(Tag::FrameBytesMax, &self.frame_bytes_max.to_be_bytes())
            .field(Tag::Session, &self.session.to_be_bytes());
        write_peer(writer, &self.peer).seal(transcript, key, Role::Acceptor)
    }

    /// Reads the message and checks every limit.
    pub(super) fn decode(fields: &Fields<'_>) -> Result<Self, HandshakeError> {
        fields.expect(Kind::Ready)?;
        let session = fields.u64(Tag::Session)?;
        if session == 0 {
            return Err(HandshakeError::Invalid(Tag::Session));
        }
        Ok(Self {
            peer: read_peer(fields)?,
            features: fields.u64(Tag::Features)?,
            frame_bytes_max: fields.u32(Tag::FrameBytesMax, &FRAME_BYTES_MAX)?,
            session,
        })
    }
}

/// What an acceptor that has proved itself says when it does not want the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refuse {
    /// The reason.
    pub(super) refusal: Refusal,
    /// For people.
    pub(super) text: String,
    /// The acceptor's.
    pub(super) incarnation: Incarnation,
}

impl Refuse {
    /// The same message to somebody who has not proved himself: the reason and nothing else.
    pub(super) fn unproven(refusal: Refusal) -> Vec<u8> {
        refusal.write(Writer::new(Kind::Refuse)).finish()
    }

    /// The bytes of the message, with its proof; adds them to the transcript.
    pub(super) fn encode(&self, transcript: &mut Transcript, key: &AuthKey) -> Vec<u8> {
        self.refusal
            .write(Writer::new(Kind::Refuse))
            .field(Tag::Text, plain(&self.text).as_bytes())
            .field(Tag::Incarnation, &self.incarnation.bits().to_be_bytes())
            .seal(transcript, key, Role::Acceptor)
    }

    /// Reads the message and checks every limit.
    pub(super) fn decode(fields: &Fields<'_>) -> Result<Self, HandshakeError> {
        fields.expect(Kind::Refuse)?;
        Ok(Self {
            refusal: Refusal::read(fields)?,
            text: fields.text(Tag::Text, &(0..=TEXT_BYTES_MAX))?.to_owned(),
            incarnation: Incarnation::from_bits(fields.u64(Tag::Incarnation)?),
        })
    }
}

/// A text as it may stand in a refusal: shortened, with blanks for control characters.
fn plain(text: &str) -> String {
    let fitting = text.char_indices().take_while(|(at, c)| at + c.len_utf8() <= TEXT_BYTES_MAX);
    fitting.map(|(_, c)| if c.is_control() { ' ' } else { c }).collect()
}

/// Writes what both HELLO and READY say about their sender.
fn write_peer(writer: Writer, peer: &Peer) -> Writer {
    let writer = writer
        .field(Tag::Addr, &peer.addr.bits().to_be_bytes())
        .field(Tag::Incarnation, &peer.incarnation.bits().to_be_bytes())
        .field(Tag::HeartbeatMs, &peer.heartbeat_ms.to_be_bytes())
        .field(Tag::VersionLabel, peer.version_label.as_bytes());
    match peer.counts {
        None => writer,
        Some(Counts { session, handled, bounced }) => {
            let counts = [session, handled, bounced].map(u64::to_be_bytes);
            writer.field(Tag::Counts, counts.as_flattened())
        }
    }
}

/// What both HELLO and READY say about their sender.
fn read_peer(fields: &Fields<'_>) -> Result<Peer, HandshakeError> {
    Ok(Peer {
        addr: read_addr(fields, Tag::Addr)?,
        incarnation: Incarnation::from_bits(fields.u64(Tag::Incarnation)?),
        heartbeat_ms: fields.u32(Tag::HeartbeatMs, &HEARTBEAT_MS)?,
        version_label: fields.text(Tag::VersionLabel, &LABEL_BYTES)?.to_owned(),
        counts: read_counts(fields)?,
    })
}

/// An address.
fn read_addr(fields: &Fields<'_>, tag: Tag) -> Result<LogicalAddr, HandshakeError> {
    let bits = fields.required(tag).map(u32::from_be_bytes)?;
    LogicalAddr::from_bits(bits).map_err(|_| HandshakeError::Invalid(tag))
}

/// The counts, if there are any.
fn read_counts(fields: &Fields<'_>) -> Result<Option<Counts>, HandshakeError> {
    let Some(bytes) = fields.optional::<24>(Tag::Counts)? else {
        return Ok(None);
    };
    match bytes.as_chunks().0 {
        &[session, handled, bounced] if session != [0; 8] => Ok(Some(Counts {
            session: u64::from_be_bytes(session),
            handled: u64::from_be_bytes(handled),
            bounced: u64::from_be_bytes(bounced),
        })),
        _ => Err(HandshakeError::Invalid(Tag::Counts)),
    }
}
