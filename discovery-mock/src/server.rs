//! The server: members, served to whoever connects.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use seaway::discovery::{DiscoveryError, InProcess};
use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::select;
use tokio::sync::{Notify, Semaphore};
use tokio::time::{interval, sleep};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

mod connection;
mod state;

use state::StateFile;

/// The most members that are taken over the network.
const MEMBERS_MAX: usize = 4 << 10;
/// The most members that all harbors together carry.
const CARRIED_MAX: usize = 16 << 10;
/// The most connections at a time on which a harbor says what it carries; others wait.
const CARRYING_MAX: usize = 8;
/// The most connections at a time that have said hello.
const CONNECTIONS_MAX: usize = 512;
/// The most connections that have not; another one pushes the oldest of them out.
const NEWCOMERS_MAX: usize = 256;
/// How often it is looked for members that fell silent.
const EXPIRE_EVERY: Duration = Duration::from_millis(250);
/// The pause after no connection could be accepted, such as without file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A mock server within this process. Dropped, it stops; [`shutdown`](Self::shutdown) waits for it.
///
/// It serves at most 512 connections, of which each watcher and each question is one, and takes at
/// most 4,096 members from them, and as many from each harbor that carries some, which are 16,384 in
/// all. A watcher that does not keep up is told the sum of what it
/// missed, and one that takes nothing for 4 s is cut off.
///
/// What harbors carry is gone with the server, and they carry it again to the next one. A member is
/// unavailable once its node has not announced itself for the `ttl` that it announced,
/// or for 10 s since it was added or the server started.
#[derive(Debug)]
pub struct Server {
    local_addr: SocketAddr,
    shared: Arc<Shared>,
    tasks: TaskTracker,
    stop: DropGuard,
}

/// What all connections share.
#[derive(Debug)]
struct Shared {
    members: InProcess,
    state: Option<StateFile>,
    /// What is added to the revisions of `members`, so that they are greater than those of the
    /// servers that were here before: the microseconds since 1970 at the start.
    revisions_from: u64,
    connections: Semaphore,
    carrying: Semaphore,
    watchers: AtomicUsize,
    stop: CancellationToken,
}

impl Server {
    /// Serves on a loopback address, `host:port`, without members; port 0 is any that is free.
    ///
    /// # Errors
    ///
    /// See [`ServerError`].
    ///
    /// # Cancel safety
    ///
    /// When cancelled, there is no server.
    pub async fn bind(address: impl Into<String>) -> Result<Self, ServerError> {
        Self::builder().bind(address).await
    }

    /// Begins to say what the server should be.
    pub fn builder() -> ServerBuilder {
        ServerBuilder::default()
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// The members, to be changed at any time. With a state file, what is changed this way is
    /// written soon after, and at the latest by [`shutdown`](Self::shutdown).
    #[must_use]
    pub fn members(&self) -> &InProcess {
        &self.shared.members
    }

    /// How many watch now and have been told all members.
    #[must_use]
    pub fn watchers(&self) -> usize {
        self.shared.watchers.load(Ordering::Relaxed)
    }

    /// Closes all connections and the listener, and writes the state file.
    ///
    /// # Errors
    ///
    /// [`ServerError::State`] when the file cannot be written.
    ///
    /// # Cancel safety
    ///
    /// When cancelled, the server stops all the same.
    pub async fn shutdown(self) -> Result<(), ServerError> {
        let Self { shared, tasks, stop, .. } = self;
        drop(stop);
        tasks.close();
        tasks.wait().await;
        shared.save().await
    }
}

/// Says what a [`Server`] should be.
#[derive(Debug, Default)]
#[must_use]
pub struct ServerBuilder {
    members: InProcess,
    state: Option<PathBuf>,
    is_remote_allowed: bool,
}

impl ServerBuilder {
    /// Serves these members instead of none, such as those of a server that was here before.
    pub fn members(mut self, members: InProcess) -> Self {
        self.members = members;
        self
    }

    /// Keeps in a file what was put and set, not what was announced, and begins with what is there
    /// already.
    ///
    /// It has the form that [`MembersFile`](seaway::discovery::MembersFile) reads. Each change
    /// replaces it as a whole before whoever asked for it is answered. What somebody else writes
    /// there meanwhile is lost.
    pub fn state(mut self, path: impl Into<PathBuf>) -> Self {
        self.state = Some(path.into());
        self
    }

    /// Lets the server listen on other addresses than loopback. **Whoever reaches it may change
    /// the members**: nobody is asked who he is and nothing is encrypted.
    pub fn insecure_remote(mut self) -> Self {
        self.is_remote_allowed = true;
        self
    }

