//! The 44 bytes before each frame's extension and body; all numbers big-endian.
//!
//! ```text
//!  0  length u32      bytes after this field: 40 + extension + body
//!  4  kind u8         1 message … 12 end; 128–255 optional
//!  5  flags u8        bit 0 no reply wanted, bit 1 receipt wanted; others reserved
//!  6  hops u8         0 at the source, +1 at each relay
//!  7  spare u8
//!  8  to u32          logical address
//! 12  from u32        logical address
//! 16  id u64          call id, message id or 0
//! 24  incarnation u64 the source's; in what answers, the addressee's
//! 32  seq u32         relayed messages only
//! 36  time left u32   milliseconds; all ones: none
//! 40  extension u16   its length in bytes
//! 42  spare u16
//! ```

use crate::addr::LogicalAddr;
use crate::incarnation::Incarnation;

/// Length of the header in bytes.
pub(crate) const HEADER_LEN: usize = 44;
/// What the length field does not count: itself.
pub(super) const LENGTH_LEN: usize = 4;
/// The longest extension area, in bytes.
pub(crate) const EXTENSION_BYTES_MAX: usize = 16 << 10;
/// The time left of a frame without a deadline.
pub(crate) const NO_DEADLINE: u32 = u32::MAX;
/// Flag of a request that wants no reply.
pub(crate) const FLAG_NO_REPLY: u8 = 1;
/// Flag of a relayed message whose sender wants a receipt for it at once, and of a receipt that
/// asks for one.
pub(crate) const FLAG_RECEIPT_WANTED: u8 = 1 << 1;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A one-way payload; `id` is its message id.
    Message,
    /// A call; its body begins with the method.
    Request,
    /// The answer to a request.
    Reply,
    /// Takes a request back.
    Cancel,
    /// A frame could not be delivered.
    Bounce,
    /// What arrived of a pair's relayed messages.
    Receipt,
    /// A relay lost a link.
    Down,
    /// Asks for a sign of life.
    Ping,
    /// Gives one.
    Pong,
    /// The sender is about to close.
    GoAway,
    /// Begins a stream.
    Open,
    /// A stream is over, or one direction of it.
    End,
    /// From a newer peer; may be skipped.
    Optional(u8),
}

impl Kind {
    /// The byte on the wire.
    pub(crate) const fn byte(self) -> u8 {
        match self {
            Self::Message => 1,
            Self::Request => 2,
            Self::Reply => 3,
            Self::Cancel => 4,
            Self::Bounce => 5,
            Self::Receipt => 6,
            Self::Down => 7,
            Self::Ping => 8,
            Self::Pong => 9,
            Self::GoAway => 10,
            Self::Open => 11,
            Self::End => 12,
            Self::Optional(byte) => byte,
        }
    }

    /// The kind behind a byte; `None` for one that must be known and is not.
    pub(crate) const fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Message,
            2 => Self::Request,
            3 => Self::Reply,
            4 => Self::Cancel,
            5 => Self::Bounce,
            6 => Self::Receipt,
            7 => Self::Down,
            8 => Self::Ping,
            9 => Self::Pong,
            10 => Self::GoAway,
            11 => Self::Open,
            12 => Self::End,
            128.. => Self::Optional(byte),
            _ => return None,
        })
    }
}

/// The header of a frame, without its two lengths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: Kind,
    pub(crate) flags: u8,
    pub(crate) hops: u8,
    pub(crate) to: LogicalAddr,
    pub(crate) from: LogicalAddr,
    pub(crate) id: u64,
    pub(crate) incarnation: Incarnation,
    pub(crate) seq: u32,
    /// Milliseconds, or [`NO_DEADLINE`].
    pub(crate) time_left: u32,
}

impl Header {
    /// A header with everything else 0 and no deadline.
    pub(crate) const fn new(
        kind: Kind,
        from: LogicalAddr,
        to: LogicalAddr,
        id: u64,
        incarnation: Incarnation,
    ) -> Self {
        let (flags, hops, seq) = (0, 0, 0);
        Self { kind, flags, hops, to, from, id, incarnation, seq, time_left: NO_DEADLINE }
    }

    /// Whether the frame is one that nobody answers but that counts: a message, or a request that
    /// wants no reply.
    pub(crate) const fn is_one_way(&self) -> bool {
        match self.kind {
            Kind::Message => true,
            Kind::Request => self.flags & FLAG_NO_REPLY != 0,
            _ => false,
        }
    }

    /// Whether the frame counts in the account of its session: those that are relayed count in
    /// that of their pair, and have a number.
    pub(crate) const fn is_counted(&self) -> bool {
        self.is_one_way() && self.seq == 0
    }

    /// Whether the frame outlives the session that it was meant for: messages and requests do, and
    /// answers between groups, which any session may carry.
    pub(crate) const fn is_lasting(&self) -> bool {
        match self.kind {
            Kind::Message | Kind::Request => true,
            Kind::Reply | Kind::Bounce | Kind::Receipt => self.is_between_groups(),
            _ => false,
        }
    }

