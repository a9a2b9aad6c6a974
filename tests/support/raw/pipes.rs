//! The stream lane by hand: frames of yamux, and what its control stream carries.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Frame, Peer, Raw, hash, kind};

/// What yamux says of a frame: version 0, type, flags, stream, length.
pub mod yamux {
    pub const DATA: u8 = 0;
    pub const WINDOW: u8 = 1;
    pub const PING: u8 = 2;
    pub const GO_AWAY: u8 = 3;

    pub const SYN: u16 = 1;
    pub const ACK: u16 = 2;
    pub const FIN: u16 = 4;
    pub const RST: u16 = 8;

    /// A header with what it says of a length.
    pub fn header(tag: u8, flags: u16, stream: u32, length: u32) -> Vec<u8> {
        let mut bytes = vec![0, tag];
        bytes.extend(flags.to_be_bytes());
        bytes.extend(stream.to_be_bytes());
        bytes.extend(length.to_be_bytes());
        bytes
    }

    pub fn data(flags: u16, stream: u32, body: &[u8]) -> Vec<u8> {
        let mut bytes = header(DATA, flags, stream, u32::try_from(body.len()).unwrap());
        bytes.extend(body);
        bytes
    }
}

/// The stream that tells how others end.
pub const CONTROL: u32 = 1;

/// What an end said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    pub stream: u32,
    pub bytes: u64,
    pub cause: u32,
    pub hop: u32,
    pub text: String,
}

/// A connection of the stream lane that this peer has dialled.
pub struct Pipes {
    stream: TcpStream,
    pub peer: Peer,
    pub node: u32,
    /// What came over the control stream and is no whole frame yet.
    control: Vec<u8>,
}

impl Pipes {
    pub fn new(raw: Raw) -> Self {
        raw.stream.set_nodelay(true).unwrap();
        Self { stream: raw.stream, peer: raw.peer, node: raw.node, control: Vec::new() }
    }

    /// A frame to the node, with this peer's incarnation.
    pub fn frame(&self, kind: u8, id: u64, body: &[u8]) -> Frame {
        self.peer.frame(self.node, kind, id, body)
    }

    /// What a stream to this service begins with.
    pub fn preamble(&self, service: &str) -> Frame {
        let body = [hash(service).to_be_bytes(), [0; 8]].concat();
        self.frame(kind::OPEN, 0, &body)
    }

    /// An end of a stream: its bytes, its cause, and no more.
    pub fn end_of(&self, stream: u64, bytes: u64, cause: u32) -> Frame {
        let hop = self.peer.address;
        let body = [&bytes.to_be_bytes()[..], &cause.to_be_bytes(), &hop.to_be_bytes()].concat();
        self.frame(kind::END, stream, &body)
    }

