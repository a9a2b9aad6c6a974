//! Frames of one session that are for others, until the reader pauses.

use super::Dispatch;
use super::lanes::out_of_lane;
use crate::clock::Millis;
use crate::handshake::Lane;
use crate::link::{Flow, Session, Violation};
use crate::wire::{Frame, Header, Kind};

/// See the module. A harbor hands on all at once what came together: each of its locks may come from
/// another processor, where the frames of the other direction are handed on.
#[derive(Default)]
pub(super) struct Transit {
    frames: Vec<Frame>,
}

impl Transit {
    /// Takes a frame that is to be handed on.
    pub(super) fn add(&mut self, session: &Session, frame: Frame) -> Result<Flow, Violation> {
        let header = &frame.header;
        if Lane::of(header.kind) != session.lane {
            // Where it goes, it would close the lane.
            return Err(out_of_lane(session, header.kind));
        }
        if header.is_one_way() && header.seq == 0 {
            return Err(Violation("a one-way frame to another group has no number".to_owned()));
        }
        self.frames.push(frame);
        Ok(Flow::Next)
    }

    /// Hands on what has come by now.
    pub(super) fn hand_on(&mut self, dispatch: &Dispatch, session: &Session, now: Millis) {
        if self.frames.is_empty() {
            return;
        }
        if let Some(relay) = &dispatch.relay {
            relay.on_frames(session, &mut self.frames, now);
        }
        self.frames.clear();
    }
}

/// Whether a frame is to be handed on.
pub(super) fn is_in_transit(session: &Session, header: &Header) -> bool {
    let me = session.link.home.me;
    let is_own = matches!(header.kind, Kind::Ping | Kind::Pong | Kind::GoAway | Kind::Optional(_));
    me.is_harbor() && header.to != me && !is_own
}
