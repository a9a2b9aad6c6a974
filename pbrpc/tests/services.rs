//! The ready services, called by another node.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::net::TcpListener;
use std::time::Duration;

use seaway::discovery::{InProcess, Member};
use seaway::{CallError, Code, LogicalAddr, Node};
use seaway_pbrpc::health::{CheckRequest, Condition, checker};
use seaway_pbrpc::{Echo, Health, echo};

/// A node that serves all of it, and one that calls it.
async fn nodes(health: &Health) -> (Node, Node, LogicalAddr) {
    let (here, there) = ("1.1.1".parse().unwrap(), "1.2.1".parse().unwrap());
    let (near, far) = (listener(), listener());
    let members = InProcess::new();
    members.put(Member::new(here, near.local_addr().unwrap().to_string())).unwrap();
    members.put(Member::new(there, far.local_addr().unwrap().to_string())).unwrap();
    let server = Node::builder(there).discovery(members.clone()).listener(far);
    let server = server.serve(echo::Server::new(Echo));
    let server = server.serve(checker::Server::new(health.clone())).start().await.unwrap();
    let caller = Node::builder(here).discovery(members).listener(near).start().await.unwrap();
    (server, caller, there)
}

fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

fn check(part: &str) -> CheckRequest {
    CheckRequest { part: part.to_owned() }
}

/// Waits for a reply, but not for ever.
async fn soon<F: IntoFuture>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(20), future).await.unwrap()
}

#[tokio::test]
async fn echo_gives_back_what_it_gets() {
    let (_server, node, there) = nodes(&Health::new()).await;
    let reply = soon(echo::call(&node, there, echo::Request { msg: "ö".into() })).await;
    assert_eq!(reply, Ok(echo::Response { msg: "ö".into() }));
}

#[tokio::test]
async fn a_node_is_serving_from_the_start() {
    let (_server, node, there) = nodes(&Health::default()).await;
    let reply = soon(checker::check(&node, there, check(""))).await.unwrap();
    assert_eq!(reply.condition(), Condition::Serving);
}

#[tokio::test]
async fn health_says_what_the_process_said_last() {
    let health = Health::new();
    let (_server, node, there) = nodes(&health).await;
    for condition in [Condition::Unknown, Condition::Serving, Condition::NotServing] {
        health.set("chat.Room", condition);
        let reply = soon(checker::check(&node, there, check("chat.Room"))).await.unwrap();
        assert_eq!(reply.condition(), condition);
    }
    let whole = soon(checker::check(&node, there, check(""))).await.unwrap();
    assert_eq!(whole.condition(), Condition::Serving);
}

#[tokio::test]
async fn a_part_that_nobody_has_named_is_not_found() {
    let (_server, node, there) = nodes(&Health::new()).await;
    let outcome = soon(checker::check(&node, there, check("chat.Room"))).await;
    let Err(CallError::Status(status)) = outcome else { unreachable!("{outcome:?}") };
    assert_eq!((status.code(), status.text()), (Code::NotFound, "no part \"chat.Room\" here"));
}
