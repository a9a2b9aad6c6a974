//! How many instructions a call, a message and a round trip on a stream take, and how often each
//! allocates memory, from the user's code and back to it: a node talks to itself, over the same lanes as to others but in memory, on one
//! thread.
//!
//! ```sh
//! cargo run --release --manifest-path bench/instructions/Cargo.toml            # fails if one takes 5 % more than before
//! cargo run --release --manifest-path bench/instructions/Cargo.toml -- --set   # makes that the number to keep
//! ```
//!
//! Counted by callgrind and dhat, so `valgrind` must be installed: of one build the count is the same within
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
/// Fewer than this do not count: few works allocate at all.
const A_FEW: f64 = 0.1;
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
    println!("{:27} {:>8} {:>8}  ratio", "", "now", "before");
    for (what, count) in [INSTRUCTIONS, ALLOCATIONS] {
        for work in WORKS {
            let each = (MANY - FEW) as f64;
            let now = (count(work, MANY) as f64 - count(work, FEW) as f64) / each;
            let name = format!("{what} of a {work}");
            let before = known.get(&name).copied().unwrap_or(now);
            is_worse |= now > before * TOO_MANY + A_FEW;
            println!("{name:27} {now:8.2} {before:8.2}  {:.3}", (now + A_FEW) / (before + A_FEW));
            found.insert(name, now);
        }
    }
    if is_set {
        let text: String =
            found.iter().map(|(name, now)| format!("\"{name}\" = {now:.2}\n")).collect();
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

/// What is counted, and how.
type Counted = (&'static str, fn(&str, u64) -> u64);

const INSTRUCTIONS: Counted = ("instructions", |work, times| {
    let said = under_valgrind(&["--tool=callgrind", "--callgrind-out-file=/dev/null"], work, times);
    number_behind("Collected : ", &said)
});

const ALLOCATIONS: Counted = ("allocations", |work, times| {
    let said = under_valgrind(&["--tool=dhat", "--dhat-out-file=/dev/null"], work, times);
    number_behind(" bytes in ", &said)
});

/// Does the work in a process of its own; what valgrind says of it.
fn under_valgrind(tool: &[&str], work: &str, times: u64) -> String {
    let output = Command::new("valgrind")
        .args(tool)
        .arg(std::env::current_exe().unwrap())
        .args([work, &times.to_string()])
        .output()
        .expect("valgrind is installed");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    said
}

/// The number behind the first such words.
fn number_behind(words: &str, said: &str) -> u64 {
    let (_, rest) = said.split_once(words).expect("valgrind tells the count");
    let digits = rest.chars().take_while(|digit| digit.is_ascii_digit() || *digit == ',');
    digits.filter(char::is_ascii_digit).collect::<String>().parse().expect("a number")
}

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("counts.toml")
}

fn read() -> BTreeMap<String, f64> {
    let text = std::fs::read_to_string(file()).unwrap_or_default();
    let number = |line: &str| {
        let (name, count) = line.split_once(" = ")?;
        Some((name.trim_matches('"').to_owned(), count.parse().ok()?))
    };
    text.lines().filter_map(number).collect()
}
