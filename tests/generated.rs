//! Generated code at work: what `seaway-codegen` makes of a .proto file, between nodes.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use seaway::{CallError, Code, Context, Message, MessageId, Method, Reason, Status, Target};
use seaway_testproto::{chat, difficult, echo, old, sum};
use support::events::events;
use support::{Cluster, addr, not_sent, soon};

/// Lets in whoever has a name, and tells who left.
struct Lobby {
    left: Box<dyn Fn(String) + Send + Sync>,
}

impl Lobby {
    fn new(left: impl Fn(String) + Send + Sync + 'static) -> Self {
        Self { left: Box::new(left) }
    }
}

impl chat::room::Service for Lobby {
    async fn join(
        &self,
        cx: &Context,
        request: chat::JoinRequest,
    ) -> Result<chat::JoinReply, Status> {
        match request.name.as_str() {
            "" => Err(Status::new(Code::InvalidArgument, format!("{}, a name!", cx.peer()))),
            name => Ok(chat::JoinReply { members: u32::try_from(name.len()).unwrap() }),
        }
    }

    // Not every handler waits for something.
    fn leave(
        &self,
        _: &Context,
        request: chat::LeaveRequest,
    ) -> impl Future<Output = Result<chat::LeaveReply, Status>> + Send {
        (self.left)(request.name);
        std::future::ready(Ok(chat::LeaveReply {}))
    }
}

struct Echo;

impl echo::Service for Echo {
    async fn call(&self, _: &Context, request: echo::Request) -> Result<echo::Response, Status> {
        Ok(echo::Response { msg: request.msg })
    }
}

struct Adder;

impl sum::Service for Adder {
    async fn call(&self, cx: &Context, request: sum::Request) -> Result<sum::Response, Status> {
        assert!(cx.time_left().is_some());
        Ok(sum::Response { sum: request.numbers.iter().sum(), line: request.line })
    }
}

fn join(name: &str) -> chat::JoinRequest {
    chat::JoinRequest { name: name.to_owned() }
}

#[tokio::test]
async fn a_generated_function_calls_a_generated_server() {
    let cluster = Cluster::new();
    let caller = cluster.node("1.1.1").await;
    let server = chat::room::Server::new(Lobby::new(|_| {}));
    let _callee = cluster.builder("1.2.1").serve(server).start().await.unwrap();
    let request = chat::room::join(&caller, addr("1.2.1"), join("Ada"));
    let reply = soon("the reply", request.within(Duration::from_secs(3))).await;
    assert_eq!(reply, Ok(chat::JoinReply { members: 3 }));
    let to = Target::from(addr("1.2.1"));
    let outcome = soon("the status", chat::room::join(&caller, to, join(""))).await;
    let status = Status::new(Code::InvalidArgument, "1.1.1, a name!");
    assert_eq!(outcome, Err(CallError::Status(status)));
}

#[tokio::test]
async fn the_short_form_is_called_by_the_module_of_its_file() {
    let cluster = Cluster::new();
    let caller = cluster.node("1.1.1").await;
    let builder = cluster.builder("1.2.1").serve(echo::Server::new(Echo));
    let _callee = builder.serve(sum::Server::new(Adder)).start().await.unwrap();
    let request = echo::Request { msg: "hi".into() };
    let reply = soon("the reply", echo::call(&caller, addr("1.2.1"), request)).await;
    assert_eq!(reply, Ok(echo::Response { msg: "hi".into() }));
    let line = Some(chat::Line { text: "x".into() });
    let request = sum::Request { numbers: vec![1, 2, -5], line: line.clone() };
    let reply = soon("the reply", sum::call(&caller, addr("1.2.1"), request)).await;
    assert_eq!(reply, Ok(sum::Response { sum: -2, line }));
}

#[tokio::test]
async fn a_generated_request_can_want_no_reply() {
    let cluster = Cluster::new();
    let caller = cluster.node("1.1.1").await;
    let (say, mut heard) = events();
    let server = chat::room::Server::new(Lobby::new(move |name| say.say(name)));
    let _callee = cluster.builder("1.2.1").serve(server).start().await.unwrap();
    let request = chat::LeaveRequest { name: "Ada".into() };
    chat::room::leave(&caller, addr("1.2.1"), request).notify().await.unwrap();
    heard.expect("Ada".to_owned()).await;
}

#[tokio::test]
async fn messages_arrive_by_a_given_id_and_by_a_hashed_one() {
    let cluster = Cluster::new();
    let sender = cluster.node("1.1.1").await;
    let (said, mut heard) = events();
    let joined = said.clone();
    let builder = cluster.builder("1.2.1").on_message(move |_, line: chat::Line| {
        said.say(line.text);
        async {}
    });
    let builder = builder.on_message(move |_, who: chat::Joined| {
        joined.say(who.name);
        async {}
    });
    let _receiver = builder.start().await.unwrap();
    sender.send(addr("1.2.1"), &chat::Line { text: "hello".into() }).await.unwrap();
    heard.expect("hello".to_owned()).await;
    sender.send(addr("1.2.1"), &chat::Joined { name: "Ada".into() }).await.unwrap();
    heard.expect("Ada".to_owned()).await;
}

#[tokio::test]
async fn two_servers_can_share_a_service() {
    let cluster = Cluster::new();
    let caller = cluster.node("1.1.1").await;
    let shared = Arc::new(Echo);
    let server = || echo::Server::from(Arc::clone(&shared));
    let _one = cluster.builder("1.2.1").serve(server()).start().await.unwrap();
    let _other = cluster.builder("1.2.2").serve(server()).start().await.unwrap();
    for callee in ["1.2.1", "1.2.2"].map(addr) {
        let reply = soon("the reply", echo::call(&caller, callee, echo::Request::default())).await;
        assert!(reply.is_ok(), "{callee}: {reply:?}");
    }
}

#[tokio::test]
async fn a_method_that_is_not_served_is_safe_to_retry() {
    let cluster = Cluster::new();
    let caller = cluster.node("1.1.1").await;
    let _callee = cluster.builder("1.2.1").serve(echo::Server::new(Echo)).start().await.unwrap();
    let outcome = soon("the refusal", chat::room::join(&caller, addr("1.2.1"), join("Ada"))).await;
    assert_eq!(not_sent(outcome).0, Reason::Unimplemented);
}

#[test]
fn what_is_generated_is_what_would_be_written_by_hand() {
    fn same<Q, R>(generated: Method<Q, R>, name: &'static str) {
        let by_hand = Method::<Q, R>::new(name);
        assert_eq!((generated.name(), generated.id()), (by_hand.name(), by_hand.id()));
    }
    same(chat::room::JOIN, "chat.Room/Join");
    same(chat::room::LEAVE, "chat.Room/Leave");
    same(echo::CALL, "echo.echo/call");
    same(difficult::v1::everything::HTTP_GET2, "difficult.v1.Everything/HTTPGet2");
    same(old::ways::post::SEND, "old.ways.Post/Send");
    assert_eq!((chat::Line::NAME, chat::Line::ID), ("chat.Line", MessageId::new(1001)));
    assert_eq!(
        (chat::Joined::NAME, chat::Joined::ID),
        ("chat.Joined", MessageId::of("chat.Joined"))
    );
    type Inner = difficult::v1::outer::middle::Inner;
    assert_eq!((Inner::NAME, Inner::ID), ("difficult.v1.Outer.Middle.Inner", MessageId::new(7)));
    assert_eq!(old::ways::Letter::ID, MessageId::new(u64::MAX));
}
