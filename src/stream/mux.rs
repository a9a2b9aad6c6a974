//! One connection that carries streams, as they see it.

mod carry;
mod driver;

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

pub(super) use carry::carry;

use super::ends::Ends;
use crate::link::Session;
use crate::wire::{Break, End, Fault};

/// Ends that came before their streams: these many are remembered.
const EARLY_MAX: usize = 64;

/// What streams know of the connection that carries them.
pub(super) struct Mux {
    pub(super) session: Arc<Session>,
    orders: mpsc::UnboundedSender<Order>,
    carried: Mutex<CarriedStreams>,
    /// The link to the peer is closed for good.
    pub(super) gone: CancellationToken,
}

#[derive(Default)]
struct CarriedStreams {
    by_number: HashMap<u32, Arc<Ends>>,
    /// Numbers that are not known: of streams that are over, or that are yet to come.
    early: VecDeque<(u32, End)>,
    /// The connection is gone: why.
    over: Option<Fault>,
}

/// What the driver is asked to do.
enum Order {
    Open(oneshot::Sender<Pipe>),
    /// The permit is given back when it is written.
    End {
        number: u32,
        end: End,
        permit: Option<OwnedSemaphorePermit>,
    },
    Finish(oneshot::Sender<()>),
}

/// A stream of yamux, with what is known of its ends.
pub(super) struct Pipe {
    pub(super) yamux: yamux::Stream,
    pub(super) ends: Arc<Ends>,
    pub(super) known: Known,
}

/// Knows a stream by its number, until it is over at this end, or was never taken.
pub(super) struct Known {
    mux: Arc<Mux>,
    number: u32,
}

impl Drop for Known {
    fn drop(&mut self) {
        self.mux.carried.lock().by_number.remove(&self.number);
    }
}

/// Where new streams and news of the connection go.
pub(super) trait Host: Send + Sync {
    /// The peer has opened a stream.
    fn arrive(&self, mux: &Arc<Mux>, pipe: Pipe);

    /// The connection opens no more streams.
    fn close(&self, mux: &Arc<Mux>);
}

impl Mux {
    /// Opens a stream; `None` if the connection is over, or opens no more.
    pub(super) async fn open(&self) -> Option<Pipe> {
        let (opened, pipe) = oneshot::channel();
        self.orders.send(Order::Open(opened)).ok()?;
        pipe.await.ok()
    }

    /// Tells the peer how a stream, or a direction of it, ends. The permit is given back when that
    /// is written.
    pub(super) fn end(&self, number: u32, end: End, permit: Option<OwnedSemaphorePermit>) {
        // A driver that is gone has nobody to tell.
        drop(self.orders.send(Order::End { number, end, permit }));
    }

    /// Breaks all streams off, because the node stops, and waits until the peer has read that, and
    /// all before it.
    pub(super) async fn finish(&self) {
        let (done, finished) = oneshot::channel();
        drop(self.orders.send(Order::Finish(done)));
        finished.await.ok();
    }

    /// A fault that this node finds.
    pub(super) fn fault(&self, cause: Break, text: impl Into<String>) -> Fault {
        Fault { cause, hop: self.session.link.home.me, text: text.into() }
    }

    /// How many streams are open.
    pub(super) fn len(&self) -> usize {
        self.carried.lock().by_number.len()
    }

    fn pipe(self: &Arc<Self>, yamux: yamux::Stream) -> Pipe {
        let number = yamux.id().val();
        let ends = self.register(number);
        Pipe { yamux, ends, known: Known { mux: Arc::clone(self), number } }
    }

    fn register(&self, number: u32) -> Arc<Ends> {
        let mut carried = self.carried.lock();
        let ends = Arc::new(Ends::default());
        if let Some(fault) = &carried.over {
            ends.break_off(fault.clone(), true);
        }
        let early = carried.early.iter().position(|(of, _)| *of == number);
        if let Some((_, end)) = early.and_then(|at| carried.early.remove(at)) {
            ends.on_end(end);
        }
        carried.by_number.insert(number, Arc::clone(&ends));
        ends
    }

    fn on_end(&self, number: u32, end: End) {
        let mut carried = self.carried.lock();
        if let Some(ends) = carried.by_number.get(&number).cloned() {
            drop(carried);
            ends.on_end(end);
        } else {
            // It may come before the first byte of its stream.
            if carried.early.len() == EARLY_MAX {
                carried.early.pop_front();
            }
            carried.early.push_back((number, end));
        }
    }

    fn all(&self) -> Vec<(u32, Arc<Ends>)> {
        let carried = self.carried.lock();
        carried.by_number.iter().map(|(number, ends)| (*number, Arc::clone(ends))).collect()
    }

    /// The connection is gone, and all streams with it.
    fn break_all(&self, fault: &Fault) {
        self.carried.lock().over = Some(fault.clone());
        for (_, ends) in self.all() {
            ends.break_off(fault.clone(), true);
        }
    }
}

impl fmt::Debug for Mux {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mux").field("session", &self.session).finish_non_exhaustive()
    }
}
