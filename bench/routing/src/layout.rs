//! How members lie in the space of addresses, and the clock.

use rustix::time::{ClockId, clock_gettime};

/// A way to spread members over groups, types and ids.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// What it is called.
    pub name: &'static str,
    /// So many types, one after another.
    types: u32,
    /// In so many groups.
    groups: u32,
}

/// A few that differ: one cluster; one large service everywhere; many clusters; many that export
/// little.
pub const ALL: [Layout; 4] = [
    Layout { name: "1 group, 25 types", types: 25, groups: 1 },
    Layout { name: "25 groups, 1 type", types: 1, groups: 25 },
    Layout { name: "1,000 groups, 10 types", types: 10, groups: 1_000 },
    Layout { name: "4,000 groups, 1 type", types: 1, groups: 4_000 },
];

impl Layout {
    /// Made for a million: 25 types in 10 groups.
    pub const MANY: Self = Self { name: "10 groups, 25 types", types: 25, groups: 10 };

    /// Group, type and id of the one with this number. 1.1.0 is number 0: the node itself.
    pub fn place(self, number: u32) -> (u16, u8, u16) {
        let (of_group, rest) = (number % self.groups, number / self.groups);
        let (of_type, id) = (rest % self.types, rest / self.types);
        let group = u16::try_from(1 + of_group).unwrap();
        (group, u8::try_from(1 + of_type).unwrap(), u16::try_from(id).unwrap())
    }
}

/// Where the one with this number is reached.
pub fn network(number: u32) -> String {
    let [_, a, b, c] = number.to_be_bytes();
    format!("10.{a}.{b}.{c}:7001")
}

/// The CPU time of this thread in ns: what others do meanwhile does not count.
pub fn cpu_nanos() -> u64 {
    let cpu = clock_gettime(ClockId::ThreadCPUTime);
    u64::try_from(cpu.tv_sec * 1_000_000_000 + cpu.tv_nsec).unwrap()
}
