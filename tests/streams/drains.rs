//! Streams of a node that stops.

use std::time::Duration;

use tokio::time::timeout;

use super::support::proxy::{Flow, STREAM};
use super::support::{Cluster, addr, soon};
use super::*;

/// Longer than a node takes to stop that waits for nobody.
const A_WHILE: Duration = Duration::from_millis(800);

#[tokio::test]
async fn p16_a_node_stops_when_its_peers_have_what_its_streams_wrote_last() {
    let cluster = Cluster::new();
    let gate = cluster.node("1.1.1").await;
    let (builder, proxy) = cluster.proxied("1.2.1").await;
    let builder = builder.on_stream("game", |cx, mut stream| async move {
        cx.node().draining().await;
        stream.write_all(b"the last words").await.unwrap();
        stream.shutdown().await.unwrap();
        // The other end has ended before.
        assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
    });
    let game = builder.start().await.unwrap();
    let mut stream = soon("the stream", gate.open_stream(addr("1.2.1"), "game")).await.unwrap();
    stream.shutdown().await.unwrap();

    proxy.outward(STREAM, Flow::Stall);
    let mut stop = tokio::spawn(async move { game.shutdown(Duration::from_secs(10)).await });
    assert!(timeout(A_WHILE, &mut stop).await.is_err(), "it stopped before they were read");
    proxy.outward(STREAM, Flow::Pass);

    let mut last = String::new();
    soon("the last words", stream.read_to_string(&mut last)).await.unwrap();
    assert_eq!(last, "the last words");
    let report = soon("the stop", stop).await.unwrap();
    assert!(report.is_clean(), "{report:?}");
}
