//! Bodies of the frames that nodes send on their own account.
//!
//! A reader takes the fields that it knows from the front and ignores what follows them, so that
//! later versions can add to the end.

use bytes::BufMut;

use super::cut;
use super::header::Kind;
use super::reason::Reason;
use crate::addr::LogicalAddr;
use crate::incarnation::Incarnation;

/// What a session's receiver did with the one-way frames of its sender.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Which session; 0: none.
    pub(crate) session: u64,
    /// Handed to a handler.
    pub(crate) handled: u64,
    /// Sent back.
    pub(crate) bounced: u64,
}

/// Body of a ping or pong: how far the receiver of each lane is.
///
/// `count u8`, then per lane `lane u8, session u64, handled u64, bounced u64`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pulse {
    /// Lane byte and counts.
    pub(crate) lanes: Vec<(u8, Counts)>,
}

impl Pulse {
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        out.put_u8(u8::try_from(self.lanes.len()).unwrap_or(u8::MAX));
        for (lane, counts) in &self.lanes {
            out.put_u8(*lane);
            out.put_u64(counts.session);
            out.put_u64(counts.handled);
            out.put_u64(counts.bounced);
        }
    }

    pub(crate) fn read(body: &[u8]) -> Option<Self> {
        let (&count, mut rest) = body.split_first()?;
        let mut lanes = Vec::new();
        for _ in 0..count {
            let (&[lane], after) = rest.split_first_chunk()?;
            let (session, after) = number(after)?;
            let (handled, after) = number(after)?;
            let (bounced, after) = number(after)?;
            rest = after;
            lanes.push((lane, Counts { session, handled, bounced }));
        }
        Some(Self { lanes })
    }
}

/// Body of a bounce; the frame's id is that of the frame sent back.
///
/// `reason u8, kind u8, hop u32, subject u64, seq u32, session u64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounce {
    pub(crate) reason: Reason,
    /// Kind of the frame sent back: message or request.
    pub(crate) kind: Kind,
    /// Who sent it back.
    pub(crate) hop: LogicalAddr,
    /// Message id, or method of a request.
    pub(crate) subject: u64,
    /// Its sequence number, if it was relayed.
    pub(crate) seq: u32,
    /// The session on which it came, if it was not: so that it is counted there, however late the
    /// bounce is.
    pub(crate) session: u64,
}

impl Bounce {
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        out.put_u8(self.reason.byte());
        out.put_u8(self.kind.byte());
        out.put_u32(self.hop.bits());
        out.put_u64(self.subject);
        out.put_u32(self.seq);
        out.put_u64(self.session);
    }

    pub(crate) fn read(body: &[u8]) -> Option<Self> {
        let (&[reason, kind], rest) = body.split_first_chunk()?;
        let (hop, rest) = addr(rest)?;
        let (subject, rest) = number(rest)?;
        let (&seq, rest) = rest.split_first_chunk()?;
        let (session, _) = number(rest)?;
        let kind = Kind::from_byte(kind)?;
        let reason = Reason::from_byte(reason);
        let seq = u32::from_be_bytes(seq);
        matches!(kind, Kind::Message | Kind::Request).then_some(Self {
            reason,
            kind,
            hop,
            subject,
            seq,
            session,
        })
    }
}

/// Body of a receipt: what became of the numbered frames of a pair on one lane, since the source's
/// incarnation began.
///
/// `incarnation u64, up to u32, handled u32, lane u8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Receipt {
    /// The receiver's own.
    pub(crate) incarnation: Incarnation,
    /// Up to this sequence number nothing more will be handled.
    pub(crate) up_to: u32,
    /// How many up to it were; modulo 2³².
    pub(crate) handled: u32,
    /// The byte of the lane.
    pub(crate) lane: u8,
}

impl Receipt {
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        out.put_u64(self.incarnation.bits());
        out.put_u32(self.up_to);
        out.put_u32(self.handled);
        out.put_u8(self.lane);
    }

    pub(crate) fn read(body: &[u8]) -> Option<Self> {
        let (incarnation, rest) = number(body)?;
        let (&up_to, rest) = rest.split_first_chunk()?;
        let (&handled, rest) = rest.split_first_chunk()?;
        let &lane = rest.first()?;
        Some(Self {
            incarnation: Incarnation::from_bits(incarnation),
            up_to: u32::from_be_bytes(up_to),
            handled: u32::from_be_bytes(handled),
            lane,
        })
    }
}

/// Body of a down notice: whom a relay can no longer reach the way it did.
///
/// `address u32, incarnation u64, hop u32, lane u8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Down {
    /// The destination to which the addressee's frames went over the link that was lost.
    pub(crate) address: LogicalAddr,
    /// Its incarnation; 0 if the relay had no session with it.
    pub(crate) incarnation: Incarnation,
    /// Who says so.
    pub(crate) hop: LogicalAddr,
    /// The byte of the lane that was lost; with the rpc lane go all.
    pub(crate) lane: u8,
}

impl Down {
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        out.put_u32(self.address.bits());
        out.put_u64(self.incarnation.bits());
        out.put_u32(self.hop.bits());
        out.put_u8(self.lane);
    }

    pub(crate) fn read(body: &[u8]) -> Option<Self> {
        let (address, rest) = addr(body)?;
        let (incarnation, rest) = number(rest)?;
        let (hop, rest) = addr(rest)?;
        let &lane = rest.first()?;
        Some(Self { address, incarnation: Incarnation::from_bits(incarnation), hop, lane })
    }
}

/// Body of a go-away: `reason u8`, then text of at most 256 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum GoAway {
    /// The node drains: nothing new is taken, what is in flight finishes.
    Draining,
    /// The lane closes at once, because of what the text says.
    Closing(String),
}

impl GoAway {
    /// Bytes of text that a reader looks at.
    const TEXT_BYTES_MAX: usize = 256;

    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Draining => out.put_u8(0),
            Self::Closing(text) => {
                out.put_u8(1);
                out.put_slice(cut(text, Self::TEXT_BYTES_MAX).as_bytes());
            }
        }
    }

    pub(crate) fn read(body: &[u8]) -> Option<Self> {
        let (&reason, text) = body.split_first()?;
        if reason == 0 {
            return Some(Self::Draining);
        }
        let text = text.get(..Self::TEXT_BYTES_MAX).unwrap_or(text);
        Some(Self::Closing(String::from_utf8_lossy(text).into_owned()))
    }
}

pub(super) fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (&number, rest) = bytes.split_first_chunk()?;
    Some((u64::from_be_bytes(number), rest))
}

pub(super) fn addr(bytes: &[u8]) -> Option<(LogicalAddr, &[u8])> {
    let (&bits, rest) = bytes.split_first_chunk()?;
    Some((LogicalAddr::from_bits(u32::from_be_bytes(bits)).ok()?, rest))
}
