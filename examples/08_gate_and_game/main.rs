//! Game servers are restarted under their players, who keep their TCP connections and notice nothing.
//!
//! This process plays the players, and runs the discovery server. It starts itself for the gate and
//! for each game. Both games are restarted, one after the other. If a connection, a byte or an
//! answer is lost, or if nobody had to move, the exit code is 1.
//!
//! ```text
//!  500 players ══ TCP ══▶ gate 1.1.1 ── a stream for each ──▶ game 1.2.1 ✝ … 1.2.1 again
//!  (here)                             └────────────────────▶ game 1.2.2
//! ```
//!
//! How a player moves:
//!
//! ```text
//!  player        gate              1.2.1 (stops)          1.2.2
//!    │ ── ping ──▶ │ ── ping ────────▶ │                    │
//!    │             │ ◀─────── leave ── │                    │
//!    │ ── ping ──▶ ┆ ── end ─────────▶ │                    │     the second ping waits at the gate
//!    │ ◀─ pong ─── │ ◀──────── pong ── │                    │     the first was on its way: answered
//!    │             │ ◀─ state, end ─── │                    │
//!    │             │ ── state ─────────────────────────────▶│
//!    │             │ ── ping ──────────────────────────────▶│
//! ```
//!
//! What they say: `testproto/proto/arena.proto`. The two to copy: `gate.rs` and `game.rs`.
//! `RUST_LOG=seaway=debug cargo run --example gate_and_game` shows what happens inside.

mod game;
mod gate;
mod players;
mod process;

use std::error::Error;
use std::fmt;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use seaway::LogicalAddr;
use seaway_discovery_mock::Server;
use tokio::time::timeout;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use players::{Played, Players};
use process::Process;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const GATE: LogicalAddr = LogicalAddr::new(1, 1, 1);
const GAMES: [LogicalAddr; 2] = [LogicalAddr::new(1, 2, 1), LogicalAddr::new(1, 2, 2)];
const PLAYERS: u32 = 500;
/// That each plays before and after a restart.
const ROUNDS: u64 = 5;

/// Longer than everything takes on a machine with very much else to do.
const PATIENCE: Duration = Duration::from_secs(19);

#[tokio::main]
async fn main() -> ExitCode {
    let wanted = std::env::var("RUST_LOG").ok().and_then(|wanted| wanted.parse::<Targets>().ok());
    let logs = tracing_subscriber::fmt().with_max_level(LevelFilter::TRACE);
    let logs = logs.with_writer(std::io::stderr).finish();
    logs.with(wanted.unwrap_or_default()).init();

    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.as_slice() {
        [address, discovery] => child(address, discovery).await,
        _ => match timeout(PATIENCE, gate_and_game()).await {
            Ok(outcome) => outcome,
            Err(_) => Err(format!("not done after {PATIENCE:?}").into()),
        },
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("gate_and_game: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn child(address: &str, discovery: &str) -> Result<()> {
    let address = address.parse()?;
    if address == GATE {
        gate::run(address, discovery).await
    } else {
        game::run(address, discovery).await
    }
}

async fn gate_and_game() -> Result<()> {
    let discovery = Server::bind("127.0.0.1:0").await?;
    let at = discovery.local_addr().to_string();
    let mut games = Vec::new();
    for address in GAMES {
        games.push(Process::start(address, &at).await?);
    }
    // It knows the games from its start.
    let gate = Process::start(GATE, &at).await?;
    let players = Players::start(PLAYERS, gate.said.parse()?);
    players.play(ROUNDS).await;
    println!("{PLAYERS} players play, by one TCP connection each");

    let (mut restarted, mut drained) = (Vec::new(), Vec::new());
    for game in games {
        let (address, began) = (game.address, Instant::now());
        game.stop().await?;
        drained.push(began.elapsed());
        restarted.push(Process::start(address, &at).await?);
        players.play(ROUNDS).await;
        println!("{address} has stopped and is back; the players go on");
    }
    let played = players.stop().await;
    println!("\n{}", Table { played: &played, drained: &drained });
    check(&played)?;
    for process in restarted.into_iter().chain([gate]) {
        process.stop().await?;
    }
    Ok(())
}

fn check(played: &Played) -> Result<()> {
    let Played { dropped, wrong, unanswered, moved, .. } = *played;
    must(dropped == 0, || format!("{dropped} TCP connections were dropped"))?;
    let lost = played.lost();
    must(lost == 0, || format!("{lost} bytes were lost"))?;
    must(unanswered == 0, || format!("{unanswered} pings were not answered"))?;
    must(wrong == 0, || format!("{wrong} checksums were wrong"))?;
    // Everybody was at one of the two games, and both were restarted.
    must(moved == u64::from(PLAYERS), || format!("only {moved} players had to move"))
}

struct Table<'a> {
    played: &'a Played,
    drained: &'a [Duration],
}

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Played { times, moves, moved, sent, wrong, dropped, .. } = self.played;
        let mut times = times.clone();
        times.sort_unstable();
        let at = |percent: usize| times.get(times.len() * percent / 100);
        let millis = |time: Option<&Duration>| time.map_or(0.0, |time| 1000.0 * time.as_secs_f64());
        let [p50, p99, longest] = [at(50), at(99), times.last()].map(millis);
        let trips = times.len();
        writeln!(f, "clients                  {PLAYERS}")?;
        writeln!(
            f,
            "round trips              {trips}: p50 {p50:.1} ms, p99 {p99:.1} ms, longest {longest:.1} ms"
        )?;
        writeln!(f, "players moved            {moved}, together {moves} times")?;
        let drained: Vec<_> =
            self.drained.iter().map(|it| format!("{} ms", it.as_millis())).collect();
        writeln!(f, "games drained in         {}", drained.join(", "))?;
        writeln!(f, "TCP connections dropped: {dropped}")?;
        writeln!(f, "lost bytes:              {} of {sent}", self.played.lost())?;
        write!(f, "wrong checksums:         {wrong}")
    }
}

fn must(holds: bool, otherwise: impl FnOnce() -> String) -> Result<()> {
    if holds { Ok(()) } else { Err(otherwise().into()) }
}
