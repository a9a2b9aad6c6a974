//! From a connection's first stream to its farewell.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::driver::{Driver, PANICKED};
use super::{EARLY_MAX, Host, Mux};
use crate::config::Config;
use crate::link::{Carried, Session};
use crate::wire::Break;

/// What a stream may hold that nobody reads, and yamux's own first window; see its `DEFAULT_CREDIT`.
const WINDOW_BYTES: usize = 256 << 10;
/// The largest body that yamux sends in one frame. More costs other streams time, less costs CPU.
const SPLIT_BYTES: usize = 64 << 10;
/// How long the last bytes of a connection may take to be written.
const FAREWELL: Duration = Duration::from_millis(200);

/// Carries streams over a connection until it ends, and says why it did.
pub(in crate::stream) async fn carry(
    session: Arc<Session>,
    carried: Carried,
    host: Arc<dyn Host>,
    begun: impl FnOnce(&Arc<Mux>),
) -> String {
    let (orders, inbox) = mpsc::unbounded_channel();
    let gone = session.link.home.stop.child_token();
    let mux = Arc::new(Mux { session, orders, carried: Mutex::default(), gone });
    let mut driver = Driver::new(&mux, carried, inbox, &host);
    begun(&mux);
    let cause = driver.run().await;
    host.close(&mux);
    if cause != PANICKED {
        // The peer finds out by itself if this takes too long.
        drop(timeout(FAREWELL, poll_fn(|cx| driver.poll_farewell(cx))).await);
    }
    // What the peer still had to say of its streams comes before that.
    mux.break_all(&mux.fault(Break::Lost, cause.clone()));
    cause
}

pub(super) fn yamux_config(config: &Config) -> yamux::Config {
    let mut yamux = yamux::Config::default();
    // Ours are the limits that are kept, when a stream is taken in; those that wait to be
    // forgotten count here, too, and to have too many ends the connection.
    let streams = 4 * config.streams_max + EARLY_MAX;
    let window = streams * WINDOW_BYTES + config.stream_growth_bytes_max;
    yamux.set_max_connection_receive_window(None);
    yamux.set_max_num_streams(streams);
    yamux.set_max_connection_receive_window(Some(window));
    yamux.set_split_send_size(SPLIT_BYTES);
    yamux
}
