//! Peers that have proved who they are, and break the rules of the stream lane.

use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use seaway::{Break, Builder, Config, LogicalAddr, Node, Stream, StreamError};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy, split};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::interval;

use crate::raw::pipes::yamux::{self, data, header};
use crate::raw::pipes::{CONTROL, Pipes};
use crate::raw::{Frame, Peer, RPC, Raw, STREAM, bits, kind, reason};
use crate::resources::is_served;
use crate::support::events::{Heard, Say, events};
use crate::support::{addr, soon};
use crate::{FRIEND, NODE, PEER, Scene, config};

/// How often anything but a test panicked in this process.
pub(crate) fn panics() -> &'static AtomicUsize {
    static PANICS: AtomicUsize = AtomicUsize::new(0);
    static LISTEN: Once = Once::new();
    LISTEN.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if panic.location().is_none_or(|at| !at.file().starts_with("tests/")) {
                PANICS.fetch_add(1, Ordering::SeqCst);
            }
            loud(panic);
        }));
    });
    &PANICS
}

/// What yamux lets a stream begin with.
const WINDOW: usize = 256 << 10;

/// Serves streams: "echo" gives back what comes, "hold" reads nothing.
pub(crate) fn serve(builder: Builder) -> Builder {
    let builder = builder.on_stream("hold", |_, stream| async move {
        let _held = stream;
        std::future::pending::<()>().await;
    });
    builder.on_stream("echo", |_, stream| async move {
        let (mut reader, mut writer) = split(stream);
        copy(&mut reader, &mut writer).await.ok();
        writer.shutdown().await.ok();
    })
}

/// Dials until it is let in: the lane before may not be over yet.
pub(crate) async fn enter(at: std::net::SocketAddr, peer: &Peer, lane: u8) -> Raw {
    let mut pace = interval(Duration::from_millis(5));
    let entering = async {
        loop {
            pace.tick().await;
            if let Ok(raw) = peer.dial(at, NODE, lane).await {
                return raw;
            }
        }
    };
    soon("a handshake", entering).await
}

/// Holds the rpc lane of a peer, so that its streams have a pulse.
pub(crate) fn keep(mut pulse: Raw) -> JoinHandle<()> {
    tokio::spawn(async move { pulse.closed().await })
}

/// One who keeps to the rules: has a stream to the node all the time.
pub(crate) struct Witness {
    pub(crate) node: Node,
    held: Stream,
}

impl Witness {
    pub(crate) async fn new(node: Node) -> Self {
        let held = soon("a stream", node.open_stream(addr(NODE), "echo")).await.unwrap();
        Self { node, held }
    }

    /// The stream goes on, another one can be opened, and calls are answered.
    pub(crate) async fn is_undisturbed(&mut self) {
        let mut fresh = soon("a stream", self.node.open_stream(addr(NODE), "echo")).await.unwrap();
        for stream in [&mut self.held, &mut fresh] {
            stream.write_all(b"still?").await.unwrap();
            let mut back = [0; 6];
            soon("the echo", stream.read_exact(&mut back)).await.unwrap();
            assert_eq!(&back, b"still?");
        }
        fresh.shutdown().await.unwrap();
        soon("the end", fresh.read_to_end(&mut Vec::new())).await.unwrap();
        assert_eq!(crate::echo(&self.node, NODE).await, Ok(crate::text("hi")));
    }
}

/// The node under test, a witness, and the pulse of the hostile peer.
pub(crate) struct Stage {
    pub(crate) scene: Scene,
    pub(crate) witness: Witness,
    _pulse: JoinHandle<()>,
}

impl Stage {
    pub(crate) async fn new() -> Self {
        Self::with(Config::default(), |builder| builder).await
    }

    pub(crate) async fn with(config: Config, change: impl FnOnce(Builder) -> Builder) -> Self {
        panics();
        let scene = Scene::with(|builder| change(serve(builder.config(config)))).await;
        let witness = Witness::new(scene.cluster.node(FRIEND).await).await;
        let _pulse = keep(enter(scene.at(), &Peer::new(PEER), RPC).await);
        Self { scene, witness, _pulse }
    }

