//! The other processes: how they are started, and what they do.
//!
//! ```text
//!  parent                          child
//!    │ ── spawn ────────────────────▶ │  binds a port
//!    │ ◀───────── "127.0.0.1:41234" ─ │  and says which
//!    │ writes the members file        │
//!    │ ── "go" ─────────────────────▶ │  starts its node
//!    │ ◀──────────────────── "ready" ─│
//!    │ closes its end of the pipe ──▶ │  shuts down; also when the parent dies
//! ```

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use seaway::Node;
use seaway::discovery::MembersFile;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines, stdin};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::{Result, service};

/// A node in a process of its own.
pub(crate) struct Process {
    /// Where it listens.
    pub(crate) network: SocketAddr,
    child: Child,
    to: ChildStdin,
    from: Lines<BufReader<ChildStdout>>,
}

impl Process {
    /// Runs this program once more, as the node with this address; waits until it has a port.
    pub(crate) async fn spawn(address: &str, file: &Path) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg(address)
            .arg(file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let to = child.stdin.take().ok_or("no pipe to the child")?;
        let from = child.stdout.take().ok_or("no pipe from the child")?;
        let mut from = BufReader::new(from).lines();
        let network = from.next_line().await?.ok_or("the child has no port")?.parse()?;
        Ok(Self { network, child, to, from })
    }

    /// Lets it start its node, now that the members file has it; waits until that is done.
    pub(crate) async fn start(&mut self) -> Result<()> {
        self.to.write_all(b"go\n").await?;
        match self.from.next_line().await? {
            Some(line) if line == "ready" => Ok(()),
            other => Err(format!("the child did not start: {other:?}").into()),
        }
    }

    /// Kills it, as a crash would.
    pub(crate) async fn kill(mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }

    /// Lets it shut down.
    pub(crate) async fn stop(mut self) -> Result<()> {
        drop(self.to);
        let status = self.child.wait().await?;
        if status.success() { Ok(()) } else { Err(format!("a child ended with {status}").into()) }
    }
}

/// What the other processes do.
pub(crate) async fn run(address: &str, file: &str) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?);
    let mut parent = BufReader::new(stdin()).lines();
    parent.next_line().await?.ok_or("the parent is gone")?;
    let builder = service::serve(Node::builder(address));
    let discovery = MembersFile::open(file);
    let node = builder.discovery(discovery).listener(listener).start().await?;
    println!("ready");
    while parent.next_line().await?.is_some() {}
    node.shutdown(Duration::from_secs(1)).await;
    Ok(())
}

/// Writes the members file: another one first, which then takes its place at once.
pub(crate) fn write_members(file: &Path, members: &BTreeMap<&str, SocketAddr>) -> Result<()> {
    let mut text = String::new();
    for (address, network) in members {
        writeln!(text, "[[member]]\naddress = \"{address}\"\nnetwork = \"{network}\"\n")?;
    }
    let new = file.with_extension("new");
    std::fs::write(&new, text)?;
    Ok(std::fs::rename(&new, file)?)
}
