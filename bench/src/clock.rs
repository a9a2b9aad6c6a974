//! What a process takes: time, CPU time and memory, of itself and of those it has started. Linux.

use std::fs::{read_dir, read_to_string};
use std::time::Instant;

use anyhow::{Context as _, Result};
use rustix::time::{ClockId, clock_gettime};

use crate::control::Snapshot;

/// The clocks of a child.
#[derive(Debug)]
pub struct Clock(Instant);

impl Clock {
    /// Starts the wall clock.
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Reads all clocks.
    pub fn snapshot(&self, count: u64) -> Result<Snapshot> {
        // The clocks first: to look for helpers takes time.
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        let cpu_nanos = u64::try_from(cpu.tv_sec)? * 1_000_000_000 + u64::try_from(cpu.tv_nsec)?;
        let elapsed_nanos = u64::try_from(self.0.elapsed().as_nanos())?;
        let mut peak_bytes = memory("self", "VmHWM:")?;
        let mut helpers_cpu_nanos = 0;
        for helper in helpers()? {
            helpers_cpu_nanos += cpu_of(&helper)?;
            peak_bytes += memory(&helper, "VmHWM:")?;
        }
        Ok(Snapshot {
            elapsed_nanos,
            cpu_nanos,
            helpers_cpu_nanos,
            count,
            peak_bytes,
            resident_bytes: memory("self", "VmRSS:")?,
            latency: None,
        })
    }
}

/// One of the figures that `proc(5)` has of a process's memory.
fn memory(process: &str, field: &str) -> Result<u64> {
    let status = read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)).context("no memory")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib << 10)
}

/// The processes that this one has started and that have not ended.
fn helpers() -> Result<Vec<String>> {
    let mut helpers = Vec::new();
    for thread in read_dir("/proc/self/task")? {
        // A thread that has just ended has none.
        let children = read_to_string(thread?.path().join("children")).unwrap_or_default();
        helpers.extend(children.split_whitespace().map(String::from));
    }
    Ok(helpers)
}

/// CPU time of another process: of all its threads that have not ended.
fn cpu_of(process: &str) -> Result<u64> {
    let mut nanos = 0;
    for thread in read_dir(format!("/proc/{process}/task"))? {
        let spent = read_to_string(thread?.path().join("schedstat")).unwrap_or_default();
        nanos += spent.split(' ').next().and_then(|nanos| nanos.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(nanos)
}
