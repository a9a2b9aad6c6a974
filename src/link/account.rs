//! What became of the one-way frames of one lane. Pure.
//!
//! Nothing is acknowledged frame by frame: within a session order implies it. The receiver counts
//! what it handled and what it sent back, tells that in its pings, and gives the final numbers in
//! the next handshake. So for each session that breaks
//!
//! ```text
//! handed to the kernel = handled + bounced + lost
//! ```
//!
//! is known as a bound at once, and exactly when both ends meet again.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use crate::loss::Loss;
use crate::wire::Counts;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Account {
    current: Option<Session>,
    /// The last session that broke, until the receiver's final counts are known.
    broken: Option<Broken>,
    /// Settled sessions of which bounces are still on their way. The next rpc session is without
    /// any, so these are few.
    awaited: Vec<Awaited>,
}

#[derive(Debug)]
struct Awaited {
    session: u64,
    /// Above 0.
    bounces: u64,
}

#[derive(Debug)]
struct Session {
    /// What the receiver told last.
    told: Counts,
    /// Bounces that arrived here.
    bounces: u64,
}

#[derive(Debug)]
struct Broken {
    session: u64,
    handed: u64,
    bounces: u64,
    at_most: u64,
    /// Whether the lane that carries bounces is still the same, so that some may yet come.
    may_bounce: bool,
}

impl Account {
    /// A session begins.
    pub(crate) fn begin(&mut self, session: u64) {
        let told = Counts { session, ..Counts::default() };
        self.current = Some(Session { told, bounces: 0 });
    }

    /// The receiver told how far it is.
    pub(crate) fn on_told(&mut self, counts: Counts) {
        if let Some(current) = &mut self.current
            && current.told.session == counts.session
            && counts.handled >= current.told.handled
        {
            current.told = counts;
        }
    }

    /// Whether the receiver has told of all `handed` one-way frames of the session.
    pub(crate) fn is_settled(&self, handed: u64) -> bool {
        let is_settled =
            |current: &Session| handed <= current.told.handled.saturating_add(current.bounces);
        self.current.as_ref().is_none_or(is_settled)
    }

    /// A bounce of a frame of this session arrived. `false` if it comes too late: what it tells of
    /// is counted as lost.
    #[must_use]
    pub(crate) fn on_bounce(&mut self, session: u64) -> bool {
        if let Some(current) = &mut self.current
            && current.told.session == session
        {
            current.bounces += 1;
            return true;
        }
        if let Some(broken) = &mut self.broken
            && broken.session == session
            && broken.may_bounce
        {
            broken.bounces += 1;
            return true;
        }
        let awaited = self.awaited.iter_mut().find(|awaited| awaited.session == session);
        let is_awaited = awaited.map(|awaited| {
            awaited.bounces -= 1;
        });
        self.awaited.retain(|awaited| awaited.bounces > 0);
        is_awaited.is_some()
    }

    /// The session is over; `handed` one-way frames of it went to the kernel.
    ///
    /// An earlier one that was never settled stays at its bound.
    pub(crate) fn end(&mut self, handed: u64) -> Option<Loss> {
        let Session { told, bounces } = self.current.take()?;
        let at_most = handed.saturating_sub(told.handled).saturating_sub(bounces);
        self.broken =
            Some(Broken { session: told.session, handed, bounces, at_most, may_bounce: true });
        (at_most > 0).then_some(Loss::bound(at_most))
    }

    /// The lane that carries bounces is gone, and with it those on their way. Returns how many of
    /// sessions already settled are lost by that.
    pub(crate) fn on_bounces_gone(&mut self) -> Option<Loss> {
        if let Some(broken) = &mut self.broken {
            broken.may_bounce = false;
        }
        let awaited = self.awaited.drain(..).map(|awaited| awaited.bounces).sum();
        (awaited > 0).then_some(Loss { at_most: awaited, exactly: Some(awaited), instead_of: 0 })
    }

    /// The session before this one, as a handshake names it; 0 if there is none to settle.
    #[cfg(test)]
    pub(crate) fn unsettled(&self) -> u64 {
        self.broken.as_ref().map_or(0, |broken| broken.session)
    }

    /// The receiver has told its final counts of the last session on which it heard anything.
    pub(crate) fn settle(&mut self, counts: Counts) -> Option<Loss> {
        let broken = self.broken.take()?;
        // If that is another session, nothing of ours arrived.
        let counts = if counts.session == broken.session { counts } else { Counts::default() };
        // A peer may tell what it likes, but nobody sends back more than came.
        let bounced = counts.bounced.min(broken.handed);
        let arrived = if broken.may_bounce {
            let bounces = bounced.saturating_sub(broken.bounces);
            if bounces > 0 {
                self.awaited.push(Awaited { session: broken.session, bounces });
            }
            bounced.max(broken.bounces)
        } else {
            broken.bounces
        };
        let exactly = broken.handed.saturating_sub(counts.handled).saturating_sub(arrived);
        let at_most = broken.at_most;
        (at_most > 0).then_some(Loss { at_most, exactly: Some(exactly), instead_of: at_most })
    }

    /// The peer has restarted: nobody can settle what is open.
    pub(crate) fn forget(&mut self) {
        self.broken = None;
        self.awaited.clear();
    }
}

#[cfg(test)]
mod tests;
