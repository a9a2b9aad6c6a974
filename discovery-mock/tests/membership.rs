//! What is asked and told: one server, its client, and what an engine owes to nodes.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod support;

use std::time::Duration;

use seaway::discovery::{Announcement, Change, Discovery, DiscoveryError, Event, MemberError};
use seaway_discovery_mock::{MockDiscovery, Server};
use support::raw::{Raw, WATCH};
use support::{ONE, THREE, TWO, Watcher, addr, client, member, run, server, soon};

fn is_not_a_member<T>(outcome: Result<T, DiscoveryError>, address: &str) -> bool {
    matches!(outcome, Err(DiscoveryError::NotAMember(who)) if who == addr(address))
}

// Who is a member.

#[tokio::test]
async fn a_watcher_of_an_empty_server_is_told_so_and_then_of_additions() {
    let (_server, discovery) = server().await;
    let mut watcher = Watcher::new(&discovery).await;
    assert_eq!(watcher.all(), []);
    let first = member(ONE).exported(true).label("zone", "a");
    discovery.put(first.clone()).await.unwrap();
    assert_eq!(watcher.changes().await, [Change::Put(first.clone())]);
    discovery.put(member(TWO)).await.unwrap();
    assert_eq!(watcher.changes().await, [Change::Put(member(TWO))]);
    assert_eq!(discovery.members().await.unwrap(), [first, member(TWO)]);
}

#[tokio::test]
async fn a_watcher_is_told_first_who_is_there_already() {
    let (server, discovery) = server().await;
    for address in [ONE, TWO, THREE] {
        server.members().put(member(address)).unwrap();
    }
    let watcher = Watcher::new(&discovery).await;
    assert_eq!(watcher.all(), [ONE, TWO, THREE].map(member));
}

#[tokio::test]
async fn harbors_are_members_like_others() {
    let (_server, discovery) = server().await;
    discovery.put(member("1.255.1")).await.unwrap();
    assert_eq!(discovery.members().await.unwrap(), [member("1.255.1")]);
}

#[tokio::test]
async fn what_is_put_again_replaces_what_was_there() {
    let (_server, discovery) = server().await;
    discovery.put(member(ONE).exported(true).label("zone", "a")).await.unwrap();
    discovery.put(member(ONE).label("tier", "b")).await.unwrap();
    assert_eq!(discovery.members().await.unwrap(), [member(ONE).label("tier", "b")]);
}

#[tokio::test]
async fn a_removal_is_told_and_that_of_a_stranger_is_nothing() {
    let (_server, discovery) = server().await;
    discovery.put(member(ONE)).await.unwrap();
    let mut watcher = Watcher::new(&discovery).await;
    assert!(!discovery.remove(addr(TWO)).await.unwrap());
    assert!(discovery.remove(addr(ONE)).await.unwrap());
    assert_eq!(watcher.changes().await, [Change::Remove(addr(ONE))]);
    assert!(!discovery.remove(addr(ONE)).await.unwrap());
    assert_eq!(discovery.members().await.unwrap(), []);
}

#[tokio::test]
async fn a_member_that_is_added_again_is_told_as_it_is_now() {
    let (_server, discovery) = server().await;
    let mut watcher = Watcher::new(&discovery).await;
    let me = Announcement::new(addr(ONE), run(5));
    discovery.put(member(ONE)).await.unwrap();
    discovery.announce(&me.available(false)).await.unwrap();
    discovery.remove(addr(ONE)).await.unwrap();
    let elsewhere = seaway::discovery::Member::new(addr(ONE), "127.0.0.1:9");
    discovery.put(elsewhere.clone()).await.unwrap();
    watcher.until("the new address", |watcher| watcher.all() == [elsewhere.clone()]).await;
}

