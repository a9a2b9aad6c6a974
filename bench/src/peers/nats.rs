//! NATS: async-nats, and a nats-server between the two ends, which this program starts and ends.
//!
//! - A call is a request, which the only subscriber answers; one-way messages are published. Raw or
//!   typed makes a difference for the two ends only: they encode and decode protobuf.
//! - There is always one broker, which stands for the first relay; the second one is another
//!   broker, in a cluster with the first.
//! - Whoever publishes does not wait for who subscribes, so what waits is bounded by memory only:
//!   with the limits as they come, messages would be dropped.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use anyhow::{Context as _, Result};
use async_nats::{ConnectOptions, Message, Subject};
use bytes::Bytes;
use futures_util::StreamExt as _;
use prost::Message as _;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::{Client, Hits, Payload, Peer};
use crate::workload::{Kind, Workload};

/// Where all messages go.
const SUBJECT: Subject = Subject::from_static("bench");
/// How long a broker may take until it is ready, and until it knows of the subscriber.
const READY_MAX: Duration = Duration::from_secs(10);
/// A pause between two questions whether it does.
const ASK_EVERY: Duration = Duration::from_millis(10);

/// NATS.
#[derive(Debug)]
pub struct Nats;

impl Peer for Nats {
    const NAME: &'static str = "nats";
    type Server = (Broker, Option<JoinHandle<()>>);
    type Client = Publisher;

    fn missing() -> Option<&'static str> {
        let version = Command::new("nats-server").arg("--version").stdout(Stdio::null()).status();
        version.is_err().then_some("there is no nats-server on the PATH")
    }

    fn can(workload: &Workload) -> bool {
        workload.is_framed()
    }

    fn relays(workload: &Workload) -> usize {
        workload.relays.saturating_sub(1)
    }

    async fn serve(hits: Hits, workload: Workload) -> Result<(Self::Server, String)> {
        let broker = Broker::start("")?;
        let client = connect(&broker.told).await?;
        let mut subscriber = client.subscribe(SUBJECT).await?;
        client.flush().await?;
        let serving = tokio::spawn(async move {
            while let Some(message) = subscriber.next().await {
                if let Err(error) = serve(&client, message, &hits, &workload).await {
                    eprintln!("nats: the server failed: {error:#}");
                }
            }
        });
        let told = broker.told.clone();
        Ok(((broker, Some(serving)), told))
    }

    async fn relay(_: Workload, to: &str) -> Result<(Self::Server, String)> {
        let broker = Broker::start(to)?;
        let told = broker.told.clone();
        Ok(((broker, None), told))
    }

    async fn connect(addr: &str, _: Workload) -> Result<Self::Client> {
        let client = connect(addr).await?;
        let is_ready = async {
            while client.request(SUBJECT, Bytes::new()).await.is_err() {
                sleep(ASK_EVERY).await;
            }
        };
        timeout(READY_MAX, is_ready).await.context("nobody answers")?;
        Ok(Publisher { client })
    }
}

/// Handles one message; one without a payload asks whether somebody is there.
async fn serve(
    client: &async_nats::Client,
    message: Message,
    hits: &Hits,
    workload: &Workload,
) -> Result<()> {
    if !message.payload.is_empty() {
        if workload.kind == Kind::Typed {
            drop(Payload::decode(message.payload.clone())?);
        }
        hits.hit();
    }
    if let Some(asker) = message.reply {
        client.publish(asker, message.payload).await?;
    }
    Ok(())
}

/// Connects to the broker that told this.
async fn connect(told: &str) -> Result<async_nats::Client> {
    let addr = told.split(' ').next().unwrap_or(told);
    let options = ConnectOptions::new().subscription_capacity(usize::MAX >> 4);
    Ok(options.connect(addr).await?)
}

/// The publishing side.
#[derive(Debug)]
pub struct Publisher {
    client: async_nats::Client,
}

impl Client for Publisher {
    type Reply = Bytes;

    async fn call(&self, payload: &Bytes, reply: &mut Bytes) -> Result<()> {
        *reply = self.client.request(SUBJECT, payload.clone()).await?.payload;
        Ok(())
    }

    async fn send(&self, payload: &Bytes) -> Result<()> {
        Ok(self.client.publish(SUBJECT, payload.clone()).await?)
    }

    async fn send_typed(&self, payload: &Bytes) -> Result<()> {
        let message = Payload { bytes: payload.clone() };
        self.send(&message.encode_to_vec().into()).await
    }
}

/// A nats-server; ended when dropped.
#[derive(Debug)]
pub struct Broker {
    process: Child,
    /// Where clients connect, and where other brokers do.
    told: String,
}

impl Broker {
    /// Starts one, and has it join the cluster of the one that told `next`.
    fn start(next: &str) -> Result<Self> {
        let mut process = Command::new("nats-server")
            .args(["-c", "/dev/stdin"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("nats-server does not start")?;
        let (stdin, stderr) = (process.stdin.take(), process.stderr.take());
        let mut broker = Self { process, told: String::new() };
        let route = next.split_once(' ').map_or_else(String::new, |(_, at)| format!("nats://{at}"));
        // Port -1 is any that is free; what clients have not taken may wait for long.
        write!(
            stdin.context("no standard input")?,
            "listen: 127.0.0.1:-1\nmax_pending: 1GB\nwrite_deadline: 60s\n\
             cluster {{ name: bench, listen: 127.0.0.1:-1, routes: [{route}] }}\n",
        )?;
        let (found, places) = channel();
        let lines = BufReader::new(stderr.context("no standard error")?).lines();
        // Reads to the end, or the broker would find its log closed.
        std::thread::spawn(move || {
            lines.map_while(Result::ok).for_each(|line| tell(&line, &found));
        });
        let [mut clients, mut routes] = [const { String::new() }; 2];
        while clients.is_empty() || routes.is_empty() {
            match places.recv_timeout(READY_MAX).context("nats-server does not get ready")? {
                Place::Clients(at) => clients = at,
                Place::Routes(at) => routes = at,
            }
        }
        broker.told = format!("{clients} {routes}");
        Ok(broker)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        for outcome in [self.process.kill(), self.process.wait().map(drop)] {
            if let Err(error) = outcome {
                eprintln!("nats: the broker cannot be ended: {error}");
            }
        }
    }
}

/// Where a broker listens, as its log says.
enum Place {
    Clients(String),
    Routes(String),
}

fn tell(line: &str, found: &Sender<Place>) {
    let at = |text| line.split_once(text).map(|(_, at)| at.to_owned());
    let place = at("Listening for client connections on ")
        .map(Place::Clients)
        .or_else(|| at("Listening for route connections on ").map(Place::Routes));
    if let Some(place) = place {
        // Nobody listens once both are known.
        found.send(place).ok();
    }
}