    /// The stream lane of the hostile peer, with a control stream.
    pub(crate) async fn hostile(&self) -> Pipes {
        let mut pipes = Pipes::new(enter(self.scene.at(), &Peer::new(PEER), STREAM).await);
        pipes.begin().await;
        pipes
    }

    pub(crate) async fn finish(mut self) {
        self.witness.is_undisturbed().await;
        // And whoever was hostile is served once it keeps to the rules.
        let mut pipes = self.hostile().await;
        assert!(soon("a pong", pipes.is_live()).await);
        let preamble = pipes.preamble("echo");
        assert!(pipes.open(3, &preamble).await);
        soon("a yes", pipes.accepted(3)).await.unwrap();
        assert_eq!(panics().load(Ordering::SeqCst), 0);
    }
}

/// The first frame of yamux that says that the connection is to end.
async fn go_away(pipes: &mut Pipes) -> bool {
    while let Some((tag, ..)) = pipes.next().await {
        if tag == yamux::GO_AWAY {
            return true;
        }
    }
    false
}

#[tokio::test]
async fn p19_what_is_no_frame_of_yamux_ends_the_lane_and_nothing_else() {
    let mut stage = Stage::new().await;
    let cases: [(&str, Vec<u8>); 6] = [
        ("another version", vec![1, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0]),
        ("an unknown type", header(4, 0, 3, 0)),
        ("a huge body", header(yamux::DATA, yamux::SYN, 3, u32::MAX)),
        ("a body over the limit", header(yamux::DATA, yamux::SYN, 3, (1 << 20) + 1)),
        ("a go-away", header(yamux::GO_AWAY, 0, 0, 0)),
        ("a go-away of a later version", header(yamux::GO_AWAY, 0xff, 77, u32::MAX)),
    ];
    for (what, bytes) in cases {
        let mut pipes = stage.hostile().await;
        pipes.write(&bytes).await;
        soon(what, pipes.closed()).await;
        stage.witness.is_undisturbed().await;
    }
    stage.finish().await;
}

/// Frames of yamux that break its rules.
fn violations(pipes: &Pipes) -> Vec<(&'static str, Vec<u8>)> {
    let large = vec![0; WINDOW + 1];
    let hold = data(yamux::SYN, 3, &pipes.preamble("hold").encode());
    let then = |bytes: Vec<u8>| [&hold[..], &bytes].concat();
    let credit = u32::MAX;
    vec![
        ("an id of ours", data(yamux::SYN, 2, b"x")),
        ("the id of no stream", data(yamux::SYN, 0, b"x")),
        ("an id of ours by its window", header(yamux::WINDOW, yamux::SYN, 4, 1)),
        ("an id that is taken", data(yamux::SYN, CONTROL, b"x")),
        ("a pong that nobody asked for", header(yamux::PING, yamux::ACK, 0, 0xdead_beef)),
        ("more credit than numbers", header(yamux::WINDOW, yamux::SYN, 3, credit)),
        ("credit upon credit", then(header(yamux::WINDOW, 0, 3, credit).repeat(2))),
        ("a beginning over the window", data(yamux::SYN, 3, &large)),
        ("a window that overflows", then(data(0, 3, &large))),
        ("a window that overflows in steps", then(data(0, 3, &[0; 1 << 10]).repeat(257))),
    ]
}

#[tokio::test]
async fn p19_a_rule_of_yamux_that_is_broken_is_named_and_harms_nobody_else() {
    let mut stage = Stage::new().await;
    let count = violations(&stage.hostile().await).len();
    for n in 0..count {
        let mut pipes = stage.hostile().await;
        let (what, bytes) = violations(&pipes).swap_remove(n);
        pipes.write(&bytes).await;
        assert!(soon(what, go_away(&mut pipes)).await, "{what}");
        stage.witness.is_undisturbed().await;
    }
    stage.finish().await;
}

#[tokio::test]
async fn p19_frames_of_streams_that_are_not_there_are_passed_over() {
    let stage = Stage::new().await;
    let mut pipes = stage.hostile().await;
    for stream in [0, 2, 3, 4, 77, u32::MAX] {
        for flags in [0, yamux::ACK, yamux::FIN, yamux::RST, yamux::RST | yamux::FIN] {
            pipes.write(&data(flags, stream, b"what?")).await;
            pipes.write(&header(yamux::WINDOW, flags, stream, 1)).await;
        }
        pipes.write(&header(yamux::PING, yamux::SYN, stream, 7)).await;
    }
    assert!(soon("a pong", pipes.is_live()).await);
    drop(pipes);
    stage.finish().await;
}

