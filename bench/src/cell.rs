//! One run of one peer and row: starts its two processes, steers them, checks the counts.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command as Process, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::{self, sleep};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde::Serialize;

use crate::args::Options;
use crate::control::{Answer, Command, Snapshot};
use crate::peers::Entry;
use crate::workload::{Kind, Workload};

/// How long a child may take to answer; longer than its own limits, which tell more.
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// What one run measured.
#[derive(Debug, Clone, Serialize)]
pub struct Cell {
    /// The row's name.
    pub row: &'static str,
    /// The peer's name.
    pub peer: &'static str,
    /// Which repeat, from 0.
    pub repeat: usize,
    /// Calls, or messages handled, per second.
    pub per_second: f64,
    /// Calls, or messages handled, in the window.
    pub count: u64,
    /// Length of the window.
    pub seconds: f64,
    /// Median latency of the sampled calls.
    pub p50_micros: Option<f64>,
    /// 99th percentile of the sampled calls.
    pub p99_micros: Option<f64>,
    /// 999 of 1,000 sampled calls were not slower.
    pub p999_micros: Option<f64>,
    /// The most memory that client and server had resident, together, in bytes.
    pub peak_bytes: u64,
    /// CPU time per call or message, of all processes.
    pub cpu_micros: f64,
    /// The client's part of it.
    pub cpu_client_micros: f64,
    /// The server's part of it.
    pub cpu_server_micros: f64,
    /// The part of all relays.
    pub cpu_relays_micros: f64,
}

/// Runs one peer with one row.
pub fn measure(peer: &Entry, row: &Workload, repeat: usize, options: &Options) -> Result<Cell> {
    run(peer, row, repeat, options).with_context(|| format!("{}, {}", peer.name, row.name))
}

fn run(peer: &Entry, row: &Workload, repeat: usize, options: &Options) -> Result<Cell> {
    let mut server = Role::start("server", &["--server", peer.name, row.name])?;
    let mut addr = server.up()?;
    let mut relays = Vec::new();
    for _ in 0..row.relays {
        let mut relay = Role::start("relay", &["--relay", peer.name, row.name, &addr])?;
        addr = relay.up()?;
        relays.push(relay);
    }
    let mut client = Role::start("client", &["--client", peer.name, row.name, &addr])?;
    client.up()?;
    sleep(options.warm_up);
    let server_begin = server.ask(Command::Begin)?;
    let relays_begin = cpu_nanos(&mut relays)?;
    let client_begin = client.ask(Command::Begin)?;
    sleep(options.window);
    let client_end = client.ask(Command::End { made: 0 })?;
    let relays_end = cpu_nanos(&mut relays)?;
    let server_end = server.ask(Command::End { made: client_end.count })?;
    ensure!(
        server_end.count == client_end.count,
        "the client made {} and the server handled {}",
        client_end.count,
        server_end.count,
    );
    let windows = Windows {
        client: Window { begin: client_begin, end: client_end },
        server: Window { begin: server_begin, end: server_end },
        relays_cpu_nanos: relays_end - relays_begin,
    };
    windows.cell(peer, row, repeat)
}

/// CPU time of these processes since they started.
fn cpu_nanos(relays: &mut [Role]) -> Result<u64> {
    relays.iter_mut().map(|relay| Ok(relay.ask(Command::Begin)?.cpu_nanos)).sum()
}

/// What both processes saw of one run.
struct Windows {
    client: Window,
    server: Window,
    relays_cpu_nanos: u64,
}

impl Windows {
    /// Calls are counted and timed where they return, messages where they are handled.
    fn cell(&self, peer: &Entry, row: &Workload, repeat: usize) -> Result<Cell> {
        let counted = match row.kind {
            Kind::Call | Kind::Stream => &self.client,
            Kind::OneWay | Kind::Bulk => &self.server,
        };
        let count = counted.count();
        ensure!(count > 0, "nothing was done within the window");
        let each = 1e-3 / count as f64;
        let [cpu_client_micros, cpu_server_micros] =
            [&self.client, &self.server].map(|window| window.cpu_nanos() as f64 * each);
        let cpu_relays_micros = self.relays_cpu_nanos as f64 * each;
        let latency = self.client.end.latency;
        Ok(Cell {
            row: row.name,
            peer: peer.name,
            repeat,
            per_second: count as f64 / counted.seconds(),
            count,
            seconds: counted.seconds(),
            p50_micros: latency.map(|latency| f64::from(latency.p50_nanos) * 1e-3),
            p99_micros: latency.map(|latency| f64::from(latency.p99_nanos) * 1e-3),
            p999_micros: latency.map(|latency| f64::from(latency.p999_nanos) * 1e-3),
            peak_bytes: self.client.end.peak_bytes + self.server.end.peak_bytes,
            cpu_micros: cpu_client_micros + cpu_server_micros + cpu_relays_micros,
            cpu_client_micros,
            cpu_server_micros,
            cpu_relays_micros,
        })
    }
}

/// One process between two moments.
struct Window {
    begin: Snapshot,
    end: Snapshot,
}

impl Window {
    const fn count(&self) -> u64 {
        self.end.count - self.begin.count
    }

    const fn cpu_nanos(&self) -> u64 {
        self.end.cpu_nanos - self.begin.cpu_nanos
    }

    const fn seconds(&self) -> f64 {
        (self.end.elapsed_nanos - self.begin.elapsed_nanos) as f64 * 1e-9
    }
}

/// This program, started again as one side of a peer; killed when dropped.
struct Role {
    name: &'static str,
    process: Child,
    stdin: ChildStdin,
    answers: Receiver<String>,
}

impl Role {
    fn start(name: &'static str, args: &[&str]) -> Result<Self> {
        let mut process = Process::new(std::env::current_exe()?)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("the {name} does not start"))?;
        let stdin = process.stdin.take().context("no standard input")?;
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
    fn up(&mut self) -> Result<String> {
        match self.answer()? {
            Answer::Up(addr) => Ok(addr),
            other => bail!("the {} is not up but answers {other:?}", self.name),
        }
    }

    fn ask(&mut self, command: Command) -> Result<Snapshot> {
        let mut line = serde_json::to_string(&command)?;
        line.push('\n');
        // A child that has ended says why in its last answer, so that is read even if it is gone.
        let written = self.stdin.write_all(line.as_bytes());
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
        for outcome in [self.process.kill(), self.process.wait().map(drop)] {
            if let Err(error) = outcome {
                eprintln!("seaway-bench: the {} cannot be ended: {error}", self.name);
            }
        }
    }
}
