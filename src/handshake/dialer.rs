//! The side that opened the connection.

use std::sync::Arc;

use super::error::HandshakeError;
use super::fields::{Fields, Kind, Tag, Writer};
use super::local::Local;
use super::message::{Challenge, Hello, Ready, Refuse, write_preface};
use super::proof::{AuthKey, Role, Transcript};
use super::refusal::Refusal;
use super::{Counts, Established, Lane, Peer};
use crate::addr::LogicalAddr;

/// What one attempt to connect is about.
#[derive(Clone, Debug)]
pub(crate) struct Dial {
    /// The lane to open.
    pub(crate) lane: Lane,
    /// The node meant; another one that answers refuses.
    pub(crate) to: LogicalAddr,
    /// Whether this is a tool and not a member. Reserved: nodes of version 1 refuse it.
    pub(crate) is_guest: bool,
    /// What this node received on the last session of this lane that it knows, if any. Final: its
    /// connection is no longer read.
    pub(crate) counts: Option<Counts>,
    /// The exporter of the TLS connection beneath; zeros without TLS.
    pub(crate) exporter: [u8; 32],
}

/// A dialer that has said HELLO and waits for CHALLENGE.
#[derive(Debug)]
#[must_use]
pub(crate) struct Dialer {
    local: Arc<Local>,
    dial: Dial,
    transcript: Transcript,
}

impl Dialer {
    /// Begins a handshake: returns the preface and HELLO to be sent. `nonce` is fresh from the
    /// operating system's randomness.
    pub(crate) fn start(local: Arc<Local>, dial: Dial, nonce: [u8; 32]) -> (Self, Vec<u8>) {
        let hello = Hello {
            peer: Peer::of(&local, dial.counts),
            deployment: local.deployment.clone(),
            lane: dial.lane.number(),
            meant: dial.to,
            nonce,
            features: local.features,
            key_ids: local.keys.iter().map(|key| key.id().to_owned()).collect(),
            frame_bytes_max: local.frame_bytes_max,
            is_guest: dial.is_guest,
        };
        let mut bytes = write_preface(local.versions).to_vec();
        bytes.extend_from_slice(&hello.encode());
        let mut transcript = Transcript::new(dial.exporter);
        transcript.absorb(&bytes);
        (Self { local, dial, transcript }, bytes)
    }

    /// Takes the acceptor's CHALLENGE; returns the PROOF to be sent.
    ///
    /// # Errors
    ///
    /// When the acceptor turned us away, chose a key or a version that we did not offer, or does
    /// not keep to the protocol. Nothing is sent then.
    pub(crate) fn on_challenge(
        mut self,
        message: &[u8],
    ) -> Result<(Proving, Vec<u8>), HandshakeError> {
        let fields = Fields::parse(message)?;
        if fields.is(Kind::Refuse) {
            // No nonce of the acceptor is known yet, so nothing that it says is proven.
            return Err(turned_away(&fields));
        }
        let challenge = Challenge::decode(&fields)?;
        if !self.local.versions.contain(challenge.version) {
            return Err(HandshakeError::ChosenVersion(challenge.version));
        }
        let key = self.local.chosen_key(&challenge.key_id).ok_or(HandshakeError::NoCommonKey)?;
        self.transcript.absorb(message);
        let proof = Writer::new(Kind::Proof).seal(&mut self.transcript, &key, Role::Dialer);
        let Self { local, dial, transcript } = self;
        Ok((Proving { local, dial, transcript, key, version: challenge.version }, proof))
    }
}

/// A dialer that has sent its PROOF and waits for READY.
#[derive(Debug)]
#[must_use]
pub(crate) struct Proving {
    local: Arc<Local>,
    dial: Dial,
    transcript: Transcript,
    key: AuthKey,
    version: u8,
}

impl Proving {
    /// Takes the acceptor's READY.
    ///
    /// # Errors
    ///
    /// [`HandshakeError::Refused`] when the acceptor proved itself and refused,
    /// [`HandshakeError::TurnedAway`] when it refused without proof; others when its proof is wrong
    /// or it does not keep to the protocol.
    pub(crate) fn on_ready(mut self, message: &[u8]) -> Result<Established, HandshakeError> {
        let fields = Fields::parse(message)?;
        let Some(sealed) = fields.sealed() else {
            return Err(if fields.is(Kind::Refuse) {
                turned_away(&fields)
            } else {
                HandshakeError::Missing(Tag::Proof)
            });
        };
        self.transcript.verify(sealed, &self.key, Role::Acceptor)?;
        if fields.is(Kind::Refuse) {
            return Err(refused(&fields));
        }
        let ready = Ready::decode(&fields)?;
        // The acceptor has proved itself, so that these would be its mistakes and no attack.
        if ready.peer.addr != self.dial.to {
            return Err(HandshakeError::Invalid(Tag::Addr));
        }
        if ready.features & !self.local.features != 0 {
            return Err(HandshakeError::Invalid(Tag::Features));
        }
        if ready.frame_bytes_max > self.local.frame_bytes_max {
            return Err(HandshakeError::Invalid(Tag::FrameBytesMax));
        }
        Ok(Established {
            peer: ready.peer,
            lane: self.dial.lane,
            version: self.version,
            features: ready.features,
            frame_bytes_max: ready.frame_bytes_max,
            session: ready.session,
        })
    }
}

/// What a refusal without proof tells.
fn turned_away(fields: &Fields<'_>) -> HandshakeError {
    match Refusal::read(fields) {
        Ok(refusal) => HandshakeError::TurnedAway { refusal },
        Err(error) => error,
    }
}

/// What a refusal with a proof that was verified tells.
fn refused(fields: &Fields<'_>) -> HandshakeError {
    match Refuse::decode(fields) {
        Ok(Refuse { refusal, text, incarnation }) => {
            HandshakeError::Refused { refusal, text, incarnation }
        }
        Err(error) => error,
    }
}
