//! What waits for a harbor that is lost goes over another one, if there is any.

use std::sync::Arc;

use super::put_of;
use crate::handshake::Lane;
use crate::link::{Home, Link, Unsent};
use crate::router::{Denied, Router};
use crate::wire::{Header, Kind, Reason};

/// Moves what waits on a link to other harbors, after it was marked as failed if it has. Returns what could not be moved, and why: calls of
/// this node among it, which are known by their place on the link and safe to make again.
pub(crate) fn move_frames(
    home: &Home,
    router: &Router,
    link: &Arc<Link>,
    has_failed: bool,
) -> Vec<(Unsent, Reason)> {
    let mut left = Vec::new();
    let now = home.clock.now();
    // Nothing new may overtake what is moved: before this it goes behind it, after this elsewhere.
    let _moving = router.moving.write();
    if has_failed {
        link.fail(now);
    }
    if link.is_trusted() {
        return left;
    }
    let other = |header: &Header| {
        let next = router.next(header.from, header.to).ok()?;
        (next.peer != link.peer && next.is_trusted()).then_some(next)
    };
    for lane in [Lane::Rpc, Lane::Message] {
        let is_moving = |header: &Header| header.is_between_groups() && other(header).is_some();
        for frame in link.lane(lane).extract(now, is_moving) {
            let header = frame.header;
            let method = frame.method();
            let is_own_call = header.kind == Kind::Request && !header.is_one_way();
            let outcome = match other(&header) {
                Some(_) if is_own_call && header.hops == 0 => Err(Reason::Unreachable),
                Some(next) => {
                    let (put, write) = put_of(home, &frame, now);
                    let outcome = next.lane(lane).put(put, write);
                    outcome.map_err(|error| Denied::by(&next, error).reason)
                }
                None => Err(Reason::Unreachable),
            };
            left.extend(outcome.err().map(|reason| (Unsent { header, method }, reason)));
        }
    }
    left
}
