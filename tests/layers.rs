//! What stands around calls and messages.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use seaway::layer::{
    Call, CallKind, Concurrency, Direction, Logging, Next, Outcome, RateLimit, Retry, Timeout,
};
use seaway::{
    Builder, CallError, Code, Context, Node, NodeType, Pick, Reason, Status, Target, Undeliverable,
};
use support::recorder::Recorder;
use support::{Cluster, ECHO, Text, addr, soon, text, until};
use tokio::sync::Notify;

const HERE: &str = "1.1.1";
const THERE: &str = "1.2.1";

type Words = Recorder<String>;

/// Says when a call comes by, and how it goes out again.
fn says(words: &Words, name: &'static str) -> impl seaway::layer::Layer + 'static {
    let words = words.clone();
    move |call: Call, next: Next| {
        let words = words.clone();
        async move {
            words.add(format!("{name} in"));
            let outcome = next.run(call).await;
            words.add(format!("{name} {}", if outcome.is_ok() { "ok" } else { "no" }));
            outcome
        }
    }
}

fn refuses(reason: Reason) -> impl seaway::layer::Layer + 'static {
    move |call: Call, _: Next| async move { Err(call.refuse(reason, "the layer says so")) }
}

fn echo(builder: Builder) -> Builder {
    builder.on_call(ECHO, |_, request| async move { Ok(request) })
}

/// A node that echoes, with whatever else is to be changed of it, and one that calls.
async fn pair(
    cluster: &Cluster,
    callee: impl FnOnce(Builder) -> Builder,
    caller: impl FnOnce(Builder) -> Builder,
) -> (Node, Node) {
    let callee = callee(cluster.builder(THERE)).start().await.unwrap();
    (callee, caller(cluster.builder(HERE)).start().await.unwrap())
}

async fn call(node: &Node) -> Result<Text, CallError> {
    soon("an outcome", node.call(addr(THERE), ECHO, text("hi"))).await
}

fn same(builder: Builder) -> Builder {
    builder
}

#[tokio::test]
async fn layers_stand_in_order_on_both_sides() {
    let (cluster, words) = (Cluster::new(), Words::new());
    let callee = |builder| echo(builder).layer(says(&words, "third")).layer(says(&words, "fourth"));
    let caller = |builder: Builder| {
        builder.layer_outgoing(says(&words, "first")).layer_outgoing(says(&words, "second"))
    };
    let (_callee, caller) = pair(&cluster, callee, caller).await;
    assert_eq!(call(&caller).await.unwrap(), text("hi"));
    let on_the_way = ["first in", "second in", "third in", "fourth in"];
    let back = ["fourth ok", "third ok", "second ok", "first ok"];
    assert_eq!(words.all(), [on_the_way, back].concat());
}

#[tokio::test]
async fn a_layer_sees_who_what_how_long_and_how_it_ended() {
    let (cluster, seen) = (Cluster::new(), Recorder::<(Call, Outcome)>::new());
    let sees = |seen: &Recorder<(Call, Outcome)>| {
        let seen = seen.clone();
        move |call: Call, next: Next| {
            let seen = seen.clone();
            async move {
                let outcome = next.run(call.clone()).await;
                seen.add((call, outcome.clone()));
                outcome
            }
        }
    };
    let not_found = |builder: Builder| {
        builder
            .on_call(ECHO, |_, _: Text| async { Err(Status::new(Code::NotFound, "no room")) })
            .layer(sees(&seen))
    };
    let caller = |builder: Builder| builder.layer_outgoing(sees(&seen));
    let (_callee, caller) = pair(&cluster, not_found, caller).await;
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let request = caller.call(addr(THERE), ECHO, text("hi")).within(Duration::from_secs(3));
    let outcome = request.metadata("tenant", "eu").trace_parent(parent).await;
    let Err(CallError::Status(status)) = outcome else { panic!("{outcome:?}") };
    assert_eq!(status.code(), Code::NotFound);
    let sides = [(Direction::Incoming, HERE), (Direction::Outgoing, THERE)];
    for ((call, outcome), (direction, peer)) in seen.until_len(2).await.into_iter().zip(sides) {
        assert_eq!((call.direction(), call.kind()), (direction, CallKind::Call));
        assert_eq!((call.peer(), call.method()), (&Target::from(addr(peer)), "test.Echo/Echo"));
        let left = call.time_left().unwrap();
        assert!(left <= Duration::from_secs(3), "{left:?}");
        assert_eq!((call.metadata("tenant"), call.body_len()), (Some("eu"), 4));
        assert_eq!(call.trace_parent(), Some(parent));
        assert_eq!(outcome, Err(CallError::Status(status.clone())));
    }
}

