//! Names on the wire: stable 64-bit hashes of methods and messages.

use std::fmt;
use std::marker::PhantomData;

/// FNV-1a, 64 bits. See Fowler, Noll, Vo: RFC 9923.
const fn fnv1a(text: &str) -> u64 {
    let bytes = text.as_bytes();
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut at = 0;
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u64).wrapping_mul(0x0000_0100_0000_01b3);
        at += 1;
    }
    hash
}

/// What tells one kind of message from another: a number given by hand, or the hash of a name.
///
/// ```
/// use seaway::MessageId;
/// const LINE: MessageId = MessageId::new(1001);
/// const JOINED: MessageId = MessageId::of("chat.Joined");
/// assert_ne!(LINE, JOINED);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(u64);

impl MessageId {
    /// An id given by hand.
    #[must_use]
    pub const fn new(id: u64) -> Self {
        Self(id)
    }

    /// The id of a message by its full name: FNV-1a, 64 bits, of `package.Message`.
    #[must_use]
    pub const fn of(name: &str) -> Self {
        Self(fnv1a(name))
    }

    /// The number on the wire.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Ids given by hand are short, hashes are not.
        if self.0 < 1 << 32 { self.0.fmt(f) } else { write!(f, "{:#018x}", self.0) }
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MessageId({self})")
    }
}

/// A protobuf message that can be sent on its own.
///
/// ```
/// #[derive(Clone, PartialEq, prost::Message)]
/// struct Line {
///     #[prost(string, tag = "1")]
///     text: String,
/// }
///
/// impl seaway::Message for Line {
///     const NAME: &'static str = "chat.Line";
/// }
/// ```
pub trait Message: prost::Message + Default + 'static {
    /// Its full name, `package.Message`.
    const NAME: &'static str;
    /// What stands for it on the wire; by default the hash of its name.
    const ID: MessageId = MessageId::of(Self::NAME);
}

/// A method: its name, and the types that it takes and gives.
///
/// ```
/// # #[derive(Clone, PartialEq, prost::Message)] struct JoinRequest {}
/// # #[derive(Clone, PartialEq, prost::Message)] struct JoinReply {}
/// use seaway::Method;
/// const JOIN: Method<JoinRequest, JoinReply> = Method::new("chat.Room/Join");
/// ```
pub struct Method<Q, R> {
    name: &'static str,
    id: u64,
    types: PhantomData<fn(Q) -> R>,
}

impl<Q, R> Method<Q, R> {
    /// A method by its full name, `package.Service/Method`; FNV-1a, 64 bits, of it stands for it
    /// on the wire.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self { name, id: fnv1a(name), types: PhantomData }
    }

    /// The full name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// The number on the wire.
    #[must_use]
    pub const fn id(&self) -> u64 {
        self.id
    }
}

impl<Q, R> Clone for Method<Q, R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<Q, R> Copy for Method<Q, R> {}

impl<Q, R> fmt::Debug for Method<Q, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Method({})", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_fnv1a_and_never_changes() {
        // From the reference vectors of the Internet-Draft and of the authors' test suite.
        assert_eq!(fnv1a(""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a("a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a("foobar"), 0x8594_4171_f739_67e8);
    }
}
