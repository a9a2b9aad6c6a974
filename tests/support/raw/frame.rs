//! Frames of the peer made by hand.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Peer, hash, kind, number};

/// A frame, field by field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub hops: u8,
    pub to: u32,
    pub from: u32,
    pub id: u64,
    pub incarnation: u64,
    pub seq: u32,
    pub time_left: u32,
    pub extension: Vec<u8>,
    pub body: Vec<u8>,
}

impl Frame {
    pub fn encode(&self) -> Vec<u8> {
        let length = u32::try_from(40 + self.extension.len() + self.body.len()).unwrap();
        let mut bytes = length.to_be_bytes().to_vec();
        bytes.extend([self.kind, self.flags, self.hops, 0]);
        bytes.extend(self.to.to_be_bytes());
        bytes.extend(self.from.to_be_bytes());
        bytes.extend(self.id.to_be_bytes());
        bytes.extend(self.incarnation.to_be_bytes());
        bytes.extend(self.seq.to_be_bytes());
        bytes.extend(self.time_left.to_be_bytes());
        bytes.extend(u16::try_from(self.extension.len()).unwrap().to_be_bytes());
        bytes.extend([0, 0]);
        bytes.extend(&self.extension);
        bytes.extend(&self.body);
        bytes
    }

    /// Takes a whole frame off what has come; `None` if there is none yet.
    pub fn cut(bytes: &mut Vec<u8>) -> Option<Self> {
        let header: [u8; 44] = bytes.get(..44)?.try_into().unwrap();
        let total = 4 + usize::try_from(number(&header[..4])).unwrap();
        let frame = Self::decode(&header, bytes.get(44..total)?);
        bytes.drain(..total);
        Some(frame)
    }

    fn decode(header: &[u8; 44], rest: &[u8]) -> Self {
        let narrow = |range: std::ops::Range<usize>| u32::try_from(number(&header[range])).unwrap();
        let extension = usize::try_from(number(&header[40..42])).unwrap();
        Self {
            kind: header[4],
            flags: header[5],
            hops: header[6],
            to: narrow(8..12),
            from: narrow(12..16),
            id: number(&header[16..24]),
            incarnation: number(&header[24..32]),
            seq: narrow(32..36),
            time_left: narrow(36..40),
            extension: rest[..extension].to_vec(),
            body: rest[extension..].to_vec(),
        }
    }

    /// Status and origin of a reply that is an error.
    pub fn failure(&self) -> (u8, u8) {
        assert_eq!(self.kind, kind::REPLY, "{self:?}");
        (self.body[0], self.body.get(1).copied().unwrap_or_default())
    }

    /// Why the lane is closed.
    pub fn farewell(&self) -> String {
        assert_eq!((self.kind, self.body[0]), (kind::GO_AWAY, 1), "{self:?}");
        String::from_utf8(self.body[1..].to_vec()).unwrap()
    }
}

impl Peer {
    /// A frame of this peer, with its incarnation.
    pub fn frame(&self, to: u32, kind: u8, id: u64, body: &[u8]) -> Frame {
        Frame {
            kind,
            flags: 0,
            hops: 0,
            to,
            from: self.address,
            id,
            incarnation: self.incarnation,
            seq: 0,
            time_left: u32::MAX,
            extension: Vec::new(),
            body: body.to_vec(),
        }
    }
}

/// One lane to a node.
pub struct Raw {
    pub stream: TcpStream,
    pub peer: Peer,
    pub node: u32,
    pub node_incarnation: u64,
    pub session: u64,
    /// What the node told of the last session.
    pub counts: Option<[u64; 3]>,
}

impl Raw {
    /// A frame to the node, with this peer's incarnation.
    pub fn frame(&self, kind: u8, id: u64, body: &[u8]) -> Frame {
        self.peer.frame(self.node, kind, id, body)
    }

    pub fn request(&self, id: u64, method: &str, message: &[u8]) -> Frame {
        self.frame(kind::REQUEST, id, &[&hash(method).to_be_bytes(), message].concat())
    }

    /// An answer to a frame of the node: with the node's incarnation.
    pub fn answer(&self, kind: u8, id: u64, body: &[u8]) -> Frame {
        Frame { incarnation: self.node_incarnation, ..self.frame(kind, id, body) }
    }

    pub async fn send(&mut self, frame: &Frame) {
        self.stream.write_all(&frame.encode()).await.unwrap();
    }

    /// The next frame; `None` when the node has closed the lane.
    pub async fn read(&mut self) -> Option<Frame> {
        let mut header = [0; 44];
        self.stream.read_exact(&mut header).await.ok()?;
        let mut rest = vec![0; usize::try_from(number(&header[..4])).unwrap() - 40];
        self.stream.read_exact(&mut rest).await.ok()?;
        Some(Frame::decode(&header, &rest))
    }

    /// The next frame that is no pulse; pings are answered.
    pub async fn next(&mut self) -> Option<Frame> {
        loop {
            let frame = self.read().await?;
            match frame.kind {
                kind::PING => {
                    let pong = self.frame(kind::PONG, 0, &[0]);
                    // The node may have closed meanwhile; the next read tells.
                    self.stream.write_all(&pong.encode()).await.ok();
                }
                kind::PONG => {}
                _ => return Some(frame),
            }
        }
    }

    /// The next frame that is no pulse, of this kind.
    pub async fn expect(&mut self, kind: u8) -> Frame {
        let frame = self.next().await;
        frame.filter(|frame| frame.kind == kind).unwrap_or_else(|| panic!("no frame {kind}"))
    }

    /// Whether the node answers on this lane.
    pub async fn is_live(&mut self) -> bool {
        let ping = self.frame(kind::PING, 0, &[0]);
        if self.stream.write_all(&ping.encode()).await.is_err() {
            return false;
        }
        while let Some(frame) = self.read().await {
            if frame.kind == kind::PONG {
                return true;
            }
        }
        false
    }

    /// Reads until the node has closed the lane.
    pub async fn closed(&mut self) {
        while self.next().await.is_some() {}
    }
}
