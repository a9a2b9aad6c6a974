//! Nodes in processes of their own: the test's own binary, run again.
//!
//! ```text
//!  test    -- commands, a line each --> child
//!          <-- "@ ..." on stdout -----
//! ```

use std::env;
use std::io::{BufRead, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use seaway::discovery::MembersFile;
use seaway::{Config, Method, Node, Undeliverable};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, copy, split};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::messages::number;
use super::recorder::Recorder;
use super::{COUNT, Number, Text, addr, soon, until};

/// A call that a child begins and never ends.
pub const NEVER: Method<Text, Text> = Method::new("test.Process/Never");

const ADDRESS: &str = "SEAWAY_TEST_ADDRESS";
const LISTEN: &str = "SEAWAY_TEST_LISTEN";
const MEMBERS: &str = "SEAWAY_TEST_MEMBERS";

/// Who is where, in a file that children read.
#[derive(Debug)]
pub struct Members {
    folder: tempfile::TempDir,
}

impl Members {
    pub fn new() -> Self {
        let this = Self { folder: tempfile::tempdir().unwrap() };
        this.write(&[]);
        this
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("members.toml")
    }

    /// Replaces the file with one that has these members.
    pub fn write(&self, members: &[(&str, &str)]) {
        let entry = |(address, network): &(&str, &str)| {
            format!("[[member]]\naddress = \"{address}\"\nnetwork = \"{network}\"\n")
        };
        let text: String = members.iter().map(entry).collect();
        let new = self.folder.path().join("new.toml");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, self.path()).unwrap();
    }
}

/// A node in a process of its own. Killed with its owner.
#[derive(Debug)]
pub struct Process {
    child: Child,
    stdin: ChildStdin,
    /// What it said, without the "@".
    pub said: Recorder<String>,
    /// Ends when it can say no more.
    saying: Option<JoinHandle<()>>,
    pub network: String,
}

impl Process {
    /// Runs `test` of this binary again, as a node that listens but has not started.
    pub async fn run(test: &str, address: &str, listen: &str, members: &Members) -> Self {
        let members = members.path();
        let members = members.to_str().unwrap();
        let variables = [(ADDRESS, address), (LISTEN, listen), (MEMBERS, members)];
        let mut this = Self::spawn(test, &variables);
        this.network = this.word("listens").await;
        this
    }

    /// Runs `test` of this binary again, with these variables, by which it knows what it is.
    pub fn spawn(test: &str, variables: &[(&str, &str)]) -> Self {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture"])
            .envs(variables.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let stdin = child.stdin.take().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let said = Recorder::new();
        let hears = said.clone();
        let saying = tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                // The first word of the test harness has no end of line.
                if let Some((_, said)) = line.split_once("@ ") {
                    hears.add(said.to_owned());
                }
            }
        });
        Self { child, stdin, said, saying: Some(saying), network: String::new() }
    }

    /// Gives a command.
    pub async fn tell(&mut self, command: &str) {
        self.stdin.write_all(format!("{command}\n").as_bytes()).await.unwrap();
        self.stdin.flush().await.unwrap();
    }

    /// Starts the node; returns its incarnation.
    pub async fn start(&mut self) -> u64 {
        self.start_with_heartbeat(Config::default().heartbeat).await
    }

    /// The same with another heartbeat than the default.
    pub async fn start_with_heartbeat(&mut self, heartbeat: Duration) -> u64 {
        self.tell(&format!("start {}", heartbeat.as_millis())).await;
        self.word("started").await.parse().unwrap()
    }

    /// What it said first behind this word; waits for it.
    pub async fn word(&self, first: &str) -> String {
        let find = |all: &[String]| {
            all.iter()
                .find_map(|line| line.strip_prefix(first)?.strip_prefix(' ').map(str::to_owned))
        };
        let all = self.said.until(first, |all| find(all).is_some()).await;
        find(&all).unwrap()
    }

    /// The numbers that it has handled so far.
    pub fn handled(&self) -> Vec<u64> {
        self.numbers("handled ")
    }

    /// The numbers that it was called with so far.
    pub fn called(&self) -> Vec<u64> {
        self.numbers("counted ")
    }

    fn numbers(&self, first: &str) -> Vec<u64> {
        self.said.all().iter().filter_map(|line| line.strip_prefix(first)?.parse().ok()).collect()
    }

    /// Waits until it has handled that many.
    pub async fn until_handled(&self, count: usize) -> Vec<u64> {
        let is_handled = |line: &&String| line.starts_with("handled ");
        let is_enough = |all: &[String]| all.iter().filter(is_handled).count() >= count;
        self.said.until(&format!("{count} handled messages"), is_enough).await;
        self.handled()
    }

    /// Frames of others that it has handed on so far.
    pub async fn relayed(&mut self) -> u64 {
        let before = self.said.len();
        self.tell("relayed").await;
        let find = |all: &[String]| {
            all[before..].iter().find_map(|line| line.strip_prefix("relayed ")?.parse().ok())
        };
        let all = self.said.until("its number", |all| find(all).is_some()).await;
        find(&all).unwrap()
    }

    /// SIGKILL; waits until all that it had said is heard.
    pub async fn kill(&mut self) {
        self.child.start_kill().unwrap();
        self.child.wait().await.unwrap();
        if let Some(saying) = self.saying.take() {
            soon("its last words", saying).await.unwrap();
        }
    }

    /// Lets go of it, as a parent does that dies; waits until it has ended by itself.
    pub async fn abandon(mut self) -> ExitStatus {
        drop(self.stdin);
        soon("its end", self.child.wait()).await.unwrap()
    }

    /// SIGTERM; waits until it has ended and all that it had said is heard.
    pub async fn terminate(&mut self) -> ExitStatus {
        self.signal("TERM");
        let status = soon("its end", self.child.wait()).await.unwrap();
        if let Some(saying) = self.saying.take() {
            soon("its last words", saying).await.unwrap();
        }
        status
    }

    /// SIGSTOP; waits until no thread of it runs any more.
    pub async fn freeze(&self) {
        self.signal("STOP");
        let process = self.child.id().unwrap();
        until("every thread to stand still", || is_frozen(process)).await;
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        self.signal("CONT");
    }

    /// The memory that it has now, in bytes.
    pub fn memory(&self) -> u64 {
        let process = self.child.id().unwrap();
        let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
    }

    fn signal(&self, signal: &str) {
        let process = self.child.id().unwrap().to_string();
        let command = format!("kill -{signal} {process}");
        let done = std::process::Command::new("sh").args(["-c", &command]).status().unwrap();
        assert!(done.success(), "{command}");
    }
}

