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
#[allow(dead_code, missing_docs, reason = "see above")]
#[path = "../../../src/addr.rs"]
mod addr;
#[allow(dead_code, reason = "see above")]
#[path = "../../../src/debug.rs"]
mod debug;
#[allow(dead_code, reason = "see above")]
#[path = "../../../src/incarnation.rs"]
mod incarnation;
#[allow(dead_code, reason = "see above")]
#[path = "../../../src/name.rs"]
mod name;
#[allow(dead_code, reason = "see above")]
#[path = "../../../src/node/picture.rs"]
mod picture;

#[allow(dead_code, unused_imports, missing_docs, reason = "see above")]
#[path = "../../../src/discovery"]
mod discovery {
    mod member;
    mod view;
    mod watch;

    pub use member::{Announcement, Member};
    pub(crate) use view::{Applied, View, ViewChange};
    pub use watch::{Change, Event};
}

#[allow(dead_code, unused_imports, missing_docs, reason = "see above")]
#[path = "../../../src/routing"]
mod routing {
    mod candidates;
    mod next_hop;
    mod pick;
    mod rendezvous;
    mod table;

    pub(crate) use candidates::Candidates;
    pub(crate) use next_hop::Hop;
    pub use pick::Pick;
    pub(crate) use table::Table;
}

use anyhow::Result;

fn main() -> Result<()> {
    let args: Vec<_> = std::env::args().skip(1).collect();
    match &args[..] {
        [] => {
            tables::measure();
            node::measure()?;
            memory::measure()
        }
        [role, layout, members, labels] if role == "--memory" => {
            memory::child(layout, members.parse()?, labels == "labels")
        }
        other => anyhow::bail!("unknown arguments: {other:?}"),
    }
}
