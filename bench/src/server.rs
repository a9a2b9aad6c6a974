//! The server's process.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::clock::Clock;
use crate::control::{Answer, Command, answer, obey, runtime};
use crate::peers::{Hits, Peer};
use crate::workload::Workload;

/// How long nothing may arrive before what is missing counts as lost.
const SILENCE_MAX: Duration = Duration::from_secs(5);
/// How often the count of handled messages is looked at while the last ones arrive.
const LOOK_EVERY: Duration = Duration::from_micros(200);

/// Serves until the parent has seen enough.
pub fn run<P: Peer>(workload: Workload) -> Result<()> {
    let runtime = runtime()?;
    let hits = Hits::default();
    let (server, addr) = runtime.block_on(P::serve(hits.clone(), workload))?;
    let clock = Clock::start();
    answer(&Answer::Up(addr))?;
    obey(|command| {
        if let Command::End { made } = command {
            wait_for_all(made, &hits)?;
        }
        clock.snapshot(hits.count())
    })?;
    drop(server);
    runtime.shutdown_background();
    Ok(())
}

/// Hands on until the parent has seen enough.
pub fn relay<P: Peer>(workload: Workload, to: &str) -> Result<()> {
    let runtime = runtime()?;
    let (relay, addr) = runtime.block_on(P::relay(workload, to))?;
    let clock = Clock::start();
    answer(&Answer::Up(addr))?;
    obey(|_| clock.snapshot(0))?;
    drop(relay);
    runtime.shutdown_background();
    Ok(())
}

/// Waits until all that the client made has been handled.
pub fn wait_for_all(made: u64, hits: &Hits) -> Result<()> {
    let mut handled = hits.count();
    let mut since = Instant::now();
    while handled < made {
        ensure!(since.elapsed() < SILENCE_MAX, "of {made} only {handled} have arrived");
        sleep(LOOK_EVERY);
        let now_handled = hits.count();
        if now_handled != handled {
            handled = now_handled;
            since = Instant::now();
        }
    }
    Ok(())
}
