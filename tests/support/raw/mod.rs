//! A peer made by hand from `docs/wire.md`, with nothing of the crate in it: a second
//! implementation, that can also misbehave.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test file uses a part of it")]

mod frame;
pub mod pipes;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub use frame::{Frame, Raw};

pub const RPC: u8 = 0;
pub const MESSAGE: u8 = 1;
pub const STREAM: u8 = 2;

pub mod kind {
    pub const MESSAGE: u8 = 1;
    pub const REQUEST: u8 = 2;
    pub const REPLY: u8 = 3;
    pub const CANCEL: u8 = 4;
    pub const BOUNCE: u8 = 5;
    pub const RECEIPT: u8 = 6;
    pub const DOWN: u8 = 7;
    pub const PING: u8 = 8;
    pub const PONG: u8 = 9;
    pub const GO_AWAY: u8 = 10;
    pub const OPEN: u8 = 11;
    pub const END: u8 = 12;
}

pub mod reason {
    pub const BUSY: u8 = 2;
    pub const EXPIRED: u8 = 1;
    pub const UNKNOWN_MESSAGE: u8 = 5;
    pub const UNIMPLEMENTED: u8 = 6;
    pub const NOT_A_MEMBER: u8 = 7;
    pub const NO_ROUTE: u8 = 8;
    pub const INCARNATION: u8 = 11;
    pub const HOPS: u8 = 12;
    pub const EXTENSION: u8 = 13;
    pub const MALFORMED: u8 = 14;
    pub const REFUSED: u8 = 16;
}

mod message {
    pub const HELLO: u8 = 1;
    pub const CHALLENGE: u8 = 2;
    pub const PROOF: u8 = 3;
    pub const READY: u8 = 4;
    pub const REFUSE: u8 = 5;
}

mod tag {
    pub const PROOF: u8 = 1;
    pub const DEPLOYMENT: u8 = 2;
    pub const LANE: u8 = 3;
    pub const ADDRESS: u8 = 4;
    pub const MEANT: u8 = 5;
    pub const INCARNATION: u8 = 6;
    pub const NONCE: u8 = 7;
    pub const FEATURES: u8 = 8;
    pub const KEY_IDS: u8 = 9;
    pub const FRAME_LIMIT: u8 = 10;
    pub const HEARTBEAT: u8 = 11;
    pub const VERSION_LABEL: u8 = 12;
    pub const FLAGS: u8 = 13;
    pub const COUNTS: u8 = 14;
    pub const VERSION: u8 = 15;
    pub const KEY_ID: u8 = 16;
    pub const SESSION: u8 = 17;
    pub const REASON: u8 = 18;
    pub const TEXT: u8 = 19;
    pub const VERSIONS: u8 = 20;
    pub const NEWER: u8 = 21;
}

type Fields = BTreeMap<u8, Vec<u8>>;

/// The 32 bits of `group.type.id`.
pub fn bits(text: &str) -> u32 {
    let parts: Vec<u32> = text.split('.').map(|part| part.parse().unwrap()).collect();
    parts[0] << 20 | parts[1] << 12 | parts[2]
}

/// FNV-1a, 64 bits.
pub fn hash(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().to_vec()
}

fn proof(secret: &[u8], label: &str, sent: &[u8]) -> Vec<u8> {
    let key = hmac(&hmac(&[0; 32], &[secret]), &[b"seaway1 auth", &[1]]);
    let digest = Sha256::new().chain_update(sent).chain_update([0; 32]).finalize();
    hmac(&key, &[label.as_bytes(), &digest])
}

fn encode(kind: u8, fields: &[(u8, &[u8])]) -> Vec<u8> {
    let mut message = vec![0, 0, kind];
    for (tag, value) in fields {
        message.push(*tag);
        message.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
        message.extend(*value);
    }
    let length = u16::try_from(message.len() - 2).unwrap();
    message[..2].copy_from_slice(&length.to_be_bytes());
    message
}

/// The message with a proof as its last field, of all that was sent before it.
fn seal(mut message: Vec<u8>, secret: &[u8], label: &str, sent: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len() - 2 + 35).unwrap();
    message[..2].copy_from_slice(&length.to_be_bytes());
    let proof = proof(secret, label, &[sent, &message].concat());
    message.extend([tag::PROOF, 0, 32]);
    message.extend(proof);
    message
}