#[tokio::test]
async fn each_setting_is_told_both_ways_and_leaves_the_others() {
    let (_server, discovery) = server().await;
    let labelled = member(ONE).label("zone", "a");
    discovery.put(labelled.clone()).await.unwrap();
    let mut watcher = Watcher::new(&discovery).await;
    for yes in [true, false] {
        discovery.set_exported(addr(ONE), yes).await.unwrap();
        assert_eq!(watcher.changes().await, [Change::Put(labelled.clone().exported(yes))]);
    }
    for yes in [false, true] {
        discovery.set_available(addr(ONE), yes).await.unwrap();
        assert_eq!(watcher.changes().await, [Change::Put(labelled.clone().available(yes))]);
    }
    discovery.set_network(addr(ONE), "db.local:9").await.unwrap();
    let mut moved = labelled;
    moved.network = "db.local:9".to_owned();
    assert_eq!(watcher.changes().await, [Change::Put(moved)]);
}

#[tokio::test]
async fn what_changes_nothing_is_not_told() {
    let (_server, discovery) = server().await;
    discovery.put(member(ONE)).await.unwrap();
    let mut watcher = Watcher::new(&discovery).await;
    discovery.put(member(ONE)).await.unwrap();
    discovery.set_available(addr(ONE), true).await.unwrap();
    discovery.put(member(TWO)).await.unwrap();
    assert_eq!(watcher.changes().await, [Change::Put(member(TWO))]);
}

#[tokio::test]
async fn strangers_and_nonsense_are_refused_by_type_and_change_nothing() {
    let (_server, discovery) = server().await;
    let me = Announcement::new(addr(TWO), run(1));
    assert!(is_not_a_member(discovery.announce(&me).await, TWO));
    assert!(is_not_a_member(discovery.set_available(addr(TWO), true).await, TWO));
    assert!(is_not_a_member(discovery.set_exported(addr(TWO), true).await, TWO));
    assert!(is_not_a_member(discovery.set_network(addr(TWO), "a:1").await, TWO));
    discovery.withdraw(addr(TWO), run(1)).await.unwrap();

    discovery.put(member(ONE).label("big", "x".repeat(3_000))).await.unwrap();
    let before = discovery.members().await.unwrap();
    let nowhere = discovery.set_network(addr(ONE), "nowhere").await;
    assert!(matches!(nowhere, Err(DiscoveryError::Invalid(MemberError::Network(_)))));
    let huge = discovery.put(member(ONE).label("a", "x".repeat(1 << 20))).await;
    assert!(matches!(huge, Err(DiscoveryError::Invalid(MemberError::LabelBytes(_)))));
    let mut many = member(ONE);
    many.labels = (0..33).map(|n| (n.to_string(), String::new())).collect();
    let many = discovery.put(many).await;
    assert!(matches!(many, Err(DiscoveryError::Invalid(MemberError::Labels(33)))));
    // Only the server can know that this is too much together with what was configured.
    let me = Announcement::new(addr(ONE), run(1)).label("more", "x".repeat(2_000));
    let together = discovery.announce(&me).await;
    assert!(matches!(together, Err(DiscoveryError::Invalid(MemberError::LabelBytes(_)))));
    assert_eq!(discovery.members().await.unwrap(), before);
}

#[tokio::test]
async fn the_longest_labels_pass_whatever_they_are_made_of() {
    let (_server, discovery) = server().await;
    let member = member(ONE).label("k", "\u{1}".repeat(4_095));
    discovery.put(member.clone()).await.unwrap();
    let me = Announcement::new(addr(ONE), run(1)).label("k", "\"".repeat(4_095));
    discovery.announce(&me).await.unwrap();
    let told = discovery.members().await.unwrap();
    assert_eq!(told, [member.incarnation(run(1)).label("k", "\"".repeat(4_095))]);
}

#[tokio::test]
async fn thousands_of_members_are_told_as_one_snapshot_and_one_more_is_refused() {
    const MEMBERS_MAX: u32 = 4_096;
    let (server, discovery) = server().await;
    for id in 0..MEMBERS_MAX {
        server.members().put(member(&format!("1.1.{id}"))).unwrap();
    }
    assert_eq!(discovery.members().await.unwrap(), server.members().members());
    let error = discovery.put(member("2.1.1")).await.unwrap_err();
    assert!(error.to_string().contains("4096 members already; remove some"), "{error:?}");
    discovery.put(server.members().members()[0].clone()).await.unwrap();
}

