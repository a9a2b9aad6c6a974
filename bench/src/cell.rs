//! One run of one peer and row: starts its processes, steers them, checks the counts.

use std::thread::sleep;

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;

use crate::args::Options;
use crate::control::{Command, Snapshot};
use crate::peers::Entry;
use crate::role::Role;
use crate::workload::Workload;

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
    /// The most memory that all processes had resident, together, in bytes.
    pub peak_bytes: u64,
    /// CPU time per call or message, of all processes.
    pub cpu_micros: f64,
    /// The client's part of it.
    pub cpu_client_micros: f64,
    /// The server's part of it.
    pub cpu_server_micros: f64,
    /// The part of relays and brokers.
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
    for _ in 0..(peer.relays)(row) {
        let mut relay = Role::start("relay", &["--relay", peer.name, row.name, &addr])?;
        addr = relay.up()?;
        relays.push(relay);
    }
    let mut client = Role::start("client", &["--client", peer.name, row.name, &addr])?;
    client.up()?;
    sleep(options.warm_up);
    let server_begin = server.ask(Command::Begin)?;
    let relays_begin = ask_all(&mut relays)?;
    let client_begin = client.ask(Command::Begin)?;
    sleep(options.window);
    let client_end = client.ask(Command::End { made: 0 })?;
    let relays_end = ask_all(&mut relays)?;
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
        relays: relays_begin
            .into_iter()
            .zip(relays_end)
            .map(|(begin, end)| Window { begin, end })
            .collect(),
    };
    windows.cell(peer, row, repeat)
}

fn ask_all(relays: &mut [Role]) -> Result<Vec<Snapshot>> {
    relays.iter_mut().map(|relay| relay.ask(Command::Begin)).collect()
}

/// What the processes saw of one run.
struct Windows {
    client: Window,
    server: Window,
    relays: Vec<Window>,
}

impl Windows {
    /// Calls are counted and timed where they return, messages where they are handled.
    fn cell(&self, peer: &Entry, row: &Workload, repeat: usize) -> Result<Cell> {
        let counted = if row.is_answered() { &self.client } else { &self.server };
        let count = counted.count();
        ensure!(count > 0, "nothing was done within the window");
        let each = 1e-3 / count as f64;
        let [cpu_client_micros, cpu_server_micros] =
            [&self.client, &self.server].map(|window| window.cpu_nanos() as f64 * each);
        let all = || [&self.client, &self.server].into_iter().chain(&self.relays);
        let between = self.relays.iter().map(Window::cpu_nanos).sum::<u64>()
            + all().map(Window::helpers_cpu_nanos).sum::<u64>();
        let cpu_relays_micros = between as f64 * each;
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
            peak_bytes: all().map(|window| window.end.peak_bytes).sum(),
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

    const fn helpers_cpu_nanos(&self) -> u64 {
        self.end.helpers_cpu_nanos - self.begin.helpers_cpu_nanos
    }

    const fn seconds(&self) -> f64 {
        (self.end.elapsed_nanos - self.begin.elapsed_nanos) as f64 * 1e-9
    }
}
