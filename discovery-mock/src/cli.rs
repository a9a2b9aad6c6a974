//! The subcommands.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use seaway::LogicalAddr;
use seaway::discovery::{Change, Discovery, DiscoveryError, Event, Member};
use seaway_discovery_mock::{MockDiscovery, Server};
use tokio::select;

/// Where the server listens unless it is told otherwise.
const SERVER: &str = "127.0.0.1:8110";

/// A small discovery server for seaway, for tests and laptops, and its client.
///
/// Begin with `seaway-discovery-mock serve`, then `add` the members in another terminal. A node
/// finds them with `MockDiscovery::connect("127.0.0.1:8110")`.
#[derive(Debug, Parser)]
#[command(name = "seaway-discovery-mock", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(Serve),
    /// Lists the members as nodes are told of them.
    List {
        /// Prints a JSON array instead of lines.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        at: At,
    },
    Add(Add),
    /// Removes a member; its node stops itself.
    Remove {
        /// Its logical address, such as 1.2.1.
        address: LogicalAddr,
        #[command(flatten)]
        at: At,
    },
    Set(Set),
    /// Prints the members, and each change as a line, until it is interrupted.
    ///
    /// A line is `added`, `changed` or `removed`, and the member as `list` prints it. When the
    /// server is away, that is told on stderr, and what changed meanwhile once it is back.
    Watch {
        #[command(flatten)]
        at: At,
    },
}

#[derive(Debug, Args)]
struct At {
    /// Where the server listens, as host:port.
    #[arg(long, default_value = SERVER, value_name = "HOST:PORT")]
    server: String,
}

/// Serves until it is interrupted or terminated; prints where, and logs on stderr (see `RUST_LOG`).
///
/// A member is unavailable once its node has said nothing for 10 s, also one that is added before
/// its node has started. Whether a node lives is not in the state file: a server that starts takes
/// all for alive and gives them 10 s to say so.
#[derive(Debug, Args)]
struct Serve {
    /// Where to listen, as host:port.
    #[arg(long, default_value = SERVER, value_name = "HOST:PORT")]
    listen: String,
    /// A file (TOML) that keeps the members for the next run, made if there is none. Without it a
    /// server that is started again knows nobody: nodes keep their members until the first is
    /// added again, and a node that then finds itself missing stops.
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Allows to listen where other machines can connect. Whoever can may change the members:
    /// nobody is asked who he is.
    #[arg(long)]
    insecure_remote: bool,
}

/// Adds a member, or replaces what was entered for its address.
#[derive(Debug, Args)]
struct Add {
    /// Its logical address, such as 1.2.1.
    address: LogicalAddr,
    /// Where it listens, as host:port.
    network: String,
    /// Lets nodes of other groups know of it.
    #[arg(long)]
    exported: bool,
    /// A word for those who pick; may be given several times.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    #[command(flatten)]
    at: At,
}

