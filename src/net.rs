//! The only door to sockets.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::time::{Instant, timeout};

/// How many connections the kernel holds for a listener that is busy.
const BACKLOG: u32 = 1024;

/// Binds a listener; `is_allowed` is asked about each address first.
pub(crate) async fn bind(
    address: &str,
    is_allowed: impl Fn(IpAddr) -> bool,
) -> Result<TcpListener, BindError> {
    let no_address = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    let mut last = BindError::Resolve(no_address);
    for address in lookup_host(address).await.map_err(BindError::Resolve)? {
        if !is_allowed(address.ip()) {
            last = BindError::NotAllowed(address);
            continue;
        }
        match listen(address) {
            Ok(listener) => return Ok(listener),
            Err(error) => last = BindError::Io(error),
        }
    }
    Err(last)
}

/// Why no socket was bound.
#[derive(Debug)]
pub(crate) enum BindError {
    /// Without a key only loopback is listened on.
    NotAllowed(SocketAddr),
    /// The text is no `host:port`, or its host does not resolve.
    Resolve(io::Error),
    Io(io::Error),
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        tokio::net::TcpSocket::new_v4()?
    } else {
        tokio::net::TcpSocket::new_v6()?
    };
    // A node that comes back must not wait for the connections of its last run to time out.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Resolves and connects, all within `limit`; `is_allowed` is asked about each address first.
pub(crate) async fn connect(
    network: &str,
    limit: Duration,
    is_allowed: impl Fn(IpAddr) -> bool,
) -> Result<TcpStream, ConnectError> {
    let began = Instant::now();
    let resolved = timeout(limit, lookup_host(network)).await;
    let resolved = resolved.map_err(|_| ConnectError::Timeout(limit))?;
    let (allowed, others): (Vec<_>, Vec<_>) =
        resolved.map_err(ConnectError::Resolve)?.partition(|address| is_allowed(address.ip()));
    let none = others.last().map_or(ConnectError::NoAddress, |at| ConnectError::NotLoopback(*at));
    connect_any(&allowed, began, limit, none).await
}

/// Connects to the first address that takes it. Each has its share of the time that is left, so
/// that one from which nothing comes back does not keep those behind it from being tried.
async fn connect_any(
    addresses: &[SocketAddr],
    began: Instant,
    limit: Duration,
    none: ConnectError,
) -> Result<TcpStream, ConnectError> {
    let mut last = none;
    for (at, address) in addresses.iter().enumerate() {
        let untried = u32::try_from(addresses.len() - at).unwrap_or(u32::MAX);
        let share = limit.saturating_sub(began.elapsed()) / untried;
        last = match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => ConnectError::Io(error),
            Err(_) => ConnectError::Timeout(limit),
        };
    }
    Err(last)
}

/// Sets what each connection of a link has: no delay, and for the rpc lane, whose reader never
/// pauses, an end to unacknowledged data after `dead`.
pub(crate) fn tune(stream: &TcpStream, dead: Option<Duration>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    #[cfg(target_os = "linux")]
    if dead.is_some() {
        SockRef::from(stream).set_tcp_user_timeout(dead)?;
    }
    #[cfg(not(target_os = "linux"))]
    let _: (SockRef<'_>, _) = (SockRef::from(stream), dead);
    Ok(())
}

/// How long a connection may stay open for its last words to arrive.
const LINGER: Duration = Duration::from_millis(500);

/// Says the last words and closes so that they arrive: what the peer has sent must be read first,
/// or the system resets the connection, and a reset destroys what the peer has not read.
pub(crate) async fn farewell(stream: &mut TcpStream, words: &[u8]) -> io::Result<()> {
    let say = async {
        stream.write_all(words).await?;
        stream.shutdown().await?;
        read_out(stream).await;
        Ok(())
    };
    timeout(LINGER, say).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Reads and discards until the peer's end, for a while.
pub(crate) async fn read_out(io: &mut (impl AsyncRead + Unpin)) {
    let mut waste = vec![0; 4096];
    let read = async { while matches!(io.read(&mut waste).await, Ok(1..)) {} };
    // A peer that goes on for longer has had its time.
    timeout(LINGER, read).await.ok();
}

/// Why no connection came about.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// The name does not resolve.
    #[error("its host name does not resolve: {0}")]
    Resolve(io::Error),
    /// The name resolves to nothing.
    #[error("its host name has no address")]
    NoAddress,
    /// Without a key only loopback is dialled.
    #[error(
        "{0} is not a loopback address and this node has no cluster key; \
         give the builder `.key(…)`, or set `config.insecure_remote` on a trusted network"
    )]
    NotLoopback(SocketAddr),
    /// Nobody listens, or nothing gets through.
    #[error("{0}")]
    Io(io::Error),
    /// It took too long.
    #[error("no connection within {0:?}")]
    Timeout(Duration),
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A listener from which nothing comes back: its queue is full, and nobody accepts.
    async fn silent() -> (socket2::Socket, Vec<TcpStream>, SocketAddr) {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let socket = socket.unwrap();
        socket.bind(&any.into()).unwrap();
        socket.listen(0).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        let mut waiting = Vec::new();
        let patience = Duration::from_millis(200);
        while let Ok(connected) = timeout(patience, TcpStream::connect(address)).await {
            waiting.push(connected.unwrap());
        }
        (socket, waiting, address)
    }

    #[tokio::test]
    async fn an_address_that_does_not_answer_keeps_no_other_from_being_tried() {
        let (_socket, _waiting, silent) = silent().await;
        let good = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addresses = [silent, good.local_addr().unwrap()];
        let limit = Duration::from_millis(800);
        let connect =
            |addresses| connect_any(addresses, Instant::now(), limit, ConnectError::NoAddress);
        let began = Instant::now();
        let connected = connect(&addresses).await.unwrap();
        assert!(began.elapsed() < limit, "the first address had all of the time");
        assert_eq!(connected.peer_addr().unwrap(), addresses[1]);
        let failed = connect(&addresses[..1]).await;
        assert!(matches!(failed, Err(ConnectError::Timeout(_))), "{failed:?}");
    }
}