/// What comes on the control stream and closes the lane.
fn breaches(pipes: &Pipes) -> Vec<(&'static str, Vec<u8>)> {
    let say = |frame: Frame| data(0, CONTROL, &frame.encode());
    let end = pipes.end_of(3, 0, 0);
    let mut lying = end.encode();
    lying[40..42].copy_from_slice(&u16::MAX.to_be_bytes());
    let mut huge = end.encode();
    huge[..4].copy_from_slice(&(1_u32 << 30).to_be_bytes());
    let mut nobody = end.encode();
    nobody[12..16].copy_from_slice(&[0; 4]);
    vec![
        ("an end without a cause", say(Frame { body: vec![0; 8], ..end.clone() })),
        ("an end without a hop", say(Frame { body: vec![1; 12], ..end.clone() })),
        ("an end of a stream without a number", say(Frame { id: 1 << 32, ..end.clone() })),
        ("a frame in another's name", say(Frame { from: bits(FRIEND), ..end.clone() })),
        ("a frame in nobody's name", data(0, CONTROL, &nobody)),
        ("a message", say(pipes.frame(kind::MESSAGE, 1, b""))),
        ("a request", say(pipes.frame(kind::REQUEST, 1, &[0; 8]))),
        ("a preamble", say(pipes.preamble("echo"))),
        ("an unknown kind", say(pipes.frame(77, 0, b""))),
        ("a frame over the limit", say(Frame { body: vec![0; 2 << 10], ..end })),
        ("a huge frame", data(0, CONTROL, &huge)),
        ("an extension longer than its frame", data(0, CONTROL, &lying)),
        ("no frame at all", data(0, CONTROL, &[0; 64])),
        ("its end", data(yamux::FIN, CONTROL, b"")),
        ("its end by a window", header(yamux::WINDOW, yamux::FIN, CONTROL, 0)),
        ("its reset", data(yamux::RST, CONTROL, b"")),
    ]
}

#[tokio::test]
async fn p19_p20_a_rule_of_the_control_stream_that_is_broken_ends_the_lane_and_nothing_else() {
    let mut stage = Stage::new().await;
    let count = breaches(&stage.hostile().await).len();
    for n in 0..count {
        let mut pipes = stage.hostile().await;
        // A stream is open meanwhile.
        let preamble = pipes.preamble("echo");
        pipes.open(3, &preamble).await;
        assert!(soon("a pong", pipes.is_live()).await);
        let (what, bytes) = breaches(&pipes).swap_remove(n);
        pipes.write(&bytes).await;
        soon(what, pipes.closed()).await;
        stage.witness.is_undisturbed().await;
    }
    stage.finish().await;
}

#[tokio::test]
async fn p19_who_never_opens_a_control_stream_is_given_up_when_too_much_waits_for_it() {
    let stage = Stage::new().await;
    let mut pipes = Pipes::new(enter(stage.scene.at(), &Peer::new(PEER), STREAM).await);
    let preamble = pipes.preamble("there is none").encode();
    let mut number = 3;
    let flooding = async {
        // What is refused is told on a stream that is not there.
        while pipes.write(&data(yamux::SYN | yamux::FIN, number, &preamble)).await {
            number += 2;
        }
    };
    soon("the end of the lane", flooding).await;
    drop(pipes);
    stage.finish().await;
}

