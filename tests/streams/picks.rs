//! Streams to whoever is picked.

use seaway::discovery::InProcess;
use seaway::{NodeType, Pick, Reason};

use super::support::{Cluster, PATIENCE, addr, soon};
use super::*;

const GAMES: NodeType = NodeType::new(2);

#[tokio::test]
async fn the_one_that_was_picked_is_named_in_the_refusal() {
    let cluster = Cluster::empty();
    let gate = cluster.node("1.1.1").await;
    let _game = echo(cluster.builder("1.2.1")).start().await.unwrap();
    gate.members_until(|gate| gate.members(GAMES).count() == 1).await;
    let opened = gate.open_stream(Pick::any(GAMES), "chat");
    let refused = soon("no", opened).await.unwrap_err();
    assert_eq!(refused.to, addr("1.2.1").into());
}

#[tokio::test]
async fn p16_a_stream_to_a_node_that_stops_is_picked_for_anew_until_there_is_another() {
    let cluster = Cluster::empty();
    let builder = cluster.builder("1.2.1").on_stream("echo", |_, stream| async {
        std::future::pending::<()>().await;
        drop(stream);
    });
    let (game, gate) = (builder.start().await.unwrap(), cluster.builder("1.1.1"));
    // What the gate is told, later than others.
    let news = InProcess::new();
    for address in ["1.1.1", "1.2.1"] {
        news.put(cluster.member(address)).unwrap();
    }
    let gate = gate.discovery(news.clone()).start().await.unwrap();
    let _held = soon("a stream", gate.open_stream(addr("1.2.1"), "echo")).await.unwrap();
    let stopping = game.clone();
    let stop = tokio::spawn(async move { stopping.shutdown(PATIENCE).await });
    game.draining().await;

    let opener = gate.clone();
    let opening = tokio::spawn(async move {
        opener.open_stream(Pick::by_key(GAMES, "ann"), "echo").within(PATIENCE).await
    });
    let by_address = gate.open_stream(addr("1.2.1"), "echo");
    assert_eq!(soon("no", by_address).await.unwrap_err().reason, Reason::Draining);
    let _other = echo(cluster.builder("1.2.2")).start().await.unwrap();
    news.put(cluster.member("1.2.2")).unwrap();
    news.set_available(addr("1.2.1"), false).unwrap();
    let stream = soon("a stream", opening).await.unwrap().unwrap();
    assert_eq!(stream.peer(), addr("1.2.2"));
    stop.abort();
}