#[tokio::test]
async fn metadata_that_layers_change_reach_the_handler() {
    let cluster = Cluster::new();
    let callee = |builder: Builder| {
        let builder = builder.on_call(ECHO, |cx: Context, _: Text| async move {
            let all = cx.metadata_pairs().map(|(key, value)| format!("{key}={value}"));
            Ok(text(&all.collect::<Vec<_>>().join(" ")))
        });
        builder.layer(|mut call: Call, next: Next| async move {
            call.remove_metadata("secret");
            call.set_metadata("added", "there");
            next.run(call).await
        })
    };
    let caller = |builder: Builder| {
        builder.layer_outgoing(|mut call: Call, next: Next| async move {
            call.set_metadata("tenant", "us");
            next.run(call).await
        })
    };
    let (_callee, caller) = pair(&cluster, callee, caller).await;
    let request = caller.call(addr(THERE), ECHO, text("hi"));
    let request = request.metadata("secret", "1").metadata("tenant", "eu").metadata("tenant", "as");
    assert_eq!(request.await.unwrap().text, "tenant=us added=there");
}

#[tokio::test]
async fn p04_what_a_layer_refuses_did_not_run_and_says_why() {
    let (cluster, ran) = (Cluster::new(), Recorder::<()>::new());
    let callee = |builder: Builder| {
        let ran = ran.clone();
        let builder = builder.on_call(ECHO, move |_, request| {
            ran.add(());
            async move { Ok(request) }
        });
        builder.layer(refuses(Reason::Busy))
    };
    let (_callee, caller) = pair(&cluster, callee, same).await;
    let error = call(&caller).await.unwrap_err();
    assert!(error.is_safe_to_retry());
    assert!(error.to_string().ends_with("(the layer says so)"), "{error}");
    assert_eq!(ran.len(), 0);
}

#[tokio::test]
async fn a_refusal_names_the_callee_on_both_sides() {
    let (cluster, seen) = (Cluster::new(), Recorder::<Outcome>::new());
    let sees = |seen: &Recorder<Outcome>| {
        let seen = seen.clone();
        move |call: Call, next: Next| {
            let seen = seen.clone();
            async move {
                let outcome = next.run(call).await;
                seen.add(outcome.clone());
                outcome
            }
        }
    };
    let callee = |builder| echo(builder).layer(sees(&seen)).layer(refuses(Reason::Busy));
    let caller = |builder: Builder| builder.layer_outgoing(sees(&seen));
    let (_callee, caller) = pair(&cluster, callee, caller).await;
    let error = call(&caller).await.unwrap_err();
    assert!(error.to_string().starts_with("call of test.Echo/Echo to 1.2.1 did not run"));
    assert_eq!(seen.until_len(2).await, [Err(error.clone()), Err(error)]);
}

#[tokio::test]
async fn p04_once_the_handler_ran_no_layer_can_say_that_it_did_not() {
    let cluster = Cluster::new();
    let callee = |builder| {
        echo(builder).layer(|call: Call, next: Next| async move {
            let refusal = call.refuse(Reason::Busy, "too late to say so");
            next.run(call).await?;
            Err(refusal)
        })
    };
    let (_callee, caller) = pair(&cluster, callee, same).await;
    let error = call(&caller).await.unwrap_err();
    let CallError::Status(status) = &error else { panic!("{error:?}") };
    assert_eq!(status.code(), Code::Internal);
}

