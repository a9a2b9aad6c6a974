//! How much memory a node takes for the members that it knows.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use seaway::discovery::{InProcess, Labels};
use seaway::{Node, NodeType};
use tokio::runtime::Builder;

use crate::layout::{Layout, cpu_nanos};
use crate::node::{Told, member, start};

/// Each in a process of its own.
pub fn measure() -> Result<()> {
    println!("### Memory of a node, for all its members\n");
    println!(
        "| members | labels of each | engine | MB | bytes a member | MB at most | start, ms |"
    );
    println!("|---|---|---|---|---|---|---|");
    for members in ["100000", "1000000"] {
        for engine in ["elsewhere", "in process"] {
            for labels in ["0", "3"] {
                let program = std::env::current_exe()?;
                let args = ["--memory", members, labels, engine];
                let status = Command::new(program).args(args).status()?;
                ensure!(status.success(), "the one with {members} members failed");
            }
        }
    }
    Ok(())
}

/// One that does it. What the engine takes counts when it is in the process; another has only told.
pub fn child(count: u32, labels: &str, engine: &str) -> Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (kept, before) = (label_sets(labels != "0"), resident("VmRSS:")?);
        let members = (0..count).map(|number| {
            let mut member = member(Layout::MANY, number);
            member.labels = kept[number as usize % kept.len()].clone();
            member
        });
        let begun = cpu_nanos();
        let node = if engine == "elsewhere" {
            start(&Told::new(), members.collect()).await?
        } else {
            let engine = InProcess::new();
            members.into_iter().try_for_each(|member| engine.put(member))?;
            Node::builder("1.1.0").discovery(engine).listen("127.0.0.1:0").start().await?
        };
        let took = (cpu_nanos() - begun) as f64 / 1e6;
        // Picked from, as in real life.
        for node_type in 1..=25 {
            ensure!(node.members(NodeType::new(node_type)).next().is_some(), "nobody");
        }
        let taken = resident("VmRSS:")? - before;
        let peak = resident("VmHWM:")? - before;
        println!(
            "| {count} | {labels} | {engine} | {:.0} | {:.0} | {:.0} | {took:.0} |",
            taken / 1e6,
            taken / f64::from(count),
            peak / 1e6,
        );
        node.shutdown(Duration::from_secs(1)).await;
        Ok(())
    })
}

/// What deployments say of their nodes: few sets, that many share.
fn label_sets(is_some: bool) -> Vec<Labels> {
    if !is_some {
        return vec![Labels::default()];
    }
    let zones = ["eu-central-1a", "eu-central-1b", "eu-central-1c"];
    let set = |zone| Labels::from([("zone", zone), ("version", "1.14.2"), ("weight", "10")]);
    zones.map(set).to_vec()
}

/// What Linux says in `proc(5)` of this process, in bytes.
fn resident(what: &str) -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(what)).context("not told")?;
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib * 1024.0)
}
