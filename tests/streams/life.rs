//! Streams when nodes die, stop, or lose their connections.

use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use seaway::Reason;
use seaway::discovery::Member;
use tokio::task::JoinHandle;

use super::support::events::events;
use super::support::process::{Members, NEVER, Process};
use super::support::proxy::{Cut, Flow, MESSAGE, RPC, STREAM};
use super::support::{ECHO, text, timed, until};
use super::*;

/// What promises call three times the bound: the machine that tests may be starved.
#[track_caller]
fn at_most(took: Duration, bound: Duration) {
    assert!(took < bound * 3, "took {took:?} where {bound:?} is promised");
}

/// A node here and one in a process of its own.
struct Family {
    cluster: Cluster,
    near: Node,
    members: Members,
    child: Process,
}

async fn run(listen: &str, members: &Members) -> Process {
    Process::run("a_child_with_streams_is_another_process", FAR, listen, members).await
}

impl Family {
    async fn new() -> Self {
        let cluster = Cluster::empty();
        let near = cluster.node(NEAR).await;
        let members = Members::new();
        let mut child = run("127.0.0.1:0", &members).await;
        members.write(&[(NEAR, &near.local_addr().to_string()), (FAR, &child.network)]);
        cluster.discovery.put(Member::new(addr(FAR), child.network.clone())).unwrap();
        child.start().await;
        until("the child as a member", || near.all_members().len() == 2).await;
        Self { cluster, near, members, child }
    }

    async fn open(&self, service: &str) -> Stream {
        soon("a stream", self.near.open_stream(addr(FAR), service)).await.unwrap()
    }

    /// A reader and a writer at work, and one of each that is blocked; when and how they break.
    async fn at_work(&self) -> Vec<JoinHandle<(Instant, Break)>> {
        let mut blocked_writer = self.open("hold").await;
        fill(&mut blocked_writer).await;
        let mut blocked_reader = self.open("hold").await;
        let busy = self.open("echo").await;
        let (mut reader, mut writer) = split(busy);
        let seen = |cause: Break| (Instant::now(), cause);
        let mut read = [0; 1 << 10];
        writer.write_all(&read).await.unwrap();
        soon("the echo", reader.read_exact(&mut read)).await.unwrap();
        vec![
            tokio::spawn(async move { seen(write_broken(&mut blocked_writer).await) }),
            tokio::spawn(async move { seen(read_broken(&mut blocked_reader).await.1) }),
            tokio::spawn(async move { seen(write_broken(&mut writer).await) }),
            tokio::spawn(async move { seen(read_broken(&mut reader).await.1) }),
        ]
    }

    /// Starts another run of the child, on `listen`, and lets all know.
    async fn start_again(&mut self, listen: &str) {
        let mut child = run(listen, &self.members).await;
        let near = self.near.local_addr().to_string();
        self.members.write(&[(NEAR, &near), (FAR, &child.network)]);
        self.cluster.discovery.set_network(addr(FAR), child.network.clone()).unwrap();
        child.start().await;
        self.child = child;
    }
}

