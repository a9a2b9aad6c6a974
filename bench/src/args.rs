//! The command line.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use crate::crowd::{self, Crowd};
use crate::growth::{AXES, Axis};
use crate::peers::{ALL, Entry};
use crate::workload::{ROWS, Workload};

/// What a process is started for.
#[derive(Debug)]
pub enum Args {
    /// To explain itself.
    Help,
    /// To measure.
    Measure(Options),
    /// To measure how things grow.
    Grow(Options),
    /// To be a server; started by the measuring process.
    Server(Entry, Workload),
    /// To be a relay; started by the measuring process.
    Relay(Entry, Workload, String),
    /// To be so many spokes, from this one on; started by the measuring process.
    Spokes(usize, usize),
    /// To be the hub of the spokes at these ports, and call so many at once; started likewise.
    Hub(usize, String),
    /// To be a client; started by the measuring process.
    Client(Entry, Workload, String),
}

/// What to measure, and for how long.
#[derive(Debug)]
pub struct Options {
    /// The window of one run.
    pub window: Duration,
    /// The time before it, which is not measured.
    pub warm_up: Duration,
    /// Runs of each cell, at least 1.
    pub repeats: usize,
    /// The peers wanted, in the order of the report.
    pub peers: Vec<Entry>,
    /// The peers that cannot run here, and why.
    pub left_out: Vec<String>,
    /// The rows wanted, in the order of the report.
    pub rows: Vec<Workload>,
    /// The rows wanted with many peers, in the order of the report.
    pub crowds: Vec<Crowd>,
    /// What is to grow, in the order of the report.
    pub axes: Vec<Axis>,
    /// Where to draw the result.
    pub svg: Option<PathBuf>,
    /// How many peers each of these has at most.
    pub crowd_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(3),
            warm_up: Duration::from_millis(500),
            repeats: 3,
            peers: ALL.to_vec(),
            left_out: Vec::new(),
            rows: ROWS.to_vec(),
            crowds: crowd::ROWS.to_vec(),
            axes: AXES.to_vec(),
            svg: None,
            crowd_max: usize::MAX,
        }
    }
}

impl Args {
    /// Parses the arguments behind the program's name.
    pub fn parse(mut args: impl Iterator<Item = String>) -> Result<Self> {
        let mut options = Options::default();
        let (mut peers, mut rows) = (Vec::new(), Vec::<String>::new());
        let mut is_growth = false;
        while let Some(arg) = args.next() {
            let mut value = || args.next().with_context(|| format!("{arg} needs a value"));
            match arg.as_str() {
                "--help" | "-h" => return Ok(Self::Help),
                "--server" => return Ok(Self::Server(peer(&value()?)?, workload(&value()?)?)),
                "--relay" => {
                    return Ok(Self::Relay(peer(&value()?)?, workload(&value()?)?, value()?));
                }
                "--client" => {
                    return Ok(Self::Client(peer(&value()?)?, workload(&value()?)?, value()?));
                }
                "--spokes" => return Ok(Self::Spokes(number(&value()?)?, number(&value()?)?)),
                "--hub" => return Ok(Self::Hub(number(&value()?)?, value()?)),
                "--quick" => {
                    options.window = Duration::from_millis(500);
                    options.warm_up = Duration::from_millis(200);
                    options.repeats = 1;
                    options.crowd_max = 1_000;
                }
                "--seconds" => options.window = Duration::try_from_secs_f64(number(&value()?)?)?,
                "--repeats" => options.repeats = number(&value()?)?,
                "--growth" => is_growth = true,
                "--svg" => options.svg = Some(value()?.into()),
                "--only" => peers.push(peer(&value()?)?.name),
                "--row" => rows.push(row_part(value()?)?),
                _ => bail!("unknown argument {arg:?}; try --help"),
            }
        }
        ensure!(options.repeats > 0 && !options.window.is_zero(), "nothing would be measured");
        options.peers.retain(|peer| peers.is_empty() || peers.contains(&peer.name));
        let is_wanted = |name: &str| rows.is_empty() || rows.iter().any(|part| name.contains(part));
        options.rows.retain(|row| is_wanted(row.name));
        // They are about seaway alone.
        let with_seaway = options.peers.iter().any(|peer| peer.name == "seaway");
        options.crowds.retain(|row| is_wanted(row.name) && with_seaway);
        options.axes.retain(|axis| is_wanted(axis.name));
        Ok(if is_growth { Self::Grow(options) } else { Self::Measure(options) })
    }
}

fn peer(name: &str) -> Result<Entry> {
    Entry::named(name).with_context(|| format!("no peer {name:?}; try --help"))
}

fn workload(name: &str) -> Result<Workload> {
    Workload::named(name).with_context(|| format!("no row {name:?}"))
}

fn row_names() -> Vec<&'static str> {
    let axes = AXES.iter().map(|axis| axis.name);
    let crowds = crowd::ROWS.iter().map(|row| row.name);
    ROWS.iter().map(|row| row.name).chain(crowds).chain(axes).collect()
}

/// Checks that some row's name contains `part`.
fn row_part(part: String) -> Result<String> {
    let found = row_names().iter().any(|name| name.contains(&part));
    ensure!(found, "no row contains {part:?}; try --help");
    Ok(part)
}

fn number<T: FromStr>(text: &str) -> Result<T>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    text.parse().with_context(|| format!("{text:?} is not a number that fits here"))
}

/// What `--help` prints.
pub fn help() -> String {
    let peers: Vec<_> = ALL.iter().map(|peer| peer.name).collect();
    format!(
        "seaway-bench [--quick] [--seconds N] [--repeats N] [--only PEER]... [--row ROW]...
             [--svg FILE]
seaway-bench --growth [--quick] [--seconds N] [--repeats N] [--row ROW]... [--svg FOLDER]

  --quick      one repeat of half a second: to see that it runs, not to compare
  --seconds N  the measured window of each run (3)
  --repeats N  runs of each peer and row (3)
  --growth     how calls/s and p99 change with the number of callers, nodes, bytes and members
  --svg FILE   draws the result there; with --growth into files of a folder
  --only PEER  this peer; can be repeated: {}
  --row ROW    rows whose name contains this; can be repeated: {}
",
        peers.join(", "),
        row_names().join(", "),
    )
}
