//! The side that accepted the connection.
//!
//! Until the dialer's proof is verified, nothing that it said is acted on: it is held in the state
//! of this one connection, within the limits of a message, and the dialer is told no more than
//! `version`, `too many connections` or `authentication`.

use std::sync::Arc;

use super::error::HandshakeError;
use super::fields::{Fields, Kind, Tag};
use super::local::Local;
use super::message::{Challenge, Hello, Ready, Refuse, read_preface};
use super::proof::{AuthKey, Role, Transcript};
use super::refusal::Refusal;
use super::{Counts, Established, Lane, PREFACE_BYTES, Peer};
use crate::incarnation::Incarnation;

/// The answer to a connection for which there is no room, to be sent before anything is read.
pub(crate) fn too_many_connections() -> Vec<u8> {
    Refuse::unproven(Refusal::TooManyConnections)
}

/// Why an acceptor gave up, and what it tells the dialer.
#[derive(Debug)]
pub(crate) struct Rejected {
    /// Why.
    pub(crate) error: HandshakeError,
    /// To be sent before closing; `None` to close without a word, because what came is not a
    /// handshake.
    pub(crate) reply: Option<Vec<u8>>,
}

impl Rejected {
    /// Tells a dialer that has not proved itself.
    fn telling(refusal: Refusal, error: HandshakeError) -> Self {
        Self { error, reply: Some(Refuse::unproven(refusal)) }
    }
}

impl From<HandshakeError> for Rejected {
    fn from(error: HandshakeError) -> Self {
        Self { error, reply: None }
    }
}

/// An acceptor that waits for HELLO.
#[derive(Debug)]
#[must_use]
pub(crate) struct Acceptor {
    local: Arc<Local>,
    transcript: Transcript,
    version: u8,
}

impl Acceptor {
    /// Takes the preface; `exporter` is that of the TLS connection beneath, zeros without TLS.
    ///
    /// # Errors
    ///
    /// When the other side is no node, or has no version in common with us.
    pub(crate) fn on_preface(
        local: Arc<Local>,
        preface: [u8; PREFACE_BYTES],
        exporter: [u8; 32],
    ) -> Result<Self, Rejected> {
        let (ours, theirs) = (local.versions, read_preface(preface)?);
        let Some(version) = ours.common(theirs) else {
            let error = HandshakeError::NoCommonVersion { ours, theirs };
            return Err(Rejected::telling(Refusal::Version(ours), error));
        };
        let mut transcript = Transcript::new(exporter);
        transcript.absorb(&preface);
        Ok(Self { local, transcript, version })
    }

    /// Takes HELLO; returns the CHALLENGE to be sent. `nonce` is fresh from the operating system's
    /// randomness.
    ///
    /// # Errors
    ///
    /// When there is no key in common, or HELLO is not as it must be.
    pub(crate) fn on_hello(
        mut self,
        message: &[u8],
        nonce: [u8; 32],
    ) -> Result<(Challenging, Vec<u8>), Rejected> {
        let hello = Hello::decode(&Fields::parse(message)?)?;
        let offered = hello.key_ids.iter().map(String::as_str);
        let Some(key) = self.local.pick_key(offered) else {
            let error = HandshakeError::NoCommonKey;
            return Err(Rejected::telling(Refusal::Authentication, error));
        };
        let challenge =
            Challenge { version: self.version, nonce, key_id: key.id().to_owned() }.encode();
        self.transcript.absorb(message);
        self.transcript.absorb(&challenge);
        let Self { local, transcript, version } = self;
        Ok((Challenging { local, transcript, version, hello, key }, challenge))
    }
}

/// An acceptor that has sent its CHALLENGE and waits for PROOF.
#[derive(Debug)]
#[must_use]
pub(crate) struct Challenging {
    local: Arc<Local>,
    transcript: Transcript,
    version: u8,
    hello: Hello,
    key: AuthKey,
}

