//! The node's door: connections that have not yet proved who they are.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::select;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::driver::Event;
use super::exchange;
use super::home::Home;
use crate::handshake::{Claim, Refusal, too_many_connections};
use crate::net;

/// How long to leave the listener alone when the system has no more file descriptors: they are
/// missing for a while, and asking again at once only costs CPU.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Somebody who has proved to be a peer and wants a lane.
#[derive(Debug)]
pub(crate) struct Newcomer {
    pub(super) stream: TcpStream,
    pub(super) claim: Claim,
}

/// Lets connections in until the node stops.
#[derive(Debug)]
pub(crate) struct Door {
    home: Arc<Home>,
    /// Those inside who have not proved themselves, the oldest first.
    strangers: Mutex<VecDeque<Stranger>>,
}

#[derive(Debug)]
struct Stranger {
    ip: IpAddr,
    leave: CancellationToken,
}

impl Door {
    pub(crate) fn new(home: Arc<Home>) -> Arc<Self> {
        Arc::new(Self { home, strangers: Mutex::default() })
    }

    /// Accepts until the node stops.
    pub(crate) async fn open(self: Arc<Self>, listener: TcpListener) {
        let stop = self.home.stop.clone();
        loop {
            let accepted = select! {
                biased;
                () = stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, from)) => self.let_in(stream, from),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connections");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn let_in(self: &Arc<Self>, mut stream: TcpStream, from: SocketAddr) {
        let Some(leave) = self.seat(from.ip()) else {
            self.turn_away(from, "too many connections from its address");
            return;
        };
        let door = Arc::clone(self);
        self.home.tasks.spawn(async move {
            let limit = door.home.config.handshake_timeout;
            let outcome = select! {
                biased;
                () = leave.cancelled() => None,
                () = door.home.stop.cancelled() => None,
                outcome = timeout(limit, exchange::accept(&door.home, &mut stream)) => Some(outcome),
            };
            door.unseat(&leave);
            match outcome {
                Some(Ok(Ok(claim))) => door.introduce(Newcomer { stream, claim }).await,
                Some(Ok(Err(error))) => door.turn_away(from, &error.to_string()),
                Some(Err(_)) => door.turn_away(from, "handshake took too long"),
                None => {
                    door.turn_away(from, "gave its place to a later connection");
                    say_farewell(&door.home, stream, too_many_connections());
                }
            }
        });
    }

    fn turn_away(&self, from: SocketAddr, cause: &str) {
        self.home.counters.refused_connections.add(1);
        tracing::debug!(%from, cause, "connection refused");
    }

    /// Gives a stranger a place; the oldest loses theirs when all are taken.
    fn seat(&self, ip: IpAddr) -> Option<CancellationToken> {
        let config = &self.home.config;
        let mut strangers = self.strangers.lock();
        let is_exempt = ip.to_canonical().is_loopback();
        let of_ip = strangers.iter().filter(|stranger| stranger.ip == ip).count();
        if !is_exempt && of_ip >= config.unauthenticated_per_ip_max {
            return None;
        }
        if strangers.len() >= config.unauthenticated_max
            && let Some(oldest) = strangers.pop_front()
        {
            oldest.leave.cancel();
        }
        let leave = CancellationToken::new();
        strangers.push_back(Stranger { ip, leave: leave.clone() });
        Some(leave)
    }

    fn unseat(&self, leave: &CancellationToken) {
        // Tokens have no identity of their own: a cancelled one marks the place to give up.
        leave.cancel();
        self.strangers.lock().retain(|stranger| !stranger.leave.is_cancelled());
    }

    /// Brings a newcomer to the link of the peer that it is.
    async fn introduce(&self, newcomer: Newcomer) {
        let peer = newcomer.claim.peer.addr;
        let dead = Duration::from_millis(self.home.dead_ms());
        let is_rpc = newcomer.claim.lane == crate::handshake::Lane::Rpc;
        if let Err(error) = net::tune(&newcomer.stream, is_rpc.then_some(dead)) {
            tracing::debug!(%peer, %error, "connection lost after its handshake");
            return;
        }
        if self.home.is_draining() {
            return refuse(&self.home, newcomer, Refusal::Draining);
        }
        match self.home.upper().and_then(|upper| upper.link_to(peer)) {
            Some(link) => link.tell(Event::Newcomer(Box::new(newcomer))).await,
            None => refuse(&self.home, newcomer, Refusal::UnknownMember),
        }
    }
}

/// Refuses somebody who has proved who they are.
pub(super) fn refuse(home: &Home, newcomer: Newcomer, refusal: Refusal) {
    let Newcomer { stream, claim } = newcomer;
    home.counters.refused_connections.add(1);
    tracing::debug!(peer = %claim.peer.addr, lane = ?claim.lane, %refusal, "connection refused");
    say_farewell(home, stream, claim.refuse(refusal, ""));
}

/// Closes a connection with its last words; without them when too many are at that already, so
/// that those who were refused cost their limit and no more.
fn say_farewell(home: &Home, mut stream: TcpStream, words: Vec<u8>) {
    let Ok(permit) = Arc::clone(&home.farewells).try_acquire_owned() else { return };
    home.tasks.spawn(async move {
        // The dialer finds out without our help if this fails.
        net::farewell(&mut stream, &words).await.ok();
        drop(permit);
    });
}