// Who lives.

#[tokio::test]
async fn an_announcement_is_laid_over_what_is_configured() {
    let (_server, discovery) = server().await;
    discovery.put(member(ONE).label("zone", "a").label("tier", "x")).await.unwrap();
    let me = Announcement::new(addr(ONE), run(7)).label("tier", "y");
    discovery.announce(&me).await.unwrap();
    let told = member(ONE).label("zone", "a").label("tier", "y").incarnation(run(7));
    assert_eq!(discovery.members().await.unwrap(), [told]);
}

#[tokio::test]
async fn p15_an_older_incarnation_is_told_by_type_that_it_is_superseded() {
    let (_server, discovery) = server().await;
    discovery.put(member(ONE)).await.unwrap();
    // Greater than what a number in other languages holds.
    let (older, newer) = (run(u64::MAX - 1), run(u64::MAX));
    discovery.announce(&Announcement::new(addr(ONE), newer)).await.unwrap();
    let refused = discovery.announce(&Announcement::new(addr(ONE), older)).await;
    assert!(matches!(
        refused,
        Err(DiscoveryError::Superseded { address, announced, recorded })
            if address == addr(ONE) && announced == older && recorded == newer
    ));
}

#[tokio::test]
async fn withdrawing_concerns_only_the_recorded_incarnation() {
    let (_server, discovery) = server().await;
    discovery.put(member(ONE)).await.unwrap();
    let mut watcher = Watcher::new(&discovery).await;
    discovery.announce(&Announcement::new(addr(ONE), run(2))).await.unwrap();
    watcher.next().await;
    discovery.withdraw(addr(ONE), run(1)).await.unwrap();
    discovery.withdraw(addr(ONE), run(3)).await.unwrap();
    discovery.withdraw(addr(ONE), run(2)).await.unwrap();
    let away = member(ONE).incarnation(run(2)).available(false);
    assert_eq!(watcher.changes().await, [Change::Put(away)]);
}

#[tokio::test]
async fn an_announcement_that_is_not_repeated_makes_unavailable_and_not_removed() {
    let (server, discovery) = server().await;
    discovery.put(member(ONE)).await.unwrap();
    let mut watcher = Watcher::new(&discovery).await;
    let me = Announcement::new(addr(ONE), run(1)).ttl(Duration::from_millis(300));
    let began = tokio::time::Instant::now();
    discovery.announce(&me).await.unwrap();
    let there = member(ONE).incarnation(run(1));
    assert_eq!(watcher.changes().await, [Change::Put(there.clone())]);
    assert_eq!(watcher.changes().await, [Change::Put(there.clone().available(false))]);
    // 300 ms, and a look every 250 ms.
    let took = began.elapsed();
    assert!((300..3 * 550).contains(&took.as_millis()), "{took:?}");
    assert!(server.members().configured()[0].available);
    discovery.announce(&me).await.unwrap();
    assert_eq!(watcher.changes().await, [Change::Put(there)]);
}

#[tokio::test]
async fn an_announcement_that_is_repeated_keeps_its_member_available() {
    let (_server, discovery) = server().await;
    discovery.put(member(ONE)).await.unwrap();
    discovery.put(member(TWO)).await.unwrap();
    let announce = |address| Announcement::new(addr(address), run(1));
    discovery.announce(&announce(ONE).ttl(Duration::from_secs(3))).await.unwrap();
    let mut watcher = Watcher::new(&discovery).await;
    // The other one lapses four times meanwhile.
    for _ in 0..4 {
        discovery.announce(&announce(ONE).ttl(Duration::from_secs(3))).await.unwrap();
        discovery.announce(&announce(TWO).ttl(Duration::from_millis(500))).await.unwrap();
        for is_available in [true, false] {
            let wanted = |watcher: &Watcher| watcher.members[&addr(TWO)].available == is_available;
            watcher.until("the other one", wanted).await;
            assert!(watcher.members[&addr(ONE)].available);
        }
    }
}

