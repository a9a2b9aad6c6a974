//! How a stream ends: what both the stream and the connection that carries it know of that.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::clock::Millis;
use crate::wire::{End, Fault};

/// See the module.
#[derive(Default)]
pub(super) struct Ends {
    state: Mutex<State>,
    /// Something broke the stream; looked at before each write.
    is_broken: AtomicBool,
    broke: Notify,
    /// Bytes read and written.
    moved: AtomicU64,
}

#[derive(Default)]
struct State {
    /// The peer has ended its direction well, after so many bytes.
    ended: Option<u64>,
    broken: Option<Fault>,
    /// So many bytes had the peer sent when it broke the stream off.
    sent: u64,
    /// The connection is gone: nothing comes any more.
    is_over: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
    /// What had moved when it was last looked at, and when that changed last.
    seen: (u64, Millis),
}

impl Ends {
    /// The peer has said how its direction, or the stream, ends.
    pub(super) fn on_end(&self, end: End) {
        match end.fault {
            Some(fault) => {
                self.state.lock().sent = end.bytes;
                self.break_off(fault, false);
            }
            None => {
                let reader = {
                    let mut state = self.state.lock();
                    state.ended.get_or_insert(end.bytes);
                    state.reader.take()
                };
                wake(reader);
            }
        }
    }

    /// The stream is broken; the first cause stays. `is_over`: its connection is gone as well.
    pub(super) fn break_off(&self, fault: Fault, is_over: bool) {
        let mut state = self.state.lock();
        state.broken.get_or_insert(fault);
        state.is_over |= is_over;
        self.is_broken.store(true, Ordering::Release);
        let (reader, writer) = (state.reader.take(), state.writer.take());
        drop(state);
        self.broke.notify_waiters();
        wake(reader);
        wake(writer);
    }