/// Whether all threads of a process are stopped, as the system tells.
fn is_frozen(process: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).unwrap();
    threads.map_while(Result::ok).all(|thread| {
        let status = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        // Behind the name, which ends with a parenthesis.
        status.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
    })
}

/// Tells the parent.
pub fn say(text: &str) {
    let mut stdout = std::io::stdout().lock();
    // The parent that would read it may be gone.
    writeln!(stdout, "@ {text}").and_then(|()| stdout.flush()).ok();
}

/// What a child does; nothing in any other process.
pub fn be_a_child() {
    let Ok(address) = env::var(ADDRESS) else { return };
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(live(&address));
    std::process::exit(0);
}

async fn live(address: &str) {
    let listener = TcpListener::bind(env::var(LISTEN).unwrap()).unwrap();
    say(&format!("listens {}", listener.local_addr().unwrap()));
    let mut commands = commands();
    let Some(start) = commands.recv().await else { return };
    let mut config = Config::default();
    config.heartbeat =
        Duration::from_millis(start.strip_prefix("start ").unwrap().parse().unwrap());
    let discovery = MembersFile::open(env::var(MEMBERS).unwrap());
    let node = Node::builder(address)
        .discovery(discovery)
        .config(config)
        .listener(listener)
        .on_call(NEVER, |_, _| {
            say("called by its parent");
            std::future::pending()
        })
        .on_call(COUNT, |_, request: Number| async move {
            say(&format!("counted {}", request.number));
            Ok(request)
        })
        .on_stream("echo", |_, stream| async move {
            let (mut reader, mut writer) = split(stream);
            copy(&mut reader, &mut writer).await.ok();
            writer.shutdown().await.ok();
        })
        .on_stream("hold", |_, stream| async move {
            say("holds");
            std::future::pending::<()>().await;
            drop(stream);
        })
        .on_message(|_, message: Number| async move { say(&format!("handled {}", message.number)) })
        .on_undeliverable(|notice| match notice {
            Undeliverable::Bounced { reason, .. } => say(&format!("bounced {reason:?}")),
            notice => say(&format!("lost {notice}")),
        });
    let node = node.start().await.unwrap();
    say(&format!("started {}", node.incarnation().bits()));
    let stopping = node.clone();
    tokio::spawn(async move { say(&format!("stopped {:?}", stopping.stopped().await)) });
    while let Some(command) = commands.recv().await {
        obey(&node, &command).await;
    }
}

async fn obey(node: &Node, command: &str) {
    match command.split(' ').collect::<Vec<_>>()[..] {
        ["send", to, first, end] => {
            for n in first.parse::<u64>().unwrap()..end.parse().unwrap() {
                if let Err(error) = node.send(addr(to), &number(n)).await {
                    say(&format!("refused {error}"));
                }
            }
        }
        ["incarnation"] => say(&format!("incarnation {}", node.incarnation().bits())),
        ["relayed"] => say(&format!("relayed {}", node.stats().relayed)),
        ["shutdown"] => {
            node.shutdown(Duration::from_secs(5)).await;
        }
        _ => panic!("unknown command {command}"),
    }
}

/// The lines of stdin; ends with the parent, whatever became of it.
pub fn commands() -> mpsc::UnboundedReceiver<String> {
    let (sender, commands) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    commands
}
