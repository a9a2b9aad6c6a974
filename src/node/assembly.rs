//! How the parts of a node are put together, and its tasks started.

use std::any::Any;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::engine::Engines;
use super::membership::Membership;
use super::{Builder, Guard, Inner, Node, stop};
use crate::dispatch::{Dispatch, Fars};
use crate::layer::Layers;
use crate::link::{Door, Home, Upper};
use crate::messaging::{FarMessages, Notices, Sender, Shared};
use crate::pairs::{Pairs, Receipts};
use crate::relay::Relay;
use crate::router::Router;
use crate::rpc::{Caller, Pending, Server};
use crate::stream::Streams;

impl Builder {
    pub(super) fn assemble(
        self,
        home: Arc<Home>,
        engines: Engines,
        table: crate::routing::Table,
        local_addr: SocketAddr,
    ) -> Node {
        let router = Arc::new(Router::new(Arc::clone(&home)));
        router.set_table(table);
        let pairs = Arc::new(Pairs::new(Arc::clone(&home), Arc::clone(&router)));
        let caller = Arc::new(Caller {
            home: Arc::clone(&home),
            router: Arc::clone(&router),
            pairs: Arc::clone(&pairs),
            pending: Pending::new(),
            layers: self.layers_outgoing.into(),
        });
        let layers: Layers = self.layers.into();
        let server = Arc::new(Server::new(self.methods, Arc::clone(&layers)));
        let messages = Shared::new(self.messages, layers);
        let notices = Arc::new(Notices::new(Arc::clone(&home), self.on_undeliverable));
        let guard = Arc::new(Guard(Arc::clone(&home)));
        let inner = Arc::new_cyclic(|inner: &Weak<Inner>| {
            let node: Weak<dyn Any + Send + Sync> = inner.clone();
            let superseded = inner.clone();
            let receipts = Arc::new(Receipts { home: Arc::clone(&home) });
            let beyond =
                FarMessages { shared: Arc::clone(&messages), receipts, node: node.clone() };
            let relay = || Relay::new(Arc::clone(&home), Arc::clone(&router));
            let dispatch = Arc::new_cyclic(|this| Dispatch {
                this: this.clone(),
                home: Arc::clone(&home),
                router: Arc::clone(&router),
                caller: Arc::clone(&caller),
                pairs: Arc::clone(&pairs),
                fars: Fars::new(Arc::clone(&home), beyond),
                relay: home.me.is_harbor().then(relay),
                streams: Streams::new((&home, &router), self.services, node.clone()),
                server,
                messages,
                notices,
                sources: Mutex::default(),
                node,
                on_superseded: Box::new(move |newer| {
                    superseded.upgrade().is_some_and(|inner| stop::on_superseded(&inner, newer))
                }),
            });
            let upper: Arc<dyn Upper> = Arc::<Dispatch>::clone(&dispatch);
            home.hand_over(Arc::downgrade(&upper));
            Inner {
                sender: Sender { home: Arc::clone(&home), router: Arc::clone(&router), pairs },
                home,
                router,
                caller,
                dispatch,
                engines,
                labels: self.labels,
                local_addr,
                stopping: watch::Sender::new(None),
                report: Mutex::default(),
                stopped: CancellationToken::new(),
                guard: Arc::downgrade(&guard),
            }
        });
        Node { inner, _guard: Some(guard) }
    }
}

/// Starts the node's own tasks.
pub(super) fn run(node: &Node, listener: TcpListener, membership: Membership) {
    let inner = &node.inner;
    let home = &inner.home;
    let door = Door::new(Arc::clone(home));
    home.tasks.spawn(door.open(listener));
    let (stop, caller, clock) = (home.stop.clone(), Arc::clone(&inner.caller), home.clock);
    home.tasks.spawn(async move {
        stop.run_until_cancelled(caller.pending.watch_deadlines(clock)).await;
    });
    let (stop, dispatch) = (home.stop.clone(), Arc::clone(&inner.dispatch));
    home.tasks.spawn(async move {
        stop.run_until_cancelled(dispatch.keep_accounts()).await;
    });
    membership.follow(inner);
    let last = stop::Last(Arc::clone(inner));
    tokio::spawn(async move {
        last.0.home.stop.cancelled().await;
        stop::finish(&last.0).await;
    });
    if cfg!(panic = "abort") {
        tracing::warn!(node = %home.me, "built with panic = \"abort\": a handler that panics ends the process");
    }
    tracing::info!(node = %home.me, incarnation = %home.incarnation(), "node started");
}
