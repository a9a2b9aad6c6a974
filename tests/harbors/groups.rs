//! Two groups with a harbor each, all in this process.
#![allow(unreachable_pub, reason = "as in `support`")]

use seaway::{Builder, Config, Node, Undeliverable};

use crate::support::Cluster;
use crate::support::messages::notice;
use crate::support::recorder::Recorder;
use crate::world::FROM;

/// See the module.
pub struct Groups {
    pub cluster: Cluster,
    /// One of group 1 and one of group 2.
    pub harbors: Vec<Node>,
    /// In group 1.
    pub sender: Node,
    pub notices: Recorder<Undeliverable>,
}

impl Groups {
    pub async fn new() -> Self {
        Self::with(|_, builder| builder).await
    }

    /// Groups whose harbors and sender are built in another way.
    pub async fn with(change: impl Fn(&str, Builder) -> Builder) -> Self {
        let cluster = Cluster::empty();
        let mut harbors = Vec::new();
        for harbor in ["1.255.1", "2.255.1"] {
            harbors.push(change(harbor, cluster.builder(harbor)).start().await.unwrap());
        }
        let notices = Recorder::new();
        let sender = notice(change(FROM, cluster.builder(FROM)), &notices);
        Self { harbors, sender: sender.start().await.unwrap(), notices, cluster }
    }
}

pub fn config(change: impl FnOnce(&mut Config)) -> Config {
    let mut config = Config::default();
    change(&mut config);
    config
}
