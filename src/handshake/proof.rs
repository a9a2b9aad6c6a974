//! Proofs that a node holds the key, and has seen the same bytes.
//!
//! ```text
//!  key    = HKDF-SHA256(secret, no salt, info "seaway1 auth"), 32 bytes
//!  proof  = HMAC-SHA256(key, role label ‖ SHA-256(every byte sent so far ‖ exporter))
//! ```
//!
//! The role label keeps one side's proof from being handed back as the other's; the nonces in the
//! bytes keep an old proof from being used again; the bytes themselves keep anything said from
//! being changed.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::error::HandshakeError;
use super::fields::Sealed;

/// What a derived key is for; another use of the same secret gets another key.
const INFO: &[u8] = b"seaway1 auth";

/// A key to prove with, derived from a secret, and the public label of that secret.
#[derive(Clone)]
pub(super) struct AuthKey {
    id: String,
    key: Zeroizing<[u8; 32]>,
}

impl AuthKey {
    /// Derives the key of a secret.
    pub(super) fn derive(id: &str, secret: &[u8]) -> Self {
        Self { id: id.to_owned(), key: hkdf(secret, INFO) }
    }

    /// The key of nodes that have none. It proves nothing but that no byte was garbled; with it
    /// there is one path through the handshake instead of two.
    pub(super) fn none() -> Self {
        Self::derive("", b"")
    }

    /// The public label; empty for [`AuthKey::none`].
    pub(super) fn id(&self) -> &str {
        &self.id
    }
}

impl fmt::Debug for AuthKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// HKDF-SHA256 (RFC 5869) without salt, for 32 bytes, which is one block of its output.
pub(super) fn hkdf(secret: &[u8], info: &[u8]) -> Zeroizing<[u8; 32]> {
    hmac(&hmac(&[0; 32], &[secret]), &[info, &[1]])
}

/// HMAC-SHA256 of the parts put together.
fn hmac(key: &[u8; 32], parts: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any length");
    for part in parts {
        mac.update(part);
    }
    Zeroizing::new(mac.finalize().into_bytes().into())
}

/// Who proves.
#[derive(Clone, Copy, Debug)]
pub(super) enum Role {
    /// The side that opened the connection.
    Dialer,
    /// The side that accepted it.
    Acceptor,
}

impl Role {
    /// What keeps the two sides apart.
    const fn label(self) -> &'static [u8] {
        match self {
            Self::Dialer => b"seaway1 dialer",
            Self::Acceptor => b"seaway1 acceptor",
        }
    }
}

/// Everything that both sides have sent so far, as a running hash, and what binds it to TLS.
#[derive(Clone, Debug)]
pub(super) struct Transcript {
    hash: Sha256,
    exporter: [u8; 32],
}

impl Transcript {
    /// Begins with nothing sent; `exporter` is that of the TLS connection, or zeros without TLS.
    pub(super) fn new(exporter: [u8; 32]) -> Self {
        Self { hash: Sha256::new(), exporter }
    }

    /// Adds bytes that were sent, by either side.
    pub(super) fn absorb(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
    }

    /// The hash of what was sent so far and of the exporter.
    pub(super) fn digest(&self) -> [u8; 32] {
        self.hash.clone().chain_update(self.exporter).finalize().into()
    }

    /// The proof of one side's key over everything sent so far.
    pub(super) fn proof(&self, key: &AuthKey, role: Role) -> Zeroizing<[u8; 32]> {
        hmac(&key.key, &[role.label(), &self.digest()])
    }

    /// Checks the proof of a message that came, in constant time, and adds the message.
    pub(super) fn verify(
        &mut self,
        sealed: Sealed<'_>,
        key: &AuthKey,
        role: Role,
    ) -> Result<(), HandshakeError> {
        self.absorb(sealed.covered);
        let is_right = self.proof(key, role).ct_eq(sealed.proof);
        self.absorb(sealed.field);
        if is_right.into() { Ok(()) } else { Err(HandshakeError::WrongProof) }
    }
}
