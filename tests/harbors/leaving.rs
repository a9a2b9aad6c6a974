//! Calls that are at work while a harbor on their way leaves, and the pair goes another way.

use std::time::{Duration, Instant};

use seaway::{CallError, Node, Report};
use tokio::task::JoinHandle;

use crate::support::events::{Gate, Heard, Say, events};
use crate::support::{Cluster, ECHO, Text, addr, soon, text, until};
use crate::world::{FROM, TO};

type Calling = JoinHandle<Result<Text, CallError>>;

/// A node that echoes once the gate is open, and says when it is called.
async fn held(cluster: &Cluster, gate: &Gate, said: Say<()>) -> Node {
    let gate = gate.clone();
    let callee = cluster.builder(TO).on_call(ECHO, move |_, request| {
        let (gate, said) = (gate.clone(), said.clone());
        async move {
            said.say(());
            gate.pass().await;
            Ok(request)
        }
    });
    callee.start().await.unwrap()
}

/// A call at work, and the harbor on its way that leaves.
struct Scene {
    /// That which stays beside it.
    other: Node,
    _across: Node,
    caller: Node,
    callee: Node,
    called: Heard<()>,
    gate: Gate,
    first: Calling,
    leaving: JoinHandle<Report>,
}

impl Scene {
    /// One of two harbors of a group leaves, that on the way.
    async fn new(two: [&str; 2], across: &str, within: Duration) -> Self {
        let cluster = Cluster::empty();
        let [one, other] = two.map(|harbor| cluster.node(harbor));
        let (one, other, across) = (one.await, other.await, cluster.node(across).await);
        let (gate, (said, mut called)) = (Gate::closed(), events());
        let callee = held(&cluster, &gate, said).await;
        let caller = cluster.node(FROM).await;
        let first = call(&caller, "first");
        called.any().await;
        let (leaving, other) = if one.stats().relayed > 0 { (one, other) } else { (other, one) };
        let leaving = tokio::spawn(async move { leaving.shutdown(within).await });
        Self { other, _across: across, caller, callee, called, gate, first, leaving }
    }

    /// Another call, which goes over the harbor that stays.
    async fn second(&mut self) -> Calling {
        loop {
            let calling = call(&self.caller, "second");
            self.called.any().await;
            if self.other.stats().relayed > 0 {
                return calling;
            }
            calling.abort();
        }
    }
}

fn call(caller: &Node, words: &str) -> Calling {
    let call = caller.call(addr(TO), ECHO, text(words));
    tokio::spawn(call.within(Duration::from_secs(60)).detached())
}

#[tokio::test]
async fn p13_p16_a_call_that_a_harbor_abandons_fails_then_and_those_beside_it_go_on() {
    let harbors = ["2.255.1", "2.255.2"];
    let mut scene = Scene::new(harbors, "1.255.1", Duration::from_millis(500)).await;
    let second = scene.second().await;
    let report = soon("the end", scene.leaving).await.unwrap();
    assert_eq!(report.relayed_abandoned, 1, "{report:?}");
    let began = Instant::now();
    let outcome = soon("the end of the call", scene.first).await.unwrap();
    assert!(began.elapsed() < Duration::from_millis(200) * 3, "{:?}", began.elapsed());
    let Err(CallError::MaybeDone { detail, .. }) = outcome else { panic!("{outcome:?}") };
    assert!(detail.contains("the connection from 1.255.1 to 2.255."), "{detail}");
    scene.gate.open();
    assert_eq!(soon("the reply", second).await.unwrap(), Ok(text("second")));
    drop(scene.callee);
}

#[tokio::test]
async fn p13_calls_fail_when_the_callee_dies_also_those_over_a_harbor_that_leaves() {
    let harbors = ["1.255.1", "1.255.2"];
    let mut scene = Scene::new(harbors, "2.255.1", Duration::from_secs(20)).await;
    let second = scene.second().await;
    // At once and without a word.
    drop(scene.callee);
    for calling in [scene.first, second] {
        let outcome = soon("the end of the call", calling).await.unwrap();
        assert!(matches!(outcome, Err(CallError::MaybeDone { .. })), "{outcome:?}");
    }
    let report = soon("the end", scene.leaving).await.unwrap();
    assert!(report.is_clean(), "{report:?}");
}

#[tokio::test]
async fn p16_a_call_in_flight_over_a_harbor_that_is_removed_is_answered() {
    for harbor in ["1.255.1", "2.255.1"] {
        let (cluster, gate, (said, mut called)) = (Cluster::empty(), Gate::closed(), events());
        let near = cluster.node("1.255.1").await;
        let far = cluster.node("2.255.1").await;
        let callee = held(&cluster, &gate, said).await;
        let caller = cluster.node(FROM).await;
        let calling = call(&caller, "hi");
        called.any().await;
        cluster.discovery.remove(addr(harbor));
        let is_unknown =
            |node: &Node| node.all_members().iter().all(|member| member.address != addr(harbor));
        let nodes = [&near, &far, &callee, &caller];
        until("all to know", || nodes.iter().all(|node| is_unknown(node))).await;
        gate.open();
        assert_eq!(soon("the reply", calling).await.unwrap(), Ok(text("hi")), "{harbor}");
    }
}
