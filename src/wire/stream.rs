//! Bodies of the frames on the stream lane: the first one of each stream, and what its control
//! stream carries.

use std::fmt;

use bytes::BufMut;

use super::cut;
use super::notice::{addr, number};
use super::reason::Reason;
use crate::addr::LogicalAddr;
use crate::incarnation::Incarnation;

/// The most bytes of a text in an end.
const TEXT_BYTES_MAX: usize = 512;

/// Body of the frame that a stream begins with.
///
/// `service u64, incarnation u64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Open {
    /// The hash of the service's name.
    pub(crate) service: u64,
    /// Which run of the destination is meant; 0: whichever runs.
    pub(crate) incarnation: Incarnation,
}

impl Open {
    pub(crate) const LEN: usize = 16;

    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        out.put_u64(self.service);
        out.put_u64(self.incarnation.bits());
    }

    pub(crate) fn read(body: &[u8]) -> Option<Self> {
        let (service, rest) = number(body)?;
        let (incarnation, _) = number(rest)?;
        Some(Self { service, incarnation: Incarnation::from_bits(incarnation) })
    }
}

/// Body of an end: one direction of a stream is over, or with a cause the whole stream. The frame's
/// id is the number of the stream.
///
/// `bytes u64, cause u32, hop u32, text`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct End {
    /// How many bytes the direction had, if it ended well.
    pub(crate) bytes: u64,
    /// `None`: it ended well.
    pub(crate) fault: Option<Fault>,
}

/// What broke a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) cause: Break,
    /// Who says so.
    pub(crate) hop: LogicalAddr,
    /// For people; may be empty.
    pub(crate) text: String,
}

/// Why a stream is over before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Break {
    /// Its other end reset it, with this code; what it means is between the two.
    Reset(u16),
    /// Its other end was dropped before both directions had ended.
    Dropped,
    /// Nothing moved for [`crate::Config::stream_idle_timeout`].
    Idle,
    /// A connection on the way was lost, or the node behind it.
    Lost,
    /// A node on the way stopped, and its time to drain was over.
    Stopped,
    /// Not all that was sent has come.
    Truncated,
    /// It was not accepted.
    Refused(Reason),
    /// A cause of a newer version.
    Other(u32),
}

impl fmt::Display for Break {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reset(code) => write!(f, "it was reset with code {code}"),
            Self::Dropped => f.write_str("it was dropped before it had ended"),
            Self::Idle => f.write_str("nothing moved for too long"),
            Self::Lost => f.write_str("a connection that carried it was lost"),
            Self::Stopped => f.write_str("the node has stopped"),
            Self::Truncated => f.write_str("not all that was sent has come"),
            Self::Refused(reason) => write!(f, "it was not accepted: {reason}"),
            Self::Other(number) => write!(f, "cause {number} of a newer version"),
        }
    }
}

impl Break {
    const REFUSED: u32 = 0x100;
    const RESET: u32 = 0x1_0000;

    /// The number on the wire; never 0.
    pub(crate) const fn number(self) -> u32 {
        match self {
            Self::Dropped => 1,
            Self::Idle => 2,
            Self::Lost => 3,
            Self::Stopped => 4,
            Self::Truncated => 5,
            Self::Refused(reason) => Self::REFUSED | reason.byte() as u32,
            Self::Reset(code) => Self::RESET | code as u32,
            Self::Other(number) => number,
        }
    }

    /// The cause behind a number.
    pub(crate) const fn from_number(number: u32) -> Self {
        let [high, mid, byte, low] = number.to_be_bytes();
        match (high, mid, byte) {
            (0, 0, 0) => match low {
                1 => Self::Dropped,
                2 => Self::Idle,
                3 => Self::Lost,
                4 => Self::Stopped,
                5 => Self::Truncated,
                _ => Self::Other(number),
            },
            (0, 0, 1) => Self::Refused(Reason::from_byte(low)),
            (0, 1, byte) => Self::Reset(u16::from_be_bytes([byte, low])),
            _ => Self::Other(number),
        }
    }
}

impl End {
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        out.put_u64(self.bytes);
        match &self.fault {
            None => out.put_u64(0),
            Some(fault) => {
                out.put_u32(fault.cause.number());
                out.put_u32(fault.hop.bits());
                out.put_slice(cut(&fault.text, TEXT_BYTES_MAX).as_bytes());
            }
        }
    }

    pub(crate) fn read(body: &[u8]) -> Option<Self> {
        let (bytes, rest) = number(body)?;
        let (cause, rest) = rest.split_first_chunk()?;
        let fault = match u32::from_be_bytes(*cause) {
            0 => None,
            cause => {
                let (hop, text) = addr(rest)?;
                let text = String::from_utf8_lossy(text);
                let text = cut(&text, TEXT_BYTES_MAX).to_owned();
                Some(Fault { cause: Break::from_number(cause), hop, text })
            }
        };
        Some(Self { bytes, fault })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn each_cause_has_a_number_that_leads_back(number: u32) {
            for number in [number, number & 0xff, number & 0x1ff, number & 0x1_ffff] {
                prop_assert_eq!(Break::from_number(number).number(), number);
            }
        }

        #[test]
        fn what_is_put_is_read(bytes: u64, cause in 1_u32.., hop in 1_u32..0xfff, text: String) {
            let hop = LogicalAddr::from_bits(0x0010_1000 | hop).unwrap();
            let text = cut(&text, TEXT_BYTES_MAX).to_owned();
            let fault = Fault { cause: Break::from_number(cause), hop, text };
            for end in [End { bytes, fault: None }, End { bytes, fault: Some(fault) }] {
                let mut out = Vec::new();
                end.put(&mut out);
                prop_assert_eq!(End::read(&out), Some(end));
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(body: Vec<u8>) {
            End::read(&body);
            Open::read(&body);
        }
    }
}
