//! The other processes: how they are started, and what they do.
//!
//! ```text
//!  parent                          child
//!    │ ── spawn ────────────────────▶ │  binds a port, puts itself into discovery, starts its node
//!    │ ◀──────────────────── "ready" ─│
//!    │ closes its end of the pipe ──▶ │  shuts down; also when the parent dies
//! ```

use std::net::TcpListener;
use std::process::Stdio;
use std::time::Duration;

use seaway::Node;
use seaway::discovery::Member;
use seaway_discovery_mock::MockDiscovery;
use tokio::io::{AsyncBufReadExt, BufReader, Lines, stdin};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::{Result, service};

/// A node in a process of its own.
pub(crate) struct Process {
    child: Child,
    to: ChildStdin,
    from: Lines<BufReader<ChildStdout>>,
}

impl Process {
    /// Runs this program once more, as the node with this address.
    pub(crate) fn spawn(address: &str, discovery: &str) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args([address, discovery])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let to = child.stdin.take().ok_or("no pipe to the child")?;
        let from = child.stdout.take().ok_or("no pipe from the child")?;
        Ok(Self { child, to, from: BufReader::new(from).lines() })
    }

    /// Waits until its node has started.
    pub(crate) async fn ready(&mut self) -> Result<()> {
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
pub(crate) async fn run(address: &str, discovery: &str) -> Result<()> {
    let builder = service::serve(Node::builder(address));
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let discovery = MockDiscovery::connect(discovery);
    discovery.put(Member::new(address.parse()?, listener.local_addr()?.to_string())).await?;
    let node = builder.discovery(discovery).listener(listener).start().await?;
    println!("ready");
    let mut parent = BufReader::new(stdin()).lines();
    while parent.next_line().await?.is_some() {}
    node.shutdown(Duration::from_secs(1)).await;
    Ok(())
}
