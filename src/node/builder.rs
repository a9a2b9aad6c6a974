//! Assembly: everything is registered here, before the node starts.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use rand::TryRng;
use rand::rngs::SysRng;
use tokio::net::TcpListener;

use super::address::IntoAddr;
use super::engine::{Engine, Engines};
use super::error::StartError;
use super::membership::{self, Membership};
use super::{Node, assembly};
use crate::addr::LogicalAddr;
use crate::config::{ClusterKey, Config};
use crate::context::Context;
use crate::discovery::{Discovery, InProcess, Member};
use crate::error::{Status, Undeliverable};
use crate::incarnation::Incarnation;
use crate::layer::Layer;
use crate::link::Home;
use crate::messaging::{Handlers, bytes_handler, typed_handler};
use crate::name::{Message, MessageId, Method, fnv1a};
use crate::net;
use crate::rpc::{Limit, Methods, erase};
use crate::stream::{Services, Stream};

/// What a node is made of. Made by [`Node::builder`]; nothing happens before
/// [`Builder::start`].
#[must_use = "a builder does nothing until it is started"]
pub struct Builder {
    address: Result<LogicalAddr, StartError>,
    config: Config,
    keys: Vec<ClusterKey>,
    discovery: Option<Engine>,
    harbor_discovery: Option<Engine>,
    listen: Listen,
    pub(super) labels: Vec<(String, String)>,
    pub(super) methods: Methods,
    pub(super) messages: Handlers,
    pub(super) services: Services,
    limits: Vec<(String, Limit)>,
    clashes: Vec<Clash>,
    pub(super) layers: Vec<Arc<dyn Layer>>,
    pub(super) layers_outgoing: Vec<Arc<dyn Layer>>,
    pub(super) on_undeliverable: Option<Box<dyn Fn(Undeliverable) + Send + Sync>>,
}

enum Listen {
    /// On the network address that discovery has for the node.
    Advertised,
    Address(String),
    Bound(io::Result<TcpListener>),
}

/// Two handlers for one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Clash {
    id: u64,
    first: String,
    second: String,
}

/// A service with all its methods, to be given to [`Builder::serve`]. Generated servers are such.
pub trait Serve {
    /// Registers each method, with [`Builder::on_call`].
    fn register(self, builder: Builder) -> Builder;
}

impl Builder {
    pub(super) fn new(address: impl IntoAddr) -> Self {
        Self {
            address: address.into_addr(),
            config: Config::default(),
            keys: Vec::new(),
            discovery: None,
            harbor_discovery: None,
            listen: Listen::Advertised,
            labels: Vec::new(),
            methods: HashMap::default(),
            messages: HashMap::default(),
            services: HashMap::new(),
            limits: Vec::new(),
            clashes: Vec::new(),
            layers: Vec::new(),
            layers_outgoing: Vec::new(),
            on_undeliverable: None,
        }
    }

    /// Where the node learns of its peers. Without one it does not start.
    pub fn discovery(mut self, discovery: impl Discovery + 'static) -> Self {
        self.discovery = Some(Engine::new(discovery));
        self
    }

    /// Where a harbor learns of the harbors of other groups, besides the discovery of its own
    /// group; it must be a member in both. A harbor without one finds everybody in
    /// [`Builder::discovery`]. [`Builder::start`] fails if the node is no harbor.
    pub fn harbor_discovery(mut self, discovery: impl Discovery + 'static) -> Self {
        self.harbor_discovery = Some(Engine::new(discovery));
        self
    }

    /// Limits and times, instead of the defaults.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Adds a cluster key, of at most 8. The first is the one offered first; all are accepted.
    /// Without any, the node speaks on loopback only, unless [`Config::insecure_remote`] says
    /// otherwise.
    pub fn key(mut self, key: ClusterKey) -> Self {
        self.keys.push(key);
        self
    }