#[tokio::test]
async fn p01_a_layer_that_goes_on_twice_runs_the_handler_once() {
    let (cluster, ran) = (Cluster::new(), Recorder::<()>::new());
    let callee = |builder: Builder| {
        let ran = ran.clone();
        let builder = builder.on_call(ECHO, move |_, request| {
            ran.add(());
            async move { Ok(request) }
        });
        builder.layer(|call: Call, next: Next| async move {
            next.clone().run(call.clone()).await?;
            next.run(call).await
        })
    };
    let (_callee, caller) = pair(&cluster, callee, same).await;
    let error = call(&caller).await.unwrap_err();
    assert!(error.to_string().contains("twice"), "{error}");
    assert_eq!(ran.len(), 1);
}

#[tokio::test]
async fn p21_a_layer_that_panics_fails_its_call_and_nothing_else() {
    let (cluster, times) = (Cluster::new(), Arc::new(AtomicU32::new(0)));
    let callee = |builder| {
        echo(builder).layer(move |call: Call, next: Next| {
            let is_first = times.fetch_add(1, Ordering::Relaxed) == 0;
            async move {
                assert!(!is_first, "the layer panics");
                next.run(call).await
            }
        })
    };
    let (_callee, caller) = pair(&cluster, callee, same).await;
    let error = call(&caller).await.unwrap_err();
    assert!(matches!(&error, CallError::Status(status) if status.code() == Code::Internal));
    call(&caller).await.unwrap();
}

#[tokio::test]
async fn p06_dropping_a_call_behind_layers_cancels_it_at_the_callee() {
    let cluster = Cluster::new();
    let (begun, dropped) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    struct Tells(Arc<Notify>);
    impl Drop for Tells {
        fn drop(&mut self) {
            self.0.notify_one();
        }
    }
    let callee = |builder: Builder| {
        let (begun, dropped) = (Arc::clone(&begun), Arc::clone(&dropped));
        let builder = builder.on_call(ECHO, move |_, _: Text| {
            let tells = Tells(Arc::clone(&dropped));
            begun.notify_one();
            async move {
                std::future::pending::<()>().await;
                drop(tells);
                Ok(text("never"))
            }
        });
        builder.layer(Logging::new())
    };
    let (_callee, caller) =
        pair(&cluster, callee, |builder| builder.layer_outgoing(Retry::new())).await;
    let task = tokio::spawn(caller.call(addr(THERE), ECHO, text("hi")).detached());
    soon("the handler", begun.notified()).await;
    task.abort();
    soon("its end", dropped.notified()).await;
}

#[tokio::test]
async fn p05_a_timeout_layer_ends_a_handler_and_what_it_calls() {
    let (cluster, left) = (Cluster::new(), Recorder::<Duration>::new());
    let callee = |builder: Builder| {
        let left = left.clone();
        let builder = builder.on_call(ECHO, move |cx: Context, _: Text| {
            left.add(cx.time_left().unwrap());
            std::future::pending()
        });
        builder.layer(Timeout::new(Duration::from_millis(50)))
    };
    let (_callee, caller) = pair(&cluster, callee, same).await;
    let error = call(&caller).await.unwrap_err();
    let CallError::Status(status) = &error else { panic!("{error:?}") };
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert!(left.all()[0] <= Duration::from_millis(50));
}

/// Refuses so many calls as busy, then echoes.
fn busy_at_first(builder: Builder, times: u32, refused: &Arc<AtomicU32>) -> Builder {
    let refused = Arc::clone(refused);
    echo(builder).layer(move |call: Call, next: Next| {
        let is_busy = refused.fetch_add(1, Ordering::Relaxed) < times;
        async move {
            if is_busy { Err(call.refuse(Reason::Busy, "")) } else { next.run(call).await }
        }
    })
}

#[tokio::test]
async fn a_retry_makes_again_what_did_not_run() {
    let (cluster, tries) = (Cluster::new(), Arc::new(AtomicU32::new(0)));
    let callee = |builder| busy_at_first(builder, 3, &tries);
    let retry = |builder: Builder| builder.layer_outgoing(Retry::new());
    let (_callee, caller) = pair(&cluster, callee, retry).await;
    call(&caller).await.unwrap();
    assert_eq!(tries.load(Ordering::Relaxed), 4);
}

