//! How much memory a node takes for the members that it knows.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use seaway::NodeType;
use seaway::discovery::Member;
use tokio::runtime::Builder;

use crate::layout::{Layout, cpu_nanos};
use crate::node::{Told, member, start};

/// Each in a process of its own.
pub fn measure() -> Result<()> {
    println!("### Memory of a node, for all its members\n");
    println!(
        "| members | labels of each | MB | bytes a member | peak MB while it starts | start, ms |"
    );
    println!("|---|---|---|---|---|---|");
    for members in ["100000", "1000000"] {
        for labels in ["none", "labels"] {
            let program = std::env::current_exe()?;
            let args = ["--memory", Layout::MANY.name, members, labels];
            let status = Command::new(program).args(args).status()?;
            ensure!(status.success(), "the one with {members} members failed");
        }
    }
    Ok(())
}

pub fn child(_layout: &str, count: u32, labels: bool) -> Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let layout = Layout::MANY;
        let before = resident("VmRSS:")?;
        // Streamed into the engine's one snapshot: what it takes is part of the peak.
        let members = (0..count).map(|number| {
            let member = member(layout, number);
            if labels { labelled(member, number) } else { member }
        });
        let members: Vec<_> = members.collect();
        let begun = cpu_nanos();
        let node = start(&Told::new(), members).await?;
        let took = (cpu_nanos() - begun) as f64 / 1e6;
        // Picked from, as in real life.
        for node_type in 1..=25 {
            ensure!(node.members(NodeType::new(node_type)).next().is_some(), "nobody");
        }
        let taken = resident("VmRSS:")? - before;
        let peak = resident("VmHWM:")? - before;
        println!(
            "| {count} | {} | {:.0} | {:.0} | {:.0} | {took:.0} |",
            if labels { 3 } else { 0 },
            taken / 1e6,
            taken / f64::from(count),
            peak / 1e6,
        );
        node.shutdown(Duration::from_secs(1)).await;
        Ok(())
    })
}

/// What deployments say of their nodes.
fn labelled(member: Member, number: u32) -> Member {
    let zone = ["eu-central-1a", "eu-central-1b", "eu-central-1c"];
    let zone = zone[number as usize % zone.len()];
    member.label("zone", zone).label("version", "1.14.2").label("weight", "10")
}

/// What Linux says in `proc(5)` of this process, in bytes.
fn resident(what: &str) -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(what)).context("not told")?;
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib * 1024.0)
}