/// All break for the loss of a connection, and within `bound` of what caused it.
async fn lost_within(at_work: Vec<JoinHandle<(Instant, Break)>>, since: Instant, bound: Duration) {
    for work in at_work {
        let (known, cause) = soon("the break", work).await.unwrap();
        assert_eq!(cause, Break::Lost);
        at_most(known.duration_since(since), bound);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p13_streams_to_a_peer_that_is_killed_break_at_once() {
    for _ in 0..3 {
        let mut family = Family::new().await;
        let at_work = family.at_work().await;
        let killed = Instant::now();
        family.child.kill().await;
        lost_within(at_work, killed, Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p13_streams_to_a_peer_that_is_frozen_break_within_four_seconds() {
    let family = Family::new().await;
    let at_work = family.at_work().await;
    let frozen = Instant::now();
    family.child.freeze().await;
    lost_within(at_work, frozen, Duration::from_secs(4)).await;
}

/// A line over which a stream has gone.
async fn line() -> (Line, Stream) {
    let line = Line::with(|sender| sender, echo).await;
    let mut stream = soon("a stream", line.sender.open_stream(addr(FAR), "echo")).await.unwrap();
    stream.write_all(b"x").await.unwrap();
    assert_eq!(soon("the echo", stream.read_u8()).await.unwrap(), b'x');
    (line, stream)
}

// While the pulse goes on over its own connection.

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p13_a_reader_over_a_lane_that_dies_in_silence_knows_within_four_seconds() {
    for is_inward in [true, false] {
        let (line, mut stream) = line().await;
        if is_inward {
            line.proxy.inward(STREAM, Flow::Stall);
        } else {
            line.proxy.outward(STREAM, Flow::Stall);
        }
        let ((_, cause), took) = timed("the break", read_broken(&mut stream)).await;
        assert_eq!(cause, Break::Lost);
        at_most(took, Duration::from_secs(4));
        assert_eq!(line.proxy.made(RPC), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p13_a_writer_over_a_lane_that_dies_in_silence_knows_within_four_seconds() {
    let (line, mut stream) = line().await;
    line.proxy.inward(STREAM, Flow::Stall);
    line.proxy.outward(STREAM, Flow::Stall);
    let (cause, took) = timed("the break", write_broken(&mut stream)).await;
    assert_eq!(cause, Break::Lost);
    at_most(took, Duration::from_secs(4));
    assert_eq!(line.proxy.made(RPC), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p13_streams_on_which_nobody_says_anything_stay() {
    let fast = || config(|config| config.heartbeat = Duration::from_millis(100));
    let mut pair = Pair::with(fast(), fast()).await;
    let (near, mut far) = pair.open().await;
    // One end alone still has this one.
    let (mut ended, mut its_end) = pair.open().await;
    ended.shutdown().await.unwrap();
    its_end.shutdown().await.unwrap();
    drop(its_end);
    let silence = tokio::time::timeout(Duration::from_secs(2), far.read_u8()).await;
    assert!(silence.is_err(), "{silence:?}");
    drop((near, far));
    // Now there is none but that.
    let mut pulse = tokio::time::interval(Duration::from_millis(50));
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(1) {
        pulse.tick().await;
    }
    assert_eq!(ended.read(&mut [0]).await.unwrap(), 0);
    assert_eq!(pair.near.stats().dialed + pair.far.stats().dialed, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p15_streams_break_with_the_run_of_the_peer_that_had_them() {
    let mut family = Family::new().await;
    let at_work = family.at_work().await;
    let again = Instant::now();
    // The older run is still there, at another port.
    family.child.freeze().await;
    let older = std::mem::replace(&mut family.child, run("127.0.0.1:0", &family.members).await);
    family.child.kill().await;
    family.start_again("127.0.0.1:0").await;
    lost_within(at_work, again, Duration::from_secs(4)).await;
    let stream = family.open("echo").await;
    assert_eq!(soon("the echo", exchange(stream, b"new")).await.unwrap(), b"new");
    drop(older);
}

// Nodes that stop.

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p16_a_node_that_drains_refuses_streams_and_lets_those_at_work_finish() {
    let cluster = Cluster::new();
    let near = cluster.node(NEAR).await;
    let (say, mut heard) = events();
    let builder = cluster.builder(FAR).on_stream("last", move |context, mut stream| {
        let say = say.clone();
        async move {
            say.say("at work");
            context.node().draining().await;
            say.say("draining");
            // What it still has to say is asked for only now.
            let last = stream.read_u8().await.unwrap();
            stream.write_all(&[last; 300_000]).await.unwrap();
            stream.shutdown().await.unwrap();
        }
    });
    let far = builder.start().await.unwrap();
    let mut stream = soon("a stream", near.open_stream(addr(FAR), "last")).await.unwrap();
    heard.expect("at work").await;
    let stopping = far.clone();
    let stopping = tokio::spawn(async move { stopping.shutdown(Duration::from_secs(10)).await });
    heard.expect("draining").await;
    let refusal = soon("no", near.open_stream(addr(FAR), "last")).await.unwrap_err();
    assert_eq!(refusal.reason, Reason::Draining, "{refusal}");
    stream.write_u8(7).await.unwrap();
    let mut read = Vec::new();
    soon("the rest", stream.read_to_end(&mut read)).await.unwrap();
    assert!(read == [7; 300_000]);
    let report = soon("the stop", stopping).await.unwrap();
    assert!(report.is_clean(), "{report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p16_streams_that_outlast_the_drain_break_with_the_stop_and_are_reported() {
    let cluster = Cluster::new();
    let near = cluster.node(NEAR).await;
    let (builder, mut arriving) = hand(cluster.builder(FAR));
    let builder = builder.on_stream("hold", |_, stream| async move {
        std::future::pending::<()>().await;
        drop(stream);
    });
    let far = builder.start().await.unwrap();
    let open =
        async |service| soon("a stream", near.open_stream(addr(FAR), service)).await.unwrap();
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(open("hold").await);
    }
    // One that is full, and one whose handler is done but which is not.
    fill(&mut held[0]).await;
    let mut handed = open("hand").await;
    let _its_end = soon("its end", arriving.recv()).await.unwrap();
    let mut ended = open("hand").await;
    let mut its_end = soon("its end", arriving.recv()).await.unwrap();
    its_end.write_all(b"all").await.unwrap();
    its_end.shutdown().await.unwrap();
    let within = Duration::from_millis(300);
    let (report, took) = timed("the stop", far.shutdown(within)).await;
    assert_eq!(report.streams_abandoned, 3);
    assert!(took >= within && took < within + Duration::from_secs(3), "it took {took:?}");
    for stream in held.iter_mut().chain([&mut handed]) {
        assert_eq!(read_broken(stream).await, (Vec::new(), Break::Stopped));
        assert_eq!(write_broken(stream).await, Break::Stopped);
    }
    let mut read = Vec::new();
    soon("what had ended", ended.read_to_end(&mut read)).await.unwrap();
    assert_eq!(read, b"all");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_dropped_breaks_its_streams_at_both_ends() {
    let mut pair = Pair::new().await;
    let (mut near, mut far) = pair.open().await;
    let (mut full, _unread) = pair.open().await;
    fill(&mut full).await;
    drop(pair.near);
    assert_eq!(read_broken(&mut far).await, (Vec::new(), Break::Lost));
    assert_eq!(write_broken(&mut far).await, Break::Lost);
    assert_eq!(read_broken(&mut near).await, (Vec::new(), Break::Lost));
    assert_eq!(write_broken(&mut full).await, Break::Lost);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p21_a_handler_of_streams_that_panics_breaks_its_own_and_nothing_else() {
    let cluster = Cluster::new();
    let near = cluster.node(NEAR).await;
    let builder = echo(cluster.builder(FAR))
        .on_stream("at once", |_, _| -> std::future::Ready<()> { panic!("of a test") })
        .on_stream("later", |_, mut stream| async move {
            stream.read_u8().await.unwrap();
            panic!("of a test");
        });
    let far = builder.start().await.unwrap();
    let open =
        async |service| soon("a stream", near.open_stream(addr(FAR), service)).await.unwrap();
    let other = open("echo").await;
    for service in ["at once", "later"] {
        let mut stream = open(service).await;
        stream.write_u8(1).await.ok();
        assert_eq!(read_broken(&mut stream).await, (Vec::new(), Break::Dropped));
        assert_eq!(write_broken(&mut stream).await, Break::Dropped);
    }
    assert_eq!(soon("the echo", exchange(other, b"other")).await.unwrap(), b"other");
    until("both panics", || far.stats().panics == 2).await;
}

// Connections that break.

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p13_p14_a_lane_of_streams_that_is_cut_breaks_them_alone_and_comes_back() {
    let line = Line::with(
        |sender| sender,
        |receiver| {
            let builder = echo(receiver).on_call(ECHO, |_, request| async move { Ok(request) });
            builder.on_call(NEVER, |_, _| std::future::pending())
        },
    )
    .await;
    let open = async || soon("a stream", line.sender.open_stream(addr(FAR), "echo")).await.unwrap();
    let sender = line.sender.clone();
    let mut calling = tokio::spawn(async move {
        sender.call(addr(FAR), NEVER, text("hi")).within(Duration::from_secs(120)).await
    });
    for how in [Cut::Reset, Cut::Fin, Cut::Reset, Cut::Fin] {
        let (mut reader, mut writer) = split(open().await);
        let (mut full, mut idle) = (open().await, open().await);
        idle.write_all(b"x").await.unwrap();
        assert_eq!(soon("the echo", idle.read_u8()).await.unwrap(), b'x');
        fill(&mut full).await;
        let cut = Instant::now();
        line.proxy.cut_lane(STREAM, how);
        let breaks = async {
            tokio::join!(
                read_broken(&mut reader),
                write_broken(&mut writer),
                write_broken(&mut full),
                read_broken(&mut idle)
            )
        };
        let (read, written, full, idle) = breaks.await;
        at_most(cut.elapsed(), Duration::from_millis(200));
        assert_eq!([read.1, written, full, idle.1], [Break::Lost; 4]);
        let (stream, took) = timed("another one", open()).await;
        at_most(took, Duration::from_secs(1));
        assert_eq!(soon("the echo", exchange(stream, b"new")).await.unwrap(), b"new");
        let reply: Result<_, seaway::CallError> =
            soon("a reply", line.sender.call(addr(FAR), ECHO, text("hi"))).await;
        assert_eq!(reply.unwrap(), text("hi"));
    }
    let still = tokio::time::timeout(Duration::ZERO, &mut calling).await;
    assert!(still.is_err(), "a call ended: {still:?}");
    calling.abort();
    assert_eq!((line.proxy.made(RPC), line.proxy.made(MESSAGE)), (1, 0));
}

/// Writes all, ends, and reads until the other end has ended, too.
async fn write_all(stream: Stream, bytes: Vec<u8>) -> io::Result<usize> {
    let (mut reader, mut writer) = split(stream);
    let mut nothing = Vec::new();
    let write = async {
        for piece in bytes.chunks(777) {
            writer.write_all(piece).await?;
        }
        writer.shutdown().await
    };
    let (written, read) = tokio::join!(write, reader.read_to_end(&mut nothing));
    written.and(read)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_cut_behind_any_byte_has_an_end_only_behind_all_of_its_own() {
    const LEN: usize = 40_000;
    let (line, mut arriving) = handed_line(Config::default(), Config::default()).await;
    let sent: Vec<u8> =
        (0..LEN).map(|n| (n.wrapping_mul(2_654_435_761) >> 11).to_le_bytes()[0]).collect();
    let mut random = SmallRng::seed_from_u64(1);
    let (mut whole, mut cut) = (0, 0);
    for n in 0..200 {
        let (is_inward, how) = (n % 2 == 0, if n % 4 < 2 { Cut::Fin } else { Cut::Reset });
        // Also in the handshake and behind all bytes, but mostly between.
        let bytes = random.random_range(200..LEN + LEN / 4);
        line.proxy.cut_behind(STREAM, is_inward, bytes, how);
        let opening = line.sender.open_stream(addr(FAR), "hand");
        let Ok(near) = soon("the stream", opening).await else { continue };
        let mut far = soon("its other end", arriving.recv()).await.unwrap();
        // One before may have come whose acceptance did not.
        while let Ok(later) = arriving.try_recv() {
            far = later;
        }
        let (writer, mut reader) = if is_inward { (near, far) } else { (far, near) };
        let writing = tokio::spawn(write_all(writer, sent.clone()));
        let mut read = Vec::new();
        match soon("an outcome", reader.read_to_end(&mut read)).await {
            Ok(_) => {
                whole += 1;
                assert!(read == sent, "an end behind {} bytes of {LEN}", read.len());
            }
            outcome => {
                cut += 1;
                assert_eq!(cause(outcome), Break::Lost, "cut {n} behind byte {bytes}");
                assert!(sent.starts_with(&read), "{} other bytes", read.len());
            }
        }
        drop(reader);
        line.proxy.cut_lane(STREAM, how);
        let written = cause(soon("the writer's outcome", writing).await.unwrap());
        assert!(matches!(written, Break::Lost | Break::Dropped), "{written}");
        until("the end of the connection", || line.proxy.open(STREAM) == 0).await;
    }
    assert!(whole > 10 && cut > 100, "{whole} whole, {cut} cut");
}
