//! The client's process: tasks that call, or send, in a loop.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::clock::Clock;
use crate::control::{Answer, Command, Latency, Snapshot, answer, obey, runtime};
use crate::peers::{Client, Duplex, Peer};
use crate::workload::{Kind, Workload};

/// A call that takes longer than this once the window has ended is lost.
const LAST_CALL_MAX: Duration = Duration::from_secs(10);

const WARMING: u8 = 0;
const MEASURING: u8 = 1;
const ENDING: u8 = 2;

/// What the tasks share with the main thread.
#[derive(Debug)]
struct Shared {
    phase: AtomicU8,
    done: Box<[Count]>,
}

/// What one task has done. Only that task writes it, and no other count is on its cache lines, so
/// counting costs every peer the same next to nothing.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Count(AtomicU64);

/// A task's sampled latencies, in nanoseconds.
type Samples = Vec<u32>;

/// Loads the server at `addr` until the parent has seen enough.
pub fn run<P: Peer>(workload: Workload, addr: &str) -> Result<()> {
    let runtime = runtime()?;
    let client = Arc::new(runtime.block_on(P::connect(addr, workload))?);
    let shared = Arc::new(Shared {
        phase: AtomicU8::new(WARMING),
        done: (0..workload.tasks).map(|_| Count::default()).collect(),
    });
    let clock = Clock::start();
    let mut tasks: Vec<_> = (0..workload.tasks)
        .map(|index| {
            let (client, shared) = (client.clone(), shared.clone());
            runtime.spawn(async move {
                match workload.kind {
                    Kind::Call => {
                        let call = Calling { client: &*client, reply: Default::default() };
                        echo_loop(call, &shared, index, &workload).await
                    }
                    Kind::Stream => {
                        let back = vec![0; workload.payload_bytes];
                        let stream = Streaming { stream: client.stream().await?, back };
                        echo_loop(stream, &shared, index, &workload).await
                    }
                    Kind::Bulk => {
                        let sink = Pouring(client.stream().await?);
                        send_loop(sink, &shared, index, &workload).await
                    }
                    Kind::Raw => send_loop(Sending(&*client), &shared, index, &workload).await,
                    Kind::Typed => {
                        send_loop(SendingTyped(&*client), &shared, index, &workload).await
                    }
                }
            })
        })
        .collect();
    answer(&Answer::Up(String::new()))?;
    obey(|command| {
        let mut samples = Samples::new();
        match command {
            Command::Begin => shared.phase.store(MEASURING, Ordering::Relaxed),
            _ => {
                shared.phase.store(ENDING, Ordering::Relaxed);
                samples = runtime.block_on(join(std::mem::take(&mut tasks)))?;
            }
        }
        let count = shared.done.iter().map(|count| count.0.load(Ordering::Relaxed)).sum();
        let snapshot = clock.snapshot(count)?;
        // Sorting takes CPU time, so it comes after the snapshot.
        Ok(Snapshot { latency: percentiles(samples), ..snapshot })
    })?;
    runtime.shutdown_background();
    Ok(())
}

/// Whatever gives back a payload.
trait Echo: Send {
    /// Whether what came back is the payload.
    fn echo(&mut self, payload: &Bytes) -> impl Future<Output = Result<bool>> + Send;
}

struct Calling<'c, C: Client> {
    client: &'c C,
    reply: C::Reply,
}

impl<C: Client> Echo for Calling<'_, C> {
    async fn echo(&mut self, payload: &Bytes) -> Result<bool> {
        self.client.call(payload, &mut self.reply).await?;
        Ok(self.reply.as_ref() == payload)
    }
}

struct Streaming {
    stream: Box<dyn Duplex>,
    back: Vec<u8>,
}

impl Echo for Streaming {
    async fn echo(&mut self, payload: &Bytes) -> Result<bool> {
        self.stream.write_all(payload).await?;
        self.stream.read_exact(&mut self.back).await?;
        Ok(self.back == *payload)
    }
}

