//! What goes along with a call: metadata and the trace that it belongs to.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod support;

use std::time::Duration;

use seaway::{CallError, Code, Context, Method, Node, Reason, Request, Status};
use support::events::{Heard, events};
use support::{Cluster, ECHO, Text, addr, not_sent, soon, text};

const VIA: Method<Text, Text> = Method::new("test.Metadata/Via");
const TRACE_PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

type Pairs = Vec<(String, String)>;

/// Calls go from 1.1.1 to 1.2.1, which tells all metadata that comes.
async fn nodes() -> (Node, Node, Heard<Pairs>) {
    let cluster = Cluster::new();
    let caller = cluster.node("1.1.1").await;
    let (say, heard) = events();
    let tell = move |cx: Context, request| {
        say.say(cx.metadata_pairs().map(|(k, v)| (k.to_owned(), v.to_owned())).collect());
        async move { Ok(request) }
    };
    let callee = cluster.builder("1.2.1").on_call(ECHO, tell).start().await.unwrap();
    (caller, callee, heard)
}

fn request(node: &Node) -> Request<'_, Text, Text> {
    node.call(addr("1.2.1"), ECHO, text(""))
}

fn with<'n>(node: &'n Node, pairs: &Pairs) -> Request<'n, Text, Text> {
    pairs.iter().fold(request(node), |request, (key, value)| request.metadata(key, value))
}

fn pair(key: &str, value: &str) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

#[tokio::test]
async fn metadata_arrives_as_it_was_given() {
    let (caller, _callee, mut heard) = nodes().await;
    let pairs = vec![
        pair("tenant", "eu"),
        pair("empty", ""),
        pair("tenant", "second"),
        pair("Any key: of ASCII\n", "Straße ☂ \0"),
        pair(&"k".repeat(255), "longest key"),
    ];
    soon("the reply", with(&caller, &pairs)).await.unwrap();
    heard.expect(pairs).await;
    soon("the reply", request(&caller)).await.unwrap();
    heard.expect(Vec::new()).await;
}

#[tokio::test]
async fn the_first_value_of_a_key_counts() {
    let cluster = Cluster::new();
    let caller = cluster.node("1.1.1").await;
    let first = |cx: Context, _| async move {
        assert_eq!(cx.metadata("none"), None);
        Ok(text(cx.metadata("key").unwrap()))
    };
    let _callee = cluster.builder("1.2.1").on_call(ECHO, first).start().await.unwrap();
    let call = request(&caller).metadata("other", "0").metadata("key", "1").metadata("key", "2");
    assert_eq!(soon("the reply", call).await, Ok(text("1")));
}

#[tokio::test]
async fn metadata_is_held_to_its_limits_and_not_to_less() {
    let (caller, callee, mut heard) = nodes().await;
    let many = |n: usize| (0..n).map(|n| pair(&n.to_string(), "x")).collect::<Pairs>();
    let large = |n: usize| vec![pair("key", &"x".repeat(n - 3))];
    // 32 pairs with 4,096 bytes together: both limits at once.
    let mut full = many(31);
    let used: usize = full.iter().map(|(key, value)| key.len() + value.len()).sum();
    full.push(pair("k", &"x".repeat(4096 - 1 - used)));
    for pairs in [many(32), large(4096), full] {
        soon("the reply", with(&caller, &pairs)).await.unwrap();
        heard.expect(pairs).await;
    }
    let refused = [
        (many(33), "33 pairs"),
        (large(4097), "4097 bytes"),
        (vec![pair("", "no key")], "\"\" is no key"),
        (vec![pair("schlüssel", "not ASCII")], "\"schlüssel\" is no key"),
        (vec![pair(&"k".repeat(256), "too long a key")], "is no key"),
    ];
    for (pairs, why) in refused {
        let (reason, detail) = not_sent(soon("the refusal", with(&caller, &pairs)).await);
        assert_eq!(reason, Reason::Extension, "{why}");
        assert!(detail.contains(why), "{detail}");
        let error = with(&caller, &pairs).notify().await.unwrap_err();
        assert_eq!(error.reason, Reason::Extension, "{why}");
    }
    assert_eq!(callee.stats().requests, 3);
}

#[tokio::test]
async fn metadata_is_not_passed_on_to_nested_calls() {
    let cluster = Cluster::new();
    let caller = cluster.node("1.1.1").await;
    let via = |cx: Context, request| async move {
        assert_eq!(cx.metadata("secret"), Some("only for you"));
        let outcome = cx.node().call(addr("1.3.1"), ECHO, request).await;
        outcome.map_err(|error| Status::new(Code::Aborted, error.to_string()))
    };
    let _via = cluster.builder("1.2.1").on_call(VIA, via).start().await.unwrap();
    let count = |cx: Context, _| async move { Ok(text(&cx.metadata_pairs().count().to_string())) };
    let _last = cluster.builder("1.3.1").on_call(ECHO, count).start().await.unwrap();
    let call = caller.call(addr("1.2.1"), VIA, text("")).metadata("secret", "only for you");
    assert_eq!(soon("the reply", call).await, Ok(text("0")));
}

