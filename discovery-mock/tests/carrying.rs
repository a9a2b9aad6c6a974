//! What harbors carry from one server to another, also while one of them is away.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod support;

use std::path::Path;
use std::time::{Duration, Instant};

use seaway::discovery::{Discovery, DiscoveryError, InProcess, Member};
use seaway::{LogicalAddr, Node, NodeType};
use seaway_discovery_mock::Server;
use support::raw::{HELLO, Raw};
use support::{ONE, Watcher, addr, builder, client, member, server, until};

const ROOM: &str = "2.7.1";
const HARBOR: &str = "1.255.1";
const FAR_HARBOR: &str = "2.255.1";
const ROOMS: NodeType = NodeType::new(7);
const TTL: Duration = Duration::from_secs(10);

fn room() -> Member {
    member(ROOM).exported(true)
}

#[tokio::test]
async fn what_a_harbor_carries_is_told_with_its_carrier_until_its_next_word() {
    let (server, discovery) = server().await;
    let mut watcher = Watcher::new(&discovery).await;
    let run = support::run(7);
    let carried = [room().incarnation(run).label("zone", "a"), member("2.7.2").exported(true)];
    discovery.carry(addr(HARBOR), &carried, TTL).await.unwrap();
    let told = carried.each_ref().map(|member| member.clone().carried_by(addr(HARBOR)));
    while watcher.members.values().ne(&told) {
        watcher.next().await;
    }
    assert_eq!(discovery.members().await.unwrap(), told);
    discovery.carry(addr(HARBOR), &[], TTL).await.unwrap();
    while !watcher.members.is_empty() {
        watcher.next().await;
    }
    assert!(server.members().carried().is_empty());
}

#[tokio::test]
async fn what_a_harbor_carries_is_forgotten_when_its_time_is_over() {
    let (server, discovery) = server().await;
    discovery.carry(addr(HARBOR), &[room()], Duration::from_millis(50)).await.unwrap();
    until("the end", || server.members().carried().is_empty()).await;
    assert!(discovery.members().await.unwrap().is_empty());
}

#[tokio::test]
async fn what_is_carried_is_not_kept_for_the_next_server() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("members.toml");
    let server = with_state("127.0.0.1:0", &path).await;
    let discovery = client(server.local_addr());
    discovery.put(member(ONE)).await.unwrap();
    discovery.carry(addr(HARBOR), &[room()], TTL).await.unwrap();
    server.shutdown().await.unwrap();
    let server = with_state("127.0.0.1:0", &path).await;
    assert_eq!(server.members().members(), [member(ONE)]);
}

#[tokio::test]
async fn p08_beyond_its_limits_nothing_more_is_carried() {
    let (server, discovery) = server().await;
    let at = |id: u16| LogicalAddr::new(2, 7, id % 4096);
    let many = |count| (0..count).map(|id| Member::new(at(id), "h:1")).collect::<Vec<_>>();
    let refused = |outcome| match outcome {
        Err(DiscoveryError::Unreachable(cause)) => cause.to_string(),
        other => panic!("{other:?}"),
    };
    let outcome = discovery.carry(addr(HARBOR), &many(4097), TTL).await;
    assert!(refused(outcome).contains("at most 4096 members"));
    for id in 0..4 {
        discovery.carry(LogicalAddr::harbor(1, id), &many(4096), TTL).await.unwrap();
    }
    let outcome = discovery.carry(addr("1.255.9"), &many(1), TTL).await;
    assert!(refused(outcome).contains("at most 16384 members"));
    discovery.carry(addr("1.255.0"), &many(4096), TTL).await.unwrap();
    assert_eq!(server.members().carried().len(), 4);
    discovery.put(member(ONE)).await.unwrap();
}