// The server itself.

#[tokio::test]
async fn a_server_that_is_dropped_or_shut_down_is_gone_and_watches_go_on_without_it() {
    for is_dropped in [true, false] {
        let (server, discovery) = server().await;
        let mut watcher = Watcher::new(&discovery).await;
        if is_dropped {
            drop(server);
        } else {
            server.shutdown().await.unwrap();
        }
        let Event::Problem(problem) = watcher.next().await else { panic!("no problem") };
        assert!(problem.contains("closed the connection"), "{problem}");
        let error = soon("an error", discovery.members()).await.unwrap_err();
        assert!(error.to_string().contains("start `seaway-discovery-mock serve"), "{error:?}");
    }
}

#[tokio::test]
async fn a_dropped_watch_is_forgotten_by_the_server() {
    let (server, discovery) = server().await;
    let watches = [discovery.watch().await.unwrap(), discovery.watch().await.unwrap()];
    support::until("two watchers", || server.watchers() == 2).await;
    drop(watches);
    support::until("no watcher", || server.watchers() == 0).await;
}

#[tokio::test]
async fn without_being_told_so_in_words_it_serves_on_loopback_only() {
    for address in ["0.0.0.0:0", "[::]:0"] {
        let error = Server::bind(address).await.unwrap_err().to_string();
        assert!(error.contains("--insecure-remote"), "{error}");
    }
    let server = Server::builder().insecure_remote().bind("0.0.0.0:0").await.unwrap();
    let port = server.local_addr().port();
    client(([127, 0, 0, 1], port).into()).put(member(ONE)).await.unwrap();
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let (server, _) = server().await;
    let taken = server.local_addr().to_string();
    let error = Server::bind(&*taken).await.unwrap_err().to_string();
    assert!(error.contains(&taken), "{error}");
}

#[tokio::test]
async fn a_server_that_is_something_else_is_told_from_one_that_is_away() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let words = b"HTTP/1.1 400 Bad Request\r\n\r\n";
            tokio::io::AsyncWriteExt::write_all(&mut stream, words).await.ok();
            std::mem::forget(stream);
        }
    });
    let error = MockDiscovery::connect(at.to_string()).members().await.unwrap_err();
    assert!(error.to_string().contains("is not a seaway-discovery-mock"), "{error:?}");
}

#[tokio::test]
async fn a_conversation_by_hand_is_as_the_documents_show_it() {
    let (server, _) = server().await;
    server.members().put(member(TWO)).unwrap();
    let mut raw = Raw::connect(server.local_addr()).await;
    for (ask, answer) in [
        ("{\"hello\":{\"version\":1}}", "{\"hello\":{\"version\":1}}"),
        ("{\"set\":{\"address\":\"1.2.1\",\"available\":false}}", "{\"done\":{}}"),
        (
            "{\"remove\":\"1.1.1\"}",
            "{\"refused\":{\"message\":\"1.1.1 is not a member; add it to discovery first\",\
             \"why\":{\"not_a_member\":\"1.1.1\"}}}",
        ),
    ] {
        raw.say([ask, "\n"].concat()).await;
        assert_eq!(raw.line().await.as_deref(), Some(answer));
    }
    raw.say(WATCH).await;
    let mut lines = Vec::new();
    while lines.len() < 3 {
        // That it lives may come first.
        lines.extend(raw.line().await.filter(|line| line != "{\"alive\":{}}"));
    }
    assert!(lines[0].starts_with("{\"snapshot\":{\"revision\":"), "{lines:?}");
    let put = "{\"put\":{\"address\":\"1.2.1\",\"network\":\"127.0.0.1:7001\",\
               \"exported\":false,\"available\":false}}";
    assert_eq!(lines[1], put);
    assert_eq!(lines[2], lines[0].replace("snapshot", "end"));
}
