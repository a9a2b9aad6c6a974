//! The node under test in a process of its own, seen from outside: what it takes of the machine is
//! its own.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::AsyncBufReadExt;

use crate::support::until;
use crate::{floods, memory, resources};

/// Names what a child is to be.
const ROLE: &str = "SEAWAY_TEST_ROLE";
const SPEAK_UP: &str = "listening at ";
const FULL: &str = "all are full";

/// What the node in a child is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It takes the largest frames that there are.
    Large,
    /// Its limits are small, and on a word it sends all that its peers' outboxes take.
    Small,
    /// It serves streams.
    Streams,
}

/// A node in a process of its own. Killed with its owner.
pub(crate) struct Node {
    process: Child,
    /// What closes when this process ends, however it does.
    stdin: Option<ChildStdin>,
    lines: BufReader<std::process::ChildStdout>,
    pub(crate) at: SocketAddr,
}

impl Node {
    /// Starts it with room for `files` open files.
    pub(crate) fn start(role: Role, files: u32) -> Self {
        let mut process = Command::new("sh")
            .args(["-c", &format!("ulimit -n {files} && exec \"$0\" \"$@\"")])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "child::a_child_ends_when_its_parent_is_gone", "--nocapture"])
            .env(ROLE, format!("{role:?}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = process.stdin.take();
        let mut lines = BufReader::new(process.stdout.take().unwrap());
        let at = word(&mut lines, SPEAK_UP).parse().unwrap();
        Self { process, stdin, lines, at }
    }

    /// Lets a [`Role::Small`] press its peers, and waits until all their outboxes are full.
    pub(crate) async fn press(mut self) -> Self {
        self.stdin.as_mut().unwrap().write_all(b"press\n").unwrap();
        let full = tokio::task::spawn_blocking(move || {
            word(&mut self.lines, FULL);
            self
        });
        full.await.unwrap()
    }

    fn proc(&self, file: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.process.id())).unwrap()
    }

    /// Processor time used so far. See proc(5): utime and stime, in hundredths of a second.
    pub(crate) fn cpu(&self) -> Duration {
        let stat = self.proc("stat");
        let fields: Vec<_> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        let ticks = |at: usize| fields[at].parse::<u64>().unwrap();
        Duration::from_millis(10 * (ticks(11) + ticks(12)))
    }

    /// The most memory that it ever had, in bytes.
    pub(crate) fn memory_peak(&self) -> u64 {
        let status = self.proc("status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
    }

    pub(crate) fn open_files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.process.id())).unwrap().count()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// What is said behind the next `first`.
fn word(lines: &mut impl BufRead, first: &str) -> String {
    let said = lines.lines().find_map(|line| Some(line.unwrap().split_once(first)?.1.to_owned()));
    said.unwrap_or_else(|| panic!("the child ended without saying {first:?}"))
}

/// Run again as a child, this is the node itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_ends_when_its_parent_is_gone() {
    if let Ok(role) = std::env::var(ROLE) {
        let roles = [Role::Large, Role::Small, Role::Streams];
        return be(roles.into_iter().find(|it| format!("{it:?}") == role).unwrap()).await;
    }
    let mut node = Node::start(Role::Large, 64);
    drop(node.stdin.take());
    let mut status: Option<ExitStatus> = None;
    until("the child's end", || {
        status = node.process.try_wait().unwrap();
        status.is_some()
    })
    .await;
    assert!(status.unwrap().success(), "{status:?}");
}

async fn be(role: Role) {
    let node = match role {
        Role::Large => resources::large_node().await,
        Role::Small => memory::small_node().await,
        Role::Streams => floods::streaming_node().await,
    };
    println!("{SPEAK_UP}{}", node.local_addr());
    let mut commands = tokio::io::BufReader::new(tokio::io::stdin()).lines();
    while let Some(command) = commands.next_line().await.unwrap() {
        assert_eq!(command, "press");
        let node = node.clone();
        tokio::spawn(async move { memory::press(&node, || println!("{FULL}")).await });
    }
    std::process::exit(0);
}
