//! A harbor for the command line.

use std::future::pending;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use seaway::{Node, Report};
use tokio::select;
use tokio::time::sleep;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

mod cli;
mod config;
mod signals;

use cli::{Cli, Failure};
use config::Settings;
use signals::Signals;

#[tokio::main]
async fn main() -> ExitCode {
    match run(Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> Result<(), Failure> {
    let (check, print_config) = (cli.check, cli.print_config);
    let (document, settings) = cli.settings().await?;
    if check {
        return print(format_args!("{settings}"));
    }
    if print_config {
        let all = toml::to_string(&settings.complete(&document))?;
        return print(format_args!("{}", all.trim_end()));
    }
    let logs = tracing_subscriber::fmt().with_max_level(LevelFilter::TRACE);
    logs.with_writer(io::stderr).finish().with(settings.log.clone()).init();
    serve(&settings).await
}

/// Is a harbor, until somebody or something ends that.
async fn serve(settings: &Settings) -> Result<(), Failure> {
    let mut signals = Signals::new()?;
    let node = select! {
        started = settings.builder()?.start() => started?,
        () = signals.next() => return Ok(()),
    };
    print(format_args!("{} listens at {}", node.address(), node.local_addr()))?;
    let stopped = select! {
        () = signals.next() => None,
        cause = node.stopped() => Some(cause),
        () = count(&node, settings.stats_every) => None,
    };
    if let Some(cause) = stopped {
        return Err(format!("{} has stopped: {cause}", node.address()).into());
    }
    tracing::info!(within = ?settings.shutdown_within, "draining; another signal ends it at once");
    let report = select! {
        report = node.shutdown(settings.shutdown_within) => report,
        () = signals.next() => return Err("ended by a second signal before it had drained".into()),
    };
    tell(&node, report);
    Ok(())
}

/// Logs now and then what the harbor has counted, if that is something new; never ends.
async fn count(node: &Node, every: Duration) {
    if every.is_zero() {
        return pending().await;
    }
    let mut last = node.stats();
    loop {
        sleep(every).await;
        let stats = node.stats();
        if stats != last {
            tracing::info!(?stats, "counted so far");
        }
        last = stats;
    }
}

/// Logs what a harbor that has drained did, and what it left behind.
fn tell(node: &Node, report: Report) {
    let stats = node.stats();
    if report.is_clean() {
        tracing::info!(?stats, "drained, nothing is left");
    } else {
        tracing::warn!(?stats, ?report, "drained as far as the time went");
    }
}

/// Prints at once, also into a pipe.
fn print(text: std::fmt::Arguments<'_>) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    Ok(writeln!(out, "{text}").and_then(|()| out.flush())?)
}
