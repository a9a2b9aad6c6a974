//! Harbors in processes of their own, and nodes of this process on both sides of them.
#![allow(unreachable_pub, reason = "as in `support`")]

use std::collections::BTreeMap;
use std::time::Duration;

use seaway::discovery::Member;
use seaway::{Builder, CallError, LogicalAddr, Node, Undeliverable};

use crate::support::messages::{notice, number, record};
use crate::support::process::{Members, Process};
use crate::support::recorder::Recorder;
use crate::support::{Cluster, ECHO, addr, soon, text};

/// The child's part; see `harbors.rs`.
const CHILD: &str = "a_harbor_in_a_process_of_its_own_ends_with_its_parent";

pub const FROM: &str = "1.1.1";
pub const TO: &str = "2.1.1";

/// See the module. Members are added before they start; then all know all.
pub struct World {
    pub cluster: Cluster,
    members: Members,
    /// Where everybody is.
    networks: BTreeMap<String, String>,
    pub harbors: BTreeMap<&'static str, Process>,
}

impl World {
    /// Harbors that listen but have not started.
    pub async fn new(harbors: &[&'static str]) -> Self {
        let mut this = Self {
            cluster: Cluster::empty(),
            members: Members::new(),
            networks: BTreeMap::new(),
            harbors: BTreeMap::new(),
        };
        for address in harbors {
            let process = run(address, "127.0.0.1:0", &this.members).await;
            let member = Member::new(addr(address), process.network.clone());
            this.cluster.discovery.put(member).unwrap();
            this.harbors.insert(address, process);
        }
        this
    }

    /// A node of this process.
    pub fn builder(&self, address: &str) -> Builder {
        self.cluster.builder(address)
    }

    /// Lets all know all, and starts the harbors.
    pub async fn start(&mut self) {
        for member in self.cluster.discovery.members() {
            self.networks.insert(member.address.to_string(), member.network);
        }
        self.write();
        for harbor in self.harbors.values_mut() {
            harbor.start().await;
        }
    }

    pub async fn kill(&mut self, harbor: &str) {
        self.harbors.get_mut(harbor).unwrap().kill().await;
    }

    /// Another run of a harbor that was killed, where it was.
    pub async fn start_again(&mut self, harbor: &'static str) {
        let mut process = run(harbor, &self.networks[harbor], &self.members).await;
        process.start().await;
        self.harbors.insert(harbor, process);
    }

    /// Another run of a process, somewhere else, while the one before lives; returns that one.
    pub async fn succeed(&mut self, address: &'static str) -> Process {
        let mut process = run(address, "127.0.0.1:0", &self.members).await;
        self.networks.insert(address.to_owned(), process.network.clone());
        let network = process.network.clone();
        self.cluster.discovery.set_network(addr(address), network).unwrap();
        self.write();
        process.start().await;
        self.harbors.insert(address, process).unwrap()
    }

    fn write(&self) {
        let entries: Vec<_> = self.networks.iter().map(|(a, n)| (&**a, &**n)).collect();
        self.members.write(&entries);
    }

    /// Which harbor of group 1 a pair uses: the one that has handed on more by the end of a call.
    pub async fn way(&mut self, from: &Node, to: LogicalAddr) -> &'static str {
        let before = self.relayed().await;
        soon("the reply", from.call(to, ECHO, text("which way?"))).await.unwrap();
        let after = self.relayed().await;
        let is_used =
            |harbor: &&&str| harbor.starts_with("1.") && after[**harbor] > before[**harbor];
        after.keys().find(is_used).unwrap()
    }

    async fn relayed(&mut self) -> BTreeMap<&'static str, u64> {
        let mut all = BTreeMap::new();
        for (address, harbor) in &mut self.harbors {
            all.insert(*address, harbor.relayed().await);
        }
        all
    }
}

async fn run(address: &str, listen: &str, members: &Members) -> Process {
    Process::run(CHILD, address, listen, members).await
}

/// A sender of group 1 and a receiver of group 2 that echoes, too.
pub struct Ends {
    pub sender: Node,
    pub notices: Recorder<Undeliverable>,
    _receiver: Node,
    pub inbox: Recorder<u64>,
}

impl Ends {
    pub async fn start(world: &mut World) -> Self {
        let (notices, inbox) = (Recorder::new(), Recorder::new());
        let sender = notice(world.builder(FROM), &notices);
        let receiver = record(world.builder(TO), &inbox)
            .on_call(ECHO, |_, request| async move { Ok(request) });
        world.start().await;
        Self {
            sender: sender.start().await.unwrap(),
            _receiver: receiver.start().await.unwrap(),
            notices,
            inbox,
        }
    }

    /// Sends numbers, each as soon as there is room.
    pub async fn send(&self, numbers: std::ops::Range<u64>) {
        for n in numbers {
            soon("room", self.sender.send(addr(TO), &number(n))).await.unwrap();
        }
    }

    /// Sends numbers, and hears that all were handled.
    pub async fn deliver(&self, numbers: std::ops::Range<u64>) {
        let wanted = self.inbox.len() + usize::try_from(numbers.end - numbers.start).unwrap();
        self.send(numbers).await;
        self.inbox.until_len(wanted).await;
    }

    /// Delivers some first numbers, and waits for the receipt, before which nothing is exact: a
    /// reply comes behind it.
    pub async fn deliver_first(&self, numbers: std::ops::Range<u64>) {
        self.deliver(numbers).await;
        soon("the reply", self.sender.call(addr(TO), ECHO, text(""))).await.unwrap();
    }
}

/// Calls until a call is answered; each may take this long.
pub async fn answered(node: &Node, to: &str, within: Duration) -> Vec<CallError> {
    let mut errors = Vec::new();
    let calling = async {
        loop {
            match node.call(addr(to), ECHO, text("hi")).within(within).await {
                Ok(_) => return,
                Err(error) => errors.push(error),
            }
        }
    };
    soon("an answer", calling).await;
    errors
}