    /// What is to be made of it that no byte is there to read, after `read` of them. `is_dry`: none
    /// will come.
    pub(super) fn poll_end(
        &self,
        read: u64,
        is_dry: bool,
        cx: &Context<'_>,
    ) -> Poll<Result<(), Fault>> {
        let mut state = self.state.lock();
        if state.ended == Some(read) {
            return Poll::Ready(Ok(()));
        }
        // What was sent before a break is read before it.
        let has_come = state.ended.is_none() && read >= state.sent;
        let is_final = has_come || state.is_over || is_dry;
        if let Some(fault) = state.broken.as_ref().filter(|_| is_final) {
            return Poll::Ready(Err(fault.clone()));
        }
        state.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    pub(super) fn is_broken(&self) -> bool {
        self.is_broken.load(Ordering::Acquire)
    }

    /// Waits for what breaks the stream, as its writer.
    pub(super) fn poll_broken(&self, cx: &Context<'_>) -> Poll<Fault> {
        let mut state = self.state.lock();
        if let Some(fault) = &state.broken {
            return Poll::Ready(fault.clone());
        }
        state.writer = Some(cx.waker().clone());
        Poll::Pending
    }

    /// What has broken the stream before the peer had ended its direction, if anything has.
    pub(super) fn fault(&self) -> Option<Fault> {
        let state = self.state.lock();
        state.broken.clone().filter(|_| state.ended.is_none())
    }

    /// Waits until [`Ends::fault`] is there.
    pub(super) async fn broken(&self) -> Fault {
        loop {
            // Made first, so that nothing is missed while it is asked.
            let broke = self.broke.notified();
            if let Some(fault) = self.fault() {
                return fault;
            }
            broke.await;
        }
    }

    /// Whether the peer has ended its direction well.
    pub(super) fn has_ended(&self) -> bool {
        self.state.lock().ended.is_some()
    }

    /// Bytes have gone in or out.
    pub(super) fn count(&self, bytes: usize) {
        self.moved.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// For how long nothing has moved, as far as those who look know.
    pub(super) fn idle_ms(&self, now: Millis) -> u64 {
        let moved = self.moved.load(Ordering::Relaxed);
        let mut state = self.state.lock();
        if state.seen.0 != moved || state.seen.1 == Millis::default() {
            state.seen = (moved, now);
        }
        now.since(state.seen.1)
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl fmt::Debug for Ends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        f.debug_struct("Ends")
            .field("ended", &state.ended)
            .field("broken", &state.broken)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::LogicalAddr;
    use crate::wire::Break;

    fn fault(cause: Break) -> Fault {
        Fault { cause, hop: LogicalAddr::new(1, 2, 3), text: String::new() }
    }

    fn ended(bytes: u64) -> End {
        End { bytes, fault: None }
    }

    fn poll(ends: &Ends, read: u64, is_dry: bool) -> Poll<Result<(), Fault>> {
        ends.poll_end(read, is_dry, &Context::from_waker(Waker::noop()))
    }

    fn broken(cause: Break) -> Poll<Result<(), Fault>> {
        Poll::Ready(Err(fault(cause)))
    }

    #[test]
    fn an_end_is_one_only_when_all_its_bytes_have_come() {
        let ends = Ends::default();
        assert_eq!(poll(&ends, 5, false), Poll::Pending);
        assert_eq!(poll(&ends, 5, true), Poll::Pending, "the word of the peer is still missing");
        ends.on_end(ended(7));
        assert_eq!(poll(&ends, 5, false), Poll::Pending);
        assert_eq!(poll(&ends, 5, true), Poll::Pending, "what broke it is not known yet");
        assert_eq!(poll(&ends, 7, false), Poll::Ready(Ok(())));
    }

    #[test]
    fn a_reset_after_the_end_breaks_writing_only() {
        let ends = Ends::default();
        ends.on_end(ended(7));
        ends.break_off(fault(Break::Dropped), false);
        assert!(ends.is_broken());
        assert_eq!(ends.fault(), None);
        assert_eq!(poll(&ends, 5, false), Poll::Pending, "two bytes are on their way");
        assert_eq!(poll(&ends, 5, true), broken(Break::Dropped));
        assert_eq!(poll(&ends, 7, false), Poll::Ready(Ok(())));
    }

    #[test]
    fn a_reset_before_the_end_breaks_both_and_the_first_cause_stays() {
        let ends = Ends::default();
        ends.break_off(fault(Break::Reset(9)), false);
        ends.break_off(fault(Break::Lost), true);
        assert_eq!(poll(&ends, 5, false), broken(Break::Reset(9)));
        assert_eq!(ends.fault(), Some(fault(Break::Reset(9))));
    }

    #[test]
    fn what_was_sent_before_a_break_comes_before_it() {
        let ends = Ends::default();
        ends.on_end(End { bytes: 7, fault: Some(fault(Break::Reset(9))) });
        assert!(ends.is_broken());
        assert_eq!(poll(&ends, 5, false), Poll::Pending, "two bytes are on their way");
        assert_eq!(poll(&ends, 7, false), broken(Break::Reset(9)));
        assert_eq!(poll(&ends, 5, true), broken(Break::Reset(9)));
    }

    #[test]
    fn a_lost_connection_is_no_end_though_the_peer_had_said_one() {
        let ends = Ends::default();
        ends.on_end(ended(7));
        ends.break_off(fault(Break::Lost), true);
        assert_eq!(poll(&ends, 5, false), broken(Break::Lost));
        assert_eq!(poll(&ends, 7, false), Poll::Ready(Ok(())));
    }

    #[test]
    fn idle_is_what_has_not_moved_since_it_was_looked_at() {
        let ends = Ends::default();
        assert_eq!(ends.idle_ms(Millis(100)), 0);
        assert_eq!(ends.idle_ms(Millis(150)), 50);
        ends.count(1);
        assert_eq!(ends.idle_ms(Millis(180)), 0);
        assert_eq!(ends.idle_ms(Millis(200)), 20);
    }
}
