//! The bare yamux crate over one TCP connection, with buffers below it and frames of 64 KiB: what
//! streams cost without a handshake, without knowing how they end, and without limits of their own.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::task::Poll;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use tokio::io::BufStream;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::compat::{Compat, FuturesAsyncReadCompatExt as _, TokioAsyncReadCompatExt as _};
use yamux::{Config, Connection, Mode, Stream};

use super::{Client, Duplex, Hits, Peer, serve_stream};
use crate::workload::{Kind, Workload};

/// Bytes of each of the two buffers, and of the largest frame.
const BUFFER_BYTES: usize = 64 << 10;

/// The yamux crate.
#[derive(Debug)]
pub struct Yamux;

impl Peer for Yamux {
    const NAME: &'static str = "yamux";
    type Server = JoinHandle<()>;
    type Client = Opener;

    fn can(workload: &Workload) -> bool {
        matches!(workload.kind, Kind::Stream | Kind::Bulk)
    }

    async fn serve(hits: Hits, workload: Workload) -> Result<(Self::Server, String)> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let addr = listener.local_addr()?.to_string();
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(mut connection) = connection(stream, Mode::Server) else { continue };
                let hits = hits.clone();
                tokio::spawn(async move {
                    while let Some(Ok(stream)) =
                        poll_fn(|cx| connection.poll_next_inbound(cx)).await
                    {
                        tokio::spawn(serve_stream(stream.compat(), hits.clone(), workload));
                    }
                });
            }
        });
        Ok((accepting, addr))
    }

    async fn connect(addr: &str, _: Workload) -> Result<Self::Client> {
        let stream = TcpStream::connect(addr.parse::<SocketAddr>()?).await?;
        let connection = connection(stream, Mode::Client)?;
        let (orders, inbox) = mpsc::unbounded_channel();
        tokio::spawn(drive(connection, inbox));
        Ok(Opener { orders })
    }
}

fn connection(stream: TcpStream, mode: Mode) -> Result<Connection<Compat<BufStream<TcpStream>>>> {
    stream.set_nodelay(true)?;
    let mut config = Config::default();
    config.set_split_send_size(BUFFER_BYTES);
    let stream = BufStream::with_capacity(BUFFER_BYTES, BUFFER_BYTES, stream).compat();
    Ok(Connection::new(stream, config, mode))
}

type Order = oneshot::Sender<Stream>;

/// Opens what is ordered, and keeps all streams of the connection going.
async fn drive(
    mut connection: Connection<Compat<BufStream<TcpStream>>>,
    mut inbox: mpsc::UnboundedReceiver<Order>,
) {
    let mut waiting: Option<Order> = None;
    poll_fn(|cx| {
        loop {
            if waiting.is_none()
                && let Poll::Ready(Some(order)) = inbox.poll_recv(cx)
            {
                waiting = Some(order);
            }
            if waiting.is_some()
                && let Poll::Ready(Ok(stream)) = connection.poll_new_outbound(cx)
                && let Some(order) = waiting.take()
            {
                drop(order.send(stream));
                continue;
            }
            return connection.poll_next_inbound(cx).map(drop);
        }
    })
    .await;
}

/// Opens streams.
#[derive(Debug)]
pub struct Opener {
    orders: mpsc::UnboundedSender<Order>,
}

impl Client for Opener {
    type Reply = Bytes;

    async fn call(&self, _: &Bytes, _: &mut Bytes) -> Result<()> {
        bail!("yamux has no calls")
    }

    async fn stream(&self) -> Result<Box<dyn Duplex>> {
        let (order, stream) = oneshot::channel();
        self.orders.send(order).ok().context("the connection is gone")?;
        Ok(Box::new(stream.await.context("the connection is gone")?.compat()))
    }
}