/// Changes something about a member.
#[derive(Debug, Args)]
struct Set {
    /// Its logical address, such as 1.2.1.
    address: LogicalAddr,
    #[command(flatten)]
    what: What,
    #[command(flatten)]
    at: At,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
struct What {
    /// Whether pickers should choose it. With true it still depends on its node.
    #[arg(long, value_name = "true|false", action = clap::ArgAction::Set)]
    available: Option<bool>,
    /// Whether nodes of other groups may know of it.
    #[arg(long, value_name = "true|false", action = clap::ArgAction::Set)]
    exported: Option<bool>,
    /// Where it listens; its node stops, so that it is started there.
    #[arg(long, value_name = "HOST:PORT")]
    network: Option<String>,
}

fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("a label is KEY=VALUE, such as zone=a")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// What went wrong, and what to do about it.
type Failure = Box<dyn Error>;

impl Cli {
    /// Does what the command line says.
    pub(crate) async fn run(self) -> Result<(), Failure> {
        match self.command {
            Command::Serve(serve) => serve.run().await,
            Command::List { json, at } => list(&at.discovery(), json).await,
            Command::Add(add) => add.run().await,
            Command::Remove { address, at } => {
                let was_member = at.discovery().remove(address).await?;
                let outcome = if was_member { "is removed" } else { "was not a member" };
                print(format_args!("{address} {outcome}"))
            }
            Command::Set(set) => set.run().await,
            Command::Watch { at } => {
                let (discovery, interrupted) = (at.discovery(), interrupted()?);
                select! {
                    ended = watch(&discovery) => ended,
                    () = interrupted => Ok(()),
                }
            }
        }
    }
}

impl At {
    fn discovery(&self) -> MockDiscovery {
        MockDiscovery::connect(&*self.server)
    }
}

impl Serve {
    async fn run(self) -> Result<(), Failure> {
        let interrupted = interrupted()?;
        let mut builder = Server::builder();
        if let Some(path) = self.state {
            builder = builder.state(path);
        }
        if self.insecure_remote {
            builder = builder.insecure_remote();
        }
        let server = builder.bind(self.listen).await?;
        print(format_args!("serving at {}", server.local_addr()))?;
        interrupted.await;
        Ok(server.shutdown().await?)
    }
}

impl Add {
    async fn run(self) -> Result<(), Failure> {
        let member = Member::new(self.address, self.network).exported(self.exported);
        let member =
            self.labels.into_iter().fold(member, |member, (key, value)| member.label(key, value));
        self.at.discovery().put(member.clone()).await?;
        print(format_args!("{}", line(&member)))
    }
}

impl Set {
    async fn run(self) -> Result<(), Failure> {
        let (discovery, address, what) = (self.at.discovery(), self.address, self.what);
        // First what may be refused, so that nothing is done by halves.
        if let Some(network) = what.network {
            discovery.set_network(address, network).await?;
        }
        if let Some(exported) = what.exported {
            discovery.set_exported(address, exported).await?;
        }
        if let Some(available) = what.available {
            discovery.set_available(address, available).await?;
        }
        let members = discovery.members().await?;
        let member = members.iter().find(|member| member.address == address);
        let member = member.ok_or(DiscoveryError::NotAMember(address))?;
        print(format_args!("{}", line(member)))
    }
}

async fn list(discovery: &MockDiscovery, json: bool) -> Result<(), Failure> {
    let members = discovery.members().await?;
    if json {
        return print(format_args!("{}", serde_json::to_string_pretty(&members)?));
    }
    members.iter().try_for_each(|member| print(format_args!("{}", line(member))))
}

async fn watch(discovery: &MockDiscovery) -> Result<(), Failure> {
    let mut known = BTreeMap::new();
    loop {
        let mut watch = discovery.watch().await?;
        while let Some(event) = watch.next().await {
            let changes = match event {
                Event::Snapshot { members, .. } => differences(&known, members),
                Event::Delta { changes, .. } => changes,
                Event::Problem(problem) => {
                    tracing::warn!("{problem}");
                    continue;
                }
                _ => continue,
            };
            for change in changes {
                note(&mut known, change)?;
            }
        }
    }
}

/// What leads from the known members to these.
fn differences(known: &BTreeMap<LogicalAddr, Member>, members: Vec<Member>) -> Vec<Change> {
    let is_gone = |address: &&LogicalAddr| members.iter().all(|member| member.address != **address);
    let gone: Vec<_> = known.keys().filter(is_gone).map(|gone| Change::Remove(*gone)).collect();
    let is_news = |member: &Member| known.get(&member.address) != Some(member);
    gone.into_iter().chain(members.into_iter().filter(is_news).map(Change::Put)).collect()
}

/// Takes note of a change and prints it.
fn note(known: &mut BTreeMap<LogicalAddr, Member>, change: Change) -> Result<(), Failure> {
    match change {
        Change::Put(member) => {
            let text = line(&member);
            let was_known = known.insert(member.address, member).is_some();
            print(format_args!("{} {text}", if was_known { "changed" } else { "added" }))
        }
        Change::Remove(address) => {
            known.remove(&address);
            print(format_args!("removed {address}"))
        }
        _ => Ok(()),
    }
}

/// A member for people, and for `grep`.
fn line(member: &Member) -> String {
    let mut text = format!("{} {}", member.address, member.network);
    text.push_str(if member.available { " available" } else { " unavailable" });
    if member.exported {
        text.push_str(" exported");
    }
    if let Some(carrier) = member.carried_by {
        text.push_str(&format!(" carried by {carrier}"));
    }
    if let Some(incarnation) = member.incarnation {
        text.push_str(&format!(" incarnation {incarnation}"));
    }
    for (key, value) in &member.labels {
        text.push_str(&format!(" {}={}", key.escape_debug(), value.escape_debug()));
    }
    text
}

/// Prints a line at once, also into a pipe.
fn print(text: std::fmt::Arguments<'_>) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    Ok(writeln!(out, "{text}").and_then(|()| out.flush())?)
}

/// Listens from now on for ctrl-c and, where there is such a thing, SIGTERM; returns what waits for
/// them.
#[cfg(unix)]
fn interrupted() -> io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut interrupt, mut terminate) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

#[cfg(not(unix))]
fn interrupted() -> io::Result<impl Future<Output = ()>> {
    Ok(async { tokio::signal::ctrl_c().await.unwrap_or_default() })
}
