//! The yamux crate over one TCP connection: what streams cost without a handshake, without knowing
//! how they end, and without limits of their own.
//!
//! `yamux` has buffers below it and frames of 64 KiB; `yamux-bare` is the crate as it comes.

use std::future::poll_fn;
use std::task::Poll;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use futures_util::io::{AsyncRead, AsyncWrite};
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

/// The yamux crate with buffers.
#[derive(Debug)]
pub struct Buffered;

/// The yamux crate with its defaults, straight on the connection.
#[derive(Debug)]
pub struct Bare;

impl Peer for Buffered {
    const NAME: &'static str = "yamux";
    type Server = JoinHandle<()>;
    type Client = Opener;

    fn can(workload: &Workload) -> bool {
        matches!(workload.kind, Kind::Stream | Kind::Bulk)
    }

    async fn serve(hits: Hits, workload: Workload) -> Result<(Self::Server, String)> {
        serve(hits, workload, buffered).await
    }

    async fn connect(addr: &str, _: Workload) -> Result<Self::Client> {
        connect(addr, buffered).await
    }
}

impl Peer for Bare {
    const NAME: &'static str = "yamux-bare";
    type Server = JoinHandle<()>;
    type Client = Opener;

    fn can(workload: &Workload) -> bool {
        Buffered::can(workload)
    }

    async fn serve(hits: Hits, workload: Workload) -> Result<(Self::Server, String)> {
        serve(hits, workload, bare).await
    }

    async fn connect(addr: &str, _: Workload) -> Result<Self::Client> {
        connect(addr, bare).await
    }
}

fn buffered(stream: TcpStream, mode: Mode) -> Connection<Compat<BufStream<TcpStream>>> {
    let mut config = Config::default();
    config.set_split_send_size(BUFFER_BYTES);
    let stream = BufStream::with_capacity(BUFFER_BYTES, BUFFER_BYTES, stream);
    Connection::new(stream.compat(), config, mode)
}

fn bare(stream: TcpStream, mode: Mode) -> Connection<Compat<TcpStream>> {
    Connection::new(stream.compat(), Config::default(), mode)
}

/// Makes a connection of yamux of one of TCP.
type Make<T> = fn(TcpStream, Mode) -> Connection<T>;

async fn serve<T>(hits: Hits, workload: Workload, make: Make<T>) -> Result<(JoinHandle<()>, String)>
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let addr = listener.local_addr()?.to_string();
    let accepting = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).ok();
            tokio::spawn(serve_connection(make(stream, Mode::Server), hits.clone(), workload));
        }
    });
    Ok((accepting, addr))
}

async fn serve_connection<T>(mut connection: Connection<T>, hits: Hits, workload: Workload)
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(Ok(stream)) = poll_fn(|cx| connection.poll_next_inbound(cx)).await {
        tokio::spawn(serve_stream(stream.compat(), hits.clone(), workload));
    }
}

async fn connect<T>(addr: &str, make: Make<T>) -> Result<Opener>
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let stream = TcpStream::connect(addr).await?;
    stream.set_nodelay(true)?;
    let (orders, inbox) = mpsc::unbounded_channel();
    tokio::spawn(drive(make(stream, Mode::Client), inbox));
    Ok(Opener { orders })
}

type Order = oneshot::Sender<Stream>;

/// Opens what is ordered, and keeps all streams of the connection going.
async fn drive<T>(mut connection: Connection<T>, mut inbox: mpsc::UnboundedReceiver<Order>)
where
    T: AsyncRead + AsyncWrite + Unpin,
{
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