/// Nodes 1.2.1 and 1.3.1: the first calls the second twice, once within a task of its own, and
/// replies with the trace parents that they saw, in order.
async fn traced(cluster: &Cluster) -> (Node, Node) {
    fn seen(cx: &Context) -> String {
        cx.trace_parent().unwrap_or_else(|| "none".to_owned())
    }
    let via = |cx: Context, _| async move {
        let failed = |error: CallError| Status::new(Code::Aborted, error.to_string());
        let node = cx.node();
        let first = node.call(addr("1.3.1"), ECHO, text("")).await.map_err(failed)?;
        let call = node.call(addr("1.3.1"), ECHO, text("")).detached();
        let second = cx.spawn(call).await.unwrap().unwrap().map_err(failed)?;
        Ok(text(&format!("{} {} {}", seen(&cx), first.text, second.text)))
    };
    let first = cluster.builder("1.2.1").on_call(VIA, via).start().await.unwrap();
    let last = |cx: Context, _| async move { Ok(text(&seen(&cx))) };
    let last = cluster.builder("1.3.1").on_call(ECHO, last).start().await.unwrap();
    (first, last)
}

#[tokio::test]
async fn a_trace_goes_on_over_two_hops_with_a_new_parent_for_each_call() {
    let cluster = Cluster::new();
    let caller = cluster.node("1.1.1").await;
    let _nodes = traced(&cluster).await;
    let call = caller.call(addr("1.2.1"), VIA, text("")).trace_parent(TRACE_PARENT);
    let reply = soon("the reply", call).await.unwrap();
    let seen: Vec<&str> = reply.text.split(' ').collect();
    let [first, second, third] = seen[..] else { panic!("{seen:?}") };
    assert_eq!(first, TRACE_PARENT);
    for nested in [second, third] {
        assert_eq!(nested.len(), TRACE_PARENT.len());
        assert_eq!(nested[..36], TRACE_PARENT[..36], "another version or trace");
        assert_eq!(nested[52..], TRACE_PARENT[52..], "other flags");
        assert_ne!(nested[36..52], TRACE_PARENT[36..52], "the parent of its parent");
        assert_ne!(nested[36..52], "0".repeat(16), "an invalid parent");
    }
    assert_ne!(second, third);
}

#[tokio::test]
async fn a_call_without_a_trace_has_none() {
    let cluster = Cluster::new();
    let caller = cluster.node("1.1.1").await;
    let _nodes = traced(&cluster).await;
    let call = caller.call(addr("1.2.1"), VIA, text(""));
    assert_eq!(soon("the reply", call).await, Ok(text("none none none")));
}

#[tokio::test]
async fn a_trace_given_in_a_handler_goes_before_the_one_that_came() {
    const OTHER: &str = "00-11111111111111111111111111111111-2222222222222222-00";
    let cluster = Cluster::new();
    let caller = cluster.node("1.1.1").await;
    let via = |cx: Context, request| async move {
        let node = cx.node();
        let call = node.call(addr("1.3.1"), ECHO, request).trace_parent(OTHER);
        call.await.map_err(|error| Status::new(Code::Aborted, error.to_string()))
    };
    let _via = cluster.builder("1.2.1").on_call(VIA, via).start().await.unwrap();
    let last = |cx: Context, _| async move { Ok(text(&cx.trace_parent().unwrap())) };
    let _last = cluster.builder("1.3.1").on_call(ECHO, last).start().await.unwrap();
    let call = caller.call(addr("1.2.1"), VIA, text("")).trace_parent(TRACE_PARENT);
    assert_eq!(soon("the reply", call).await, Ok(text(OTHER)));
}

#[tokio::test]
async fn a_later_version_of_a_trace_parent_is_read_as_far_as_it_is_known() {
    let cluster = Cluster::new();
    let caller = cluster.node("1.1.1").await;
    let last = |cx: Context, _| async move { Ok(text(&cx.trace_parent().unwrap())) };
    let _callee = cluster.builder("1.2.1").on_call(ECHO, last).start().await.unwrap();
    let later = format!("cc{}-what-comes-then", &TRACE_PARENT[2..]);
    let call = request(&caller).trace_parent(later);
    assert_eq!(soon("the reply", call).await, Ok(text(TRACE_PARENT)));
}

#[tokio::test]
async fn what_is_no_trace_parent_is_refused() {
    let (caller, callee, _heard) = nodes().await;
    let refused = [
        String::new(),
        "00".to_owned(),
        TRACE_PARENT.to_uppercase(),
        TRACE_PARENT.replacen("00", "ff", 1),
        TRACE_PARENT.replace("b7ad6b7169203331", "0000000000000000"),
        TRACE_PARENT.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
        TRACE_PARENT.replace("b7ad", "xyad"),
        TRACE_PARENT.replace("b7ad", "b7a"),
        TRACE_PARENT.replace("b7ad", "b7a-"),
        TRACE_PARENT.replace("b7ad", "+7ad"),
        format!("{TRACE_PARENT}0"),
        format!("{TRACE_PARENT}-"),
        format!(" {TRACE_PARENT}"),
        TRACE_PARENT.replace("b7ad", "büd"),
    ];
    for text in refused {
        let call = request(&caller).trace_parent(&text).within(Duration::from_secs(60));
        let (reason, detail) = not_sent(soon("the refusal", call).await);
        assert_eq!(reason, Reason::Extension, "{text:?}");
        assert!(detail.contains("traceparent"), "{detail}");
    }
    assert_eq!(callee.stats().requests, 0);
}
