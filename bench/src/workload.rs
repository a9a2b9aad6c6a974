//! The rows of the table: what the callers do, as plain values.

use crate::growth;

/// What one task of the client does in its loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Calls and waits for the echo of its payload before it calls again.
    Call,
    /// Sends bytes that are not answered, as fast as the peer's backpressure lets it.
    Raw,
    /// The same with a protobuf message that has these bytes in it; the handler gets it decoded.
    Typed,
    /// Has a stream of its own, writes its payload to it and waits for the echo.
    Stream,
    /// Writes to a stream of its own, as fast as the other end reads.
    Bulk,
}

/// One row: the same work for every peer.
#[derive(Debug, Clone, Copy)]
pub struct Workload {
    /// The row's name, in the table and for `--row`.
    pub name: &'static str,
    /// What each task does.
    pub kind: Kind,
    /// Tasks at once, all on one connection.
    pub tasks: usize,
    /// Bytes of a payload, each way.
    pub payload_bytes: usize,
    /// Nodes that are called, all in one process.
    pub nodes: usize,
    /// Other members that the client knows, of which some change all the time.
    pub members: usize,
    /// Relays between client and server, each a process of its own.
    pub relays: usize,
    /// Whether a slow peer, a dead one, and a bulk of bytes keep the client busy beside it.
    pub is_troubled: bool,
}

/// What the others differ from.
pub const CALLS: Workload = Workload {
    name: "",
    kind: Kind::Call,
    tasks: 64,
    payload_bytes: 64,
    nodes: 1,
    members: 0,
    relays: 0,
    is_troubled: false,
};

/// All rows, in the order of the report.
pub const ROWS: &[Workload] = &[
    Workload { name: "one caller 64 B", tasks: 1, ..CALLS },
    Workload { name: "c64 64 B", ..CALLS },
    Workload { name: "c64 beside trouble", is_troubled: true, ..CALLS },
    Workload { name: "c256 64 B", tasks: 256, ..CALLS },
    Workload { name: "c64 1 KiB", payload_bytes: 1 << 10, ..CALLS },
    Workload { name: "c16 64 KiB", tasks: 16, payload_bytes: 64 << 10, ..CALLS },
    Workload { name: "one-way raw 64 B", kind: Kind::Raw, ..CALLS },
    Workload { name: "one-way raw 1 KiB", kind: Kind::Raw, payload_bytes: 1 << 10, ..CALLS },
    Workload { name: "one-way typed 64 B", kind: Kind::Typed, ..CALLS },
    Workload { name: "one-way typed 1 KiB", kind: Kind::Typed, payload_bytes: 1 << 10, ..CALLS },
    Workload { name: "one harbor 64 B", relays: 1, ..CALLS },
    Workload { name: "two harbors 64 B", relays: 2, ..CALLS },
    Workload { name: "bulk stream", kind: Kind::Bulk, tasks: 1, payload_bytes: 64 << 10, ..CALLS },
    Workload { name: "100 streams 64 B", kind: Kind::Stream, tasks: 100, ..CALLS },
];

impl Workload {
    /// Whether it is about calls or messages alone: then there is a floor for it.
    pub const fn is_framed(&self) -> bool {
        matches!(self.kind, Kind::Call | Kind::Raw | Kind::Typed) && !self.is_troubled
    }

    /// Whether all that goes comes back, so that it is counted where it has.
    pub const fn is_answered(&self) -> bool {
        matches!(self.kind, Kind::Call | Kind::Stream)
    }

    /// Finds a row by its full name.
    pub fn named(name: &str) -> Option<Self> {
        ROWS.iter().copied().find(|row| row.name == name).or_else(|| growth::named(name))
    }

    /// Every how many calls of one task the latency is taken: each call of a lonely caller, whose
    /// two clock reads vanish beside the wake-ups, and every 16th otherwise.
    pub const fn sample_every(&self) -> u64 {
        if self.tasks == 1 { 1 } else { 16 }
    }

    /// What is counted, for the table's head.
    pub const fn unit(&self) -> &'static str {
        match self.kind {
            Kind::Call => "calls/s",
            Kind::Stream => "round trips/s",
            Kind::Bulk => "64 KiB/s",
            Kind::Raw | Kind::Typed => "messages/s",
        }
    }
}
