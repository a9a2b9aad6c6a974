//! tarpc over its own TCP transport with bincode, set up as in its examples: one task per request.
//!
//! - Its transport leaves Nagle's algorithm on, and so does this: at 64 callers that makes it faster,
//!   since the kernel then batches what tarpc writes frame by frame.
//! - The payload is [`Bytes`], which serde writes as one slice; a `Vec<u8>` would be written byte by
//!   byte.
//! - It has no one-way messages.

use anyhow::Result;
use bytes::Bytes;
use futures_util::StreamExt as _;
use tarpc::serde_transport::tcp;
use tarpc::server::{BaseChannel, Channel as _};
use tarpc::tokio_serde::formats::Bincode;
use tarpc::{client, context};
use tokio::task::JoinHandle;

use super::{Client, Hits, Peer};
use crate::workload::{Kind, Workload};

/// The service: answers with what it is given.
#[tarpc::service]
pub trait Echo {
    /// Answers with `payload`.
    async fn echo(payload: Bytes) -> Bytes;
}

/// The service's implementation.
#[derive(Clone)]
struct Echoes(Hits);

impl Echo for Echoes {
    async fn echo(self, _: context::Context, payload: Bytes) -> Bytes {
        self.0.hit();
        payload
    }
}

/// tarpc.
#[derive(Debug)]
pub struct Tarpc;

impl Peer for Tarpc {
    const NAME: &'static str = "tarpc";
    type Server = JoinHandle<()>;
    type Client = EchoClient;

    fn can(workload: &Workload) -> bool {
        workload.kind == Kind::Call && workload.relays == 0 && workload.is_framed()
    }

    async fn serve(hits: Hits, _: Workload) -> Result<(Self::Server, String)> {
        let mut listener = tcp::listen("127.0.0.1:0", Bincode::default).await?;
        let addr = listener.local_addr().to_string();
        let accepting = tokio::spawn(async move {
            while let Some(Ok(transport)) = listener.next().await {
                let responses =
                    BaseChannel::with_defaults(transport).execute(Echoes(hits.clone()).serve());
                tokio::spawn(responses.for_each(|response| async {
                    tokio::spawn(response);
                }));
            }
        });
        Ok((accepting, addr))
    }

    async fn connect(addr: &str, _: Workload) -> Result<Self::Client> {
        let transport = tcp::connect(addr, Bincode::default).await?;
        Ok(EchoClient::new(client::Config::default(), transport).spawn())
    }
}

impl Client for EchoClient {
    type Reply = Bytes;

    async fn call(&self, payload: &Bytes, reply: &mut Bytes) -> Result<()> {
        *reply = self.echo(context::current(), payload.clone()).await?;
        Ok(())
    }
}
