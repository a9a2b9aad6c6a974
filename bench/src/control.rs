//! What the parent and its two processes tell each other: one JSON value a line, over the child's
//! standard input and output.

use std::io::{BufRead as _, Write as _};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

/// From the parent. A child ends when its standard input does.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub enum Command {
    /// The measured window begins: take a snapshot.
    Begin,
    /// The window ends: finish, and take a snapshot.
    End {
        /// How many calls or messages the client has made since its start; the server waits until
        /// that many have arrived. Unused in the client.
        made: u64,
    },
    /// Call every peer once, and take a snapshot when all have answered; for a hub.
    Call,
    /// Send a message to every peer; for a hub.
    Send,
}

/// From a child.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Answer {
    /// It is up; for a server, where to connect to.
    Up(String),
    /// The answer to a command.
    Snapshot(Snapshot),
    /// It cannot go on, or a call failed.
    Failed(String),
}

/// A process at one moment.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Snapshot {
    /// Time since the process was up.
    pub elapsed_nanos: u64,
    /// CPU time of all its threads since it started.
    pub cpu_nanos: u64,
    /// The same of the processes that it has started itself.
    pub helpers_cpu_nanos: u64,
    /// Calls or messages since it started: made, in the client; handled, in the server.
    pub count: u64,
    /// The most memory that it and its helpers have had resident, in bytes.
    pub peak_bytes: u64,
    /// What it has resident now, without its helpers, in bytes.
    pub resident_bytes: u64,
    /// How long calls took, if this is the end of a client's window.
    pub latency: Option<Latency>,
}

/// Percentiles of the sampled calls.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Latency {
    /// The median.
    pub p50_nanos: u32,
    /// 99 of 100 were not slower.
    pub p99_nanos: u32,
    /// 999 of 1,000 were not slower.
    pub p999_nanos: u32,
}

/// Tells the parent something.
pub fn answer(answer: &Answer) -> Result<()> {
    let mut line = serde_json::to_string(answer)?;
    line.push('\n');
    let mut out = std::io::stdout().lock();
    out.write_all(line.as_bytes())?;
    Ok(out.flush()?)
}

/// Answers the parent's commands until it closes standard input. An error of `on_command` is told
/// to the parent and ends the child.
pub fn obey(mut on_command: impl FnMut(Command) -> Result<Snapshot>) -> Result<()> {
    for line in std::io::stdin().lock().lines() {
        let command = serde_json::from_str(&line?).context("a command that is none")?;
        answer(&Answer::Snapshot(on_command(command)?))?;
    }
    Ok(())
}

/// Runs a child; its error goes to the parent, which reports it.
pub fn child(run: impl FnOnce() -> Result<()>) -> Result<()> {
    run().or_else(|error| answer(&Answer::Failed(format!("{error:#}"))))
}

/// The runtime of every child: the same for all peers.
pub fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?)
}
