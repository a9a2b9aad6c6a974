//! What discovery says, and what nodes make of it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod support;

use std::future::IntoFuture;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use seaway::discovery::{
    Announcement, Change, Discovery, DiscoveryError, Event, Member, MembersFile, Watch, WatchSender,
};
use seaway::{Builder, CallError, Incarnation, LogicalAddr, Node, Reason, StartError, StopCause};
use support::messages::{notice, number, record};
use support::recorder::Recorder;
use support::{Cluster, ECHO, addr, soon, text, until};
use tokio::sync::Notify;

const ONE: &str = "1.1.1";
const TWO: &str = "1.2.1";
const THREE: &str = "1.3.1";

/// An engine that says what the test wants, when it wants it.
#[derive(Clone, Default)]
struct Scripted(Arc<Mutex<Script>>);

#[derive(Default)]
struct Script {
    revision: u64,
    members: Vec<Member>,
    /// `None` while the engine is gone.
    watchers: Vec<WatchSender>,
    is_gone: bool,
    is_mute: bool,
    announced: Vec<Announcement>,
}

#[async_trait::async_trait]
impl Discovery for Scripted {
    async fn watch(&self) -> Result<Watch, DiscoveryError> {
        let (sender, watch) = Watch::channel(16);
        let first = {
            let mut script = self.0.lock();
            if script.is_gone {
                return Err(DiscoveryError::Unreachable("gone".into()));
            }
            script.watchers.push(sender.clone());
            let (revision, members) = (script.revision, script.members.clone());
            (!script.is_mute).then_some(Event::Snapshot { revision, members })
        };
        if let Some(first) = first {
            sender.send(first).await.ok();
        }
        Ok(watch)
    }

    async fn announce(&self, me: &Announcement) -> Result<(), DiscoveryError> {
        self.0.lock().announced.push(me.clone());
        Ok(())
    }

    async fn withdraw(&self, _: LogicalAddr, _: Incarnation) -> Result<(), DiscoveryError> {
        Ok(())
    }
}

impl Scripted {
    /// Adds a member where nobody listens yet; returns a builder of its node.
    fn builder(&self, address: &str) -> Builder {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let network = listener.local_addr().unwrap().to_string();
        self.0.lock().members.push(Member::new(addr(address), network));
        Node::builder(address).discovery(self.clone()).listener(listener)
    }

    async fn tell(&self, event: impl Fn(u64) -> Event) {
        let (watchers, event) = {
            let mut script = self.0.lock();
            let base = script.revision;
            script.revision += 1;
            (script.watchers.clone(), event(base))
        };
        for watcher in watchers {
            watcher.send(event.clone()).await.ok();
        }
    }

    /// Tells a change of what was told last.
    async fn change(&self, change: Change) {
        self.tell(|base| {
            let changes = vec![change.clone()];
            Event::Delta { base, revision: base + 1, changes }
        })
        .await;
    }

    async fn snapshot(&self, members: Vec<Member>) {
        self.tell(|base| Event::Snapshot { revision: base + 1, members: members.clone() }).await;
    }

    /// All watches end, and no new one begins.
    fn go_away(&self) {
        let mut script = self.0.lock();
        script.is_gone = true;
        script.watchers.clear();
    }

    fn come_back(&self, members: Vec<Member>) {
        let mut script = self.0.lock();
        (script.is_gone, script.members) = (false, members);
        // An engine that has lost its state counts anew.
        script.revision = 1;
    }

    fn members(&self) -> Vec<Member> {
        self.0.lock().members.clone()
    }
}

fn echo(builder: Builder) -> Builder {
    builder.on_call(ECHO, |_, request| async move { Ok(request) })
}

async fn reaches(node: &Node, to: &str) -> Result<(), CallError> {
    soon("an outcome", node.call(addr(to), ECHO, text("hi")).into_future()).await.map(drop)
}

