//! The other processes: how they start, how they end.
//!
//! ```text
//!  parent                          child
//!    │ ── start ────────────────────▶ │  binds a port, puts itself into discovery, starts its node
//!    │ ◀───────────────── a first line│  "ready", or where the gate listens
//!    │ closes its end of the pipe ──▶ │  shuts down; also when the parent dies
//! ```

use std::net::TcpListener;
use std::process::Stdio;

use seaway::discovery::Member;
use seaway::{Builder, LogicalAddr, Node};
use seaway_discovery_mock::MockDiscovery;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, stdin};
use tokio::process::{Child, ChildStdin, Command};

use crate::Result;

/// A node in a process of its own.
pub(crate) struct Process {
    pub(crate) address: LogicalAddr,
    child: Child,
    until_it_ends: ChildStdin,
    /// What it has said when it had started.
    pub(crate) said: String,
}

impl Process {
    /// Runs this program once more, as the node with this address; waits until it has started.
    pub(crate) async fn start(address: LogicalAddr, discovery: &str) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args([&*address.to_string(), discovery])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let until_it_ends = child.stdin.take().ok_or("no pipe to the child")?;
        let from = child.stdout.take().ok_or("no pipe from the child")?;
        let said = BufReader::new(from).lines().next_line().await?;
        let said = said.ok_or_else(|| format!("{address} did not start"))?;
        Ok(Self { address, child, until_it_ends, said })
    }

    /// Lets it shut down, which it must do well.
    pub(crate) async fn stop(mut self) -> Result<()> {
        drop(self.until_it_ends);
        let status = self.child.wait().await?;
        let address = self.address;
        if status.success() { Ok(()) } else { Err(format!("{address} ended with {status}").into()) }
    }
}

/// In a child: starts the node, as a member of the cluster.
pub(crate) async fn join(builder: Builder, address: LogicalAddr, discovery: &str) -> Result<Node> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let discovery = MockDiscovery::connect(discovery);
    discovery.put(Member::new(address, listener.local_addr()?.to_string())).await?;
    Ok(builder.discovery(discovery).listener(listener).start().await?)
}

/// In a child: waits for the word, or the end, of the parent.
pub(crate) async fn until_parent_ends_it() {
    stdin().read_u8().await.ok();
}
