//! tonic over HTTP/2 without TLS, with its defaults and [`ProstCodec`].
//!
//! - What its code generator would make of a `.proto` file is written by hand here: [`Echo`] is the
//!   server's part of it.
//! - One-way messages go over one streaming call that all tasks share, through a channel, since
//!   gRPC has none; streams are streaming calls both ways, with a message for each write.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt as _};
use futures_util::stream::BoxStream;
use futures_util::{SinkExt as _, Stream, StreamExt as _, TryStreamExt as _};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::io::{CopyToBytes, SinkWriter, StreamReader};
use tokio_util::sync::{PollSendError, PollSender};
use tonic::body::Body;
use tonic::client::Grpc;
use tonic::codegen::tokio_stream::wrappers::ReceiverStream;
use tonic::codegen::{Service, http};
use tonic::server;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

use super::{Client, Duplex, Hits, Payload, Peer, serve_stream};
use crate::workload::{Kind, Workload};

/// Messages between the tasks and the connection.
const MESSAGES_MAX: usize = 1024;
/// The same of one stream, where they are up to 64 KiB each.
const WRITES_MAX: usize = 16;

type Codec = ProstCodec<Payload, Payload>;

/// tonic.
#[derive(Debug)]
pub struct Tonic;

impl Peer for Tonic {
    const NAME: &'static str = "tonic";
    type Server = JoinHandle<()>;
    type Client = Calls;

    fn can(workload: &Workload) -> bool {
        workload.relays == 0 && !workload.is_troubled && workload.kind != Kind::Raw
    }

    async fn serve(hits: Hits, workload: Workload) -> Result<(Self::Server, String)> {
        let incoming = TcpIncoming::bind("127.0.0.1:0".parse()?)?.with_nodelay(Some(true));
        let addr = incoming.local_addr()?;
        let echo = Echo { hits, workload };
        let serving = tokio::spawn(async move {
            if let Err(error) = Server::builder().serve_with_incoming(echo, incoming).await {
                eprintln!("tonic: the server failed: {error}");
            }
        });
        Ok((serving, addr.to_string()))
    }

    async fn connect(addr: &str, workload: Workload) -> Result<Self::Client> {
        let addr: SocketAddr = addr.parse()?;
        let channel = Endpoint::from_shared(format!("http://{addr}"))?.connect().await?;
        let (messages, outbox) = mpsc::channel(MESSAGES_MAX);
        if workload.kind == Kind::Typed {
            let mut grpc = ready(&channel).await?;
            tokio::spawn(async move {
                let request = Request::new(ReceiverStream::new(outbox));
                let answer: Result<Response<Payload>, Status> =
                    grpc.client_streaming(request, path("/bench.Echo/Drop"), Codec::new()).await;
                if let Err(status) = answer {
                    eprintln!("tonic: the stream of messages ended: {status}");
                }
            });
        }
        Ok(Calls { channel, messages })
    }
}

const fn path(path: &'static str) -> http::uri::PathAndQuery {
    http::uri::PathAndQuery::from_static(path)
}

async fn ready(channel: &Channel) -> Result<Grpc<Channel>> {
    let mut grpc = Grpc::new(channel.clone());
    grpc.ready().await?;
    Ok(grpc)
}

/// The service.
#[derive(Debug, Clone)]
struct Echo {
    hits: Hits,
    workload: Workload,
}

impl Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Infallible>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let echo = self.clone();
        async move {
            let mut grpc = server::Grpc::new(Codec::new());
            Ok(match request.uri().path() {
                "/bench.Echo/Echo" => grpc.unary(Unary(echo), request).await,
                "/bench.Echo/Drop" => grpc.client_streaming(Dropping(echo), request).await,
                "/bench.Echo/Pipe" => grpc.streaming(Pipe(echo), request).await,
                _ => Status::unimplemented("no such method").into_http(),
            })
        }
        .boxed()
    }
}

struct Unary(Echo);

impl server::UnaryService<Payload> for Unary {
    type Response = Payload;
    type Future = std::future::Ready<Result<Response<Payload>, Status>>;

    fn call(&mut self, request: Request<Payload>) -> Self::Future {
        self.0.hits.hit();
        std::future::ready(Ok(Response::new(request.into_inner())))
    }
}

struct Dropping(Echo);

impl server::ClientStreamingService<Payload> for Dropping {
    type Response = Payload;
    type Future = BoxFuture<'static, Result<Response<Payload>, Status>>;

    fn call(&mut self, request: Request<Streaming<Payload>>) -> Self::Future {
        let hits = self.0.hits.clone();
        async move {
            let mut messages = request.into_inner();
            while messages.message().await?.is_some() {
                hits.hit();
            }
            Ok(Response::new(Payload::default()))
        }
        .boxed()
    }
}

struct Pipe(Echo);

impl server::StreamingService<Payload> for Pipe {
    type Response = Payload;
    type ResponseStream = BoxStream<'static, Result<Payload, Status>>;
    type Future = std::future::Ready<Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Streaming<Payload>>) -> Self::Future {
        let (messages, outbox) = mpsc::channel(WRITES_MAX);
        let stream = duplex(request.into_inner(), messages);
        tokio::spawn(serve_stream(stream, self.0.hits.clone(), self.0.workload));
        std::future::ready(Ok(Response::new(written(outbox).map(Ok).boxed())))
    }
}

/// A stream of bytes made of what comes and of where the bytes go that each write is made of.
fn duplex(inbound: Streaming<Payload>, outbound: mpsc::Sender<Bytes>) -> impl Duplex {
    let read = StreamReader::new(inbound.map_ok(|message| message.bytes).map_err(io::Error::other));
    let sink = PollSender::new(outbound)
        .sink_map_err(|_: PollSendError<_>| io::Error::from(io::ErrorKind::BrokenPipe));
    tokio::io::join(read, SinkWriter::new(CopyToBytes::new(sink)))
}

/// Messages of what is written to a [`duplex`].
fn written(outbox: mpsc::Receiver<Bytes>) -> impl Stream<Item = Payload> {
    ReceiverStream::new(outbox).map(|bytes| Payload { bytes })
}

/// The calling side.
#[derive(Debug)]
pub struct Calls {
    channel: Channel,
    messages: mpsc::Sender<Payload>,
}

impl Client for Calls {
    type Reply = Bytes;

    async fn call(&self, payload: &Bytes, reply: &mut Bytes) -> Result<()> {
        let request = Request::new(Payload { bytes: payload.clone() });
        let mut grpc = ready(&self.channel).await?;
        let answer: Response<Payload> =
            grpc.unary(request, path("/bench.Echo/Echo"), Codec::new()).await?;
        *reply = answer.into_inner().bytes;
        Ok(())
    }

    async fn send_typed(&self, payload: &Bytes) -> Result<()> {
        let message = Payload { bytes: payload.clone() };
        self.messages.send(message).await.ok().context("the stream of messages has ended")
    }

    async fn stream(&self) -> Result<Box<dyn Duplex>> {
        let (messages, outbox) = mpsc::channel(WRITES_MAX);
        let mut grpc = ready(&self.channel).await?;
        let request = Request::new(written(outbox));
        let answer = grpc.streaming(request, path("/bench.Echo/Pipe"), Codec::new()).await?;
        Ok(Box::new(duplex(answer.into_inner(), messages)))
    }
}