    /// Whether the frame tells a source what became of a frame of its own.
    pub(crate) const fn is_answer(&self) -> bool {
        match self.kind {
            Kind::Reply | Kind::Bounce | Kind::Down => true,
            Kind::Receipt => self.flags & FLAG_RECEIPT_WANTED == 0,
            _ => false,
        }
    }

    /// Whether source and destination are in different groups.
    pub(crate) const fn is_between_groups(&self) -> bool {
        self.from.group() != self.to.group()
    }

    /// Writes the header of a frame with an extension and a body of these lengths in bytes.
    pub(crate) fn put(&self, out: &mut Vec<u8>, extension: usize, body: usize) {
        let length = u32::try_from(HEADER_LEN - LENGTH_LEN + extension + body).unwrap_or(u32::MAX);
        let extension = u16::try_from(extension).unwrap_or(u16::MAX);
        // Eight bytes at a time: every frame goes through here.
        let words = [
            halves(length, u32::from_be_bytes([self.kind.byte(), self.flags, self.hops, 0])),
            halves(self.to.bits(), self.from.bits()),
            self.id,
            self.incarnation.bits(),
            halves(self.seq, self.time_left),
        ];
        out.extend_from_slice(words.map(u64::to_be_bytes).as_flattened());
        out.extend_from_slice(&(u32::from(extension) << 16).to_be_bytes());
    }

    /// Reads a header; the second value is the length of the extension.
    ///
    /// `None` if the kind must be known and is not, or an address is none.
    pub(super) fn read(bytes: &[u8; HEADER_LEN]) -> Option<(Self, usize)> {
        let (_, rest) = bytes.split_first_chunk::<4>()?;
        let (&[kind, flags, hops, _spare], rest) = rest.split_first_chunk()?;
        let (&to, rest) = rest.split_first_chunk()?;
        let (&from, rest) = rest.split_first_chunk()?;
        let (&id, rest) = rest.split_first_chunk()?;
        let (&incarnation, rest) = rest.split_first_chunk()?;
        let (&seq, rest) = rest.split_first_chunk()?;
        let (&time_left, rest) = rest.split_first_chunk()?;
        let (&extension, _spare) = rest.split_first_chunk()?;
        let header = Self {
            kind: Kind::from_byte(kind)?,
            flags,
            hops,
            to: LogicalAddr::from_bits(u32::from_be_bytes(to)).ok()?,
            from: LogicalAddr::from_bits(u32::from_be_bytes(from)).ok()?,
            id: u64::from_be_bytes(id),
            incarnation: Incarnation::from_bits(u64::from_be_bytes(incarnation)),
            seq: u32::from_be_bytes(seq),
            time_left: u32::from_be_bytes(time_left),
        };
        Some((header, usize::from(u16::from_be_bytes(extension))))
    }
}

/// Two fields of four bytes, one behind the other.
const fn halves(first: u32, second: u32) -> u64 {
    (first as u64) << 32 | second as u64
}

/// What an outbox may do to frames that lie in it, all of them written by this node.
pub(crate) mod queued {
    use bytes::Bytes;

    use super::{FLAG_NO_REPLY, HEADER_LEN, Header, Kind, NO_DEADLINE};
    use crate::clock::Millis;
    use crate::incarnation::Incarnation;
    use crate::wire::frame::Frame;

    /// The kind byte of a frame that was taken back; it never reaches the wire.
    const VOID: u8 = 0;

    /// The frame that begins at `at` and ends where the buffer ends has a shorter body than was said.
    pub(crate) fn shorten(buffer: &mut [u8], at: usize) {
        let length = buffer.len().saturating_sub(at + super::LENGTH_LEN);
        let length = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
        if let Some(field) = buffer.get_mut(at..at + 4) {
            field.copy_from_slice(&length);
        }
    }

    /// Length of the frame that begins at `at`; `None` at the end of the buffer.
    pub(crate) fn len(buffer: &[u8], at: usize) -> Option<usize> {
        let length = buffer.get(at..)?.first_chunk::<4>()?;
        Some(super::LENGTH_LEN + u32::from_be_bytes(*length) as usize)
    }

    /// The header of the frame that begins at `at`; `None` if it was taken back.
    pub(crate) fn header(buffer: &[u8], at: usize) -> Option<Header> {
        let bytes = buffer.get(at..)?.first_chunk::<HEADER_LEN>()?;
        Header::read(bytes).map(|(header, _)| header)
    }

    /// The first eight bytes of the body of the frame that begins at `at`, as a number: the method
    /// of a request.
    pub(crate) fn method(buffer: &[u8], at: usize) -> Option<u64> {
        let bytes = buffer.get(at..)?.first_chunk::<HEADER_LEN>()?;
        let (_, extension) = Header::read(bytes)?;
        let body = buffer.get(at + HEADER_LEN + extension..)?;
        body.first_chunk().map(|bytes| u64::from_be_bytes(*bytes))
    }

    /// Length of the body of the frame that begins at `at`.
    pub(crate) fn body_len(buffer: &[u8], at: usize) -> usize {
        let bytes = buffer.get(at..).and_then(|rest| rest.first_chunk::<HEADER_LEN>());
        let extension = bytes.and_then(Header::read).map_or(0, |(_, extension)| extension);
        len(buffer, at).unwrap_or(0).saturating_sub(HEADER_LEN + extension)
    }