/// The type and the fields of a message.
fn decode(message: &[u8]) -> (u8, Fields) {
    let mut fields = Fields::new();
    let mut rest = &message[3..];
    while let [tag, high, low, after @ ..] = rest {
        let (value, after) = after.split_at(usize::from(u16::from_be_bytes([*high, *low])));
        assert!(fields.insert(*tag, value.to_vec()).is_none(), "tag {tag} stands twice");
        rest = after;
    }
    (message[2], fields)
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

async fn read_message(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut message = vec![0; 2];
    stream.read_exact(&mut message).await?;
    message.resize(2 + usize::try_from(number(&message)).unwrap(), 0);
    stream.read_exact(&mut message[2..]).await?;
    Ok(message)
}

/// Who the peer says that it is.
#[derive(Clone, Debug)]
pub struct Peer {
    pub address: u32,
    pub incarnation: u64,
    pub key: Option<(&'static str, [u8; 32])>,
    pub deployment: &'static str,
    pub versions: (u8, u8),
    pub frame_limit: u32,
    pub heartbeat_ms: u32,
    pub flags: u8,
    pub counts: Option<[u64; 3]>,
}

/// What a REFUSE said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub reason: u8,
    pub is_proven: bool,
    pub text: String,
    pub versions: Option<[u8; 2]>,
    pub newer: Option<u64>,
}

/// A handshake in which the peer has said HELLO.
pub struct Dialing {
    pub stream: TcpStream,
    peer: Peer,
    node: u32,
    sent: Vec<u8>,
}

impl Peer {
    pub fn new(address: &str) -> Self {
        Self {
            address: bits(address),
            incarnation: 1 << 40,
            key: None,
            deployment: "default",
            versions: (1, 1),
            frame_limit: 1 << 20,
            heartbeat_ms: 100,
            flags: 0,
            counts: None,
        }
    }

    pub fn with_key(self, id: &'static str, secret: [u8; 32]) -> Self {
        Self { key: Some((id, secret)), ..self }
    }

    fn secret(&self) -> &[u8] {
        self.key.as_ref().map_or(&[], |(_, secret)| secret)
    }

    fn counts(&self) -> Vec<u8> {
        self.counts.iter().flatten().flat_map(|count| count.to_be_bytes()).collect()
    }

    /// Preface and HELLO.
    pub fn hello(&self, node: &str, lane: u8) -> Vec<u8> {
        let mut bytes = b"SEAW".to_vec();
        bytes.extend([self.versions.0, self.versions.1, 0, 0]);
        let key_ids = self.key.map_or(Vec::new(), |(id, _)| {
            [&[u8::try_from(id.len()).unwrap()], id.as_bytes()].concat()
        });
        let (address, meant) = (self.address.to_be_bytes(), bits(node).to_be_bytes());
        let incarnation = self.incarnation.to_be_bytes();
        let (limit, heartbeat) = (self.frame_limit.to_be_bytes(), self.heartbeat_ms.to_be_bytes());
        let (lane, flags, counts) = ([lane], [self.flags], self.counts());
        let mut fields: Vec<(u8, &[u8])> = vec![
            (tag::DEPLOYMENT, self.deployment.as_bytes()),
            (tag::LANE, &lane),
            (tag::ADDRESS, &address),
            (tag::MEANT, &meant),
            (tag::INCARNATION, &incarnation),
            (tag::NONCE, &[0x5a; 32]),
            (tag::FEATURES, &[0; 8]),
            (tag::KEY_IDS, &key_ids),
            (tag::FRAME_LIMIT, &limit),
            (tag::HEARTBEAT, &heartbeat),
            (tag::VERSION_LABEL, b"by hand"),
            (tag::FLAGS, &flags),
            // From a later version: nobody knows it, and the proofs cover it.
            (200, b"later"),
        ];
        if !counts.is_empty() {
            fields.push((tag::COUNTS, &counts));
        }
        bytes.extend(encode(message::HELLO, &fields));
        bytes
    }

    /// Connects and says HELLO.
    pub async fn start(&self, at: SocketAddr, node: &str, lane: u8) -> Dialing {
        let mut stream = TcpStream::connect(at).await.unwrap();
        let sent = self.hello(node, lane);
        // Refused early, the node may have closed: then the answer tells.
        stream.write_all(&sent).await.ok();
        Dialing { stream, peer: self.clone(), node: bits(node), sent }
    }

    /// A handshake in which this HELLO, preface included, is taken for said.
    pub fn resume(&self, stream: TcpStream, node: &str, sent: Vec<u8>) -> Dialing {
        Dialing { stream, peer: self.clone(), node: bits(node), sent }
    }

    /// Dials a lane of a node.
    pub async fn dial(&self, at: SocketAddr, node: &str, lane: u8) -> Result<Raw, Refused> {
        let mut dialing = self.start(at, node, lane).await;
        let proof = dialing.proof().await?;
        dialing.stream.write_all(&proof).await.unwrap();
        dialing.ready().await
    }

    /// Both lanes, rpc first.
    pub async fn dial_both(&self, at: SocketAddr, node: &str) -> (Raw, Raw) {
        let rpc = self.dial(at, node, RPC).await.unwrap();
        (rpc, self.dial(at, node, MESSAGE).await.unwrap())
    }

    /// Waits for a node that dials.
    pub async fn hear(&self, listener: &TcpListener) -> Hearing {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut sent = vec![0; 8];
        stream.read_exact(&mut sent).await.unwrap();
        assert_eq!(sent, b"SEAW\x01\x01\0\0");
        let hello = read_message(&mut stream).await.unwrap();
        sent.extend(&hello);
        let (kind, hello) = decode(&hello);
        assert_eq!(kind, message::HELLO);
        Hearing { stream, peer: self.clone(), hello, sent }
    }

    /// Lets a node in that dials.
    pub async fn accept(&self, listener: &TcpListener) -> Raw {
        let mut hearing = self.hear(listener).await;
        let key_id = self.key.map_or("", |(id, _)| id);
        hearing.challenge(key_id).await;
        hearing.check_proof().await;
        hearing.ready().await
    }
}

impl Dialing {
    /// Waits for CHALLENGE; returns the PROOF to be sent.
    pub async fn proof(&mut self) -> Result<Vec<u8>, Refused> {
        let challenge = read_message(&mut self.stream).await.unwrap();
        self.proof_of(&challenge)
    }

    /// The PROOF for this CHALLENGE.
    pub fn proof_of(&mut self, challenge: &[u8]) -> Result<Vec<u8>, Refused> {
        let (kind, fields) = decode(challenge);
        if kind == message::REFUSE {
            return Err(refused(&fields, false));
        }
        assert_eq!(kind, message::CHALLENGE);
        assert_eq!(fields[&tag::VERSION], [1]);
        assert_eq!(fields[&tag::NONCE].len(), 32);
        assert_eq!(fields[&tag::KEY_ID], self.peer.key.map_or("", |(id, _)| id).as_bytes());
        self.sent.extend(challenge);
        let message = encode(message::PROOF, &[]);
        let proof = seal(message, self.peer.secret(), "seaway1 dialer", &self.sent);
        self.sent.extend(&proof);
        Ok(proof)
    }

    /// The PROOF, if the node goes on at all.
    pub async fn try_proof(&mut self) -> io::Result<Vec<u8>> {
        let challenge = read_message(&mut self.stream).await?;
        self.proof_of(&challenge).map_err(|_| io::ErrorKind::ConnectionRefused.into())
    }

    /// The type of the node's next message; `None` when there is none.
    pub async fn answer_kind(&mut self) -> Option<u8> {
        read_message(&mut self.stream).await.ok().map(|message| decode(&message).0)
    }

    /// Waits for READY.
    pub async fn ready(mut self) -> Result<Raw, Refused> {
        let message = read_message(&mut self.stream).await.unwrap();
        let (kind, fields) = decode(&message);
        let is_proven = fields.get(&tag::PROOF).is_some_and(|told| {
            let sent = [&self.sent, &message[..message.len() - 35]].concat();
            *told == proof(self.peer.secret(), "seaway1 acceptor", &sent)
        });
        if kind == message::REFUSE {
            return Err(refused(&fields, is_proven));
        }
        assert_eq!((kind, is_proven), (message::READY, true));
        assert_eq!(number(&fields[&tag::ADDRESS]), u64::from(self.node));
        assert_ne!(number(&fields[&tag::SESSION]), 0);
        Ok(Raw {
            stream: self.stream,
            peer: self.peer,
            node: self.node,
            node_incarnation: number(&fields[&tag::INCARNATION]),
            session: number(&fields[&tag::SESSION]),
            counts: fields.get(&tag::COUNTS).map(|counts| counts_of(counts)),
        })
    }
}

fn counts_of(field: &[u8]) -> [u64; 3] {
    [number(&field[..8]), number(&field[8..16]), number(&field[16..])]
}

fn refused(fields: &Fields, is_proven: bool) -> Refused {
    let text = fields.get(&tag::TEXT).cloned().unwrap_or_default();
    Refused {
        reason: fields[&tag::REASON][0],
        is_proven,
        text: String::from_utf8(text).unwrap(),
        versions: fields.get(&tag::VERSIONS).map(|field| field[..].try_into().unwrap()),
        newer: fields.get(&tag::NEWER).map(|field| number(field)),
    }
}

/// A handshake in which a node has said HELLO.
pub struct Hearing {
    pub stream: TcpStream,
    peer: Peer,
    hello: Fields,
    sent: Vec<u8>,
}

impl Hearing {
    pub fn lane(&self) -> u8 {
        self.hello[&tag::LANE][0]
    }

    pub async fn challenge(&mut self, key_id: &str) {
        let fields: [(u8, &[u8]); 3] =
            [(tag::VERSION, &[1]), (tag::NONCE, &[0xa5; 32]), (tag::KEY_ID, key_id.as_bytes())];
        let challenge = encode(message::CHALLENGE, &fields);
        self.stream.write_all(&challenge).await.unwrap();
        self.sent.extend(&challenge);
    }

    /// Refuses without a proof, in place of CHALLENGE.
    pub async fn refuse_version(&mut self, lowest: u8, highest: u8) {
        let fields: [(u8, &[u8]); 2] = [(tag::REASON, &[1]), (tag::VERSIONS, &[lowest, highest])];
        self.stream.write_all(&encode(message::REFUSE, &fields)).await.unwrap();
    }

    pub async fn check_proof(&mut self) {
        let message = read_message(&mut self.stream).await.unwrap();
        let expected =
            seal(encode(message::PROOF, &[]), self.peer.secret(), "seaway1 dialer", &self.sent);
        assert_eq!(message, expected);
        self.sent.extend(&message);
    }

    /// Takes a PROOF without looking.
    pub async fn skip_proof(&mut self) {
        let message = read_message(&mut self.stream).await.unwrap();
        self.sent.extend(&message);
    }

    pub async fn ready(mut self) -> Raw {
        static SESSIONS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
        let session = SESSIONS.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let (address, incarnation) =
            (self.peer.address.to_be_bytes(), self.peer.incarnation.to_be_bytes());
        let (limit, heartbeat) =
            (self.peer.frame_limit.to_be_bytes(), self.peer.heartbeat_ms.to_be_bytes());
        let (number_bytes, counts) = (session.to_be_bytes(), self.peer.counts());
        let mut fields: Vec<(u8, &[u8])> = vec![
            (tag::ADDRESS, &address),
            (tag::INCARNATION, &incarnation),
            (tag::FEATURES, &[0; 8]),
            (tag::FRAME_LIMIT, &limit),
            (tag::HEARTBEAT, &heartbeat),
            (tag::VERSION_LABEL, b""),
            (tag::SESSION, &number_bytes),
        ];
        if !counts.is_empty() {
            fields.push((tag::COUNTS, &counts));
        }
        let message = encode(message::READY, &fields);
        let ready = seal(message, self.peer.secret(), "seaway1 acceptor", &self.sent);
        self.stream.write_all(&ready).await.unwrap();
        let node = u32::try_from(number(&self.hello[&tag::ADDRESS])).unwrap();
        Raw {
            stream: self.stream,
            peer: self.peer,
            node,
            node_incarnation: number(&self.hello[&tag::INCARNATION]),
            session,
            counts: self.hello.get(&tag::COUNTS).map(|counts| counts_of(counts)),
        }
    }
}
