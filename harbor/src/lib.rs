//! Harbors: nodes of type 255, which relay between groups.
//!
//! ```text
//!   group 1                                     group 2
//!   1.1.1 ----> 1.255.1 ----------------------> 2.255.1 ----> 2.1.1
//! ```
//!
//! A harbor is a [`seaway::Node`] like any other, with two discoveries and the limits of a relay;
//! relaying itself is a part of every node of type 255. So all that is here is a [`builder`] to
//! begin with:
//!
//! ```
//! use std::net::TcpListener;
//! use std::time::Duration;
//!
//! use seaway::discovery::{InProcess, Member};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // What its own group believes, and what all harbors do. A harbor is in both.
//! let (group, harbors) = (InProcess::new(), InProcess::new());
//! let listener = TcpListener::bind("127.0.0.1:0")?;
//! let me = Member::new("1.255.1".parse()?, listener.local_addr()?.to_string());
//! group.put(me.clone())?;
//! harbors.put(me)?;
//!
//! let harbor = seaway_harbor::builder("1.255.1")?
//!     .discovery(group)
//!     .harbor_discovery(harbors)
//!     .listener(listener)
//!     .start()
//!     .await?;
//! let report = harbor.shutdown(Duration::from_secs(5)).await;
//! assert!(report.is_clean());
//! # Ok(()) }
//! ```
//!
//! # As a program
//!
//! `seaway-harbor` is the same for the command line. It reads a TOML file:
//!
//! ```toml
//! address = "1.255.1"         # group.255.id
//! deployment = "prod"
//! listen = "0.0.0.0:7255"     # where discovery says, if left out
//! labels = { zone = "a" }
//!
//! [[keys]]                    # the first is offered first, all are accepted
//! label = "2026-11"
//! secret_file = "/run/secrets/seaway-2026-11"
//!
//! [discovery]                 # of its own group
//! kind = "file"
//! path = "/etc/seaway/group-1.toml"
//!
//! [harbors]                   # the harbors' common one; the same as `discovery`, if left out
//! kind = "mock"
//! address = "10.0.0.5:8110"
//!
//! [limits]
//! heartbeat_ms = 500
//! ```
//!
//! - Sizes are numbers of bytes and times numbers of milliseconds; `1_048_576` is a number, too.
//!   Limits have the names of the fields of [`seaway::Config`], times with `_ms` behind them.
//! - A secret is text of at least 32 bytes: `openssl rand -hex 32`. White space around the text in
//!   a `secret_file` does not count. `secret = "…"` is there for tests; it is never printed.
//! - Paths are relative to the folder in which the program was started.
//! - Flags go before the file, see `seaway-harbor --help`; with `--address` and
//!   `--discovery-mock` or `--discovery-file` no file is needed.
//! - `--check` says what it would do, or the first mistake with its line and the remedy.
//!   `--print-config` prints all that can be set, as it is now, to be used as a file.
//! - On stdout it says where it listens, once it does. It logs on stderr, what it has counted (see
//!   [`seaway::Stats`]) every `stats_every_ms` among it (a minute; 0: never). What else, is said by
//!   `--log`, or else by `RUST_LOG`, or else by `log` in the file: `info`, or `warn,seaway=debug`.
//! - On SIGTERM or ctrl-c it drains for `shutdown_within_ms` (30 s) at most and ends with exit code
//!   0; a second one ends it at once with exit code 1. It ends with exit code 1 as well when it
//!   cannot start, and when its node stops by itself, such as one that discovery no longer has.
//!
//! How many harbors a group needs, and what to watch, is in `docs/deploying.md`.
//!
//! # Cargo features
//!
//! `cli`, a default, is the binary. Without it `seaway` is the only dependency.

use seaway::{Builder, Config, IntoAddr, Node, StartError};

/// What may wait for one next node, in bytes.
const OUTBOX_BYTES_MAX: usize = 16 << 20;

/// Begins to build a harbor: a node with [`config`]'s limits. What it still needs is its group's
/// discovery, and the harbors' common one if that is another:
/// [`Builder::discovery`], [`Builder::harbor_discovery`].
///
/// # Errors
///
/// When `address` is none, or not that of a harbor.
///
/// ```
/// let wrong = seaway_harbor::builder("1.2.1").unwrap_err();
/// assert_eq!(
///     wrong.to_string(),
///     "config: `address` is 1.2.1, an ordinary node's; a harbor's has the type 255, as 1.255.1"
/// );
/// ```
pub fn builder(address: impl IntoAddr) -> Result<Builder, StartError> {
    let address = address.into_addr()?;
    if !address.is_harbor() {
        let (group, id) = (address.group(), address.id());
        return Err(StartError::Config(format!(
            "`address` is {address}, an ordinary node's; a harbor's has the type 255, as \
             {group}.255.{id}"
        )));
    }
    Ok(Node::builder(address).config(config()))
}

/// The limits of a harbor: those of any node, but 16 MiB that may wait for one next node.
///
/// ```
/// let mut config = seaway_harbor::config();
/// assert_eq!(config.outbox_bytes_max, 16 << 20);
/// config.deployment = "prod".to_owned();
/// let builder = seaway_harbor::builder("1.255.1")?.config(config);
/// # drop(builder);
/// # Ok::<(), seaway::StartError>(())
/// ```
#[must_use]
pub fn config() -> Config {
    let mut config = Config::default();
    config.outbox_bytes_max = OUTBOX_BYTES_MAX;
    config
}
