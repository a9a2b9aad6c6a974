//! One node with many peers: what links cost that do nothing, and how long many take to begin.
//!
//! The node, the *hub*, is a process of its own. Its peers, the *spokes*, are nodes as well, all in
//! one other process, or in as many as the limit of descriptors asks for; each knows the hub only.

pub mod nodes;

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::Serialize;

use crate::args::Options;
use crate::control::{Command, Snapshot};
use crate::role::Role;

/// One row.
#[derive(Debug, Clone, Copy)]
pub struct Crowd {
    /// The row's name, in the report and for `--row`.
    pub name: &'static str,
    /// How many spokes there should be.
    pub peers: usize,
    /// How many of them are called at once.
    pub at_once: usize,
    /// Whether to look at what happens while nothing does.
    pub is_idle: bool,
}

/// All rows, in the order of the report.
pub const ROWS: &[Crowd] = &[
    Crowd { name: "start 1,000 links", peers: 1_000, at_once: 1_000, is_idle: false },
    Crowd { name: "idle peers", peers: 10_000, at_once: 256, is_idle: true },
];

/// Time for what was needed to begin a lane to be given back: more than a heartbeat.
const SETTLE: Duration = Duration::from_secs(2);
/// Descriptors that a process has beside its sockets, generously.
const DESCRIPTORS: usize = 64;

/// KiB that a link with its rpc lane takes, at the hub, and at a spoke.
pub const RPC: [&str; 2] = ["KiB, link and rpc lane, hub", "KiB, link and rpc lane, spoke"];
/// KiB that a message lane takes, at the hub, and at a spoke.
pub const MESSAGE: [&str; 2] = ["KiB, message lane, hub", "KiB, message lane, spoke"];
/// CPU time of an idle link with two lanes, in µs a second, at the hub, and at a spoke.
const IDLE_CPU: [&str; 2] = ["idle CPU µs/s, link, hub", "idle CPU µs/s, link, spoke"];

/// What one run measured.
#[derive(Debug, Clone, Serialize)]
pub struct CrowdCell {
    /// The row's name.
    pub row: &'static str,
    /// Which repeat, from 0.
    pub repeat: usize,
    /// How many spokes there were.
    pub peers: usize,
    /// Each figure by its name.
    pub figures: BTreeMap<&'static str, f64>,
}

/// Runs one row.
pub fn measure(crowd: &Crowd, repeat: usize, options: &Options) -> Result<CrowdCell> {
    let stage = Stage::start(crowd, options).with_context(|| crowd.name)?;
    let peers = stage.peers;
    let figures = match crowd.is_idle {
        true => stage.idle(options.window.max(SETTLE)),
        false => stage.begin(),
    };
    let figures = figures.with_context(|| crowd.name)?;
    Ok(CrowdCell { row: crowd.name, repeat, peers, figures: figures.into_iter().collect() })
}

type Figures = Vec<(&'static str, f64)>;

/// The processes of a run.
struct Stage {
    peers: usize,
    hub: Role,
    /// With how many nodes in each.
    spokes: Vec<(Role, usize)>,
}

impl Stage {
    fn start(crowd: &Crowd, options: &Options) -> Result<Self> {
        let descriptors = descriptors()?.saturating_sub(DESCRIPTORS);
        // Two lanes for each at the hub; two lanes and a listener at the spoke.
        let peers = crowd.peers.min(options.crowd_max).min(descriptors / 2);
        let (mut spokes, mut ports, mut left) = (Vec::new(), Vec::new(), peers);
        while left > 0 {
            let nodes = left.min(descriptors / 3);
            let args = ["--spokes", &(peers - left).to_string(), &nodes.to_string()];
            let mut spoke = Role::start("spokes", &args)?;
            ports.push(spoke.up()?);
            spokes.push((spoke, nodes));
            left -= nodes;
        }
        let args = ["--hub", &crowd.at_once.to_string(), &ports.join(" ")];
        let mut hub = Role::start("hub", &args)?;
        hub.up()?;
        Ok(Self { peers, hub, spokes })
    }

    /// All first calls at once.
    fn begin(mut self) -> Result<Figures> {
        let before = self.look()?;
        let called = self.hub.ask(Command::Call)?;
        let after = self.look()?;
        let took = called.elapsed_nanos - before.hub.elapsed_nanos;
        let latency = called.latency.context("nobody was called")?;
        let cpu = |before: u64, after: u64| (after - before) as f64 * 1e-3 / self.peers as f64;
        Ok(vec![
            ("all answered ms", took as f64 * 1e-6),
            ("first call p50 ms", f64::from(latency.p50_nanos) * 1e-6),
            ("first call p99 ms", f64::from(latency.p99_nanos) * 1e-6),
            ("CPU µs a link, hub", cpu(before.hub.cpu_nanos, after.hub.cpu_nanos)),
            ("CPU µs a link, spoke", cpu(before.spokes.cpu_nanos, after.spokes.cpu_nanos)),
        ])
    }

    /// One lane of each link, then the other, then nothing.
    fn idle(mut self, window: Duration) -> Result<Figures> {
        let nodes = self.look()?;
        self.hub.ask(Command::Call)?;
        sleep(SETTLE);
        let called = self.look()?;
        self.hub.ask(Command::Send)?;
        for (spoke, nodes) in &mut self.spokes {
            spoke.ask(Command::End { made: 2 * *nodes as u64 })?;
        }
        sleep(SETTLE);
        let sent = self.look()?;
        sleep(window);
        let idle = self.look()?;
        let mut figures = Figures::new();
        for (names, (before, after)) in [(RPC, (&nodes, &called)), (MESSAGE, (&called, &sent))] {
            let grown = before.each(after, |now| now.resident_bytes as f64 / 1024.0);
            figures.extend(names.into_iter().zip(grown.map(|kib| kib / self.peers as f64)));
        }
        let seconds = idle.hub.elapsed_nanos - sent.hub.elapsed_nanos;
        let of_all = seconds as f64 * 1e-9 * self.peers as f64;
        let cpu = sent.each(&idle, |now| now.cpu_nanos as f64 * 1e-3);
        figures.extend(IDLE_CPU.into_iter().zip(cpu.map(|micros| micros / of_all)));
        Ok(figures)
    }

    /// Takes a snapshot of all.
    fn look(&mut self) -> Result<Moment> {
        let hub = self.hub.ask(Command::Begin)?;
        let mut spokes = Snapshot::default();
        for (spoke, _) in &mut self.spokes {
            let snapshot = spoke.ask(Command::Begin)?;
            spokes.cpu_nanos += snapshot.cpu_nanos;
            spokes.resident_bytes += snapshot.resident_bytes;
        }
        Ok(Moment { hub, spokes })
    }
}

/// All processes at one moment.
struct Moment {
    hub: Snapshot,
    /// The sum of all.
    spokes: Snapshot,
}

impl Moment {
    /// By how much a figure has grown since, at the hub and at the spokes.
    fn each(&self, after: &Self, figure: impl Fn(&Snapshot) -> f64) -> [f64; 2] {
        [(&self.hub, &after.hub), (&self.spokes, &after.spokes)]
            .map(|(before, after)| figure(after) - figure(before))
    }
}

/// How many descriptors a process may have, once it may have as many as it can; its children then
/// may, too.
pub fn descriptors() -> Result<usize> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    Ok(limit.maximum.map_or(usize::MAX, |max| usize::try_from(max).unwrap_or(usize::MAX)))
}
