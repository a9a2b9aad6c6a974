//! What comes from whoever can connect: it costs that connection and nothing else.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod support;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use seaway::discovery::{Discovery, DiscoveryError, Event};
use seaway_discovery_mock::{MockDiscovery, Server};
use support::process::Process;
use support::raw::{ALIVE, HELLO, Raw, WATCH};
use support::{ONE, TWO, Watcher, addr, client, member, server, soon, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// A server, and somebody who watches while others misbehave.
struct Scene {
    server: Server,
    discovery: MockDiscovery,
    watcher: Watcher,
    changes: u64,
}

impl Scene {
    async fn new() -> Self {
        let (server, discovery) = server().await;
        let watcher = Watcher::new(&discovery).await;
        Self { server, discovery, watcher, changes: 0 }
    }

    fn at(&self) -> SocketAddr {
        self.server.local_addr()
    }

    /// Questions are answered and the watcher is told, at once.
    async fn goes_on(&mut self) {
        let began = Instant::now();
        self.changes += 1;
        let changed = member(ONE).label("n", self.changes.to_string());
        self.discovery.put(changed.clone()).await.unwrap();
        let wanted = |watcher: &Watcher| watcher.members.get(&addr(ONE)) == Some(&changed);
        self.watcher.until("the change", wanted).await;
        assert_eq!(self.watcher.problems, [""; 0]);
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    }

    /// Says something, and returns all that the server says until it closes.
    async fn provoke(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut raw = Raw::connect(self.at()).await;
        raw.say(bytes).await;
        self.goes_on().await;
        raw.rest().await
    }
}

/// Bytes that look random, the same in each run.
fn noise(seed: u64, count: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    std::iter::repeat_with(next).take(count).collect()
}

fn after_hello(line: &str) -> Vec<u8> {
    format!("{HELLO}{line}\n").into_bytes()
}

#[tokio::test]
async fn p19_what_makes_no_sense_is_refused_with_a_reason_and_closes_that_connection_only() {
    let deep = |letter: &str| after_hello(&letter.repeat(60_000 / letter.len()));
    let bad: Vec<Vec<u8>> = vec![
        b"\n".to_vec(),
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        b"\xff\xfe\x00\n".to_vec(),
        b"{\"list\":{}}\n".to_vec(),
        b"{\"put\":{\"address\":\"1.1.1\",\"network\":\"a:1\"}}\n".to_vec(),
        b"{\"hello\":{\"version\":2}}\n".to_vec(),
        b"{\"hello\":{\"version\":-1}}\n".to_vec(),
        deep("["),
        deep("{\"set\":"),
        after_hello("null"),
        after_hello("{\"put\":null}"),
        after_hello("{\"put\":{\"address\":\"1.1.1.1\",\"network\":\"a:1\"}}"),
        after_hello("{\"remove\":\"99999999999999999999.1.1\"}"),
        after_hello("{\"withdraw\":{\"address\":\"1.1.1\",\"incarnation\":1e400}}"),
        after_hello("{\"set\":{\"address\":\"1.1.1\"}}"),
        after_hello("{\"watch\":{}} {\"watch\":{}}"),
        after_hello(HELLO.trim_end()),
        [after_hello(WATCH.trim_end()), after_hello("")].concat(),
        after_hello("{\"put\":{\"address\":\"1.1.1\",\"network\":\"\\ud800\"}}"),
        [HELLO.as_bytes(), b"{\"remove\":\"1.1.1\xed\xa0\x80\"}\n"].concat(),
    ];
    let mut scene = Scene::new().await;
    for bytes in bad {
        let said = scene.provoke(&bytes).await;
        let last = said.last().cloned().unwrap_or_default();
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(80)]).into_owned();
        assert!(last.starts_with("{\"refused\":{\"message\":\"this is seaway-"), "{shown}: {last}");
    }
    assert_eq!(scene.server.members().members().len(), 1);
}