#[tokio::test]
async fn p19_what_is_carried_in_disorder_is_refused_and_changes_nothing() {
    let (server, _) = server().await;
    let carry = r#"{"carry":{"carrier":"1.255.1","ttl_ms":10000}}"#;
    let carried = r#"{"carried":{"address":"2.7.1","network":"h:1"}}"#;
    let wrong = r#"{"carried":{"address":"2.7.1","network":"nowhere"}}"#;
    let put = r#"{"put":{"address":"2.7.1","network":"h:1"}}"#;
    let end = r#"{"end":{}}"#;
    for lines in [vec![carried], vec![end], vec![carry, carried, put], vec![carry, wrong, end]] {
        let mut raw = Raw::connect(server.local_addr()).await;
        raw.say(format!("{HELLO}{}\n", lines.join("\n"))).await;
        let last = raw.rest().await.pop().unwrap();
        assert!(last.contains("refused"), "{lines:?}: {last}");
        assert!(server.members().members().is_empty(), "{lines:?}");
    }
}

/// Two groups with a server each, and the server of their harbors; all keep their state.
struct World {
    folder: tempfile::TempDir,
    servers: Vec<Server>,
    one: Node,
    _others: Vec<Node>,
}

const FIRST: usize = 0;
const SECOND: usize = 1;
const COMMON: usize = 2;

async fn with_state(at: impl Into<String>, path: &Path) -> Server {
    Server::builder().state(path).bind(at).await.unwrap()
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut servers = Vec::new();
        for which in [FIRST, SECOND, COMMON] {
            servers.push(with_state("127.0.0.1:0", &state(&folder, which)).await);
        }
        let discovery = |which: usize| client(servers[which].local_addr());
        let mut nodes = Vec::new();
        let all = [(HARBOR, FIRST), (FAR_HARBOR, SECOND), (ROOM, SECOND), (ONE, FIRST)];
        for (address, own) in all {
            let (member, mut builder) = builder(address, discovery(own));
            let member = member.exported(address == ROOM);
            discovery(own).put(member.clone()).await.unwrap();
            if member.address.is_harbor() {
                discovery(COMMON).put(member).await.unwrap();
                builder = builder.harbor_discovery(discovery(COMMON));
            }
            nodes.push(builder.start().await.unwrap());
        }
        let one = nodes.pop().unwrap();
        let world = Self { folder, servers, one, _others: nodes };
        until("the room", || world.sees_the_room()).await;
        world
    }

    fn sees_the_room(&self) -> bool {
        self.one.members(ROOMS).any(|room| room.address == addr(ROOM))
    }

    fn members(&self, which: usize) -> &InProcess {
        self.servers[which].members()
    }

    /// Stops a server; what it kept is there when it is started again.
    async fn stop(&mut self, which: usize) -> String {
        let server = self.servers.remove(which);
        let at = server.local_addr().to_string();
        server.shutdown().await.unwrap();
        at
    }

    async fn start(&mut self, which: usize, at: String) {
        let server = with_state(at, &state(&self.folder, which)).await;
        self.servers.insert(which, server);
    }
}

fn state(folder: &tempfile::TempDir, which: usize) -> std::path::PathBuf {
    folder.path().join(format!("{which}.toml"))
}

/// Takes a server away and back: the room is seen all the time, and news of it get across then.
async fn outage(which: usize) {
    let mut world = World::new().await;
    let at = world.stop(which).await;
    // Longer than what is carried counts.
    let over = Instant::now() + TTL + Duration::from_secs(1);
    until("the end of the outage", || {
        assert!(world.sees_the_room(), "lost during the outage");
        Instant::now() > over
    })
    .await;
    world.start(which, at).await;
    until("everybody", || {
        assert!(world.sees_the_room(), "lost when the server was back");
        let is_carried = which == SECOND || !world.members(which).carried().is_empty();
        is_carried && world.servers[which].watchers() == 2
    })
    .await;
    world.members(SECOND).set_exported(addr(ROOM), false).unwrap();
    until("the news", || !world.sees_the_room()).await;
}

#[tokio::test]
async fn p17_an_outage_of_any_discovery_hides_no_exported_member() {
    tokio::join!(outage(FIRST), outage(SECOND), outage(COMMON));
}
