//! seaway, one typed call and one one-way message over one link. Not wired yet: `peers.rs` does not
//! name this file, so it is neither built nor reported.
