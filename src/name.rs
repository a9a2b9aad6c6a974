//! Names on the wire: stable 64-bit hashes of methods and messages.

use std::fmt;
use std::marker::PhantomData;
use std::sync::OnceLock;

/// FNV-1a, 64 bits. See Fowler, Noll, Vo: RFC 9923.
pub(crate) const fn fnv1a(bytes: &[u8]) -> u64 {
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
        Self(fnv1a(name.as_bytes()))
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
        Self { name, id: fnv1a(name.as_bytes()), types: PhantomData }
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

    /// The same method for whoever knows it by other types.
    pub(crate) const fn with_types<P, S>(self) -> Method<P, S> {
        Method { name: self.name, id: self.id, types: PhantomData }
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

/// How many names a node remembers.
const NAMES_MAX: usize = 256;

/// The names behind the numbers of what a node has sent, for those who read its notices. Each number
/// has one place, and the first to come stays: so remembering costs a look, and a few names that
/// share a place with another are not known.
pub(crate) struct Names([OnceLock<(u64, &'static str)>; NAMES_MAX]);

impl Names {
    pub(crate) fn new() -> Self {
        Self(std::array::from_fn(|_| OnceLock::new()))
    }

    pub(crate) fn remember(&self, id: u64, name: &'static str) {
        self.place(id).get_or_init(|| (id, name));
    }

    /// The name, if it is remembered.
    pub(crate) fn of(&self, id: u64) -> Option<&'static str> {
        self.place(id).get().filter(|(known, _)| *known == id).map(|(_, name)| *name)
    }

    #[expect(clippy::cast_possible_truncation, reason = "the low bits are meant")]
    const fn place(&self, id: u64) -> &OnceLock<(u64, &'static str)> {
        &self.0[id as usize % NAMES_MAX]
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.iter().filter_map(OnceLock::get).copied()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_names_with_one_place_the_first_is_remembered() {
        let names = Names::new();
        names.remember(1, "chat.Line");
        names.remember(1, "chat.Other");
        names.remember(257, "chat.Joined");
        names.remember(2, "chat.Left");
        let known = [1, 2, 257, 258].map(|id| names.of(id));
        assert_eq!(known, [Some("chat.Line"), Some("chat.Left"), None, None]);
    }

    #[test]
    fn the_hash_is_fnv1a_and_never_changes() {
        // From the reference vectors of the Internet-Draft and of the authors' test suite.
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    }
}