    /// Writes; whether the node takes it.
    pub async fn write(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).await.is_ok()
    }

    /// Opens the control stream.
    pub async fn begin(&mut self) {
        let ping = self.frame(kind::PING, 0, &[0]).encode();
        assert!(self.write(&yamux::data(yamux::SYN, CONTROL, &ping)).await);
    }

    /// Puts a frame on the control stream.
    pub async fn control(&mut self, frame: &Frame) -> bool {
        self.write(&yamux::data(0, CONTROL, &frame.encode())).await
    }

    pub async fn open(&mut self, stream: u32, preamble: &Frame) -> bool {
        self.write(&yamux::data(yamux::SYN, stream, &preamble.encode())).await
    }

    /// The next frame of yamux: its type, flags, stream, and body or length. `None` when the node
    /// has closed the connection.
    pub async fn next(&mut self) -> Option<(u8, u16, u32, Vec<u8>)> {
        let mut header = [0; 12];
        self.stream.read_exact(&mut header).await.ok()?;
        let (tag, flags) = (header[1], u16::from_be_bytes([header[2], header[3]]));
        let stream = u32::from_be_bytes(header[4..8].try_into().unwrap());
        let length = u32::from_be_bytes(header[8..].try_into().unwrap());
        if tag != yamux::DATA {
            return Some((tag, flags, stream, length.to_be_bytes().to_vec()));
        }
        let mut body = vec![0; usize::try_from(length).unwrap()];
        self.stream.read_exact(&mut body).await.ok()?;
        Some((tag, flags, stream, body))
    }

    /// Takes the next frame of yamux: pings are answered, and windows kept open. Returns what came
    /// on another stream than the control stream.
    async fn take(&mut self) -> Option<(u32, Vec<u8>)> {
        let (tag, flags, stream, body) = self.next().await?;
        match tag {
            yamux::PING if flags & yamux::ACK == 0 => {
                let id = u32::from_be_bytes(body[..].try_into().unwrap());
                self.write(&yamux::header(yamux::PING, yamux::ACK, 0, id)).await;
            }
            yamux::DATA if stream == CONTROL => {
                let credit = u32::try_from(body.len()).unwrap();
                self.write(&yamux::header(yamux::WINDOW, 0, CONTROL, credit)).await;
                self.control.extend(body);
            }
            yamux::DATA => return Some((stream, body)),
            _ => {}
        }
        Some((CONTROL, Vec::new()))
    }

    /// The next frame of the control stream; the bytes of other streams are passed over.
    pub async fn told(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = Frame::cut(&mut self.control) {
                return Some(frame);
            }
            self.take().await?;
        }
    }

    /// Whether this stream is accepted, or why not.
    pub async fn accepted(&mut self, stream: u32) -> Result<(), End> {
        loop {
            match Frame::cut(&mut self.control) {
                Some(frame) if frame.kind == kind::END => return Err(End::of(&frame)),
                Some(_) => continue,
                None => {}
            }
            let (came_on, bytes) = self.take().await.unwrap();
            if came_on == stream && !bytes.is_empty() {
                assert_eq!(bytes, [0]);
                return Ok(());
            }
        }
    }

    /// The first frame of yamux on this stream: whether it resets it, and its bytes.
    pub async fn answer(&mut self, on: u32) -> (bool, Vec<u8>) {
        loop {
            let (_, flags, stream, body) = self.next().await.unwrap();
            if stream == on {
                return (flags & yamux::RST != 0, body);
            }
        }
    }

    /// How the next stream that ends does so.
    pub async fn end(&mut self) -> Option<End> {
        loop {
            let frame = self.told().await?;
            if frame.kind == kind::END {
                return Some(End::of(&frame));
            }
        }
    }

    /// How many streams the node says have ended, until it answers on the control stream; `None`
    /// if it does not.
    pub async fn ends(&mut self) -> Option<usize> {
        let ping = self.frame(kind::PING, 77, &[0]);
        self.control(&ping).await;
        let mut ends = 0;
        loop {
            match self.told().await? {
                Frame { kind: kind::END, .. } => ends += 1,
                Frame { kind: kind::PONG, id: 77, .. } => return Some(ends),
                _ => {}
            }
        }
    }

    /// Whether the node answers on the control stream.
    pub async fn is_live(&mut self) -> bool {
        self.ends().await.is_some()
    }

    /// Says that nothing more comes.
    pub async fn finish(&mut self) {
        self.stream.shutdown().await.ok();
    }

    /// Waits until the node has closed the connection.
    pub async fn closed(&mut self) {
        while self.told().await.is_some() {}
    }
}

impl End {
    fn of(frame: &Frame) -> Self {
        let narrow = |at: usize| {
            frame.body.get(at..at + 4).map_or(0, |it| u32::from_be_bytes(it.try_into().unwrap()))
        };
        Self {
            stream: u32::try_from(frame.id).unwrap(),
            bytes: u64::from_be_bytes(frame.body[..8].try_into().unwrap()),
            cause: narrow(8),
            hop: narrow(12),
            text: String::from_utf8(frame.body.get(16..).unwrap_or_default().to_vec()).unwrap(),
        }
    }

    /// Why the stream was refused.
    pub fn refusal(&self) -> u8 {
        let [high, mid, low, reason] = self.cause.to_be_bytes();
        assert_eq!([high, mid, low], [0, 0, 1], "no refusal: {self:?}");
        reason
    }
}
