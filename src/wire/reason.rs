//! Why a frame was not delivered.

use std::fmt;

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident = $byte:literal, $text:literal;)+) => {
        /// Why a message, or a request, was not handled. In each case its handler did not run.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Reason {
            $($(#[doc = $doc])+ $name,)+
            /// A reason of a newer version.
            Other(u8),
        }

        impl Reason {
            /// All reasons that this version knows.
            #[cfg(test)]
            pub(crate) const ALL: &[Self] = &[$(Self::$name),+];

            /// The byte on the wire.
            pub(crate) const fn byte(self) -> u8 {
                match self {
                    $(Self::$name => $byte,)+
                    Self::Other(byte) => byte,
                }
            }

            /// The reason behind a byte.
            pub(crate) const fn from_byte(byte: u8) -> Self {
                match byte {
                    $($byte => Self::$name,)+
                    other => Self::Other(other),
                }
            }
        }

        impl fmt::Display for Reason {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$name => f.write_str($text),)+
                    Self::Other(byte) => write!(f, "reason {byte} of a newer version"),
                }
            }
        }
    };
}

reasons! {
    /// Its deadline passed first.
    Expired = 1, "its deadline passed before it was handled";
    /// A limit of whoever refused it is reached; try later or elsewhere.
    Busy = 2, "too much is in flight; try later or elsewhere";
    /// The outbox towards it is full.
    Full = 3, "the outbox towards it is full";
    /// The node is stopping.
    Draining = 4, "the node is stopping and takes nothing new";
    /// Nobody handles this message there: the node has no handler with this id.
    UnknownMessage = 5, "no handler for it is registered there";
    /// Nobody serves this method there; another node may, such as one of another version.
    Unimplemented = 6, "the method is not served there";
    /// Discovery has no such member; add it there, or send to another.
    NotAMember = 7, "discovery has no such member";
    /// No way leads there: it is in another group and no harbor leads out of this one, or whoever
    /// got it is not whom it was for and relays nothing.
    NoRoute = 8, "no way leads there";
    /// Its body is larger than a frame may be at this node, or at the other end of a link on the
    /// way: see [`crate::Config::frame_bytes_max`]. Or it encodes to more bytes than it says.
    TooLarge = 9, "it is larger than a frame may be";
    /// A later message of the same sender arrived first.
    Overtaken = 10, "a later message of this node arrived first";
    /// The node that it was meant for has restarted, or its sender has.
    Incarnation = 11, "it was for an earlier run of the node, or from one; try again";
    /// It went through too many relays.
    Hops = 12, "it went through too many relays";
    /// Its metadata or trace context breaks a limit, or is not understood.
    Extension = 13, "its metadata or trace context is not as it must be";
    /// Its body is not what its id or method says: the two ends differ in its type.
    Malformed = 14, "it does not decode as the type that is handled there";
    /// The peer cannot be reached.
    Unreachable = 15, "the peer cannot be reached";
    /// Somebody between it and its handler refuses it, such as a check of who sends it.
    Refused = 16, "it is refused there";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_byte_leads_back() {
        for byte in 0..=255 {
            assert_eq!(Reason::from_byte(byte).byte(), byte);
        }
        for reason in Reason::ALL {
            assert_eq!(Reason::from_byte(reason.byte()), *reason);
        }
    }
}
