//! How many instructions a call, a message and a round trip on a stream take, from the user's code
//! and back to it: a node talks to itself, over the same lanes as to others but in memory, on one
//! thread.
//!
//! ```sh
//! cargo run --release --manifest-path bench/instructions/Cargo.toml            # fails if one takes 5 % more than before
//! cargo run --release --manifest-path bench/instructions/Cargo.toml -- --set   # makes that the number to keep
//! ```
//!
//! Counted by callgrind, so `valgrind` must be installed: of one build the count is the same within
//! a fraction of a per cent, whatever else the machine does. Each work is done twice, a few and many
//! times; what the difference took is what is told.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark may panic")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use seaway::discovery::InProcess;
use seaway::{MessageId, Method, Node};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

/// More than the committed number by this factor is a failure.
const TOO_MANY: f64 = 1.05;
/// How often each is done.
const FEW: u64 = 500;
const MANY: u64 = 5_500;

const ECHO: Method<Payload, Payload> = Method::new("bench.Echo/Echo");
const DROP: MessageId = MessageId::of("bench.Drop");
const WORKS: [&str; 4] = ["lonely call", "call", "message", "stream"];
/// Callers, or senders, at once.
const CROWD: u64 = 50;

#[derive(Clone, PartialEq, prost::Message)]
struct Payload {
    #[prost(bytes = "bytes", tag = "1")]
    bytes: bytes::Bytes,
}

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args().skip(1).collect();
    match &args[..] {
        [work, times] => do_it(work, times.parse().expect("a number")),
        [] => return compare(false),
        [set] if set == "--set" => return compare(true),
        other => {
            eprintln!("unknown arguments: {other:?}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// The child's part.
fn do_it(work: &str, times: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (said, mut heard) = mpsc::unbounded_channel();
        let node = Node::builder("1.1.1")
            .in_process(&InProcess::new())
            .on_call(ECHO, |_, payload| async move { Ok(payload) })
            .on_bytes(DROP, move |_, _| {
                said.send(()).unwrap();
                async {}
            })
            .on_stream("echo", |_, mut stream| async move {
                let mut bytes = [0; 64];
                while stream.read_exact(&mut bytes).await.is_ok() {
                    stream.write_all(&bytes).await.unwrap();
                }
            })
            .start()
            .await
            .unwrap();
        match work {
            "lonely call" => calls(&node, times).await,
            "call" => {
                let crowd = (0..CROWD).map(|_| {
                    let node = node.clone();
                    tokio::spawn(async move { calls(&node, times / CROWD).await })
                });
                for caller in crowd.collect::<Vec<_>>() {
                    caller.await.unwrap();
                }
            }
            "message" => {
                for _ in 0..times / CROWD {
                    for _ in 0..CROWD {
                        node.send_bytes(node.address(), DROP, &[7; 64]).await.unwrap();
                    }
                    for _ in 0..CROWD {
                        heard.recv().await.unwrap();
                    }
                }
            }
            _ => {
                let mut stream = node.open_stream(node.address(), "echo").await.unwrap();
                for _ in 0..times {
                    stream.write_all(&[7; 64]).await.unwrap();
                    stream.read_exact(&mut [0; 64]).await.unwrap();
                }
            }
        }
    });
}

async fn calls(node: &Node, times: u64) {
    let payload = Payload { bytes: bytes::Bytes::from_static(&[7; 64]) };
    for _ in 0..times {
        node.call(node.address(), ECHO, payload.clone()).await.unwrap();
    }
}

fn compare(is_set: bool) -> ExitCode {
    let known = read();
    let (mut found, mut is_worse) = (BTreeMap::new(), false);
    println!("instructions     now  before  ratio");
    for work in WORKS {
        let now = (instructions(work, MANY) - instructions(work, FEW)) / (MANY - FEW);
        let before = known.get(work).copied().unwrap_or(now);
        let ratio = now as f64 / before as f64;
        is_worse |= ratio > TOO_MANY;
        println!("{work:12} {now:7} {before:7}  {ratio:.3}");
        found.insert(work, now);
    }
    if is_set {
        let text: String = found.iter().map(|(work, now)| format!("{work} = {now}\n")).collect();
        std::fs::write(file(), text).expect("the file can be written");
        return ExitCode::SUCCESS;
    }
    if is_worse {
        eprintln!(
            "more than {TOO_MANY} times as many as {} has: see what costs, or set it anew",
            file().display()
        );
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// How many a process of its own takes.
fn instructions(work: &str, times: u64) -> u64 {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe().unwrap())
        .args([work, &times.to_string()])
        .output()
        .expect("valgrind is installed");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let count = said.lines().find_map(|line| line.split_once("Collected : "));
    count.and_then(|(_, count)| count.trim().parse().ok()).expect("callgrind tells the count")
}

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("counts.toml")
}

fn read() -> BTreeMap<String, u64> {
    let text = std::fs::read_to_string(file()).unwrap_or_default();
    let number = |line: &str| {
        let (work, count) = line.split_once(" = ")?;
        Some((work.to_owned(), count.parse().ok()?))
    };
    text.lines().filter_map(number).collect()
}
