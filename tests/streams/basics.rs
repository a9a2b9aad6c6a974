//! Opening, echoing, metadata.

use seaway::Reason;

use super::support::{Cluster, addr, soon};
use super::*;

#[tokio::test]
async fn bytes_come_back_over_two_streams_one_after_the_other() {
    let cluster = Cluster::new();
    let gate = cluster.node("1.1.1").await;
    let game = echo(cluster.builder("1.2.1")).start().await.unwrap();
    for text in ["hello", "world"] {
        let stream = soon("the stream", gate.open_stream(addr("1.2.1"), "echo")).await.unwrap();
        assert_eq!(stream.peer(), game.address());
        let back = soon("the echo", exchange(stream, text.as_bytes())).await.unwrap();
        assert_eq!(back, text.as_bytes());
    }
    assert_eq!(gate.stats().streams_opened, 2);
    assert_eq!(game.stats().streams_accepted, 2);
}

#[tokio::test]
async fn both_nodes_open_streams_over_one_connection() {
    let cluster = Cluster::new();
    let one = echo(cluster.builder("1.1.1")).start().await.unwrap();
    let two = echo(cluster.builder("1.2.1")).start().await.unwrap();
    let there = soon("a stream", one.open_stream(addr("1.2.1"), "echo")).await.unwrap();
    let back = soon("a stream", two.open_stream(addr("1.1.1"), "echo")).await.unwrap();
    let (there, back) = tokio::join!(exchange(there, b"there"), exchange(back, b"back"));
    assert_eq!(there.unwrap(), b"there");
    assert_eq!(back.unwrap(), b"back");
    // One for the pulse, one for streams.
    assert_eq!(one.stats().dialed + two.stats().dialed, 2);
}

#[tokio::test]
async fn a_stream_to_oneself_works() {
    let cluster = Cluster::new();
    let node = echo(cluster.builder("1.1.1")).start().await.unwrap();
    let stream = soon("the stream", node.open_stream(addr("1.1.1"), "echo")).await.unwrap();
    assert_eq!(soon("the echo", exchange(stream, b"me")).await.unwrap(), b"me");
    assert_eq!(node.stats().dialed, 0);
}

#[tokio::test]
async fn a_service_that_is_not_there_is_named_in_the_refusal() {
    let cluster = Cluster::new();
    let gate = cluster.node("1.1.1").await;
    let _game = echo(cluster.builder("1.2.1")).start().await.unwrap();
    let refused = soon("no", gate.open_stream(addr("1.2.1"), "chat")).await.unwrap_err();
    assert_eq!(refused.reason, Reason::Unimplemented);
    assert_eq!(
        refused.to_string(),
        "stream chat to 1.2.1 was not accepted: the method is not served there \
         (no such service of streams; said by 1.2.1)"
    );
}