#[tokio::test]
async fn p19_noise_changes_nothing() {
    let mut scene = Scene::new().await;
    for seed in 0..40 {
        let mut bytes = noise(seed, 4_000);
        if seed % 2 == 0 {
            bytes.splice(0..0, HELLO.bytes());
        }
        bytes.push(b'\n');
        scene.provoke(&bytes).await;
    }
    assert_eq!(scene.server.members().members().len(), 1);
}

#[tokio::test]
async fn p19_a_line_without_end_is_cut_off_at_its_limit() {
    let mut scene = Scene::new().await;
    let mut raw = Raw::connect(scene.at()).await;
    raw.say(HELLO).await;
    assert_eq!(raw.line().await.as_deref(), Some(HELLO.trim_end()));
    let chunk = [b'x'; 1 << 10];
    let said = async {
        // It would go on for ever.
        while raw.write.write_all(&chunk).await.is_ok() {}
    };
    soon("the end", said).await;
    let last = raw.line().await;
    // Whether the reason arrives is luck, as the bytes behind it may reset the connection.
    assert!(last.as_ref().is_none_or(|last| last.contains("a line of more than")), "{last:?}");
    scene.goes_on().await;

    let exact = after_hello(&format!("{{\"alive\":{{}}}}{}", " ".repeat((64 << 10) - 13)));
    let said = scene.provoke(&exact).await;
    assert_eq!(said.get(1).map(String::as_str), Some("{\"done\":{}}"));
    let longer = after_hello(&" ".repeat(64 << 10));
    let said = scene.provoke(&longer).await;
    assert!(said.last().unwrap().contains("a line of more than 65536 bytes"), "{said:?}");
}

#[tokio::test]
async fn p19_half_a_line_is_waited_for_no_longer_than_four_seconds() {
    let mut scene = Scene::new().await;
    let began = Instant::now();
    let mut half = Raw::connect(scene.at()).await;
    half.say("{\"hello\":").await;
    let mut silent = Raw::connect(scene.at()).await;
    // A byte now and then does not make a line.
    let mut slow = Raw::connect(scene.at()).await;
    let dripping = async {
        while slow.write.write_all(b" ").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    scene.goes_on().await;
    tokio::join!(half.rest(), silent.rest(), soon("the end", dripping));
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(4) && took < Duration::from_secs(12), "{took:?}");
    scene.goes_on().await;

    // Who hangs up in the middle has said nothing.
    let line = "{\"put\":{\"address\":\"1.2.1\",\"network\":\"127.0.0.1:1\"}}";
    for end in (0..line.len()).step_by(5) {
        let mut raw = Raw::connect(scene.at()).await;
        raw.say([HELLO, &line[..end]].concat()).await;
        raw.write.shutdown().await.unwrap();
        assert_eq!(raw.rest().await, [HELLO.trim_end()]);
    }
    scene.goes_on().await;
    assert_eq!(scene.server.members().members().len(), 1);
}

#[tokio::test]
async fn p19_those_who_say_nothing_do_not_keep_others_from_being_heard() {
    let mut scene = Scene::new().await;
    let began = Instant::now();
    let mut flood = Vec::new();
    for round in 0..400 {
        flood.push(TcpStream::connect(scene.at()).await.unwrap());
        if round % 50 == 0 {
            scene.goes_on().await;
        }
    }
    // The oldest had to make room, long before its time was over.
    let mut rest = Vec::new();
    soon("the first one's end", flood[0].read_to_end(&mut rest)).await.ok();
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    scene.goes_on().await;
}