/// One caller: calls, and checks that its own payload comes back.
async fn echo_loop(
    mut echo: impl Echo,
    shared: &Shared,
    index: usize,
    workload: &Workload,
) -> Result<Samples> {
    let payload = payload(index, workload);
    let mut samples = Samples::with_capacity(1 << 14);
    // Tasks begin at different places, so that not all of them sample in the same batch.
    let mut until_sample = index as u64 % workload.sample_every();
    for done in 1.. {
        let phase = shared.phase.load(Ordering::Relaxed);
        if phase == ENDING {
            break;
        }
        let started = (until_sample == 0).then(Instant::now);
        let is_echo = echo.echo(&payload).await?;
        if let Some(started) = started {
            until_sample = workload.sample_every();
            if phase == MEASURING {
                samples.push(u32::try_from(started.elapsed().as_nanos()).unwrap_or(u32::MAX));
            }
        }
        until_sample -= 1;
        ensure!(is_echo, "a reply is not the echo of its request");
        shared.done[index].0.store(done, Ordering::Relaxed);
    }
    Ok(samples)
}

/// Whatever takes payloads.
trait Sink: Send {
    /// Waits while the peer's own queue is full.
    fn put(&mut self, payload: &Bytes) -> impl Future<Output = Result<()>> + Send;

    /// Waits until the other end has all, as far as it can tell.
    fn end(&mut self) -> impl Future<Output = Result<()>> + Send {
        async { Ok(()) }
    }
}

struct Sending<'c, C: Client>(&'c C);

impl<C: Client> Sink for Sending<'_, C> {
    async fn put(&mut self, payload: &Bytes) -> Result<()> {
        self.0.send(payload).await
    }
}

struct SendingTyped<'c, C: Client>(&'c C);

impl<C: Client> Sink for SendingTyped<'_, C> {
    async fn put(&mut self, payload: &Bytes) -> Result<()> {
        self.0.send_typed(payload).await
    }
}

struct Pouring(Box<dyn Duplex>);

impl Sink for Pouring {
    async fn put(&mut self, payload: &Bytes) -> Result<()> {
        Ok(self.0.write_all(payload).await?)
    }

    async fn end(&mut self) -> Result<()> {
        self.0.shutdown().await?;
        // It ends its direction, or goes, when it has read all.
        self.0.read_to_end(&mut Vec::new()).await.ok();
        Ok(())
    }
}

/// One sender. Its latency is not taken: it would tell how long the peer's queue is.
async fn send_loop(
    mut sink: impl Sink,
    shared: &Shared,
    index: usize,
    workload: &Workload,
) -> Result<Samples> {
    let payload = payload(index, workload);
    for done in 1.. {
        if shared.phase.load(Ordering::Relaxed) == ENDING {
            break;
        }
        sink.put(&payload).await?;
        shared.done[index].0.store(done, Ordering::Relaxed);
    }
    sink.end().await?;
    Ok(Samples::new())
}

/// A payload that no other task has.
fn payload(index: usize, workload: &Workload) -> Bytes {
    let mark = (index as u64).to_le_bytes();
    mark.into_iter().cycle().take(workload.payload_bytes).collect()
}

/// Waits for all tasks and gathers their samples.
async fn join(tasks: Vec<JoinHandle<Result<Samples>>>) -> Result<Samples> {
    let mut all = Samples::new();
    for task in tasks {
        let samples = timeout(LAST_CALL_MAX, task).await.context("a call is never answered")??;
        all.append(&mut samples?);
    }
    Ok(all)
}

/// Sorts the samples and picks the percentiles; none if there are no samples.
pub fn percentiles(mut samples: Samples) -> Option<Latency> {
    samples.sort_unstable();
    let last = samples.len().checked_sub(1)?;
    let at = |thousandths: usize| samples[last * thousandths / 1000];
    Some(Latency { p50_nanos: at(500), p99_nanos: at(990), p999_nanos: at(999) })
}