#[tokio::test]
async fn a_retry_has_its_limits() {
    let (cluster, tries) = (Cluster::new(), Arc::new(AtomicU32::new(0)));
    let callee = |builder| busy_at_first(builder, u32::MAX, &tries);
    let retry = |builder: Builder| builder.layer_outgoing(Retry::new().budget(5, 0.0));
    let (_callee, caller) = pair(&cluster, callee, retry).await;
    let mut made = Vec::new();
    for _ in 0..3 {
        assert!(call(&caller).await.unwrap_err().is_safe_to_retry());
        made.push(tries.swap(0, Ordering::Relaxed));
    }
    assert_eq!(made, [4, 3, 1], "three tries again, then two, then none");
}

#[tokio::test]
async fn a_retry_does_not_repeat_what_may_have_run() {
    let (cluster, ran) = (Cluster::new(), Recorder::<()>::new());
    let callee = |builder: Builder| {
        let ran = ran.clone();
        builder.on_call(ECHO, move |_, _: Text| {
            ran.add(());
            std::future::pending()
        })
    };
    let retry = |builder: Builder| builder.layer_outgoing(Retry::new());
    let (_callee, caller) = pair(&cluster, callee, retry).await;
    let request = caller.call(addr(THERE), ECHO, text("hi")).within(Duration::from_millis(100));
    assert!(matches!(request.await, Err(CallError::MaybeDone { .. })));
    assert_eq!(ran.len(), 1);
}

#[tokio::test]
async fn a_retry_picks_anew_and_a_timeout_behind_it_ends_each_attempt() {
    let cluster = Cluster::new();
    let _refuses = cluster.absent("1.2.2");
    let each = Duration::from_millis(100);
    let caller =
        |builder: Builder| builder.layer_outgoing(Retry::new()).layer_outgoing(Timeout::new(each));
    let (_callee, caller) = pair(&cluster, echo, caller).await;
    for _ in 0..4 {
        let pick = Pick::round_robin(NodeType::new(2));
        soon("a reply", caller.call(pick, ECHO, text("hi"))).await.unwrap();
    }
}