    /// Begins to serve on an address, `host:port`; port 0 is any that is free.
    ///
    /// # Errors
    ///
    /// See [`ServerError`].
    ///
    /// # Cancel safety
    ///
    /// When cancelled, there is no server.
    pub async fn bind(self, address: impl Into<String>) -> Result<Server, ServerError> {
        let listener = listen(&address.into(), self.is_remote_allowed).await?;
        let state = match self.state {
            Some(path) => Some(StateFile::open(path, &self.members).await?),
            None => None,
        };
        let stop = CancellationToken::new();
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let shared = Arc::new(Shared {
            members: self.members,
            state,
            revisions_from: u64::try_from(since_1970.as_micros()).unwrap_or(0),
            connections: Semaphore::new(CONNECTIONS_MAX),
            carrying: Semaphore::new(CARRYING_MAX),
            watchers: AtomicUsize::new(0),
            stop: stop.clone(),
        });
        let local_addr = listener.local_addr().map_err(|cause| bind_error("?", cause))?;
        let tasks = TaskTracker::new();
        tasks.spawn(accept(listener, Arc::clone(&shared), tasks.clone()));
        tasks.spawn(keep(Arc::clone(&shared)));
        Ok(Server { local_addr, shared, tasks, stop: stop.drop_guard() })
    }
}

/// Why there is no server, or it did not end well.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {cause}; give the server another address")]
    Bind {
        /// The address.
        address: String,
        /// Why.
        cause: io::Error,
    },
    /// The address could be reached from other machines, and nobody said that this is wanted.
    #[error(
        "{0} is not a loopback address, and this server asks nobody who he is; \
         allow it with --insecure-remote (`insecure_remote()`) on a network that you trust"
    )]
    NotLoopback(SocketAddr),
    /// The state file cannot be used.
    #[error("state file {}: {cause}", path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// What is wrong, with the line if it is one line's fault.
        cause: String,
    },
}

// As seaway's own errors: all that is seen of one that `main` returns.
impl fmt::Debug for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Bind { .. } => "Bind",
            Self::NotLoopback(_) => "NotLoopback",
            Self::State { .. } => "State",
        };
        write!(f, "{name}: {self}")
    }
}

fn bind_error(address: &str, cause: io::Error) -> ServerError {
    ServerError::Bind { address: address.to_owned(), cause }
}

async fn listen(address: &str, is_remote_allowed: bool) -> Result<TcpListener, ServerError> {
    let all = lookup_host(address).await.map_err(|cause| bind_error(address, cause))?;
    let all: Vec<_> = all.collect();
    let remote = all.iter().find(|one| !one.ip().to_canonical().is_loopback());
    if let Some(remote) = remote.filter(|_| !is_remote_allowed) {
        return Err(ServerError::NotLoopback(*remote));
    }
    TcpListener::bind(&*all).await.map_err(|cause| bind_error(address, cause))
}

/// Takes in whoever connects.
async fn accept(listener: TcpListener, shared: Arc<Shared>, tasks: TaskTracker) {
    let mut newcomers = VecDeque::new();
    let mut is_stuck = false;
    loop {
        let accepted = select! {
            accepted = listener.accept() => accepted,
            () = shared.stop.cancelled() => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                tracing::debug!(%peer, "connected");
                is_stuck = false;
                let pushed_out = admit(&mut newcomers);
                tasks.spawn(attend(stream, peer, pushed_out, Arc::clone(&shared)));
            }
            Err(cause) => {
                if !std::mem::replace(&mut is_stuck, true) {
                    tracing::error!(%cause, "cannot accept connections");
                }
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Makes room for one more that has not said hello, by pushing out the oldest that has not: who
/// says nothing must not keep others from being heard.
fn admit(newcomers: &mut VecDeque<Weak<Notify>>) -> Arc<Notify> {
    newcomers.retain(|newcomer| newcomer.strong_count() > 0);
    if newcomers.len() >= NEWCOMERS_MAX
        && let Some(oldest) = newcomers.pop_front()
        && let Some(oldest) = oldest.upgrade()
    {
        oldest.notify_one();
    }
    let pushed_out = Arc::new(Notify::new());
    newcomers.push_back(Arc::downgrade(&pushed_out));
    pushed_out
}

async fn attend(stream: TcpStream, peer: SocketAddr, pushed_out: Arc<Notify>, shared: Arc<Shared>) {
    select! {
        outcome = connection::serve(stream, pushed_out, &shared) => match outcome {
            Ok(()) => tracing::debug!(%peer, "disconnected"),
            Err(fault) => tracing::debug!(%peer, %fault, "cut off"),
        },
        () = shared.stop.cancelled() => {}
    }
}

/// Does what must be done now and then.
async fn keep(shared: Arc<Shared>) {
    let mut ticks = interval(EXPIRE_EVERY);
    let mut complaint = None;
    loop {
        select! {
            _ = ticks.tick() => shared.members.expire(),
            () = shared.stop.cancelled() => return,
        }
        // For what was changed through the handle within the process.
        let outcome = shared.save().await.err().map(|error| error.to_string());
        if complaint != outcome {
            complaint = outcome;
            if let Some(error) = &complaint {
                tracing::error!(%error, "the members are kept in memory only");
            }
        }
    }
}

impl Shared {
    /// Writes the state file, if there is one and it differs.
    async fn save(&self) -> Result<(), ServerError> {
        match &self.state {
            Some(state) => state.save().await,
            None => Ok(()),
        }
    }
}

impl From<DiscoveryError> for ServerError {
    fn from(error: DiscoveryError) -> Self {
        match error {
            DiscoveryError::File { path, cause } => Self::State { path, cause },
            other => Self::State { path: PathBuf::new(), cause: other.to_string() },
        }
    }
}
