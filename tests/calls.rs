//! Calls between nodes.

mod support;

use support::{Cluster, ECHO, addr, soon, text};

#[tokio::test]
async fn a_call_by_address_is_answered() {
    let cluster = Cluster::new();
    let caller = cluster.node("1.1.1").await;
    let _callee = cluster.echo("1.2.1").await;
    let reply = soon("the reply", caller.call(addr("1.2.1"), ECHO, text("hi")).into_future()).await;
    assert_eq!(reply, Ok(text("hi")));
}

#[tokio::test]
async fn a_call_to_oneself_is_answered() {
    let cluster = Cluster::new();
    let node = cluster.echo("1.1.1").await;
    let reply = soon("the reply", node.call(addr("1.1.1"), ECHO, text("hi")).into_future()).await;
    assert_eq!(reply, Ok(text("hi")));
}

use std::future::IntoFuture;
