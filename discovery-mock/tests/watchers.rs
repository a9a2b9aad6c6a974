//! Many watchers, and slow ones.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod support;

use std::time::{Duration, Instant};

use seaway::discovery::{Discovery, Event};
use support::raw::{HELLO, Raw, WATCH};
use support::{ONE, TWO, Watcher, addr, client, member, server, soon};
use tokio::net::TcpSocket;
use tokio::task::JoinSet;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_watchers_see_every_change_in_order() {
    const WATCHERS: usize = 200;
    const CHANGES: u64 = 100;
    let (server, discovery) = server().await;
    server.members().put(member(ONE).label("n", "0")).unwrap();
    let mut watchers = JoinSet::new();
    for _ in 0..WATCHERS {
        let discovery = discovery.clone();
        watchers.spawn(async move {
            let mut watcher = Watcher::new(&discovery).await;
            let mut seen = vec!["0".to_owned()];
            while seen.len() as u64 <= CHANGES {
                for change in watcher.changes().await {
                    let seaway::discovery::Change::Put(member) = change else { panic!() };
                    seen.push(member.labels["n"].clone());
                }
            }
            seen
        });
    }
    support::until("all watchers", || server.watchers() == WATCHERS).await;
    for n in 1..=CHANGES {
        discovery.put(member(ONE).label("n", n.to_string())).await.unwrap();
    }
    let expected: Vec<_> = (0..=CHANGES).map(|n| n.to_string()).collect();
    while let Some(seen) = soon("a watcher", watchers.join_next()).await {
        assert_eq!(seen.unwrap(), expected);
    }
}

#[tokio::test]
async fn p08_a_watcher_that_takes_nothing_is_cut_off_and_others_are_served_meanwhile() {
    let (server, discovery) = server().await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4 << 10).unwrap();
    let (read, write) = socket.connect(server.local_addr()).await.unwrap().into_split();
    let mut slow = Raw { read: tokio::io::BufReader::new(read), write };
    slow.say([HELLO, WATCH].concat()).await;
    support::until("the slow watcher", || server.watchers() == 1).await;

    let mut fast = Watcher::new(&discovery).await;
    let began = Instant::now();
    let flood = async {
        for n in 0u64.. {
            let big = "x".repeat(4_000);
            server.members().put(member(ONE).label("n", n.to_string()).label("x", big)).unwrap();
            let is_told = |fast: &Watcher| {
                let one = fast.members.get(&addr(ONE));
                one.is_some_and(|one| one.labels["n"] == n.to_string())
            };
            fast.until("the change", is_told).await;
        }
    };
    tokio::select! {
        () = flood => {}
        () = soon("the slow watcher to be cut off", slow.pulse()) => {}
    }
    let took = began.elapsed();
    assert!((4..12).contains(&took.as_secs()), "{took:?}");
    support::until("the fast one alone", || server.watchers() == 1).await;
    discovery.put(member(TWO)).await.unwrap();
    fast.until("the last change", |fast| fast.members.contains_key(&addr(TWO))).await;
}

#[tokio::test]
async fn p08_a_watcher_that_looked_away_is_told_the_outcome() {
    let (server, discovery) = server().await;
    let mut watch = discovery.watch().await.unwrap();
    for n in 0..5_000 {
        let big = "x".repeat(1_000);
        server.members().put(member(ONE).label("n", n.to_string()).label("x", big)).unwrap();
        tokio::task::yield_now().await;
    }
    server.members().put(member(TWO)).unwrap();
    let mut events = 0;
    let mut told = std::collections::BTreeMap::new();
    while !told.contains_key(&addr(TWO)) {
        events += 1;
        match soon("an event", watch.next()).await.unwrap() {
            Event::Snapshot { members, .. } => {
                told = members.into_iter().map(|member| (member.address, member)).collect();
            }
            Event::Delta { changes, .. } => {
                for change in changes {
                    let seaway::discovery::Change::Put(member) = change else { panic!() };
                    told.insert(member.address, member);
                }
            }
            event => panic!("{event:?}"),
        }
    }
    assert_eq!(told[&addr(ONE)].labels["n"], "4999");
    assert!(events < 5_000, "{events} events waited");
}

#[tokio::test]
async fn a_watcher_that_falls_silent_is_cut_off() {
    let (server, _) = server().await;
    let mut raw = Raw::connect(server.local_addr()).await;
    raw.say([HELLO, WATCH].concat()).await;
    let began = Instant::now();
    // It goes on reading, so only its silence can be why.
    raw.rest().await;
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(3) && took < Duration::from_secs(12), "{took:?}");
}

#[tokio::test]
async fn a_server_that_falls_silent_is_left_and_sought_again() {
    // It answers as a server does, and then says nothing more.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let mut watch = {
        let discovery = client(at);
        let watching = tokio::spawn(async move { discovery.watch().await });
        let (mut stream, _) = soon("a connection", listener.accept()).await.unwrap();
        let words = "{\"snapshot\":{\"revision\":1}}\n{\"end\":{\"revision\":1}}\n";
        let words = [HELLO, words].concat();
        tokio::io::AsyncWriteExt::write_all(&mut stream, words.as_bytes()).await.unwrap();
        std::mem::forget(stream);
        watching.await.unwrap().unwrap()
    };
    assert!(matches!(watch.next().await, Some(Event::Snapshot { .. })));
    let began = Instant::now();
    let event = soon("a problem", watch.next()).await;
    assert!(
        matches!(&event, Some(Event::Problem(problem)) if problem.contains("nothing for 4s")),
        "{event:?}"
    );
    assert!(began.elapsed() < Duration::from_secs(12));
    soon("another connection", listener.accept()).await.unwrap();
}
