//! A harbor keeps so much for a pair, for a next link, and in all: the rest comes back. Real nodes
//! all the way.

use std::time::Duration;

use seaway::{Config, Node, Reason, Undeliverable};

use crate::groups::config;
use crate::support::messages::notice;
use crate::support::proxy::Proxy;
use crate::support::recorder::Recorder;
use crate::support::{Cluster, ECHO, Text, addr, soon, text, until};

const SENDERS: [&str; 2] = ["1.1.1", "1.1.2"];
/// The first two lie beyond networks that stand still, the last one does not.
const RECEIVERS: [&str; 3] = ["2.1.1", "2.1.2", "2.1.3"];
const HEALTHY: usize = 2;
const KIB: usize = 1 << 10;
/// What a padded number takes at a harbor.
const FRAME: usize = 44 + 3 + 1_000;
/// How many a sender sends to each of its destinations.
const COUNT: u64 = 200;

fn padded(n: u64) -> Text {
    text(&format!("{n:01000}"))
}

fn patient(change: impl FnOnce(&mut Config)) -> Config {
    config(|config| {
        config.handshake_timeout = Duration::from_secs(60);
        config.message_timeout = Duration::from_secs(60);
        change(config);
    })
}

struct Scene {
    _near: Node,
    /// The one with limits.
    harbor: Node,
    senders: Vec<(Node, Recorder<Undeliverable>)>,
    receivers: Vec<(Node, Recorder<u64>, Proxy)>,
}

impl Scene {
    async fn new(limit: impl FnOnce(&mut Config)) -> Self {
        let cluster = Cluster::empty();
        let _near = cluster.builder("1.255.1").config(patient(|_| {})).start().await.unwrap();
        let harbor = cluster.builder("2.255.1").config(patient(limit)).start().await.unwrap();
        let mut this = Self { _near, harbor, senders: Vec::new(), receivers: Vec::new() };
        for (n, address) in RECEIVERS.into_iter().enumerate() {
            let (builder, proxy) = cluster.proxied(address).await;
            proxy.stall(n != HEALTHY);
            let inbox = Recorder::new();
            let seen = inbox.clone();
            let builder = builder
                .config(patient(|_| {}))
                .on_call(ECHO, |_, request| async move { Ok(request) })
                .on_message(move |_, message: Text| {
                    seen.add(message.text.parse().unwrap());
                    async {}
                });
            this.receivers.push((builder.start().await.unwrap(), inbox, proxy));
        }
        for address in SENDERS {
            let notices = Recorder::new();
            let builder = notice(cluster.builder(address).config(patient(|_| {})), &notices);
            this.senders.push((builder.start().await.unwrap(), notices));
        }
        this
    }

    /// Senders send to stuck receivers; returns how much the harbor keeps of that, once all the
    /// rest has come back.
    async fn fill(&self, flows: &[(usize, usize)]) -> usize {
        for n in 0..COUNT {
            for &(from, to) in flows {
                let (sender, message) = (&self.senders[from].0, padded(n));
                soon("room", sender.send(addr(RECEIVERS[to]), &message)).await.unwrap();
            }
        }
        let sent = COUNT * flows.len() as u64;
        let has_come_back = || {
            let (harbor, back) = (self.harbor.stats(), self.bounced());
            harbor.relayed + back == sent && harbor.relayed_bounced == back
        };
        until("what has no room to come back", has_come_back).await;
        let all = self.senders.iter().flat_map(|(_, notices)| notices.all());
        for notice in all {
            let is_busy = matches!(notice, Undeliverable::Bounced { reason: Reason::Busy, .. });
            assert!(is_busy, "{notice}");
        }
        usize::try_from(sent - self.bounced()).unwrap()
    }

    fn bounced(&self) -> u64 {
        self.senders.iter().map(|(sender, _)| sender.stats().bounced).sum()
    }

    /// Each sender talks with the healthy receiver as if nothing were.
    async fn talk(&self) {
        let before = self.bounced();
        for (sender, _) in &self.senders {
            for n in 0..COUNT {
                let to = addr(RECEIVERS[HEALTHY]);
                let reply = soon("the reply", sender.call(to, ECHO, padded(n))).await;
                assert_eq!(reply, Ok(padded(n)));
                soon("room", sender.send(to, &padded(n))).await.unwrap();
            }
        }
        let inbox = &self.receivers[HEALTHY].1;
        inbox.until_len(self.senders.len() * usize::try_from(COUNT).unwrap()).await;
        assert_eq!(self.bounced(), before);
    }

    /// The networks go on: what was kept arrives in order, and nothing is unaccounted for.
    async fn thaw(&self, kept: usize) {
        let (healthy, stuck) = (&self.receivers[HEALTHY], &self.receivers[..HEALTHY]);
        for (_, _, proxy) in stuck {
            proxy.stall(false);
        }
        let arrived = || stuck.iter().map(|(_, inbox, _)| inbox.len()).sum::<usize>();
        until("what was kept to arrive", || arrived() == kept).await;
        for (sender, _) in &self.senders {
            let report = sender.shutdown(Duration::from_secs(10)).await;
            assert!(report.is_clean(), "{report:?}");
        }
        let stats: Vec<_> = self.senders.iter().map(|(sender, _)| sender.stats()).collect();
        let accepted: u64 = stats.iter().map(|stats| stats.accepted).sum();
        let handled = (arrived() + healthy.1.len()) as u64;
        assert!(stats.iter().all(|stats| stats.lost == 0), "{stats:?}");
        assert_eq!(accepted, handled + self.bounced());
    }
}

#[tokio::test]
async fn p03_p08_p10_a_harbor_sends_back_what_is_over_the_queue_of_a_pair() {
    let max = 16 * KIB;
    let scene = Scene::new(|config| config.pair_bytes_max = max).await;
    let kept = scene.fill(&[(0, 0)]).await;
    assert_eq!(kept, max / FRAME);
    scene.talk().await;
    // Another source of the same destination has a queue of its own.
    let report = scene.senders[1].0.send(addr(RECEIVERS[0]), &padded(COUNT)).await;
    assert!(report.is_ok());
    scene.thaw(kept + 1).await;
    let expected: Vec<_> = (0..kept as u64).chain([COUNT]).collect();
    assert_eq!(scene.receivers[0].1.all(), expected);
}

#[tokio::test]
async fn p03_p08_p10_a_harbor_sends_back_what_is_over_the_queue_of_a_link() {
    let max = 16 * KIB;
    let limit = |config: &mut Config| {
        config.frame_bytes_max = max;
        config.outbox_bytes_max = max;
        config.pair_bytes_max = max - 4 * KIB;
    };
    let scene = Scene::new(limit).await;
    let kept = scene.fill(&[(0, 0), (1, 0)]).await;
    assert_eq!(kept, max / FRAME);
    scene.talk().await;
    scene.thaw(kept).await;
}

#[tokio::test]
async fn p03_p08_p10_a_harbor_sends_back_what_is_over_all_its_queues() {
    let max = 128 * KIB;
    let limit = |config: &mut Config| {
        config.frame_bytes_max = 32 * KIB;
        config.relay_bytes_max = max;
    };
    let scene = Scene::new(limit).await;
    let kept = scene.fill(&[(0, 0), (0, 1), (1, 0), (1, 1)]).await;
    assert!(kept * FRAME > max / 2, "{kept}");
    assert!(kept * FRAME <= max, "{kept}");
    scene.talk().await;
    scene.thaw(kept).await;
}
