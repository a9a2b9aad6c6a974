//! The chapters quote errors below "What can go wrong": these, word for word, and no others.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::fmt::Display;
use std::net::TcpListener;
use std::time::Duration;

use seaway::discovery::{InProcess, Member, MembersFile};
use seaway::layer::RateLimit;
use seaway::{
    Builder, CallError, Config, Context, Limit, LogicalAddr, MessageWriter, Node, NodeType, Pick,
    StartError, StopCause, Stream,
};
use seaway_discovery_mock::MockDiscovery;
use seaway_guide::Room;
use seaway_guide::chat::{JoinRequest, Line, room};
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Nobody listens here.
const NOWHERE: &str = "127.0.0.1:9";
const SHORT: Duration = Duration::from_secs(1);
/// For what comes when it comes.
const LONG: Duration = Duration::from_secs(20);

macro_rules! assert_quoted {
    ($chapter:literal, $told:expr) => {
        assert_eq!(quoted(include_str!(concat!("../src/", $chapter))), $told.into());
    };
}

/// The errors that a chapter quotes.
fn quoted(chapter: &str) -> BTreeSet<String> {
    let (_, wrong) = chapter.split_once("## What can go wrong").unwrap();
    let mut is_quote = false;
    let mut quoted = BTreeSet::new();
    for line in wrong.lines().map(str::trim) {
        match line {
            "```text" => is_quote = true,
            "```" => is_quote = false,
            error if is_quote => assert!(quoted.insert(error.to_owned()), "twice: {error}"),
            _ => {}
        }
    }
    quoted
}

fn addr(text: &str) -> LogicalAddr {
    text.parse().unwrap()
}

fn ann() -> JoinRequest {
    JoinRequest { name: "Ann".into() }
}

fn serving(address: &str) -> Builder {
    Node::builder(address).serve(room::Server::new(Room))
}

/// Starts a node on a free port.
async fn start(members: &InProcess, address: &str, builder: Builder) -> Node {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    members.put(Member::new(addr(address), listener.local_addr().unwrap().to_string())).unwrap();
    builder.discovery(members.clone()).listener(listener).start().await.unwrap()
}

/// A guest that can see who does not run as well.
async fn guest(members: &InProcess) -> Node {
    members.put(Member::new(addr("1.7.2"), NOWHERE)).unwrap();
    start(members, "1.1.1", Node::builder("1.1.1")).await
}

async fn join(guest: &Node, room: &str) -> CallError {
    room::join(guest, addr(room), ann()).within(SHORT).await.unwrap_err()
}

async fn not_started(builder: Builder) -> StartError {
    builder.start().await.unwrap_err()
}

/// A node with a room in which nobody ever gets in, and word of each who tries.
async fn slow(members: &InProcess, address: &str) -> (Node, mpsc::UnboundedReceiver<()>) {
    let (entered, entering) = mpsc::unbounded_channel();
    let builder = Node::builder(address).on_call(room::JOIN, move |_, _| {
        entered.send(()).unwrap();
        std::future::pending()
    });
    (start(members, address, builder).await, entering)
}

/// What a caller is told whose callee stops before it has answered.
async fn cut_off(members: &InProcess, guest: &Node) -> CallError {
    let (slow, mut entering) = slow(members, "1.7.5").await;
    let call = tokio::spawn(room::join(guest, addr("1.7.5"), ann()).detached());
    timeout(LONG, entering.recv()).await.unwrap();
    slow.shutdown(Duration::ZERO).await;
    call.await.unwrap().unwrap_err()
}

fn texts<const N: usize>(errors: [&dyn Display; N]) -> [String; N] {
    errors.map(ToString::to_string)
}

#[tokio::test]
async fn the_first_chapter_quotes_what_is_told() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let discovery = MockDiscovery::connect(free.clone());
    let unreachable = discovery.put(Member::new(addr("1.1.1"), NOWHERE)).await.unwrap_err();
    // As its `main` prints it.
    let printed = format!("Error: {unreachable:?}").replace(&free, "127.0.0.1:8110");
    assert_quoted!("first.md", [printed]);
}

#[tokio::test]
async fn the_chapter_on_addresses_quotes_what_is_told() {
    let members = InProcess::new();
    let none = not_started(Node::builder("1.7").discovery(members.clone())).await;
    let far = join(&guest(&members).await, "2.7.1").await;
    assert_quoted!("addresses.md", texts([&none, &far]));
}

#[tokio::test]
async fn the_chapter_on_discovery_quotes_what_is_told() {
    let members = InProcess::new();
    members.put(Member::new(addr("1.7.1"), NOWHERE)).unwrap();
    let stranger = not_started(Node::builder("1.7.8").discovery(members.clone())).await;

    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, "[[member]]\naddress = \"1.7\"\nnetwork = \"127.0.0.1:7701\"\n").unwrap();
    let path = file.path().to_str().unwrap();
    let broken = not_started(Node::builder("1.7.1").discovery(MembersFile::open(path))).await;
    let broken = broken.to_string().replace(path, "members.toml");

    let here = Node::builder("1.7.1").discovery(members.clone());
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let network = taken.local_addr().unwrap().to_string();
    let taken = not_started(here.listen(network.clone())).await;
    let taken = taken.to_string().replace(&network, "127.0.0.1:7701");

    let here = Node::builder("1.7.1").discovery(members);
    let open = not_started(here.listen("0.0.0.0:7701")).await;
    assert_quoted!("discovery.md", texts([&stranger, &broken, &taken, &open]));
}