fn is_not_a_member(outcome: &Result<(), CallError>) -> bool {
    matches!(outcome, Err(CallError::NotSent { reason: Reason::NotAMember, .. }))
}

// The engine is gone.

#[tokio::test]
async fn p17_without_the_engine_nodes_go_on_and_with_it_they_converge() {
    let engine = Scripted::default();
    let (one, two) = (engine.builder(ONE), engine.builder(TWO));
    let (one, _two) = (one.start().await.unwrap(), echo(two).start().await.unwrap());
    engine.go_away();
    reaches(&one, TWO).await.unwrap();

    let elsewhere = Cluster::empty();
    let three = elsewhere.echo(THREE).await;
    let mut members = engine.members();
    members.push(Member::new(addr(THREE), three.local_addr().to_string()));
    engine.come_back(members);
    until("the new member", || one.all_members().len() == 3).await;
    reaches(&one, TWO).await.unwrap();
}

#[tokio::test]
async fn p17_who_was_removed_while_the_engine_was_gone_is_no_member_when_it_is_back() {
    let engine = Scripted::default();
    let (one, _) = (engine.builder(ONE), engine.builder(TWO));
    let one = one.start().await.unwrap();
    engine.go_away();
    engine.come_back(engine.members().into_iter().take(1).collect());
    until("the removal", || one.all_members().len() == 1).await;
    assert!(is_not_a_member(&reaches(&one, TWO).await));
}

// Who is a member.

#[tokio::test]
async fn p17_a_removal_counts_at_once_told_as_a_delta_or_by_a_snapshot() {
    for by_snapshot in [false, true] {
        let engine = Scripted::default();
        let (one, two) = (engine.builder(ONE), engine.builder(TWO));
        let (one, _two) = (one.start().await.unwrap(), echo(two).start().await.unwrap());
        reaches(&one, TWO).await.unwrap();
        if by_snapshot {
            engine.snapshot(engine.members().into_iter().take(1).collect()).await;
        } else {
            engine.change(Change::Remove(addr(TWO))).await;
        }
        until("the removal", || one.all_members().len() == 1).await;
        assert!(is_not_a_member(&reaches(&one, TWO).await));
        let sent = one.send(addr(TWO), &number(1)).await;
        assert_eq!(sent.unwrap_err().reason, Reason::NotAMember);
    }
}

#[tokio::test]
async fn p17_an_empty_snapshot_is_not_believed_until_a_removal_confirms_it() {
    let engine = Scripted::default();
    let (one, two) = (engine.builder(ONE), engine.builder(TWO));
    let (one, _two) = (one.start().await.unwrap(), echo(two).start().await.unwrap());
    engine.snapshot(Vec::new()).await;
    // What is told behind it was taken in after it.
    engine.change(Change::Put(Member::new(addr(THREE), "127.0.0.1:1"))).await;
    until("the change", || one.all_members().len() == 3).await;
    reaches(&one, TWO).await.unwrap();
    engine.change(Change::Remove(addr(TWO))).await;
    until("the removal", || one.all_members().len() == 2).await;
    assert!(is_not_a_member(&reaches(&one, TWO).await));
}

#[tokio::test]
async fn p17_a_member_that_is_not_available_is_still_reached_by_name() {
    let cluster = Cluster::empty();
    let one = cluster.node(ONE).await;
    let _two = cluster.echo(TWO).await;
    cluster.discovery.set_available(addr(TWO), false).unwrap();
    until("the change", || one.all_members().iter().any(|member| !member.available)).await;
    reaches(&one, TWO).await.unwrap();
}

#[tokio::test]
async fn a_member_that_was_removed_and_put_back_is_reached_again() {
    let cluster = Cluster::empty();
    let one = cluster.node(ONE).await;
    // Its own discovery does not remove it, so it lives on.
    let elsewhere = Cluster::empty();
    let two = elsewhere.builder(TWO);
    elsewhere.absent(ONE);
    let two = echo(two).start().await.unwrap();
    let member = Member::new(addr(TWO), two.local_addr().to_string());
    for _ in 0..3 {
        cluster.discovery.put(member.clone()).unwrap();
        until("the member", || one.all_members().len() == 2).await;
        reaches(&one, TWO).await.unwrap();
        cluster.discovery.remove(addr(TWO));
        until("the removal", || one.all_members().len() == 1).await;
        assert!(is_not_a_member(&reaches(&one, TWO).await));
    }
}

