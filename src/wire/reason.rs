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
    Busy = 2, "too much is in flight";
    /// The outbox towards it is full.
    Full = 3, "the outbox is full";
    /// The node is stopping.
    Draining = 4, "the node is draining";
    /// Nobody handles this message id there.
    UnknownMessage = 5, "no handler for this message id";
    /// Nobody serves this method there.
    Unimplemented = 6, "no such method";
    /// Discovery knows no such member.
    NotAMember = 7, "not a member in discovery";
    /// There is no way to its group.
    NoRoute = 8, "no harbor leads to its group";
    /// Its body is larger than a link on the way takes.
    TooLarge = 9, "larger than a link takes";
    /// A later message of the same sender arrived first.
    Overtaken = 10, "a later message arrived first";
    /// The node that it was meant for has restarted, or its sender has.
    Incarnation = 11, "from or for an earlier run of the node";
    /// It went through too many relays.
    Hops = 12, "too many relays";
    /// Its extension has a field that must be understood and is not, or breaks a limit.
    Extension = 13, "an extension field is not understood";
    /// Its body is not what its id or method says.
    Malformed = 14, "the body does not decode";
    /// The peer cannot be reached.
    Unreachable = 15, "the peer cannot be reached";
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
