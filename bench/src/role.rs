//! A process of this program, started by another one and steered by it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command as Process, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::control::{Answer, Command, Snapshot};

/// How long a child may take to answer; longer than its own limits, which tell more.
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// How long it may take to end by itself.
const END_MAX: Duration = Duration::from_secs(2);

/// This program, started again as one side of a peer; ended when dropped.
pub struct Role {
    name: &'static str,
    process: Child,
    stdin: Option<ChildStdin>,
    answers: Receiver<String>,
}

impl Role {
    /// Starts it.
    pub fn start(name: &'static str, args: &[&str]) -> Result<Self> {
        let mut process = Process::new(std::env::current_exe()?)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("the {name} does not start"))?;
        let stdin = process.stdin.take();
        let stdout = process.stdout.take().context("no standard output")?;
        let (sender, answers) = channel();
        // Reads in a thread, since a line of a pipe cannot be waited for with a time limit.
        thread::spawn(move || {
            let lines = BufReader::new(stdout).lines().map_while(Result::ok);
            for line in lines {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Self { name, process, stdin, answers })
    }

    /// Waits until it is up and returns where.
    pub fn up(&mut self) -> Result<String> {
        match self.answer()? {
            Answer::Up(addr) => Ok(addr),
            other => bail!("the {} is not up but answers {other:?}", self.name),
        }
    }

    /// Has it do something and waits until it is done.
    pub fn ask(&mut self, command: Command) -> Result<Snapshot> {
        let mut line = serde_json::to_string(&command)?;
        line.push('\n');
        // A child that has ended says why in its last answer, so that is read even if it is gone.
        let written = self.stdin.as_mut().context("no standard input")?.write_all(line.as_bytes());
        match self.answer()? {
            Answer::Snapshot(snapshot) => written.map(|()| snapshot).map_err(Into::into),
            other => bail!("the {} answers {other:?}", self.name),
        }
    }

    fn answer(&mut self) -> Result<Answer> {
        let name = self.name;
        match self.answers.recv_timeout(ANSWER_MAX) {
            Ok(line) => match serde_json::from_str(&line)? {
                Answer::Failed(why) => bail!("the {name} failed: {why}"),
                answer => Ok(answer),
            },
            Err(RecvTimeoutError::Timeout) => bail!("the {name} does not answer"),
            Err(RecvTimeoutError::Disconnected) => bail!("the {name} ended"),
        }
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        // It ends when its standard input does, so that it can end its own helpers first.
        self.stdin = None;
        let ended = loop {
            match self.answers.recv_timeout(END_MAX) {
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => break Ok(()),
                Err(RecvTimeoutError::Timeout) => break self.process.kill(),
            }
        };
        if let Err(error) = ended.and_then(|()| self.process.wait().map(drop)) {
            eprintln!("seaway-bench: the {} cannot be ended: {error}", self.name);
        }
    }
}
