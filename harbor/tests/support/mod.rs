//! The binary and what it needs around it.
#![allow(unreachable_pub, missing_docs, reason = "it is a part of a test")]

use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use seaway::discovery::Member;
use seaway::{Builder, LogicalAddr, Node};
use seaway_discovery_mock::{MockDiscovery, Server};
use tokio::io::{AsyncBufReadExt, BufReader, Lines, copy_bidirectional};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};

/// How long a test waits for an event before it gives up.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for a future, but not for ever.
pub async fn soon<F: IntoFuture>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("waited in vain for {what}"),
    }
}

/// Waits until something is so, but not for ever.
pub async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let look = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    soon(what, look).await;
}

pub async fn server() -> Server {
    Server::bind("127.0.0.1:0").await.unwrap()
}

/// A builder of an ordinary node that its group's discovery has.
pub fn node(group: &Server, address: &str) -> Builder {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let network = listener.local_addr().unwrap().to_string();
    group.members().put(Member::new(address.parse().unwrap(), network)).unwrap();
    let discovery = MockDiscovery::connect(group.local_addr().to_string());
    Node::builder(address).discovery(discovery).listener(listener)
}

/// The lines of a config that name a server.
pub fn engine(server: &Server) -> String {
    format!("kind = \"mock\"\naddress = \"{}\"\n", server.local_addr())
}

fn member(server: &Server, address: &str) -> Option<Member> {
    let address: LogicalAddr = address.parse().unwrap();
    server.members().members().into_iter().find(|member| member.address == address)
}

pub fn is_known(server: &Server, address: &str) -> bool {
    member(server, address).is_some()
}

/// Whether its node has said so itself.
pub fn is_available(server: &Server, address: &str) -> bool {
    member(server, address).is_some_and(|member| member.available && member.incarnation.is_some())
}

/// A port that nobody else gets, and where another process may listen.
#[derive(Debug)]
pub struct Place {
    address: LogicalAddr,
    socket: TcpSocket,
}

impl Place {
    pub fn reserve(address: &str) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        // Bound, but not listening: so it may be bound once more.
        socket.set_reuseaddr(true).unwrap();
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        Self { address: address.parse().unwrap(), socket }
    }

    pub fn network(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    pub fn member(&self) -> Member {
        Member::new(self.address, self.network().to_string())
    }
}

/// A folder for the files of a test.
#[derive(Debug)]
pub struct Folder(tempfile::TempDir);

impl Folder {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// Writes a file; returns its path.
    pub fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    pub fn config(&self, text: &str) -> String {
        self.write("harbor.toml", text)
    }
}

/// A way to a server that can be closed: then it takes connections and is silent.
#[derive(Debug)]
pub struct Gate {
    address: SocketAddr,
    is_closed: Arc<AtomicBool>,
}

impl Gate {
    pub async fn to(server: &Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, to) = (listener.local_addr().unwrap(), server.local_addr());
        let is_closed = Arc::new(AtomicBool::new(false));
        let closed = Arc::clone(&is_closed);
        tokio::spawn(async move {
            let mut held = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                if closed.load(Ordering::Relaxed) {
                    held.push(stream);
                    continue;
                }
                let mut on = TcpStream::connect(to).await.unwrap();
                tokio::spawn(async move { copy_bidirectional(&mut stream, &mut on).await.ok() });
            }
        });
        Self { address, is_closed }
    }

    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// For those who connect from now on.
    pub fn close(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
    }
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_seaway-harbor"));
    command.args(args).env_remove("RUST_LOG").stdin(Stdio::null()).kill_on_drop(true);
    command
}

async fn output(mut command: Command) -> Output {
    soon("the end of the process", command.output()).await.unwrap()
}

/// Runs it to its good end; returns what it printed.
pub async fn printed(args: &[&str]) -> String {
    end_well(command(args)).await
}

/// The same with a variable in its environment.
pub async fn printed_with(variable: &str, value: &str, args: &[&str]) -> String {
    let mut command = command(args);
    command.env(variable, value);
    end_well(command).await
}

async fn end_well(command: Command) -> String {
    let what = format!("{command:?}");
    let output = output(command).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{what}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// Runs it to its bad end; returns what it said.
pub async fn complaint(args: &[&str]) -> String {
    let output = output(command(args)).await;
    assert!(!output.status.success(), "{args:?} succeeded");
    assert!(output.stdout.is_empty(), "{args:?} printed something");
    String::from_utf8(output.stderr).unwrap()
}

/// A harbor that goes on until it is told to end. Killed with its owner.
#[derive(Debug)]
pub struct Process {
    child: Child,
    out: Lines<BufReader<ChildStdout>>,
    err: Lines<BufReader<ChildStderr>>,
}

impl Process {
    pub fn run(args: &[&str]) -> Self {
        let mut command = command(args);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap()).lines();
        let err = BufReader::new(child.stderr.take().unwrap()).lines();
        Self { child, out, err }
    }

    /// The next line that it prints.
    pub async fn line(&mut self) -> String {
        let line = soon("a line", self.out.next_line()).await.unwrap();
        match line {
            Some(line) => line,
            None => panic!("it ended: {}", self.rest().await),
        }
    }

    /// Waits until it has said this on stderr.
    pub async fn says(&mut self, what: &str) {
        let says = async {
            let mut said = Vec::new();
            while let Some(line) = self.err.next_line().await.unwrap() {
                if line.contains(what) {
                    return;
                }
                said.push(line);
            }
            panic!("it ended without {what:?}: {said:#?}");
        };
        soon(what, says).await;
    }

    /// What it has not yet said on stderr, up to its end.
    pub async fn rest(&mut self) -> String {
        let mut said = String::new();
        while let Some(line) = soon("the end", self.err.next_line()).await.unwrap() {
            said.push_str(&line);
            said.push('\n');
        }
        said
    }

    /// Sends it a signal, by the name that `kill` knows.
    pub fn signal(&self, signal: &str) {
        let command = format!("kill -{signal} {}", self.child.id().unwrap());
        let done = std::process::Command::new("sh").args(["-c", &command]).status().unwrap();
        assert!(done.success(), "{command}");
    }

    /// Waits for its end; returns the exit code.
    pub async fn code(&mut self) -> Option<i32> {
        soon("the end of the process", self.child.wait()).await.unwrap().code()
    }
}
