//! Sources that are to be told of a lost link, until there is room for it.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::addr::LogicalAddr;
use crate::handshake::Lane as LaneId;
use crate::incarnation::Incarnation;
use crate::link::{Home, Link, Put, PutError};
use crate::wire::{Down, FLAG_NO_REPLY, Frame, HEADER_LEN, Header, Kind};

/// How often it is looked for room.
const PAUSE: Duration = Duration::from_millis(20);

/// See the module.
#[derive(Default)]
pub(super) struct Downs {
    /// By session, source and destination. Who has lost the session knows by that.
    waiting: Mutex<HashMap<(u64, LogicalAddr, LogicalAddr), Lost>>,
    some: Notify,
}

/// What a source is to be told of one of its pairs.
pub(super) struct Lost {
    /// Over this it is told.
    pub(super) came: Arc<Link>,
    /// The source's.
    pub(super) incarnation: Incarnation,
    pub(super) lane: LaneId,
    pub(super) has_calls: bool,
}

impl Downs {
    /// A source is to be told; what it was not told yet of the pair is told with it.
    pub(super) fn enter(&self, home: &Home, (from, to): (LogicalAddr, LogicalAddr), lost: Lost) {
        let Some(session) = lost.came.rpc().session() else { return };
        let mut waiting = self.waiting.lock();
        let is_full = waiting.len() >= home.config.pairs_max;
        match waiting.entry((session.id, from, to)) {
            Entry::Occupied(mut known) if known.get().incarnation == lost.incarnation => {
                let known = known.get_mut();
                if lost.lane == LaneId::Rpc {
                    known.lane = lost.lane;
                }
                known.has_calls |= lost.has_calls;
            }
            // Of pairs that are forgotten, while nobody takes what is told of them.
            Entry::Vacant(_) if is_full => home.counters.relayed_dropped.add(1),
            entry => drop(entry.insert_entry(lost)),
        }
    }

    /// What another harbor tells a source, when there was no room for it.
    pub(super) fn pass_on(&self, home: &Home, came: Arc<Link>, frame: &Frame) {
        let Header { from, to, incarnation, flags, .. } = frame.header;
        let Some(down) = Down::read(&frame.body).filter(|down| down.address == from) else {
            return;
        };
        let Some(lane) = LaneId::from_number(down.lane) else { return };
        let has_calls = flags & FLAG_NO_REPLY == 0;
        self.enter(home, (to, from), Lost { came, incarnation, lane, has_calls });
        self.some.notify_one();
    }

    /// Tells as many as there is room for.
    pub(super) fn tell(&self, home: &Home) {
        if !self.is_all_told(home) {
            self.some.notify_one();
        }
    }

    /// Tells the others when there is room, until dropped.
    pub(super) async fn keep_telling(&self, home: &Home) {
        loop {
            self.some.notified().await;
            while !self.is_all_told(home) {
                sleep(PAUSE).await;
            }
        }
    }

    fn is_all_told(&self, home: &Home) -> bool {
        let mut full = HashSet::new();
        let mut waiting = self.waiting.lock();
        waiting.retain(|(session, from, to), lost| {
            if full.contains(session) {
                return true;
            }
            let has_no_room = put(home, *session, (*from, *to), lost) == Err(PutError::Overflow);
            if has_no_room {
                full.insert(*session);
            }
            has_no_room
        });
        let is_all_told = waiting.is_empty();
        if is_all_told {
            waiting.shrink_to_fit();
        }
        is_all_told
    }
}

fn put(
    home: &Home,
    session: u64,
    (from, to): (LogicalAddr, LogicalAddr),
    lost: &Lost,
) -> Result<(), PutError> {
    let body = Down {
        address: to,
        incarnation: Incarnation::from_bits(0),
        hop: home.me,
        lane: lost.lane.number(),
    };
    let mut bytes = Vec::with_capacity(HEADER_LEN);
    body.put(&mut bytes);
    // In the name of the destination, as a bounce is.
    let mut header = Header { hops: 1, ..Header::new(Kind::Down, to, from, 0, lost.incarnation) };
    if !lost.has_calls {
        // The source may have begun one meanwhile, which goes another way.
        header.flags = FLAG_NO_REPLY;
    }
    let put = Put::control(header, home.notice_deadline(), bytes.len());
    let put = Put { only_session: Some(session), ..put };
    lost.came.rpc().put(put, |out| out.extend_from_slice(&bytes)).map(drop)
}
