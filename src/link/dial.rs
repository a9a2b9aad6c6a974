//! Attempts to connect.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Link;
use super::exchange::{self, ExchangeError, Stage};
use crate::handshake::{Dial, Established, Lane as LaneId};
use crate::net::{self, ConnectError};
use crate::wire::Counts;

/// A connection whose handshake is done.
#[derive(Debug)]
pub(crate) struct Connected {
    pub(super) stream: TcpStream,
    pub(super) established: Established,
}

/// Why an attempt failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    /// Discovery has no address.
    #[error("discovery has no network address for it")]
    NoAddress,
    /// No connection came about.
    #[error("cannot connect to {network}: {error}")]
    Connect { network: String, error: ConnectError },
    /// The handshake failed.
    #[error("handshake with {network}: {error}")]
    Exchange { network: String, error: ExchangeError },
    /// The handshake took too long.
    #[error("handshake with {network}: not done within {limit:?}")]
    Timeout { network: String, limit: Duration },
}

/// Connects and shakes hands.
pub(super) async fn dial(
    link: &Link,
    lane: LaneId,
    stage: Arc<Stage>,
) -> Result<Connected, DialError> {
    let home = &link.home;
    let network = home
        .upper()
        .and_then(|upper| upper.network_address(link.peer))
        .ok_or(DialError::NoAddress)?;
    let connecting =
        net::connect(&network, home.config.connect_timeout, |ip| home.is_allowed(ip)).await;
    let mut stream = match connecting {
        Ok(stream) => stream,
        Err(error) => return Err(DialError::Connect { network, error }),
    };
    let last = link.lane(lane).last();
    let dial =
        |exporter| Dial { lane, to: link.peer, is_guest: false, counts: known(last), exporter };
    let limit = home.config.handshake_timeout;
    let exchange = async {
        net::tune(&stream, (lane == LaneId::Rpc).then(|| Duration::from_millis(home.dead_ms())))?;
        exchange::dial(home, &mut stream, dial, &stage).await
    };
    match timeout(limit, exchange).await {
        Ok(Ok(established)) => Ok(Connected { stream, established }),
        Ok(Err(error)) => Err(DialError::Exchange { network, error }),
        Err(_) => Err(DialError::Timeout { network, limit }),
    }
}

/// As handshakes have it: no counts without a session.
pub(super) fn known(counts: Counts) -> Option<Counts> {
    (counts.session != 0).then_some(counts)
}
