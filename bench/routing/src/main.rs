//! What finding the next hop, taking in a change and remembering a member cost.
//!
//! ```sh
//! cargo run --release --manifest-path bench/routing/Cargo.toml
//! ```
//!
//! The library's own files that route are compiled into this program, without a node around them:
//! they are pure and name nothing but each other, so measuring needs no door in the library. What a
//! whole node makes of changes, and how much memory it takes, is measured at a node.
#![allow(clippy::unwrap_used, reason = "a benchmark may panic")]

mod layout;
mod memory;
mod node;
mod tables;

/// Files of the library, as they are. A node uses more of them.
#[allow(dead_code, unused_imports, missing_docs, reason = "see above")]
#[path = "../../../src"]
mod library {
    pub mod addr;
    pub mod debug;
    pub mod incarnation;
    pub mod name;

    pub mod discovery {
        mod labels;
        mod member;
        mod view;
        mod watch;

        pub use member::{Announcement, Member};
        pub(crate) use view::{View, ViewChange};
        pub use watch::{Change, Event};
    }

    pub mod routing {
        mod candidates;
        mod list;
        mod next_hop;
        mod paged;
        mod pick;
        mod rendezvous;
        mod table;

        pub(crate) use candidates::Candidates;
        pub use pick::Pick;
        pub(crate) use table::Table;
    }
}

use library::{addr, debug, discovery, incarnation, name, routing};

use anyhow::Result;

fn main() -> Result<()> {
    let args: Vec<_> = std::env::args().skip(1).collect();
    match &args[..] {
        [] => {
            tables::measure();
            node::measure()?;
            memory::measure()
        }
        [role, members, labels, engine] if role == "--memory" => {
            memory::child(members.parse()?, labels, engine)
        }
        other => anyhow::bail!("unknown arguments: {other:?}"),
    }
}
