//! Names: on the wire, and in Rust.

use heck::{ToSnakeCase, ToUpperCamelCase};
use prost_build::Module;

/// FNV-1a, 64 bits: what stands for a method, or for a message that has no id, on the wire.
pub(crate) fn hash(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// The module of a service or of what is nested in a message, as prost names it.
pub(crate) fn module(name: &str) -> String {
    Module::from_protobuf_package_name(name).parts().collect()
}

/// The function of a method; none if that is a word of Rust, or no name.
pub(crate) fn function(name: &str) -> Option<String> {
    let plain = name.to_snake_case();
    // prost changes those that cannot be taken as they are.
    (!plain.is_empty() && module(name) == plain).then_some(plain)
}

/// The type of a message or an enumeration.
pub(crate) fn type_name(name: &str) -> String {
    name.to_upper_camel_case()
}

/// Whether it can stand in a .proto file as a package.
pub(crate) fn is_identifier(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_one_of_seaway() {
        for name in ["", "a", "foobar", "chat.Room/Join", "echo.echo/call", "größe"] {
            assert_eq!(hash(name), seaway::MessageId::of(name).get(), "{name}");
        }
        assert_eq!(hash("chat.Room/Join"), seaway::Method::<(), ()>::new("chat.Room/Join").id());
    }

    #[test]
    fn a_function_is_no_word_of_rust() {
        assert_eq!(function("HTTPGet2").as_deref(), Some("http_get2"));
        for name in ["Type", "self", "_", "__", "_2", "async", "Gen", "Try", "crate", "Super"] {
            assert_eq!(function(name), None, "{name}");
        }
    }
}
