//! The real binary.

use std::net::SocketAddr;
use std::process::{Output, Stdio};

use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use super::soon;

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_seaway-discovery-mock"));
    command.args(args).env_remove("RUST_LOG").stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// Runs it to its end.
pub async fn output(args: &[&str]) -> Output {
    soon("the end of the process", command(args).output()).await.unwrap()
}

/// Runs it to its good end; returns what it printed.
pub async fn printed(args: &[&str]) -> String {
    let output = output(args).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// Runs it to its bad end; returns what it said.
pub async fn complaint(args: &[&str]) -> String {
    let output = output(args).await;
    assert!(!output.status.success(), "{args:?} succeeded");
    assert!(output.stdout.is_empty());
    String::from_utf8(output.stderr).unwrap()
}

/// A process that goes on until it is told to end. Killed with its owner.
#[derive(Debug)]
pub struct Process {
    child: Child,
    lines: Option<Lines<BufReader<ChildStdout>>>,
}

impl Process {
    pub fn run(args: &[&str]) -> Self {
        Self::start(&mut command(args))
    }

    fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines: Some(lines) }
    }

    /// A server, and where it listens.
    pub async fn serve(listen: &str, more: &[&str]) -> (Self, SocketAddr) {
        let mut this = Self::run(&[&["serve", "--listen", listen], more].concat());
        let line = this.line().await;
        let at = line.strip_prefix("serving at ").expect(&line).parse().unwrap();
        (this, at)
    }

    /// A server in a process with room for that many open files.
    pub async fn serve_with_files(files: usize) -> (Self, SocketAddr) {
        let mut command = Command::new("sh");
        command
            .args(["-c", &format!("ulimit -n {files} && exec \"$0\" serve --listen 127.0.0.1:0")])
            .arg(env!("CARGO_BIN_EXE_seaway-discovery-mock"));
        let mut this = Self::start(command.stdin(Stdio::null()).kill_on_drop(true));
        let line = this.line().await;
        let at = line.strip_prefix("serving at ").expect(&line).parse().unwrap();
        (this, at)
    }

    pub fn open_files(&self) -> usize {
        let process = self.child.id().unwrap();
        std::fs::read_dir(format!("/proc/{process}/fd")).unwrap().count()
    }

    /// The next line that it prints.
    pub async fn line(&mut self) -> String {
        soon("a line", self.lines.as_mut().unwrap().next_line())
            .await
            .unwrap()
            .expect("a line, not the end")
    }

    /// Closes its stdout.
    pub fn close(&mut self) {
        self.lines = None;
    }

    pub async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// Sends it a signal, by the name that `kill` knows.
    pub fn signal(&self, signal: &str) {
        let process = self.child.id().unwrap().to_string();
        let command = format!("kill -{signal} {process}");
        let done = std::process::Command::new("sh").args(["-c", &command]).status().unwrap();
        assert!(done.success(), "{command}");
    }

    /// Waits for its end; returns the exit code.
    pub async fn code(&mut self) -> Option<i32> {
        soon("the end of the process", self.child.wait()).await.unwrap().code()
    }
}