#[tokio::test]
async fn p17_a_peer_that_does_not_know_the_caller_yet_answers_when_it_does() {
    // Discovery lags: the callee hears of the caller later.
    let slow = Cluster::empty();
    let two = slow.echo(TWO).await;
    let fast = Cluster::empty();
    fast.discovery.put(Member::new(addr(TWO), two.local_addr().to_string())).unwrap();
    let one = fast.node(ONE).await;
    let calling = one.clone();
    let call = tokio::spawn(async move { reaches(&calling, TWO).await });
    until("a refusal", || two.stats().refused_connections > 0).await;
    slow.discovery.put(Member::new(addr(ONE), one.local_addr().to_string())).unwrap();
    soon("the reply", call).await.unwrap().unwrap();
}

// What becomes of a node itself.

#[tokio::test]
async fn p17_a_node_that_is_removed_stops_itself_and_says_why() {
    let cluster = Cluster::empty();
    let node = cluster.node(ONE).await;
    cluster.discovery.remove(addr(ONE));
    assert_eq!(soon("the end", node.stopped()).await, StopCause::Removed);
    let sent = node.send(addr(TWO), &number(1)).await;
    assert_eq!(sent.unwrap_err().reason, Reason::Draining);
}

#[tokio::test]
async fn p17_a_node_whose_network_address_changes_stops_itself_and_says_why() {
    let cluster = Cluster::empty();
    let node = cluster.node(ONE).await;
    cluster.discovery.set_network(addr(ONE), "127.0.0.1:1").unwrap();
    assert_eq!(soon("the end", node.stopped()).await, StopCause::Moved);
}

/// A call whose handler takes `longer` than the callee is a member.
async fn removed_at_work(longer: Duration) -> Result<(), CallError> {
    let cluster = Cluster::empty();
    let caller = cluster.node(ONE).await;
    let began = Arc::new(Notify::new());
    let begin = Arc::clone(&began);
    let callee = cluster.builder(TWO).on_call(ECHO, move |_, request| {
        begin.notify_one();
        async move {
            tokio::time::sleep(longer).await;
            Ok(request)
        }
    });
    let callee = callee.start().await.unwrap();
    let calling = caller.clone();
    let call = tokio::spawn(async move {
        let call = calling.call(addr(TWO), ECHO, text("hi")).within(Duration::from_secs(60));
        call.await.map(drop)
    });
    soon("the handler", began.notified()).await;
    cluster.discovery.remove(addr(TWO));
    let outcome = soon("an outcome", call).await.unwrap();
    assert_eq!(soon("the end", callee.stopped()).await, StopCause::Removed);
    outcome
}

#[tokio::test]
async fn p17_a_node_that_is_removed_finishes_what_it_is_at_work_on() {
    // Longer than a heartbeat, and longer than it takes for a silent peer to be dead.
    let outcomes = [200, 4_500].map(|ms| removed_at_work(Duration::from_millis(ms)));
    let [short, long] = outcomes;
    let (short, long) = tokio::join!(short, long);
    assert_eq!((short, long), (Ok(()), Ok(())));
}

// Incarnations.

/// A start that is still to come.
fn later() -> Incarnation {
    Incarnation::from_start(4_000_000_000_000, 7)
}

fn next(incarnation: Incarnation) -> Incarnation {
    Incarnation::from_bits(incarnation.bits() + 1)
}

