//! Stubs for the tests of seaway, generated from the files in `proto/`.

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

/// `proto2`.
pub mod old {
    /// The package is `old.ways`.
    pub mod ways {
        seaway::include_proto!("old.ways");
    }
}

/// The short form, with comments and an import.
pub mod sum {
    seaway::include_proto!("sum");
}

/// Generated code that nobody outside sees or uses.
mod private {
    mod chat {
        seaway::include_proto!("chat");
    }
}
