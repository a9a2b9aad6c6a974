//! The next hop, one change, and the pick after it, among 100,000 members.

use std::hint::black_box;

use crate::addr::{LogicalAddr, NodeType};
use crate::discovery::{Change, Event, Member, View};
use crate::layout::{self, Layout, cpu_nanos};
use crate::routing::{Pick, Table};

const MEMBERS: u32 = 100_000;
/// How many hops and picks are timed at once, and how often.
const HOPS: u32 = 200_000;
const TIMES: u32 = 20;
const CHANGES: u32 = 2_000;

pub fn measure() {
    println!("### 100,000 members, without a node around them\n");
    println!(
        "| members in | next hop, ns | … beyond a harbor | one change, µs | p99 | worst | \
         next pick, µs | p99 | any pick, ns | snapshot, ms | … again |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    for layout in layout::ALL {
        let mut it = Measured::new(layout);
        let (first, again) = it.snapshots();
        let near = it.next_hop(|to| to.group() == 1);
        let far = it.next_hop(|to| to.group() != 1);
        let pick = it.pick();
        let (changes, picks) = it.changes();
        let show = |nanos: Option<f64>| {
            nanos.map_or_else(|| "–".to_owned(), |nanos| format!("{nanos:.1}"))
        };
        println!(
            "| {} | {} | {} | {} | {} | {pick:.0} | {first:.0} | {again:.0} |",
            layout.name,
            show(near),
            show(far),
            spread(changes, true),
            spread(picks, false),
        );
    }
    println!();
}

/// The least time of one of [`HOPS`] in ns: what it takes when nobody else is at work.
fn least(mut hops: impl FnMut()) -> f64 {
    let took = (0..TIMES).map(|_| {
        let begun = cpu_nanos();
        hops();
        (cpu_nanos() - begun) as f64 / f64::from(HOPS)
    });
    took.fold(f64::MAX, f64::min)
}

/// Median, 99 % and if wanted worst in µs.
fn spread(mut nanos: Vec<u64>, with_worst: bool) -> String {
    nanos.sort_unstable();
    let micros = |nanos: u64| nanos as f64 / 1e3;
    let median = micros(nanos[nanos.len() / 2]);
    let p99 = micros(nanos[nanos.len() * 99 / 100]);
    let worst = micros(nanos[nanos.len() - 1]);
    if with_worst {
        format!("{median:.1} | {p99:.1} | {worst:.0}")
    } else {
        format!("{median:.1} | {p99:.1}")
    }
}

struct Measured {
    layout: Layout,
    view: View,
    /// The last one goes when the next one comes.
    table: Table,
    revision: u64,
    random: u64,
}

impl Measured {
    fn new(layout: Layout) -> Self {
        let me = address(layout, 0);
        let (view, table) = (View::new(me), Table::new(me));
        Self { layout, view, table, revision: 0, random: 1 }
    }

    /// How long the first snapshot takes, and the same again, in ms.
    fn snapshots(&mut self) -> (f64, f64) {
        let mut took = [0.0; 2];
        for took in &mut took {
            let mut members: Vec<_> =
                (0..MEMBERS).map(|number| member(self.layout, number)).collect();
            // Ids of 1 and 2 are among the harbors of group 1, if not of all.
            for number in 0..2 {
                let harbor: LogicalAddr = format!("1.255.{number}").parse().unwrap();
                members.push(Member::new(harbor, layout::network(number)));
            }
            self.revision += 1;
            let event = Event::Snapshot { revision: self.revision, members };
            let begun = cpu_nanos();
            self.take_in(event);
            *took = (cpu_nanos() - begun) as f64 / 1e6;
        }
        (took[0], took[1])
    }

    fn take_in(&mut self, event: Event) {
        self.table = self.table.with(&self.view.apply(event).changes);
    }

    /// The time of each, when each has to wait for the one before.
    fn next_hop(&mut self, is_meant: impl Fn(LogicalAddr) -> bool) -> Option<f64> {
        let (table, me) = (&self.table, self.table.me());
        let all = (1..MEMBERS).map(|number| address(self.layout, number));
        let mut all: Vec<_> = all.filter(|to| is_meant(*to)).collect();
        if all.is_empty() {
            return None;
        }
        for at in (1..all.len()).rev() {
            all.swap(at, below(&mut self.random, at + 1));
        }
        let mut at = 0;
        let hops = || {
            for _ in 0..HOPS {
                let hop = table.next_hop(me, all[at], |_| false);
                // 0, but only who has the hop knows.
                at += 1 + black_box(usize::from(hop.is_err()));
                if at >= all.len() {
                    at = 0;
                }
            }
        };
        Some(least(hops))
    }

    /// How long picking any takes when nothing changes, in ns.
    fn pick(&mut self) -> f64 {
        pick(&self.table, 1, 1);
        least(|| {
            for _ in 0..HOPS {
                black_box(pick(&self.table, 1, next(&mut self.random)));
            }
        })
    }

    /// The times of single changes, and of the next pick of that type.
    fn changes(&mut self) -> (Vec<u64>, Vec<u64>) {
        let (mut changes, mut picks) = (Vec::new(), Vec::new());
        for count in 0..CHANGES {
            let number = u32::try_from(1 + below(&mut self.random, MEMBERS as usize - 1)).unwrap();
            let mut member = member(self.layout, number);
            let (address, node_type) = (member.address, member.address.node_type().get());
            member.available = count % 3 == 0;
            let change = if count % 3 == 2 { Change::Remove(address) } else { Change::Put(member) };
            let (base, revision) = (self.revision, self.revision + 1);
            self.revision = revision;
            let event = Event::Delta { base, revision, changes: vec![change] };
            let begun = cpu_nanos();
            self.take_in(event);
            changes.push(cpu_nanos() - begun);
            let random = next(&mut self.random);
            let begun = cpu_nanos();
            black_box(pick(&self.table, node_type, random));
            picks.push(cpu_nanos() - begun);
        }
        (changes, picks)
    }
}

fn address(layout: Layout, number: u32) -> LogicalAddr {
    let (group, node_type, id) = layout.place(number);
    LogicalAddr::new(group, node_type, id)
}

fn member(layout: Layout, number: u32) -> Member {
    let address = address(layout, number);
    Member::new(address, layout::network(number)).exported(true)
}

fn pick(table: &Table, node_type: u8, random: u64) -> Option<LogicalAddr> {
    let node_type = NodeType::new(node_type);
    let candidates = table.candidates(node_type);
    Pick::any(node_type).choose(&candidates, || random, || 0, |_| true)
}

fn next(random: &mut u64) -> u64 {
    *random =
        random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *random ^ (*random >> 33)
}

#[allow(clippy::cast_possible_truncation, reason = "it is below `len`")]
fn below(random: &mut u64, len: usize) -> usize {
    (next(random) >> 32) as usize % len
}
