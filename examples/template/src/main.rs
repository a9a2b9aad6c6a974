//! A room that serves, and a guest that calls it.
//!
//! ```text
//! cargo run             both in this process; then it ends
//! cargo run -- serve    the room, until Ctrl-C
//! cargo run -- call     the guest, in another terminal
//! ```

use std::error::Error;
use std::net::TcpListener;
use std::time::Duration;

use seaway::discovery::Member;
use seaway::{Builder, Code, Context, LogicalAddr, Node, NodeType, Pick, Status};
use seaway_discovery_mock::{MockDiscovery, Server};

use chat::{JoinReply, JoinRequest, Line};

mod chat {
    seaway::include_proto!("chat");
}

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

/// Rooms are of type 7: the 7 in their addresses.
const ROOMS: NodeType = NodeType::new(7);
const ROOM: LogicalAddr = LogicalAddr::new(1, 7, 1);
const GUEST: LogicalAddr = LogicalAddr::new(1, 1, 1);
const DISCOVERY: &str = "127.0.0.1:8110";
const PATIENCE: Duration = Duration::from_secs(5);

struct Room;

impl chat::room::Service for Room {
    async fn join(&self, cx: &Context, guest: JoinRequest) -> Result<JoinReply, Status> {
        if guest.name.is_empty() {
            return Err(Status::new(Code::InvalidArgument, "a guest has a name"));
        }
        let welcome = format!("{} lets {} in", cx.node().address(), guest.name);
        Ok(JoinReply { welcome })
    }
}

/// Starts the room `1.7.1`.
async fn start_room(discovery: &MockDiscovery) -> Result<Node> {
    let builder = Node::builder(ROOM)
        .serve(chat::room::Server::new(Room))
        .on_message(|cx, line: Line| async move { println!("{}: {}", cx.peer(), line.text) });
    start(builder, ROOM, discovery).await
}

/// Starts the guest `1.1.1`.
async fn start_guest(discovery: &MockDiscovery) -> Result<Node> {
    let builder = Node::builder(GUEST).on_undeliverable(|notice| eprintln!("{notice}"));
    start(builder, GUEST, discovery).await
}

/// Tells discovery where the node listens, on any free port, and starts it.
async fn start(builder: Builder, address: LogicalAddr, discovery: &MockDiscovery) -> Result<Node> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    discovery.put(Member::new(address, listener.local_addr()?.to_string())).await?;
    Ok(builder.discovery(discovery.clone()).listener(listener).start().await?)
}

/// What the guest does.
async fn talk(guest: &Node) -> Result<()> {
    let ann = JoinRequest { name: "Ann".into() };

    let reply = chat::room::join(guest, ROOM, ann.clone()).await?;
    println!("by address: {}", reply.welcome);

    let reply = chat::room::join(guest, Pick::any(ROOMS), ann.clone()).await?;
    println!("by type: {}", reply.welcome);

    let reply = chat::room::join(guest, Pick::by_key(ROOMS, "Ann"), ann).await?;
    println!("by key: {}", reply.welcome);

    guest.send(ROOM, &Line { text: "hello, everybody".into() }).await?;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<()> {
    match std::env::args().nth(1).as_deref() {
        None => {
            let server = Server::bind("127.0.0.1:0").await?;
            let discovery = MockDiscovery::connect(server.local_addr().to_string());
            let room = start_room(&discovery).await?;
            let guest = start_guest(&discovery).await?;
            talk(&guest).await?;
            guest.shutdown(PATIENCE).await;
            room.shutdown(PATIENCE).await;
        }
        Some("serve") => {
            let _server = Server::bind(DISCOVERY).await?;
            let room = start_room(&MockDiscovery::connect(DISCOVERY)).await?;
            println!("{} serves until Ctrl-C", room.address());
            tokio::signal::ctrl_c().await?;
            room.shutdown(PATIENCE).await;
        }
        Some("call") => {
            let guest = start_guest(&MockDiscovery::connect(DISCOVERY)).await?;
            talk(&guest).await?;
            guest.shutdown(PATIENCE).await;
        }
        Some(_) => return Err("say `serve`, `call`, or nothing".into()),
    }
    Ok(())
}