#[tokio::test]
async fn p15_a_node_whose_clock_is_behind_goes_on_as_the_next_incarnation_once() {
    let cluster = Cluster::empty();
    let builder = cluster.builder(ONE);
    let network = cluster.discovery.members()[0].network.clone();
    let member = Member::new(addr(ONE), network);
    cluster.discovery.put(member.clone().incarnation(later())).unwrap();
    let node = builder.start().await.unwrap();
    assert_eq!(node.incarnation(), next(later()));
    let newer = Incarnation::from_bits(later().bits() + 1_000);
    cluster.discovery.put(member.incarnation(newer)).unwrap();
    assert_eq!(soon("the end", node.stopped()).await, StopCause::Superseded(newer));
}

#[tokio::test]
async fn p15_a_node_that_learns_from_discovery_that_it_is_the_older_one_stops() {
    let cluster = Cluster::empty();
    let first = cluster.node(ONE).await;
    let network = first.local_addr().to_string();
    let newer = next(first.incarnation());
    cluster.discovery.put(Member::new(addr(ONE), network).incarnation(newer)).unwrap();
    assert_eq!(soon("the end", first.stopped()).await, StopCause::Superseded(newer));
}

/// Two nodes, the second of which knows from its own discovery a later run of the first.
async fn one_known_as_older() -> (Node, Node, Recorder<u64>) {
    let cluster = Cluster::empty();
    let elsewhere = Cluster::empty();
    let inbox = Recorder::new();
    let two = record(elsewhere.builder(TWO), &inbox).start().await.unwrap();
    cluster.discovery.put(Member::new(addr(TWO), two.local_addr().to_string())).unwrap();
    let one = cluster.node(ONE).await;
    let member = Member::new(addr(ONE), one.local_addr().to_string()).incarnation(later());
    elsewhere.discovery.put(member).unwrap();
    until("the later run", || two.all_members().len() == 2).await;
    (one, two, inbox)
}

#[tokio::test]
async fn p15_a_run_that_discovery_calls_older_is_refused_also_by_peers_that_never_met_it() {
    let (one, _two, inbox) = one_known_as_older().await;
    let before = one.incarnation();
    one.send(addr(TWO), &number(1)).await.unwrap();
    // It is young, so it takes its clock to be behind and comes again as a later one.
    assert_eq!(inbox.until_len(1).await, [1]);
    assert_ne!(one.incarnation(), before, "the older one was let in");
    assert_eq!(one.incarnation(), next(later()));
}

#[tokio::test]
async fn p15_a_node_that_goes_on_as_a_later_one_is_still_heard_by_peers_that_knew_it() {
    let cluster = Cluster::empty();
    let (old_friend, inbox) = cluster.inbox(THREE).await;
    let elsewhere = Cluster::empty();
    let other = Recorder::new();
    let two = record(elsewhere.builder(TWO), &other).start().await.unwrap();
    cluster.discovery.put(Member::new(addr(TWO), two.local_addr().to_string())).unwrap();
    let notices = Recorder::new();
    let one = notice(cluster.builder(ONE), &notices).start().await.unwrap();
    let member = Member::new(addr(ONE), one.local_addr().to_string()).incarnation(later());
    elsewhere.discovery.put(member).unwrap();
    until("the later run", || two.all_members().len() == 2).await;

    until("the members", || one.all_members().len() == 3 && old_friend.all_members().len() == 3)
        .await;
    one.send(addr(THREE), &number(1)).await.unwrap();
    inbox.until_len(1).await;
    one.send(addr(TWO), &number(2)).await.unwrap();
    other.until_len(1).await;
    assert_eq!(one.incarnation(), next(later()));
    for n in 3..6 {
        one.send(addr(THREE), &number(n)).await.unwrap();
    }
    assert_eq!(inbox.until_len(4).await, [1, 3, 4, 5], "{:?}", notices.all());
    assert_eq!(one.stats().bounced, 0);
}