#[tokio::test]
async fn the_chapter_on_calls_quotes_what_is_told() {
    let members = InProcess::new();
    let guest = guest(&members).await;
    let nobody = join(&guest, "1.7.9").await;
    let other = join(&guest, "1.1.1").await;
    let silent = join(&guest, "1.7.2").await;
    let (slow, _entering) = slow(&members, "1.7.5").await;
    let late = join(&guest, "1.7.5").await;
    slow.shutdown(Duration::ZERO).await;
    let cut = cut_off(&members, &guest).await;
    assert_quoted!("calls.md", texts([&nobody, &other, &silent, &late, &cut]));
}

#[tokio::test]
async fn the_chapter_on_messages_quotes_what_is_told() {
    let members = InProcess::new();
    let _room = start(&members, "1.7.1", serving("1.7.1")).await;
    members.put(Member::new(addr("1.7.2"), NOWHERE)).unwrap();
    let (told, mut notices) = mpsc::unbounded_channel();
    let mut config = Config::default();
    config.message_timeout = SHORT;
    let guest = Node::builder("1.1.1").config(config).on_undeliverable(move |notice| {
        told.send(notice).unwrap();
    });
    let guest = start(&members, "1.1.1", guest).await;
    let nobody = guest.send(addr("1.7.9"), &Line::default()).await.unwrap_err();
    let mut bounced = Vec::new();
    for room in ["1.7.1", "1.7.2"] {
        guest.send(addr(room), &Line::default()).await.unwrap();
        bounced.push(timeout(LONG, notices.recv()).await.unwrap().unwrap());
    }
    assert_quoted!("messages.md", texts([&nobody, &bounced[0], &bounced[1]]));
}

/// A stream to a room that serves it with `handler`, and the room.
async fn stream<F>(
    (members, guest): (&InProcess, &Node),
    room: &str,
    handler: fn(Context, Stream) -> F,
) -> (Node, Stream)
where
    F: Future<Output = ()> + Send + 'static,
{
    let builder = Node::builder(room).on_stream("lines", handler);
    let node = start(members, room, builder).await;
    (node, guest.open_stream(addr(room), "lines").await.unwrap())
}

/// What its reader is told.
async fn told(mut stream: Stream) -> std::io::Error {
    timeout(LONG, stream.read_u8()).await.unwrap().unwrap_err()
}

#[tokio::test]
async fn the_chapter_on_streams_quotes_what_is_told() {
    let members = InProcess::new();
    let guest = guest(&members).await;
    let _room = start(&members, "1.7.1", serving("1.7.1")).await;
    let nobody = guest.open_stream(addr("1.7.1"), "lines").await.unwrap_err();

    let cluster = (&members, &guest);
    let (_room, dropped) = stream(cluster, "1.7.3", |_, _| async {}).await;
    let dropped = told(dropped).await;
    let (_room, reset) = stream(cluster, "1.7.4", |_, stream| async { stream.reset(7) }).await;
    let reset = told(reset).await;
    let handler = |_, stream: Stream| async {
        std::future::pending::<()>().await;
        drop(stream);
    };
    let (room, stopped) = stream(cluster, "1.7.5", handler).await;
    room.shutdown(Duration::ZERO).await;
    let stopped = told(stopped).await;

    let mut writer = MessageWriter::new(Vec::new()).with_limit(4);
    let long = writer.send(&Line { text: "hello".into() }).await.unwrap_err();
    assert_quoted!("streams.md", texts([&nobody, &dropped, &reset, &stopped, &long]));
}

#[tokio::test]
async fn the_chapter_on_pickers_quotes_what_is_told() {
    let guest = guest(&InProcess::new()).await;
    let nobody = room::join(&guest, Pick::any(NodeType::new(9)), ann()).await.unwrap_err();
    assert_quoted!("pickers.md", texts([&nobody]));
}

#[tokio::test]
async fn the_chapter_on_layers_quotes_what_is_told() {
    let members = InProcess::new();
    let limited = serving("1.7.4").layer(RateLimit::per_peer(1, 5));
    let _room = start(&members, "1.7.4", limited).await;
    let guest = guest(&members).await;
    let busy = loop {
        if let Err(busy) = room::join(&guest, addr("1.7.4"), ann()).await {
            break busy;
        }
    };
    let misspelled = serving("1.7.2").limit("chat.Room/Jion", Limit::concurrent(64));
    let misspelled = not_started(misspelled.discovery(members)).await;
    assert_quoted!("layers.md", texts([&busy, &misspelled]));
}

#[tokio::test]
async fn the_chapter_on_stopping_quotes_what_is_told() {
    let members = InProcess::new();
    let guest = guest(&members).await;
    let (stopping, mut entering) = slow(&members, "1.7.1").await;
    let held = tokio::spawn(room::join(&guest, addr("1.7.1"), ann()).detached());
    timeout(LONG, entering.recv()).await.unwrap();
    let stop = tokio::spawn(async move { stopping.shutdown(LONG).await });
    // The first ones may be refused by the room itself, before the guest has heard of it.
    let heard = async {
        loop {
            let refused = join(&guest, "1.7.1").await;
            if refused.to_string().ends_with("has said so)") {
                return refused;
            }
        }
    };
    let refused = timeout(LONG, heard).await.unwrap();
    held.abort();
    stop.await.unwrap();
    let cut = cut_off(&members, &guest).await;
    assert_quoted!("stopping.md", texts([&refused, &cut]));
}

#[test]
fn the_chapter_on_stopping_says_why_a_node_stops_by_itself() {
    for cause in [StopCause::Removed, StopCause::Moved] {
        assert!(include_str!("../src/stopping.md").contains(&format!("\n{cause}\n")), "{cause}");
    }
}
