//! What client and server say to each other: JSON, a line each.
//!
//! ```text
//! client  {"hello":{"version":1}}
//! server  {"hello":{"version":1}}
//! client  {"set":{"address":"1.2.1","available":false}}
//! server  {"done":{}}
//! client  {"watch":{}}
//! server  {"snapshot":{"revision":7}}
//! server  {"put":{"address":"1.2.1","network":"127.0.0.1:7001","exported":false,"available":false}}
//! server  {"end":{"revision":7}}
//! ```
//!
//! Each question has one answer, `done` or `refused`. One is several lines: `carry`, `carried` for
//! each member, and `end`. After `watch` there are no more questions:
//! the server tells events, and both ends say `alive` once a second. An event is several lines, so
//! that no line is long: its head (`snapshot` or `delta`), a `put` or `remove` for each change,
//! and its `end`. Fields that are not known are ignored.

use std::io;
use std::time::Duration;

use seaway::discovery::{Announcement, DiscoveryError, Labels, Member, MemberError};
use seaway::{Incarnation, LogicalAddr};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::tcp::OwnedReadHalf;
use tokio::time::timeout;

/// The version of all this.
pub(crate) const VERSION: u32 = 1;
/// The longest line, in either direction. A member takes half of it at the very most.
pub(crate) const LINE_BYTES_MAX: usize = 64 << 10;
/// How often both ends of a watch say that they live.
pub(crate) const ALIVE_EVERY: Duration = Duration::from_secs(1);
/// How long the other end may say or take nothing before it counts as dead.
pub(crate) const DEAD_AFTER: Duration = Duration::from_secs(4);

/// What a client says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Ask {
    Hello {
        version: u32,
    },
    Watch {},
    Alive {},
    Put(Member),
    Remove(LogicalAddr),
    Set {
        address: LogicalAddr,
        #[serde(flatten)]
        what: Setting,
    },
    Announce(Announced),
    Withdraw {
        address: LogicalAddr,
        incarnation: Incarnation,
    },
    Carry {
        carrier: LogicalAddr,
        ttl_ms: u64,
    },
    Carried(Member),
    End {},
}

/// One thing about a member.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Setting {
    Available(bool),
    Exported(bool),
    Network(String),
}

/// An [`Announcement`] as it stands in a line.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Announced {
    address: LogicalAddr,
    incarnation: Incarnation,
    available: bool,
    #[serde(default)]
    labels: Labels,
    ttl_ms: u64,
}

impl From<&Announcement> for Announced {
    fn from(from: &Announcement) -> Self {
        Self {
            address: from.address,
            incarnation: from.incarnation,
            available: from.available,
            labels: from.labels.clone(),
            ttl_ms: millis(from.ttl),
        }
    }
}

pub(crate) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl From<Announced> for Announcement {
    fn from(from: Announced) -> Self {
        let mut this = Self::new(from.address, from.incarnation)
            .available(from.available)
            .ttl(Duration::from_millis(from.ttl_ms));
        this.labels = from.labels;
        this
    }
}

/// What the server says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Tell {
    Hello {
        version: u32,
    },
    Done {},
    Refused {
        /// For people.
        message: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why: Option<Refusal>,
    },
    Snapshot {
        revision: u64,
    },
    Delta {
        base: u64,
    },
    Put(Member),
    Remove(LogicalAddr),
    End {
        revision: u64,
    },
    Problem(String),
    Alive {},
}

/// Why the server refused, for programs.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Refusal {
    NotAMember(LogicalAddr),
    Superseded { address: LogicalAddr, announced: Incarnation, recorded: Incarnation },
    InvalidNetwork(String),
    TooManyLabels(usize),
    TooLongLabels(usize),
}

impl From<DiscoveryError> for Tell {
    fn from(error: DiscoveryError) -> Self {
        let message = error.to_string();
        let why = match error {
            DiscoveryError::NotAMember(address) => Some(Refusal::NotAMember(address)),
            DiscoveryError::Superseded { address, announced, recorded } => {
                Some(Refusal::Superseded { address, announced, recorded })
            }
            DiscoveryError::Invalid(cause) => match cause {
                MemberError::Network(text) => Some(Refusal::InvalidNetwork(text)),
                MemberError::Labels(count) => Some(Refusal::TooManyLabels(count)),
                MemberError::LabelBytes(bytes) => Some(Refusal::TooLongLabels(bytes)),
                _ => None,
            },
            _ => None,
        };
        Self::Refused { message, why }
    }
}

impl From<Refusal> for DiscoveryError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NotAMember(address) => Self::NotAMember(address),
            Refusal::Superseded { address, announced, recorded } => {
                Self::Superseded { address, announced, recorded }
            }
            Refusal::InvalidNetwork(text) => MemberError::Network(text).into(),
            Refusal::TooManyLabels(count) => MemberError::Labels(count).into(),
            Refusal::TooLongLabels(bytes) => MemberError::LabelBytes(bytes).into(),
        }
    }
}

/// Why a conversation is over.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error("it has closed the connection")]
    Closed,
    #[error("it said or took nothing for {DEAD_AFTER:?}")]
    Silent,
    #[error("it did not answer within {0:?}")]
    Late(Duration),
    #[error("it said a line of more than {LINE_BYTES_MAX} bytes")]
    LineTooLong,
    #[error("it said what makes no sense: {0}")]
    Nonsense(String),
    #[error("it said: {0}")]
    Refused(String),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Appends the line that says something.
pub(crate) fn put_line(said: &impl Serialize, bytes: &mut Vec<u8>) -> Result<(), Fault> {
    serde_json::to_writer(&mut *bytes, said).map_err(io::Error::from)?;
    bytes.push(b'\n');
    Ok(())
}

/// What the other end says, line by line.
#[derive(Debug)]
pub(crate) struct Lines {
    reader: BufReader<OwnedReadHalf>,
    line: Vec<u8>,
}

impl Lines {
    pub(crate) fn new(read: OwnedReadHalf) -> Self {
        Self { reader: BufReader::new(read), line: Vec::new() }
    }

    /// Waits for the next line. Not cancel safe: no line may be asked for after that.
    pub(crate) async fn next<T: DeserializeOwned>(&mut self) -> Result<T, Fault> {
        self.line.clear();
        let mut limited = (&mut self.reader).take(LINE_BYTES_MAX as u64);
        let read = limited.read_until(b'\n', &mut self.line);
        timeout(DEAD_AFTER, read).await.map_err(|_| Fault::Silent)??;
        match self.line.pop() {
            Some(b'\n') => {}
            // The limit or the end came before the end of the line.
            Some(_) if self.line.len() + 1 == LINE_BYTES_MAX => return Err(Fault::LineTooLong),
            _ => return Err(Fault::Closed),
        }
        serde_json::from_slice(&self.line).map_err(|cause| Fault::Nonsense(cause.to_string()))
    }

    /// How long the last line was.
    pub(crate) fn line_bytes(&self) -> usize {
        self.line.len()
    }

    /// The socket, to read what is of no more interest.
    pub(crate) fn socket(&mut self) -> &mut OwnedReadHalf {
        self.reader.get_mut()
    }
}