#[tokio::test]
async fn p11_beyond_a_concurrency_one_more_is_refused_and_places_come_back() {
    let (cluster, end) = (Cluster::new(), Arc::new(Notify::new()));
    let begun = Recorder::<()>::new();
    let callee = |builder: Builder| {
        let (begun, end) = (begun.clone(), Arc::clone(&end));
        let builder = builder.on_call(ECHO, move |_, request| {
            begun.add(());
            let end = Arc::clone(&end);
            async move {
                end.notified().await;
                Ok(request)
            }
        });
        builder.layer(Concurrency::new(2))
    };
    let (_callee, caller) = pair(&cluster, callee, same).await;
    let request = || caller.call(addr(THERE), ECHO, text("hi")).detached();
    let (one, two) = (tokio::spawn(request()), tokio::spawn(request()));
    begun.until_len(2).await;
    let error = call(&caller).await.unwrap_err();
    assert!(error.to_string().contains("the `Concurrency` of 1.2.1: 2 at once"), "{error}");
    // One is cancelled, one ends: both places are free.
    one.abort();
    end.notify_one();
    end.notify_one();
    soon("a reply", two).await.unwrap().unwrap();
    let again = [tokio::spawn(request()), tokio::spawn(request())];
    begun.until_len(4).await;
    end.notify_waiters();
    for call in again {
        soon("a reply", call).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn p11_a_peer_beyond_its_rate_is_refused() {
    let cluster = Cluster::new();
    let callee = |builder| echo(builder).layer(RateLimit::per_peer(1, 3));
    let (_callee, caller) = pair(&cluster, callee, same).await;
    let mut outcomes = Vec::new();
    for _ in 0..4 {
        outcomes.push(call(&caller).await.is_ok());
    }
    assert_eq!(outcomes, [true, true, true, false]);
    let refused = call(&caller).await.unwrap_err().to_string();
    let whose = "(the `RateLimit` of 1.2.1: 1 a second from each peer, 3 at once)";
    assert!(refused.ends_with(whose), "{refused}");
    let other = cluster.node("1.1.2").await;
    call(&other).await.unwrap();
}

/// The reasons for which messages and notifications came back.
fn reasons(notices: &[Undeliverable]) -> Vec<Reason> {
    let reason = |notice: &Undeliverable| match notice {
        Undeliverable::Bounced { reason, .. } => *reason,
        other => panic!("{other}"),
    };
    notices.iter().map(reason).collect()
}

#[tokio::test]
async fn p03_messages_that_a_layer_refuses_come_back_and_the_others_stay_in_order() {
    let (cluster, inbox) = (Cluster::new(), Words::new());
    let receiver = |builder: Builder| {
        let inbox = inbox.clone();
        let builder = builder.on_message(move |_, said: Text| {
            let inbox = inbox.clone();
            async move { inbox.add(said.text) }
        });
        let count = Arc::new(AtomicU32::new(0));
        builder.layer(move |call: Call, next: Next| {
            let n = count.fetch_add(1, Ordering::Relaxed);
            async move {
                assert_eq!((call.kind(), call.method()), (CallKind::Message, "test.Text"));
                tokio::task::yield_now().await;
                match n % 4 {
                    0 => next.run(call).await,
                    1 => Err(call.refuse(Reason::Busy, "")),
                    2 => Err(Status::new(Code::PermissionDenied, "").into()),
                    _ => panic!("the layer panics"),
                }
            }
        })
    };
    let _receiver = receiver(cluster.builder(THERE)).start().await.unwrap();
    let (sender, notices) = cluster.sender(HERE).await;
    for n in 0..40 {
        sender.send(addr(THERE), &text(&n.to_string())).await.unwrap();
    }
    let every_fourth: Vec<_> = (0..40).step_by(4).map(|n| n.to_string()).collect();
    assert_eq!(inbox.until_len(10).await, every_fourth);
    let told = reasons(&notices.until_len(20).await);
    assert_eq!(told, [Reason::Busy, Reason::Refused].repeat(10));
    // Ten handled, ten ended in a layer that panicked, which counts as handled, twenty came back.
    let report = soon("the stop", sender.shutdown(Duration::from_secs(10))).await;
    assert!(report.is_clean());
    assert_eq!((sender.stats().accepted, sender.stats().bounced, sender.stats().lost), (40, 20, 0));
}

#[tokio::test]
async fn p03_notifications_that_a_layer_refuses_come_back() {
    let cluster = Cluster::new();
    let callee = |builder| echo(builder).layer(refuses(Reason::Busy));
    let _callee = callee(cluster.builder(THERE)).start().await.unwrap();
    let (caller, notices) = cluster.sender(HERE).await;
    caller.call(addr(THERE), ECHO, text("hi")).notify().await.unwrap();
    assert_eq!(reasons(&notices.until_len(1).await), [Reason::Busy]);
}

#[tokio::test]
async fn p03_a_notification_whose_time_ends_in_a_layer_comes_back() {
    let cluster = Cluster::new();
    let callee = echo(cluster.builder(THERE)).layer(|_: Call, _: Next| std::future::pending());
    let _callee = callee.start().await.unwrap();
    let (caller, notices) = cluster.sender(HERE).await;
    let request = caller.call(addr(THERE), ECHO, text("hi")).within(Duration::from_millis(50));
    request.notify().await.unwrap();
    assert_eq!(reasons(&notices.until_len(1).await), [Reason::Expired]);
}

#[tokio::test]
async fn a_refused_notification_says_so_to_the_sender_too() {
    let cluster = Cluster::new();
    let caller = |builder: Builder| builder.layer_outgoing(refuses(Reason::Full));
    let (_callee, caller) = pair(&cluster, echo, caller).await;
    let error = caller.call(addr(THERE), ECHO, text("hi")).notify().await.unwrap_err();
    assert_eq!(error.reason, Reason::Full);
    assert_eq!(caller.stats().accepted, 0);
}

#[tokio::test]
async fn a_deferred_reply_passes_layers_by() {
    let cluster = Cluster::new();
    let callee = |builder: Builder| {
        let builder = builder.on_call(ECHO, |cx: Context, request: Text| async move {
            let replier = cx.defer::<Text>();
            tokio::spawn(replier.reply(Ok(request)));
            Err(Status::deferred())
        });
        builder.layer(Logging::new())
    };
    let (_callee, caller) = pair(&cluster, callee, same).await;
    assert_eq!(call(&caller).await.unwrap(), text("hi"));
    until("the end", || caller.stats().calls_answered == 1).await;
}
