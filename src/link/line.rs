//! Those who wait for room, in order.

use tokio::runtime::Handle;
use tokio::sync::{Mutex, Notify};
use tokio::time::timeout_at;

use super::home::Home;
use super::lane::PutError;
use crate::clock::Millis;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Line {
    /// Wakes the first.
    room: Notify,
    line: Mutex<()>,
}

impl Line {
    /// There is room again.
    pub(crate) fn wake(&self) {
        self.room.notify_one();
    }

    /// Waits in line for room, until `deadline`, then lets `attempt` put its frame; it is called
    /// again while it says `full`, which is also what is said when the time is over.
    ///
    /// # Cancel safety
    ///
    /// When dropped, nothing was put and the place in the line is free.
    pub(crate) async fn wait<T>(
        &self,
        home: &Home,
        deadline: Millis,
        full: PutError,
        mut attempt: impl FnMut() -> Result<T, PutError>,
    ) -> Result<T, PutError> {
        let wait = async {
            let _first = self.line.lock().await;
            loop {
                let room = self.room.notified();
                match attempt() {
                    Err(error) if error == full => room.await,
                    outcome => return outcome,
                }
            }
        };
        let timed = {
            // Whoever waits on no runtime has the timers of the node's.
            let _entered = Handle::try_current().is_err().then(|| home.runtime.enter());
            timeout_at(home.clock.instant(deadline), wait)
        };
        timed.await.unwrap_or(Err(full))
    }
}