#[tokio::test]
async fn p08_beyond_its_connections_the_server_refuses_and_says_so() {
    // In a process of its own, as one process may not have as many descriptors as both ends need.
    let (_process, at) = Process::serve("127.0.0.1:0", &[]).await;
    let mut watchers = JoinSet::new();
    let mut others = Vec::new();
    for _ in 0..512 {
        let mut raw = Raw::connect(at).await;
        raw.say([HELLO, WATCH].concat()).await;
        assert_eq!(raw.line().await.as_deref(), Some(HELLO.trim_end()));
        let Raw { read, mut write } = raw;
        others.push(read);
        watchers.spawn(async move {
            while write.write_all(ALIVE.as_bytes()).await.is_ok() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
    }
    let error = client(at).members().await.unwrap_err();
    assert!(error.to_string().contains("there are 512 connections already"), "{error}");
    others.truncate(500);
    watchers.abort_all();
    soon("room", async { while client(at).members().await.is_err() {} }).await;
}

#[tokio::test]
async fn p19_without_file_descriptors_the_server_keeps_its_connections_and_recovers() {
    let (process, at) = Process::serve_with_files(24).await;
    let mut raw = Raw::connect(at).await;
    raw.say(HELLO).await;
    raw.line().await;
    let mut flood = JoinSet::new();
    for _ in 0..100 {
        flood.spawn(async move {
            let _stream = TcpStream::connect(at).await;
            std::future::pending::<()>().await;
        });
    }
    until("the last descriptor", || process.open_files() >= 24).await;
    for _ in 0..10 {
        raw.say("{\"set\":{\"address\":\"1.1.1\",\"available\":true}}\n").await;
        assert!(raw.line().await.unwrap().contains("not_a_member"));
    }
    flood.abort_all();
    soon("room", async { while client(at).members().await.is_err() {} }).await;
}

/// A server that says the same to everybody.
async fn liar(words: Vec<u8>) -> MockDiscovery {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let words = words.clone();
            tokio::spawn(async move {
                stream.write_all(&words).await.ok();
                stream.read_to_end(&mut Vec::new()).await.ok();
            });
        }
    });
    client(at)
}

#[tokio::test]
async fn p19_a_client_survives_what_a_server_should_not_say() {
    let first = "{\"snapshot\":{\"revision\":5}}\n";
    let put = "{\"put\":{\"address\":\"1.1.1\",\"network\":\"127.0.0.1:1\"}}\n";
    let endless = [HELLO, first, &put.repeat(1_400_000)].concat();
    let bad = [
        noise(7, 100_000),
        b"\xff\n".to_vec(),
        vec![b'['; 100_000],
        after_hello(&"[".repeat(60_000)),
        after_hello("{\"done\":{}}"),
        after_hello("{\"delta\":{\"base\":1}}\n{\"end\":{\"revision\":2}}"),
        [HELLO, first, first].concat().into_bytes(),
        endless.into_bytes(),
    ];
    for words in bad {
        let shown = String::from_utf8_lossy(&words[..words.len().min(80)]).into_owned();
        let discovery = liar(words).await;
        let outcome = soon("an outcome", discovery.members()).await;
        assert!(matches!(outcome, Err(DiscoveryError::Unreachable(_))), "{shown}");
        let outcome = soon("an outcome", discovery.put(member(TWO))).await;
        assert!(shown.contains("done") == outcome.is_ok(), "{shown}");
    }

    // After a good start, too.
    let words = [HELLO, first, "{\"end\":{\"revision\":5}}\n", "nonsense\n"].concat();
    let mut watch = liar(words.into_bytes()).await.watch().await.unwrap();
    for _ in 0..3 {
        assert!(matches!(soon("an event", watch.next()).await, Some(Event::Snapshot { .. })));
        assert!(matches!(soon("an event", watch.next()).await, Some(Event::Problem(_))));
    }
}

#[tokio::test]
async fn a_server_that_goes_back_ends_the_watch_so_that_a_new_one_counts_anew() {
    let words = |revision| {
        format!(
            "{HELLO}{{\"snapshot\":{{\"revision\":{revision}}}}}\n{{\"end\":{{\"revision\":{revision}}}}}\nbye\n"
        )
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for revision in [5, 4] {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(words(revision).as_bytes()).await.unwrap();
            stream.read_to_end(&mut Vec::new()).await.ok();
        }
    });
    let mut watch = client(at).watch().await.unwrap();
    assert!(matches!(watch.next().await, Some(Event::Snapshot { revision: 5, .. })));
    assert!(matches!(soon("a problem", watch.next()).await, Some(Event::Problem(_))));
    assert_eq!(soon("the end", watch.next()).await, None);
}