/// Preambles that are refused, with the reason.
fn refused(pipes: &Pipes) -> Vec<(&'static str, Vec<u8>, u8)> {
    let good = pipes.preamble("echo");
    let with = |change: &dyn Fn(&mut Frame)| {
        let mut frame = good.clone();
        change(&mut frame);
        frame.encode()
    };
    let metadata_cut_short = vec![2, 0, 9, 200, b'k'];
    vec![
        ("another kind", with(&|it| it.kind = kind::REQUEST), reason::MALFORMED),
        ("an end", with(&|it| it.kind = kind::END), reason::MALFORMED),
        ("an unknown kind", with(&|it| it.kind = 99), reason::MALFORMED),
        ("one that is too long", with(&|it| it.body = vec![0; 2 << 10]), reason::MALFORMED),
        ("a huge one", vec![0xff; 64], reason::MALFORMED),
        ("zeros", vec![0; 64], reason::MALFORMED),
        ("no service", with(&|it| it.body.truncate(8)), reason::MALFORMED),
        ("a service without a run", with(&|it| it.body.truncate(12)), reason::MALFORMED),
        ("another's name", with(&|it| it.from = bits(FRIEND)), reason::REFUSED),
        ("the node's name", with(&|it| it.from = bits(NODE)), reason::REFUSED),
        ("a name of another group", with(&|it| it.from = bits("2.1.1")), reason::REFUSED),
        ("an earlier run", with(&|it| it.incarnation -= 1), reason::INCARNATION),
        ("a later run", with(&|it| it.incarnation += 1), reason::INCARNATION),
        ("another run of the node", with(&|it| it.body[15] = 1), reason::INCARNATION),
        ("no time", with(&|it| it.time_left = 0), reason::EXPIRED),
        ("another destination", with(&|it| it.to = bits(FRIEND)), reason::NO_ROUTE),
        ("an unknown odd field", with(&|it| it.extension = vec![77, 0, 0]), reason::EXTENSION),
        ("a field cut short", with(&|it| it.extension = vec![2, 0, 200]), reason::EXTENSION),
        (
            "metadata cut short",
            with(&|it| it.extension = metadata_cut_short.clone()),
            reason::EXTENSION,
        ),
        ("a service that is not there", pipes.preamble("none").encode(), reason::UNIMPLEMENTED),
    ]
}

#[tokio::test]
async fn p20_a_preamble_that_breaks_a_rule_is_refused_with_its_reason_and_the_lane_lives() {
    let stage = Stage::new().await;
    let mut pipes = stage.hostile().await;
    let cases = refused(&pipes);
    let count = cases.len();
    for (number, (what, bytes, reason)) in (3..).step_by(2).zip(cases) {
        pipes.write(&data(yamux::SYN, number, &bytes)).await;
        let end = soon(what, pipes.end()).await.unwrap_or_else(|| panic!("{what} ended all"));
        assert_eq!((end.stream, end.refusal()), (number, reason), "{what}: {end:?}");
        assert_eq!(end.hop, bits(NODE), "{what}");
    }
    assert!(soon("a pong", pipes.is_live()).await);
    assert_eq!(stage.scene.node.stats().streams_refused, count as u64);
    drop(pipes);
    stage.finish().await;
}

#[tokio::test]
async fn p06_a_preamble_that_does_not_come_is_refused_after_the_handshake_timeout() {
    const LIMIT: Duration = Duration::from_millis(700);
    let stage = Stage::with(config(|config| config.handshake_timeout = LIMIT), |it| it).await;
    let mut pipes = stage.hostile().await;
    let whole = pipes.preamble("echo").encode();
    let began = Instant::now();
    for (number, bytes) in (3..).step_by(2).zip([&whole[..0], &whole[..3], &whole[..50]]) {
        pipes.write(&data(yamux::SYN, number, bytes)).await;
    }
    let mut numbers = Vec::new();
    for _ in 0..3 {
        let end = soon("the refusal", pipes.end()).await.unwrap();
        assert_eq!(end.refusal(), reason::EXPIRED, "{end:?}");
        numbers.push(end.stream);
    }
    let took = began.elapsed();
    assert!(LIMIT <= took && took < 3 * LIMIT, "took {took:?}");
    numbers.sort_unstable();
    assert_eq!(numbers, [3, 5, 7]);
    drop(pipes);
    stage.finish().await;
}

