//! Handshakes over a connection.

use std::io;
use std::sync::atomic::{AtomicU8, Ordering};

use rand::TryRng;
use rand::rngs::SysRng;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::home::Home;
use crate::handshake::{
    Acceptor, Claim, Dial, Dialer, Established, HandshakeError, PREFACE_BYTES, Rejected,
    message_len,
};
use crate::net;

/// No TLS beneath.
const NO_EXPORTER: [u8; 32] = [0; 32];

/// How far an attempt to connect has come; decides who yields when both ends dial at once.
#[derive(Debug, Default)]
pub(super) struct Stage(AtomicU8);

impl Stage {
    const SAID: u8 = 1;
    const ABANDONED: u8 = 2;

    /// About to say HELLO; `false` if the attempt was abandoned before.
    pub(super) fn say(&self) -> bool {
        self.0.compare_exchange(0, Self::SAID, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Gives the attempt up if it has not said HELLO; `true` if it has.
    pub(super) fn abandon_unless_said(&self) -> bool {
        let outcome =
            self.0.compare_exchange(0, Self::ABANDONED, Ordering::AcqRel, Ordering::Acquire);
        outcome == Err(Self::SAID)
    }
}

/// Why a connection came to nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExchangeError {
    /// The connection failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The two ends did not agree.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    /// The other end's connection goes first.
    #[error("given up in favour of the peer's own connection")]
    Abandoned,
}

/// The dialer's side.
pub(super) async fn dial(
    home: &Home,
    stream: &mut TcpStream,
    dial: impl FnOnce([u8; 32]) -> Dial,
    stage: &Stage,
) -> Result<Established, ExchangeError> {
    let nonce = nonce()?;
    let (dialer, hello) = Dialer::start(home.local(), dial(NO_EXPORTER), nonce);
    if !stage.say() {
        return Err(ExchangeError::Abandoned);
    }
    stream.write_all(&hello).await?;
    let (proving, proof) = dialer.on_challenge(&read_message(stream).await?)?;
    stream.write_all(&proof).await?;
    Ok(proving.on_ready(&read_message(stream).await?)?)
}

/// The acceptor's side, up to the point where its tables decide.
pub(super) async fn accept(home: &Home, stream: &mut TcpStream) -> Result<Claim, ExchangeError> {
    match try_accept(home, stream).await? {
        Ok(claim) => Ok(claim),
        Err(Rejected { error, reply }) => {
            if let Some(reply) = reply {
                net::farewell(stream, &reply).await?;
            }
            Err(error.into())
        }
    }
}

async fn try_accept(
    home: &Home,
    stream: &mut TcpStream,
) -> Result<Result<Claim, Rejected>, ExchangeError> {
    let mut preface = [0; PREFACE_BYTES];
    stream.read_exact(&mut preface).await?;
    let acceptor = match Acceptor::on_preface(home.local(), preface, NO_EXPORTER) {
        Ok(acceptor) => acceptor,
        Err(rejected) => return Ok(Err(rejected)),
    };
    let hello = read_message(stream).await?;
    let (challenging, challenge) = match acceptor.on_hello(&hello, nonce()?) {
        Ok(next) => next,
        Err(rejected) => return Ok(Err(rejected)),
    };
    stream.write_all(&challenge).await?;
    Ok(challenging.on_proof(&read_message(stream).await?))
}

/// Reads exactly one message, so that nothing of the frames behind the last one is lost.
async fn read_message(stream: &mut TcpStream) -> Result<Vec<u8>, ExchangeError> {
    let mut message = Vec::new();
    loop {
        let known = message.len();
        let wanted = message_len(&message)?.unwrap_or(known + 1);
        if wanted <= known {
            return Ok(message);
        }
        // A message is a few KiB at most, as `message_len` has checked.
        message.resize(wanted, 0);
        let fresh = message.get_mut(known..).unwrap_or_default();
        stream.read_exact(fresh).await?;
    }
}

/// A nonce from the operating system.
fn nonce() -> io::Result<[u8; 32]> {
    let mut nonce = [0; 32];
    SysRng.try_fill_bytes(&mut nonce).map_err(io::Error::other)?;
    Ok(nonce)
}