    /// Listens on this address, `host:port`, instead of the one that discovery has for the node,
    /// such as `0.0.0.0:7001` where peers reach it by another. Port 0 takes any that is free.
    pub fn listen(mut self, address: impl Into<String>) -> Self {
        self.listen = Listen::Address(address.into());
        self
    }

    /// Listens on a socket that is bound already: bind port 0, put the port into discovery, start.
    pub fn listener(self, listener: std::net::TcpListener) -> Self {
        self.bound(Ok(listener))
    }

    fn bound(mut self, listener: io::Result<std::net::TcpListener>) -> Self {
        let listener = listener.and_then(|listener| {
            listener.set_nonblocking(true)?;
            TcpListener::from_std(listener)
        });
        self.listen = Listen::Bound(listener);
        self
    }

    /// Makes the node a member of `members` at once, on a free port of loopback, and that its
    /// discovery: for tests, examples, and nodes of one process. Calls to it wait from now on for
    /// its start.
    ///
    /// ```
    /// use seaway::Node;
    /// use seaway::discovery::InProcess;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), seaway::StartError> {
    /// let members = InProcess::new();
    /// let [ann, room] = ["1.1.1", "1.2.1"].map(|name| Node::builder(name).in_process(&members));
    /// let (ann, room) = (ann.start().await?, room.start().await?);
    /// # Ok(()) }
    /// ```
    pub fn in_process(self, members: &InProcess) -> Self {
        let listener = std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0));
        let network = listener.as_ref().ok().and_then(|listener| listener.local_addr().ok());
        if let (Ok(me), Some(network)) = (&self.address, network) {
            // A number and a port make a network address, so this does not fail.
            members.put(Member::new(*me, network.to_string())).ok();
        }
        self.bound(listener).discovery(members.clone())
    }

    /// Adds a label that the node announces about itself, such as its version, zone or weight; at
    /// most 32 of 4 KiB in all, with those that discovery has of it. One with the same key is
    /// replaced. With [`crate::discovery::MembersFile`] it reaches no peer: write it into the file.
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.push((key.into(), value.into()));
        self
    }

    /// Serves all methods of a service: `.serve(chat::room::Server::new(Lobby))`.
    pub fn serve(self, service: impl Serve) -> Self {
        service.register(self)
    }

    /// Serves a method. A handler is polled once where the request arrives, so up to its first wait
    /// it must not block; it goes on in a task of its own, which ends with the caller's deadline or
    /// cancellation. [`Builder::start`] fails if the method has a handler already.
    pub fn on_call<Q, R, H, F>(mut self, method: Method<Q, R>, handler: H) -> Self
    where
        Q: prost::Message + Default + 'static,
        R: prost::Message + 'static,
        H: Fn(Context, Q) -> F + Send + Sync + 'static,
        F: Future<Output = Result<R, Status>> + Send + 'static,
    {
        let (id, second) = (method.id(), method.name());
        match self.methods.get(&id) {
            Some(first) => {
                let (first, second) = (first.name.to_owned(), second.to_owned());
                self.clashes.push(Clash { id, first, second });
            }
            None => {
                self.methods.insert(id, erase(second, handler));
            }
        }
        self
    }

    /// Limits a method, by its full name ([`Method::name`]); clones of one limit share its count.
    /// Of several for one method the last counts; [`Builder::start`] fails if the method is not
    /// served here. See [`Limit`] for an example.
    pub fn limit(mut self, method: impl Into<String>, limit: Limit) -> Self {
        self.limits.push((method.into(), limit));
        self
    }

    /// Puts a layer around each call, notification and message that comes in, inside those given
    /// before. See [`crate::layer`].
    pub fn layer(mut self, layer: impl Layer + 'static) -> Self {
        self.layers.push(Arc::new(layer));
        self
    }

    /// Puts a layer around each call and notification that the node makes, inside those given
    /// before. See [`crate::layer`].
    pub fn layer_outgoing(mut self, layer: impl Layer + 'static) -> Self {
        self.layers_outgoing.push(Arc::new(layer));
        self
    }

    /// Handles messages of a type. The messages of one sender are handled one after another: while
    /// a handler waits, its sender's next message does. [`Builder::start`] fails if the type has a
    /// handler already.
    pub fn on_message<M, H, F>(self, handler: H) -> Self
    where
        M: Message,
        H: Fn(Context, M) -> F + Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        self.handle(M::ID, typed_handler(handler))
    }

    /// Handles messages that are bytes, by their id. The bytes are a slice of the read buffer: one
    /// kept for long keeps the whole buffer (up to 128 KiB more than itself).
    ///
    /// ```no_run
    /// # async fn example(node: seaway::Node, to: seaway::LogicalAddr) -> Result<(), seaway::SendError> {
    /// use bytes::Bytes;
    /// use seaway::{Context, MessageId, Node};
    /// const SAMPLE: MessageId = MessageId::new(1001);
    ///
    /// let builder = Node::builder("1.5.1").on_bytes(SAMPLE, |cx: Context, sample: Bytes| async move {
    ///     println!("{} bytes of {}", sample.len(), cx.peer());
    /// });
    /// // At another node:
    /// node.send_bytes(to, SAMPLE, b"\x01\x02").await?;
    /// # drop(builder);
    /// # Ok(()) }
    /// ```
    pub fn on_bytes<H, F>(self, id: MessageId, handler: H) -> Self
    where
        H: Fn(Context, Bytes) -> F + Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        self.handle(id, bytes_handler(id, handler))
    }

    fn handle(mut self, id: MessageId, handler: crate::messaging::Registered) -> Self {
        match self.messages.get(&id) {
            Some(first) => {
                let (first, second) = (first.name.clone(), handler.name);
                self.clashes.push(Clash { id: id.get(), first, second });
            }
            None => {
                self.messages.insert(id, handler);
            }
        }
        self
    }

    /// Serves streams: `handler` gets each one that another node opens to this service, in a task of
    /// its own. It may be any text; FNV-1a, 64 bits, of it stands for it on the wire.
    /// [`Builder::start`] fails if the service has a handler already.
    ///
    /// A handler is never cancelled: it ends when it is done, or when its stream breaks and it gives
    /// up. While the node drains it may finish; see [`Node::draining`].
    ///
    /// ```
    /// use seaway::{Context, Node, Stream};
    /// use tokio::io::{AsyncWriteExt, copy, split};
    ///
    /// let builder = Node::builder("1.7.1").on_stream("echo", |cx: Context, stream: Stream| async move {
    ///     let (mut reader, mut writer) = split(stream);
    ///     let copied = copy(&mut reader, &mut writer).await;
    ///     // Without this the other end sees a break, and not an end.
    ///     writer.shutdown().await.ok();
    ///     println!("{}: {copied:?}", cx.peer());
    /// });
    /// ```
    pub fn on_stream<H, F>(mut self, service: impl Into<String>, handler: H) -> Self
    where
        H: Fn(Context, Stream) -> F + Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let second = service.into();
        let id = fnv1a(second.as_bytes());
        match self.services.get(&id) {
            Some(first) => self.clashes.push(Clash { id, first: first.name.clone(), second }),
            None => {
                self.services.insert(id, crate::stream::service(second, handler));
            }
        }
        self
    }

    /// Hears of messages and notifications that were accepted and did not reach a handler. Called
    /// from the node's own tasks: it must not block. Without it they are counted all the same, see
    /// [`crate::Stats`].
    ///
    /// ```
    /// use seaway::{Node, Reason, Undeliverable};
    /// let builder = Node::builder("1.1.1").on_undeliverable(|notice| match &notice {
    ///     // It was not handled: whoever still needs it may send it again.
    ///     Undeliverable::Bounced { reason: Reason::Expired, .. } => eprintln!("too late: {notice}"),
    ///     // How many were handled is not known until both ends have met again.
    ///     Undeliverable::Lost { peer, .. } => eprintln!("ask {peer} what it has: {notice}"),
    ///     _ => eprintln!("{notice}"),
    /// });
    /// ```
    pub fn on_undeliverable(
        mut self,
        told: impl Fn(Undeliverable) + Send + Sync + 'static,
    ) -> Self {
        self.on_undeliverable = Some(Box::new(told));
        self
    }

    /// Starts the node.
    ///
    /// # Errors
    ///
    /// At once, with what to do about it: when the address or the config is wrong, two handlers
    /// clash, discovery cannot be asked or does not have this address, or the socket cannot be
    /// bound.
    ///
    /// # Cancel safety
    ///
    /// When dropped, the node has not started.
    pub async fn start(mut self) -> Result<Node, StartError> {
        let me = match self.address {
            Ok(me) => me,
            Err(error) => return Err(error),
        };
        self.check()?;
        let engines = self.engines(me)?;
        let incarnation = new_incarnation()?;
        let membership = Membership::begin(me, self.zone(), &engines).await?;
        let keys = std::mem::take(&mut self.keys);
        let config = self.config.clone();
        let home = Home::new(me, incarnation, config, &keys, random_seed()?)
            .map_err(|error| StartError::Config(error.to_string()))?;
        let home = Arc::new(home);
        let listener = self.bind(&home, &membership.me.network).await?;
        let local_addr = listener.local_addr().map_err(StartError::Listener)?;
        if !home.is_allowed(local_addr.ip()) {
            return Err(StartError::NotLoopback(local_addr));
        }
        let node = self.assemble(home, engines, membership.table.clone(), local_addr);
        membership::announce(&node.inner, true).await?;
        assembly::run(&node, listener, membership);
        Ok(node)
    }

    fn engines(&mut self, me: LogicalAddr) -> Result<Engines, StartError> {
        let harbors = self.harbor_discovery.take();
        if harbors.is_some() && !me.is_harbor() {
            return Err(StartError::NotAHarbor(me));
        }
        let cluster = self.discovery.take().ok_or(StartError::NoDiscovery)?;
        Ok(Engines { cluster, harbors })
    }

    fn zone(&self) -> Option<&str> {
        let zone = self.labels.iter().rfind(|(key, _)| key == "zone");
        zone.map(|(_, zone)| zone.as_str())
    }

    fn check(&mut self) -> Result<(), StartError> {
        if let Some(Clash { id, first, second }) = self.clashes.first().cloned() {
            return Err(StartError::Clash { id, first, second });
        }
        for (name, limit) in std::mem::take(&mut self.limits) {
            let method = self.methods.values_mut().find(|method| method.name == name);
            method.ok_or(StartError::LimitOnNothing(name))?.limit = Some(limit);
        }
        self.config.check().map_err(StartError::Config)
    }

    async fn bind(&mut self, home: &Home, advertised: &str) -> Result<TcpListener, StartError> {
        let bind = |address: String| async move {
            net::bind(&address, |ip| home.is_allowed(ip)).await.map_err(|error| match error {
                net::BindError::NotAllowed(address) => StartError::NotLoopback(address),
                net::BindError::Resolve(error) => StartError::Resolve { address, error },
                net::BindError::Io(error) => StartError::Bind { address, error },
            })
        };
        match std::mem::replace(&mut self.listen, Listen::Advertised) {
            Listen::Advertised => bind(advertised.to_owned()).await,
            Listen::Address(address) => bind(address).await,
            Listen::Bound(listener) => listener.map_err(StartError::Listener),
        }
    }
}

fn random_seed() -> Result<u64, StartError> {
    SysRng.try_next_u64().map_err(|error| StartError::Random(error.to_string()))
}

fn new_incarnation() -> Result<Incarnation, StartError> {
    let since =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    #[expect(clippy::cast_possible_truncation, reason = "22 random bits are wanted")]
    let random = random_seed()? as u32;
    Ok(Incarnation::from_start(crate::clock::millis(since), random))
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("address", &self.address).finish_non_exhaustive()
    }
}
