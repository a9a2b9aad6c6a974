//! Stubs for the tests and examples of seaway, generated from the files in `proto/`.

// Generated code must please more than the lints of this workspace.
#![deny(missing_docs, unreachable_pub, unused_qualifications)]
#![deny(clippy::pedantic, clippy::nursery)]
#![deny(clippy::missing_docs_in_private_items, clippy::absolute_paths, clippy::shadow_reuse)]
#![deny(rustdoc::all)]

/// What the processes of the example `gate_and_game` say to each other.
pub mod arena {
    seaway::include_proto!("arena");
}

/// A service and two messages.
pub mod chat {
    seaway::include_proto!("chat");
}

/// Whatever is hard to generate code for.
pub mod difficult {
    /// The package is `difficult.v1`.
    pub mod v1 {
        seaway::include_proto!("difficult.v1");
    }
}

/// The short form.
pub mod echo {
    seaway::include_proto!("echo");
}

/// A service of one method, for examples.
pub mod hotel {
    seaway::include_proto!("hotel");
}

/// `proto2`.
pub mod old {
    /// The package is `old.ways`.
    pub mod ways {
        seaway::include_proto!("old.ways");
    }
}

/// What the processes of the example `two_clusters` say to each other.
pub mod post {
    seaway::include_proto!("post");
}

/// The short form, with comments and an import.
pub mod sum {
    seaway::include_proto!("sum");
}

/// What the processes of the example `quickstart` say to each other.
pub mod tour {
    seaway::include_proto!("tour");
}

/// Generated code that nobody outside sees or uses.
mod private {
    /// Again.
    mod chat {
        seaway::include_proto!("chat");
    }
}

/// Keeps the README's code compiling and right. It uses `proto/game.proto`.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