#[tokio::test]
async fn a_node_announces_itself_with_its_labels_and_takes_that_back() {
    let engine = Scripted::default();
    let node = engine.builder(ONE).label("zone", "a").start().await.unwrap();
    let first = engine.0.lock().announced[0].clone();
    assert_eq!((first.address, first.incarnation), (addr(ONE), node.incarnation()));
    assert!(first.available);
    assert_eq!(first.labels.get("zone").map(String::as_str), Some("a"));
    node.shutdown(Duration::from_secs(1)).await;
    assert!(!engine.0.lock().announced.last().unwrap().available);
}

// The members file.

struct Members {
    folder: tempfile::TempDir,
}

impl Members {
    fn new(members: &[(&str, &str)]) -> Self {
        let this = Self { folder: tempfile::tempdir().unwrap() };
        this.write(members);
        this
    }

    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("members.toml")
    }

    fn write(&self, members: &[(&str, &str)]) {
        let entry = |(address, network): &(&str, &str)| {
            format!("[[member]]\naddress = \"{address}\"\nnetwork = \"{network}\"\n")
        };
        self.write_text(&members.iter().map(entry).collect::<String>());
    }

    fn write_text(&self, text: &str) {
        let new = self.folder.path().join("new.toml");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, self.path()).unwrap();
    }

    fn builder(&self, address: &str, listener: std::net::TcpListener) -> Builder {
        let discovery = MembersFile::open(self.path());
        Node::builder(address).discovery(discovery).listener(listener)
    }
}

fn bound() -> (std::net::TcpListener, String) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let network = listener.local_addr().unwrap().to_string();
    (listener, network)
}

#[tokio::test]
async fn a_change_of_the_members_file_counts_and_a_broken_file_changes_nothing() {
    let ((one, one_at), (two, two_at)) = (bound(), bound());
    let file = Members::new(&[(ONE, &one_at)]);
    let one = file.builder(ONE, one).start().await.unwrap();
    file.write(&[(ONE, &one_at), (TWO, &two_at)]);
    let two = echo(file.builder(TWO, two)).start().await.unwrap();
    until("the new member", || one.all_members().len() == 2).await;
    reaches(&one, TWO).await.unwrap();

    file.write_text("[[member]]\naddress = \"no address\"\n");
    // Nothing is to happen: five looks at the file.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(one.all_members().len(), 2);
    reaches(&one, TWO).await.unwrap();

    file.write(&[(ONE, &one_at)]);
    assert_eq!(soon("the end", two.stopped()).await, StopCause::Removed);
    until("the removal", || one.all_members().len() == 1).await;
    assert!(is_not_a_member(&reaches(&one, TWO).await));
}

#[tokio::test]
async fn a_node_does_not_start_on_a_members_file_that_is_broken_or_missing() {
    let file = Members::new(&[]);
    file.write_text("this is no TOML");
    let broken = file.builder(ONE, bound().0).start().await.unwrap_err();
    assert!(matches!(&broken, StartError::Discovery(DiscoveryError::File { .. })), "{broken}");
    assert!(broken.to_string().contains("line 1"), "{broken}");
    std::fs::remove_file(file.path()).unwrap();
    let missing = file.builder(ONE, bound().0).start().await.unwrap_err();
    assert!(matches!(&missing, StartError::Discovery(DiscoveryError::File { .. })), "{missing}");
}

// An engine that is no help at the start.

#[tokio::test]
async fn a_node_whose_engine_cannot_be_asked_does_not_start() {
    let engine = Scripted::default();
    let builder = engine.builder(ONE);
    engine.go_away();
    let error = builder.start().await.unwrap_err();
    assert!(matches!(error, StartError::Discovery(DiscoveryError::Unreachable(_))), "{error}");
}

#[tokio::test]
async fn a_node_whose_engine_says_nothing_does_not_start() {
    let engine = Scripted::default();
    let builder = engine.builder(ONE);
    engine.0.lock().is_mute = true;
    let error = soon("an error", builder.start()).await.unwrap_err();
    assert!(matches!(error, StartError::DiscoverySilent(_)), "{error}");
}