#[tokio::test]
async fn p08_streams_beyond_the_limit_are_refused_and_those_of_others_are_not() {
    const MAX: u32 = 4;
    let limited = config(|config| config.streams_max = MAX as usize);
    let mut stage = Stage::with(limited, |it| it).await;
    let mut pipes = stage.hostile().await;
    let preamble = pipes.preamble("echo");
    for n in 0..3 * MAX {
        pipes.open(3 + 2 * n, &preamble).await;
    }
    let mut refused = Vec::new();
    for _ in MAX..3 * MAX {
        let end = soon("a refusal", pipes.end()).await.unwrap();
        assert_eq!(end.refusal(), reason::BUSY);
        refused.push(end.stream);
    }
    refused.sort_unstable();
    assert_eq!(refused, (MAX..3 * MAX).map(|n| 3 + 2 * n).collect::<Vec<_>>());
    stage.witness.is_undisturbed().await;
    drop(pipes);
    stage.finish().await;
}

/// Has a service that writes without end, and says how that ends.
fn pour(builder: Builder, say: Say<(Break, LogicalAddr)>) -> Builder {
    builder.on_stream("pour", move |_, mut stream| {
        let say = say.clone();
        async move {
            let error = loop {
                if let Err(error) = stream.write_all(&[0; 16 << 10]).await {
                    break error;
                }
            };
            let error = StreamError::of(&error).unwrap();
            say.say((error.cause, error.hop));
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p08_a_peer_that_never_reads_loses_its_stream_lane_and_keeps_its_calls() {
    let (say, mut heard): (_, Heard<(Break, LogicalAddr)>) = events();
    let scene = Scene::with(|builder| pour(serve(builder), say)).await;
    let mut witness = Witness::new(scene.cluster.node(FRIEND).await).await;
    let mut rpc = enter(scene.at(), &Peer::new(PEER), RPC).await;
    let mut pipes = Pipes::new(enter(scene.at(), &Peer::new(PEER), STREAM).await);
    pipes.begin().await;
    let preamble = pipes.preamble("pour");
    pipes.open(3, &preamble).await;
    // As much as it likes, but it takes nothing.
    pipes.write(&header(yamux::WINDOW, 0, 3, 1 << 30)).await;
    let began = Instant::now();
    let mut pace = interval(Duration::from_millis(20));
    let calling = async {
        loop {
            pace.tick().await;
            assert!(soon("a reply", is_served(&mut rpc)).await, "the rpc lane was lost");
            witness.is_undisturbed().await;
        }
    };
    tokio::select! {
        (cause, hop) = heard.any() => assert_eq!((cause, hop), (Break::Lost, addr(NODE))),
        () = calling => unreachable!(),
    }
    // Three heartbeats, and a look now and then.
    let took = began.elapsed();
    assert!(took < 3 * Duration::from_millis(3_500), "took {took:?}");
    assert!(took > Duration::from_secs(2), "took {took:?}");
    assert!(soon("a reply", is_served(&mut rpc)).await);
    witness.is_undisturbed().await;
}

#[tokio::test]
async fn an_end_that_comes_before_its_stream_holds_whatever_the_node_has_opened_itself() {
    const RESET: u32 = 0x1_0007;
    let stage = Stage::new().await;
    let mut pipes = stage.hostile().await;
    let node = stage.scene.node.clone();
    let opening: JoinSet<_> = (0..3)
        .map(|_| {
            let node = node.clone();
            async move { node.open_stream(addr(PEER), "any").await.map(drop) }
        })
        .collect();
    // Its numbers are 2, 4 and 6.
    while soon("a stream", pipes.next()).await.unwrap().2 != 6 {}
    let (end, preamble) = (pipes.end_of(3, 0, RESET), pipes.preamble("echo"));
    pipes.control(&end).await;
    assert!(soon("a pong", pipes.is_live()).await);
    pipes.open(3, &preamble).await;
    let answer = soon("an answer", pipes.answer(3)).await;
    assert_eq!(answer, (true, Vec::new()), "it was accepted");
    drop((opening, pipes));
    stage.finish().await;
}

#[tokio::test]
async fn the_stream_lane_takes_no_frames_of_the_others() {
    let stage = Stage::new().await;
    let mut pipes = Pipes::new(enter(stage.scene.at(), &Peer::new(PEER), STREAM).await);
    let message = pipes.frame(kind::MESSAGE, 1, b"hi").encode();
    pipes.write(&message).await;
    soon("the end", pipes.closed()).await;
    stage.finish().await;
}