impl Challenging {
    /// Takes PROOF. What can be judged without knowing any other node is judged here; the rest is
    /// for the caller, who gets the claim.
    ///
    /// # Errors
    ///
    /// When the proof is wrong, or the dialer, now known, is refused: another deployment, our own
    /// address, not us whom it means, a lane or a guest that we do not take.
    pub(crate) fn on_proof(mut self, message: &[u8]) -> Result<Claim, Rejected> {
        let fields = Fields::parse(message)?;
        fields.expect(Kind::Proof)?;
        let sealed = fields.sealed().ok_or(HandshakeError::Missing(Tag::Proof))?;
        if let Err(error) = self.transcript.verify(sealed, &self.key, Role::Dialer) {
            return Err(Rejected::telling(Refusal::Authentication, error));
        }
        let judged = judge(&self.local, &self.hello);
        let Self { local, mut transcript, version, hello, key } = self;
        match judged {
            Ok(lane) => Ok(Claim {
                features: hello.features & local.features,
                frame_bytes_max: hello.frame_bytes_max.min(local.frame_bytes_max),
                peer: hello.peer,
                lane,
                version,
                local,
                transcript,
                key,
            }),
            Err((refusal, text)) => {
                let refuse = Refuse { refusal, text, incarnation: local.incarnation };
                Err(Rejected {
                    error: HandshakeError::Refusing { peer: hello.peer.addr, refusal },
                    reply: Some(refuse.encode(&mut transcript, &key)),
                })
            }
        }
    }
}

/// Whether a proven HELLO is one for us; its lane, or why not.
fn judge(local: &Local, hello: &Hello) -> Result<Lane, (Refusal, String)> {
    if hello.deployment != local.deployment {
        let text = format!("this is deployment {}, not {}", local.deployment, hello.deployment);
        return Err((Refusal::Deployment, text));
    }
    if hello.peer.addr == local.addr {
        return Err((Refusal::OwnAddress, format!("both ends are {}", local.addr)));
    }
    if hello.meant != local.addr {
        let text = format!("this is {}, not {}", local.addr, hello.meant);
        return Err((Refusal::WrongAddress, text));
    }
    if hello.is_guest {
        return Err((Refusal::Guest, "guests are for a later version".to_owned()));
    }
    Lane::from_number(hello.lane).ok_or_else(|| (Refusal::Lane, format!("lane {}", hello.lane)))
}

/// A dialer that has proved itself, and what it asks for; to be accepted or refused.
///
/// The caller looks into its tables: is it a member, is it the newest incarnation, is the lane
/// already up, is this node draining? Dropped, it leaves the dialer without an answer.
#[derive(Debug)]
#[must_use]
pub(crate) struct Claim {
    /// What the dialer said about itself.
    pub(crate) peer: Peer,
    /// The lane that it wants.
    pub(crate) lane: Lane,
    /// The wire version.
    pub(crate) version: u8,
    /// The features that both sides offer.
    pub(crate) features: u64,
    /// The lower frame limit of the two sides, in bytes.
    pub(crate) frame_bytes_max: u32,
    pub(super) local: Arc<Local>,
    pub(super) transcript: Transcript,
    pub(super) key: AuthKey,
}

impl Claim {
    /// The incarnation of this node that the handshake began with.
    pub(crate) fn met(&self) -> Incarnation {
        self.local.incarnation
    }

    /// Accepts: returns the READY to be sent, and the session, whose frames may follow at once.
    ///
    /// `session` is not 0 and not that of any earlier session of this node's incarnation; `counts`
    /// are what this node received on the last session of the lane that it knows, if any. Final:
    /// its connection is no longer read.
    pub(crate) fn accept(mut self, session: u64, counts: Option<Counts>) -> (Vec<u8>, Established) {
        let ready = Ready {
            peer: Peer::of(&self.local, counts),
            features: self.features,
            frame_bytes_max: self.frame_bytes_max,
            session,
        };
        let bytes = ready.encode(&mut self.transcript, &self.key);
        let Self { peer, lane, version, features, frame_bytes_max, .. } = self;
        (bytes, Established { peer, lane, version, features, frame_bytes_max, session })
    }

    /// Refuses: returns the REFUSE to be sent before closing. `text` is for people; at most 256
    /// bytes of it are sent.
    pub(crate) fn refuse(mut self, refusal: Refusal, text: &str) -> Vec<u8> {
        let incarnation = self.local.incarnation;
        Refuse { refusal, text: text.to_owned(), incarnation }
            .encode(&mut self.transcript, &self.key)
    }
}
