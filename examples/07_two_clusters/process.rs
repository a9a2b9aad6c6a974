//! The other processes: how they are started, what they do, and what they have counted.
//!
//! ```text
//!  parent                          child
//!    │ ── start ────────────────────▶ │  binds a port, puts itself into discovery, starts its node
//!    │ ◀──────────────────── "ready" ─│
//!    │ ── a line ───────────────────▶ │
//!    │ ◀────────── what it counted ── │
//!    │ closes its end of the pipe ──▶ │  shuts down; also when the parent dies
//! ```

use std::net::{SocketAddr, TcpListener};
use std::process::Stdio;
use std::time::Duration;

use seaway::discovery::Member;
use seaway::{LogicalAddr, Node};
use seaway_discovery_mock::MockDiscovery;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines, stdin};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::Result;
use crate::service::Inbox;

/// A node in a process of its own.
pub(crate) struct Process {
    pub(crate) address: LogicalAddr,
    child: Child,
    to: ChildStdin,
    from: Lines<BufReader<ChildStdout>>,
}

/// What such a node has counted.
pub(crate) struct Counts {
    /// Letters that its handler was given, and how many of these came twice or too late.
    pub(crate) handled: u64,
    pub(crate) out_of_order: u64,
    /// Frames that it has handed on, if it is a harbor.
    pub(crate) relayed: u64,
}

impl Process {
    /// Runs this program once more, as the node with this address; waits until it has started.
    /// `own` is the discovery server of its cluster, `harbors` that of all harbors.
    pub(crate) async fn start(
        address: LogicalAddr,
        own: SocketAddr,
        harbors: SocketAddr,
    ) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args([address.to_string(), own.to_string(), harbors.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let to = child.stdin.take().ok_or("no pipe to the child")?;
        let from = child.stdout.take().ok_or("no pipe from the child")?;
        let mut from = BufReader::new(from).lines();
        match from.next_line().await? {
            Some(line) if line == "ready" => Ok(Self { address, child, to, from }),
            other => Err(format!("{address} did not start: {other:?}").into()),
        }
    }

    /// Asks it what it has counted so far.
    pub(crate) async fn counts(&mut self) -> Result<Counts> {
        self.to.write_all(b"\n").await?;
        let line = self.from.next_line().await?.ok_or("a child has ended by itself")?;
        let mut numbers = line.split(' ').map(str::parse::<u64>);
        let mut next = || numbers.next().ok_or("a child has counted too little");
        Ok(Counts { handled: next()??, out_of_order: next()??, relayed: next()?? })
    }

    /// Kills it, as a crash would.
    pub(crate) async fn kill(mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }

    /// Lets it shut down.
    pub(crate) async fn stop(mut self) -> Result<()> {
        drop(self.to);
        let status = self.child.wait().await?;
        let address = self.address;
        if status.success() { Ok(()) } else { Err(format!("{address} ended with {status}").into()) }
    }
}

/// What the other processes do.
pub(crate) async fn run(address: &str, own: &str, harbors: &str) -> Result<()> {
    let address: LogicalAddr = address.parse()?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    // What is exported is seen in the other cluster, too.
    let me = Member::new(address, listener.local_addr()?.to_string());
    let me = me.exported(!address.is_harbor());

    let own = MockDiscovery::connect(own);
    own.put(me.clone()).await?;
    let inbox = Inbox::default();
    let builder = if address.is_harbor() {
        // It is known in its cluster, and to all harbors.
        let harbors = MockDiscovery::connect(harbors);
        harbors.put(me).await?;
        seaway_harbor::builder(address)?.harbor_discovery(harbors)
    } else {
        inbox.serve(Node::builder(address))
    };
    let node = builder.discovery(own).listener(listener).start().await?;
    println!("ready");

    let mut parent = BufReader::new(stdin()).lines();
    while parent.next_line().await?.is_some() {
        let (handled, out_of_order) = inbox.counts();
        println!("{handled} {out_of_order} {}", node.stats().relayed);
    }
    let report = node.shutdown(Duration::from_secs(1)).await;
    if report.is_clean() { Ok(()) } else { Err(format!("{address} gave up: {report:?}").into()) }
}
