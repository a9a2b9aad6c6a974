//! Nodes that do not start, and what they say about it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod support;

use std::time::{Duration, Instant};

use seaway::discovery::{Announcement, Discovery, DiscoveryError, InProcess, Member, Watch};
use seaway::{Builder, ClusterKey, Config, Incarnation, Limit, LogicalAddr, Node, StartError};
use support::{Cluster, ECHO, Number, addr, soon, text};

const ONE: &str = "1.1.1";
const TWO: &str = "1.2.1";

fn echo(builder: Builder) -> Builder {
    builder.on_call(ECHO, |_, request| async move { Ok(request) })
}

#[tokio::test]
async fn p17_a_node_that_is_not_in_discovery_does_not_start_and_says_so_at_once() {
    let cluster = Cluster::empty();
    let began = Instant::now();
    let error = Node::builder(ONE).discovery(cluster.discovery.clone()).start().await.unwrap_err();
    assert!(matches!(error, StartError::NotAMember(address) if address == addr(ONE)));
    assert!(error.to_string().contains("add it there"), "{error}");
    assert!(began.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn a_node_without_discovery_does_not_start() {
    let error = Node::builder(ONE).start().await.unwrap_err();
    assert!(matches!(error, StartError::NoDiscovery), "{error}");
}

#[tokio::test]
async fn nodes_in_process_find_each_other_even_before_they_start() {
    let members = InProcess::new();
    let [one, two] = [ONE, TWO].map(|address| Node::builder(address).in_process(&members));
    let one = one.start().await.unwrap();
    let call = one.call(addr(TWO), ECHO, text("hi")).detached();
    let (reply, two) = soon("the reply", async { tokio::join!(call, echo(two).start()) }).await;
    assert_eq!(reply, Ok(text("hi")));
    assert!(two.unwrap().local_addr().ip().is_loopback());
    let error = Node::builder("1.2").in_process(&members).start().await.unwrap_err();
    assert!(matches!(error, StartError::Address { .. }), "{error}");
    assert_eq!(members.members().len(), 2);
}

#[tokio::test]
async fn a_node_with_a_bad_address_does_not_start() {
    for address in ["", "1.2", "1.2.3.4", "0.1.1", "1.0.1", "5000.1.1", "a.b.c"] {
        let cluster = Cluster::empty();
        let builder = Node::builder(address).discovery(cluster.discovery.clone());
        let error = builder.start().await.unwrap_err();
        assert!(matches!(&error, StartError::Address { text, .. } if text == address), "{error}");
        assert!(error.to_string().contains(&format!("{address:?}")), "{error}");
    }
    let error = Node::builder("1.2").start().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the node's own address \"1.2\" is none: \
         a logical address has three parts, group.type.id, such as 1.2.3; this has 2"
    );
}

#[tokio::test]
async fn p20_a_node_without_a_key_does_not_listen_beyond_loopback() {
    let cluster = Cluster::empty();
    cluster.discovery.put(Member::new(addr(ONE), "0.0.0.0:7001")).unwrap();
    let builder = || Node::builder(ONE).discovery(cluster.discovery.clone());
    let error = builder().start().await.unwrap_err();
    assert!(matches!(error, StartError::NotLoopback(_)), "{error}");
    let listener = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    let error = builder().listener(listener).start().await.unwrap_err();
    assert!(matches!(error, StartError::NotLoopback(_)), "{error}");
    assert!(error.to_string().contains(".key("), "{error}");
}

#[tokio::test]
async fn a_node_whose_port_is_taken_does_not_start() {
    let cluster = Cluster::empty();
    let other = cluster.node(TWO).await;
    let network = other.local_addr().to_string();
    cluster.discovery.put(Member::new(addr(ONE), network.clone())).unwrap();
    let error = Node::builder(ONE).discovery(cluster.discovery.clone()).start().await.unwrap_err();
    assert!(matches!(&error, StartError::Bind { address, .. } if *address == network), "{error}");
    let text = error.to_string();
    assert!(text.starts_with(&format!("cannot listen on {network}: ")), "{text}");
    assert!(text.ends_with("; stop who has it, or give this node another port"), "{text}");
}

#[tokio::test]
async fn a_node_that_is_to_listen_on_what_is_no_address_is_told_the_form() {
    for address in ["localhost", "127.0.0.1", "7001", "127.0.0.1:70010", "no host:7001"] {
        let cluster = Cluster::empty();
        let error = cluster.builder(ONE).listen(address).start().await.unwrap_err();
        assert!(
            matches!(&error, StartError::Resolve { address: given, .. } if given == address),
            "{error}"
        );
        let text = error.to_string();
        assert!(text.starts_with(&format!("cannot listen on {address:?}: ")), "{text}");
        assert!(text.contains("host:port") && text.contains("127.0.0.1:7001"), "{text}");
    }
}

#[tokio::test]
async fn two_handlers_for_one_thing_do_not_start() {
    let cluster = Cluster::empty();
    let twice = echo(echo(cluster.builder(ONE))).start().await.unwrap_err();
    assert!(matches!(twice, StartError::Clash { .. }), "{twice}");
    let twice = cluster
        .builder(ONE)
        .on_message(|_, _: Number| async {})
        .on_bytes(seaway::MessageId::of("test.Number"), |_, _| async {});
    let twice = twice.start().await.unwrap_err();
    assert!(matches!(twice, StartError::Clash { .. }), "{twice}");
    let limit = cluster.builder(ONE).limit("no.Such/Method", Limit::concurrent(1));
    let limit = limit.start().await.unwrap_err();
    assert!(matches!(limit, StartError::LimitOnNothing(_)), "{limit}");
}

#[tokio::test]
async fn a_config_out_of_range_does_not_start_and_names_the_field() {
    type Change = fn(&mut Config);
    let wrong: [(&str, Change); 21] = [
        ("deployment", |config| config.deployment.clear()),
        ("deployment", |config| config.deployment = "x".repeat(65)),
        ("frame_bytes_max", |config| config.frame_bytes_max = 1023),
        ("frame_bytes_max", |config| {
            config.frame_bytes_max = (64 << 20) + 1;
            config.outbox_bytes_max = 128 << 20;
            config.request_bytes_max = 128 << 20;
        }),
        ("outbox_bytes_max", |config| config.outbox_bytes_max = config.frame_bytes_max - 1),
        ("request_bytes_max", |config| config.request_bytes_max = config.frame_bytes_max - 1),
        ("outbox_reserve_bytes", |config| config.outbox_reserve_bytes = 0),
        ("calls_max", |config| config.calls_max = 0),
        ("calls_max", |config| config.calls_max = 1 << 20),
        ("requests_max", |config| config.requests_max = 0),
        ("call_timeout", |config| config.call_timeout = Duration::ZERO),
        ("message_timeout", |config| config.message_timeout = Duration::ZERO),
        ("heartbeat", |config| config.heartbeat = Duration::from_millis(99)),
        ("heartbeat", |config| config.heartbeat = Duration::from_secs(61)),
        ("connect_timeout", |config| config.connect_timeout = Duration::ZERO),
        ("handshake_timeout", |config| config.handshake_timeout = Duration::ZERO),
        ("backoff_min", |config| config.backoff_min = Duration::ZERO),
        ("backoff_max", |config| config.backoff_max = config.backoff_min / 2),
        ("unauthenticated_max", |config| config.unauthenticated_max = 0),
        ("unauthenticated_per_ip_max", |config| config.unauthenticated_per_ip_max = 0),
        ("version_label", |config| config.version_label = "x".repeat(65)),
    ];
    for (field, change) in wrong {
        let cluster = Cluster::empty();
        let mut config = Config::default();
        change(&mut config);
        let outcome = cluster.builder(ONE).config(config).start().await;
        let Err(StartError::Config(text)) = outcome else { panic!("{field}: it started") };
        assert!(text.contains(field) && text.contains("must be"), "{field}: {text}");
    }
}

#[tokio::test]
async fn p20_keys_that_cannot_be_told_apart_do_not_start() {
    let cluster = Cluster::empty();
    let key = || ClusterKey::new("a", [1; 32]).unwrap();
    let error = cluster.builder(ONE).key(key()).key(key()).start().await.unwrap_err();
    assert!(matches!(error, StartError::Config(_)), "{error}");
}

/// An engine whose watches end before they say anything.
struct Short;

#[async_trait::async_trait]
impl Discovery for Short {
    async fn watch(&self) -> Result<Watch, DiscoveryError> {
        Ok(Watch::channel(1).1)
    }

    async fn announce(&self, _: &Announcement) -> Result<(), DiscoveryError> {
        Ok(())
    }

    async fn withdraw(&self, _: LogicalAddr, _: Incarnation) -> Result<(), DiscoveryError> {
        Ok(())
    }
}

#[tokio::test]
async fn a_node_whose_engine_ends_the_watch_first_does_not_start_and_says_so() {
    let error = Node::builder(ONE).discovery(Short).start().await.unwrap_err();
    assert!(matches!(error, StartError::DiscoveryEnded), "{error}");
    assert!(error.to_string().contains("ended its watch"), "{error}");
}

#[tokio::test]
async fn a_node_with_labels_that_cannot_be_announced_does_not_start() {
    let cluster = Cluster::empty();
    let error = cluster.builder(ONE).label("zone", "x".repeat(5000)).start().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the labels of a member take at most 4096 bytes in all, not 5004"
    );
}