    /// A copy of the frame that begins at `at`, with the time that it has left.
    pub(crate) fn copy(buffer: &[u8], at: usize, now: Millis) -> Option<Frame> {
        let bytes = buffer.get(at..)?.first_chunk::<HEADER_LEN>()?;
        let (mut header, extension) = Header::read(bytes)?;
        if header.time_left != NO_DEADLINE {
            header.time_left = left(header.time_left, now);
        }
        let rest = buffer.get(at + HEADER_LEN..at + len(buffer, at)?)?;
        let (extension, body) = rest.split_at_checked(extension)?;
        let copy = Bytes::copy_from_slice;
        Some(Frame { header, extension: copy(extension), body: copy(body) })
    }

    /// Takes the frame that begins at `at` back; `false` if it was already.
    pub(crate) fn void(buffer: &mut [u8], at: usize) -> bool {
        match buffer.get_mut(at + 4) {
            Some(kind) if *kind != VOID => {
                *kind = VOID;
                true
            }
            _ => false,
        }
    }

    /// A frame that leaves the outbox.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Leaving {
        /// In bytes.
        pub(crate) len: usize,
        /// It was taken back.
        pub(crate) is_void: bool,
        /// Its deadline has not passed.
        pub(crate) is_in_time: bool,
        /// It is somebody else's.
        pub(crate) is_passing: bool,
        /// See [`Header::is_counted`].
        pub(crate) is_counted: bool,
    }

    /// Replaces the deadline of the frame that begins at `at` by the time left at `now`, as the
    /// wire has it; `None` at the end of the buffer.
    ///
    /// While a frame lies in an outbox, its field has the low bits of the deadline, in
    /// milliseconds of the node's clock.
    pub(crate) fn leave(buffer: &mut [u8], at: usize, now: Millis) -> Option<Leaving> {
        let head = buffer.get_mut(at..)?.first_chunk_mut::<HEADER_LEN>()?;
        let &mut [l0, l1, l2, l3, kind, flags, hops, ..] = head;
        let [.., s0, s1, s2, s3, t0, t1, t2, t3, _, _, _, _] = head;
        let deadline = u32::from_be_bytes([*t0, *t1, *t2, *t3]);
        let left = if deadline == NO_DEADLINE { NO_DEADLINE } else { left(deadline, now) };
        [*t0, *t1, *t2, *t3] = left.to_be_bytes();
        let is_one_way = kind == Kind::Message.byte()
            || kind == Kind::Request.byte() && flags & FLAG_NO_REPLY != 0;
        Some(Leaving {
            len: super::LENGTH_LEN + u32::from_be_bytes([l0, l1, l2, l3]) as usize,
            is_void: kind == VOID,
            is_in_time: left > 0,
            is_passing: hops > 0,
            is_counted: is_one_way && [*s0, *s1, *s2, *s3] == [0; 4],
        })
    }

    /// Takes [`leave`] back for a frame that was to leave at `then` and did not.
    pub(crate) fn stay(buffer: &mut [u8], at: usize, then: Millis) {
        if let Some(field) = time_field(buffer, at) {
            let left = u32::from_be_bytes(*field);
            if left != NO_DEADLINE {
                *field = deadline(then.after(u64::from(left))).to_be_bytes();
            }
        }
    }

    /// Whether the deadline of the frame that begins at `at` has passed.
    pub(crate) fn is_expired(buffer: &[u8], at: usize, now: Millis) -> bool {
        let field = buffer.get(at + 36..).and_then(|rest| rest.first_chunk());
        field.is_some_and(|field| {
            let deadline = u32::from_be_bytes(*field);
            deadline != NO_DEADLINE && left(deadline, now) == 0
        })
    }

    /// The header field for a deadline.
    pub(crate) fn deadline(at: Millis) -> u32 {
        if at == Millis::NEVER {
            return NO_DEADLINE;
        }
        #[expect(clippy::cast_possible_truncation, reason = "the low bits are meant")]
        let low = at.0 as u32;
        if low == NO_DEADLINE { low - 1 } else { low }
    }

    /// Milliseconds from `now` until a deadline of which only the low bits are known; it is less
    /// than 24 days away.
    fn left(deadline: u32, now: Millis) -> u32 {
        #[expect(clippy::cast_possible_truncation, reason = "the low bits are meant")]
        let left = deadline.wrapping_sub(now.0 as u32);
        if left > u32::MAX / 2 { 0 } else { left }
    }

    fn time_field(buffer: &mut [u8], at: usize) -> Option<&mut [u8; 4]> {
        buffer.get_mut(at + 36..)?.first_chunk_mut()
    }

    /// Gives the frame that begins at `at` another incarnation of its source.
    pub(crate) fn rebrand(buffer: &mut [u8], at: usize, incarnation: Incarnation) {
        let field = buffer.get_mut(at + 24..).and_then(|rest| rest.first_chunk_mut());
        if let Some(field) = field {
            *field = incarnation.bits().to_be_bytes();
        }
    }
}
