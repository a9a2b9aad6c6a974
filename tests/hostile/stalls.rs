//! Peers that hold streams up, or let go of them, without a word.

use std::time::Duration;

use seaway::{Break, Builder, Config, StreamError};
use tokio::io::{AsyncReadExt, AsyncWriteExt, split};
use tokio::sync::watch;
use tokio::time::{interval, timeout};

use crate::config;
use crate::raw::pipes::yamux::{self, data, header};
use crate::streams::Stage;
use crate::support::events::{Heard, Say, events};
use crate::support::{soon, until};

/// A service that writes without end, and counts the bytes.
fn pour(builder: Builder, written: watch::Sender<usize>) -> Builder {
    builder.on_stream("pour", move |_, mut stream| {
        let written = written.clone();
        async move {
            while let Ok(len) = stream.write(&[0; 16 << 10]).await {
                written.send_modify(|written| *written += len);
            }
        }
    })
}

/// A service that reads in one task and writes in another, and says what broke each.
fn both(builder: Builder, say: Say<(&'static str, Break)>) -> Builder {
    builder.on_stream("both", move |_, stream| {
        let say = say.clone();
        let (mut reader, mut writer) = split(stream);
        async move {
            let cause = |error: std::io::Error| StreamError::of(&error).unwrap().cause;
            let heard = say.clone();
            let reading = tokio::spawn(async move {
                let error = reader.read_to_end(&mut Vec::new()).await.unwrap_err();
                heard.say(("read", cause(error)));
            });
            let mut pace = interval(Duration::from_millis(5));
            let error = loop {
                pace.tick().await;
                if let Err(error) = writer.write_all(b"x").await {
                    break error;
                }
            };
            say.say(("write", cause(error)));
            reading.await.unwrap();
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p10_what_a_peer_sends_is_read_though_it_reads_no_answer_to_a_ping() {
    let (pouring, mut written) = watch::channel(0);
    let stage = Stage::with(Config::default(), |builder| pour(builder, pouring)).await;
    let mut pipes = stage.hostile().await;
    let (pour, echo) = (pipes.preamble("pour"), pipes.preamble("echo"));
    pipes.open(3, &pour).await;
    // As much as it likes, but it takes nothing.
    pipes.write(&header(yamux::WINDOW, 0, 3, 1 << 30)).await;
    while timeout(Duration::from_millis(200), written.changed()).await.is_ok() {}
    let accepted = || stage.scene.node.stats().streams_accepted;
    let before = accepted();
    pipes.write(&header(yamux::PING, yamux::SYN, 0, 7)).await;
    pipes.open(5, &echo).await;
    // The lane lives for three heartbeats.
    let is_read = timeout(Duration::from_secs(1), until("a stream", || accepted() > before));
    assert!(is_read.await.is_ok(), "nothing was read behind the ping");
    drop(pipes);
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p13_a_reset_without_a_cause_breaks_both_halves_in_time() {
    let (say, mut heard): (_, Heard<(&'static str, Break)>) = events();
    let quick = config(|config| config.heartbeat = Duration::from_millis(100));
    let stage = Stage::with(quick, |builder| both(builder, say)).await;
    let mut pipes = stage.hostile().await;
    let preamble = pipes.preamble("both");
    pipes.open(3, &preamble).await;
    soon("a yes", pipes.accepted(3)).await.unwrap();
    pipes.write(&data(yamux::RST, 3, b"")).await;
    let mut broken = Vec::new();
    let breaks = async {
        while broken.len() < 2 {
            // Else the connection would be lost.
            assert!(pipes.is_live().await);
            broken.extend(heard.rest());
        }
    };
    soon("both breaks", breaks).await;
    broken.sort_unstable_by_key(|it| it.0);
    assert_eq!(broken, [("read", Break::Truncated), ("write", Break::Truncated)]);
    drop(pipes);
    stage.finish().await;
}

#[tokio::test]
async fn an_end_that_comes_before_its_stream_holds_whatever_the_peer_has_opened_since() {
    const RESET: u32 = 0x1_0007;
    let stage = Stage::new().await;
    let mut pipes = stage.hostile().await;
    let (end, preamble) = (pipes.end_of(3, 0, RESET), pipes.preamble("echo"));
    pipes.open(5, &preamble).await;
    soon("a yes", pipes.accepted(5)).await.unwrap();
    pipes.control(&end).await;
    assert!(soon("a pong", pipes.is_live()).await);
    pipes.open(3, &preamble).await;
    let answer = soon("an answer", pipes.answer(3)).await;
    assert_eq!(answer, (true, Vec::new()), "it was accepted");
    drop(pipes);
    stage.finish().await;
}
