//! Measures seaway beside the raw-TCP floor and other messaging libraries. See `README.md`.

mod args;
mod cell;
mod client;
mod clock;
mod control;
mod crowd;
mod growth;
mod peers;
mod report;
mod role;
mod server;
mod workload;

use std::process::ExitCode;

use anyhow::{Context as _, Result};

use crate::args::{Args, Options};
use crate::cell::measure;

fn main() -> ExitCode {
    let outcome = Args::parse(std::env::args().skip(1)).and_then(|args| match args {
        Args::Help => {
            print!("{}", args::help());
            Ok(())
        }
        Args::Server(peer, row) => control::child(|| (peer.server)(row)),
        Args::Relay(peer, row, to) => control::child(|| (peer.relay)(row, &to)),
        Args::Client(peer, row, addr) => control::child(|| (peer.client)(row, &addr)),
        Args::Spokes(first, nodes) => control::child(|| crowd::nodes::spokes(first, nodes)),
        Args::Hub(at_once, ports) => control::child(|| crowd::nodes::hub(at_once, &ports)),
        Args::Grow(options) => growth::run(&options),
        Args::Measure(options) => measure_all(options),
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("seaway-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Measures every cell as often as wanted: repeats outermost, the peers of a row next to each
/// other, in another order each time, so that a noisy moment does not fall on one peer alone.
fn measure_all(mut options: Options) -> Result<()> {
    options.peers.retain(|peer| {
        let missing = (peer.missing)();
        options.left_out.extend(missing.map(|why| format!("{}: {why}", peer.name)));
        missing.is_none()
    });
    let (mut cells, mut crowds) = (Vec::new(), Vec::new());
    for repeat in 0..options.repeats {
        for row in &options.rows {
            let mut peers: Vec<_> = options.peers.iter().filter(|peer| (peer.can)(row)).collect();
            let shift = repeat % peers.len().max(1);
            peers.rotate_left(shift);
            for peer in peers {
                let cell = measure(peer, row, repeat, &options)?;
                println!("{}", serde_json::to_string(&cell)?);
                cells.push(cell);
            }
        }
        for crowd in &options.crowds {
            let cell = crowd::measure(crowd, repeat, &options)?;
            println!("{}", serde_json::to_string(&cell)?);
            crowds.push(cell);
        }
    }
    print!("{}", report::markdown(&cells, &crowds, &options));
    if let Some(file) = &options.svg {
        std::fs::write(file, report::svg::draw(&cells, &options))
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}
