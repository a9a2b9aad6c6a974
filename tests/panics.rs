//! A handler that panics fails its own call and nothing else.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod support;

use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Once;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use seaway::{CallError, Code, Context, Limit, Message, Method, Reason, Status, Undeliverable};
use support::events::{Gate, events};
use support::{COUNT, Cluster, ECHO, Number, Text, addr, not_sent, number, soon, text, until};
use tokio::task::JoinSet;

const ON_PURPOSE: &str = "on purpose";

/// Panics without a word on the test's output.
fn panic_on_purpose() -> ! {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if panic.payload().downcast_ref() != Some(&ON_PURPOSE) {
                loud(panic);
            }
        }));
    });
    std::panic::panic_any(ON_PURPOSE)
}

/// Panics when dropped.
struct PanicOnDrop;

impl Drop for PanicOnDrop {
    fn drop(&mut self) {
        panic_on_purpose();
    }
}

/// A future that is done at once and panics when dropped.
struct DoneThenPanic(Option<Text>, PanicOnDrop);

impl Future for DoneThenPanic {
    type Output = Result<Text, Status>;

    fn poll(mut self: Pin<&mut Self>, _: &mut TaskContext<'_>) -> Poll<Self::Output> {
        Poll::Ready(Ok(self.0.take().unwrap()))
    }
}

/// A message that panics where it says.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Rude {
    #[default]
    Never,
    Measured,
    Encoded,
    Decoded,
}

impl prost::Message for Rude {
    fn encode_raw(&self, out: &mut impl bytes::BufMut) {
        // The field 1, a number.
        out.put_u8(0x08);
        if *self == Self::Encoded {
            panic_on_purpose();
        }
        out.put_u8(u8::from(*self == Self::Decoded));
    }

    fn merge_field(
        &mut self,
        _: u32,
        _: prost::encoding::WireType,
        buf: &mut impl bytes::Buf,
        _: prost::encoding::DecodeContext,
    ) -> Result<(), prost::DecodeError> {
        if buf.get_u8() == 1 {
            panic_on_purpose();
        }
        Ok(())
    }

    fn encoded_len(&self) -> usize {
        if *self == Self::Measured {
            panic_on_purpose();
        }
        2
    }

    fn clear(&mut self) {}
}

impl Message for Rude {
    const NAME: &'static str = "test.Rude";
}

const RUDE: Method<Rude, Text> = Method::new("test.Echo/Rude");
const RUDE_REPLY: Method<Text, Rude> = Method::new("test.Echo/RudeReply");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p21_a_request_that_panics_when_encoded_fails_its_own_call_only() {
    let cluster = Cluster::new();
    let (caller, _callee) = (cluster.node("1.1.1").await, cluster.echo("1.1.2").await);
    for rude in [Rude::Measured, Rude::Encoded] {
        let call = caller.call(addr("1.1.2"), RUDE, rude).detached();
        assert!(soon("the panic", tokio::spawn(call)).await.unwrap_err().is_panic());
        let node = caller.clone();
        let notify = async move { node.call(addr("1.1.2"), RUDE, rude).notify().await };
        assert!(soon("the panic", tokio::spawn(notify)).await.unwrap_err().is_panic());
        let reply = soon("the reply", caller.call(addr("1.1.2"), ECHO, text("a"))).await;
        assert_eq!(reply.unwrap(), text("a"));
    }
    assert_eq!(caller.stats().dialed, 1);
}

/// The place in the outbox that a request did not get goes to another at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p21_a_request_that_panics_when_encoded_takes_no_other_back() {
    let cluster = Cluster::new();
    let (caller, _callee) = (cluster.node("1.1.1").await, cluster.echo("1.1.2").await);
    let (node, done) = (caller.clone(), std::sync::Arc::new(()));
    let go_on = std::sync::Arc::downgrade(&done);
    let rude = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Handle::current();
        while go_on.strong_count() > 0 {
            let call = node.call(addr("1.1.2"), RUDE, Rude::Encoded).detached();
            let panics = std::panic::AssertUnwindSafe(|| runtime.block_on(call));
            std::panic::catch_unwind(panics).unwrap_err();
        }
    });
    for _ in 0..20_000 {
        let reply = soon("the reply", caller.call(addr("1.1.2"), ECHO, text("a"))).await;
        assert_eq!(reply, Ok(text("a")));
    }
    drop(done);
    soon("the other", rude).await.unwrap();
}

#[tokio::test]
async fn p21_a_message_that_panics_when_encoded_is_not_sent_and_others_are() {
    let cluster = Cluster::new();
    let sender = cluster.node("1.1.1").await;
    let (say, mut heard) = events();
    let builder = cluster.builder("1.2.1").on_message(move |_, message: Number| {
        say.say(message);
        async {}
    });
    let _receiver = builder.start().await.unwrap();
    for (n, rude) in [Rude::Measured, Rude::Encoded].into_iter().enumerate() {
        sender.send(addr("1.2.1"), &number(n as u64)).await.unwrap();
        let node = sender.clone();
        let send = async move { node.send(addr("1.2.1"), &rude).await };
        assert!(soon("the panic", tokio::spawn(send)).await.unwrap_err().is_panic());
        heard.expect(number(n as u64)).await;
    }
    assert_eq!((sender.stats().accepted, sender.stats().dialed), (2, 2));
    // Nothing of the others waits to be written.
    let report = soon("the end", sender.shutdown(Duration::from_secs(60))).await;
    assert_eq!(report, seaway::Report::default());
}

#[tokio::test]
async fn p21_a_reply_that_panics_when_encoded_fails_its_own_call_only() {
    let cluster = Cluster::new();
    let caller = cluster.node("1.1.1").await;
    let handler = |cx: Context, request: Text| async move {
        let reply = if request.text.contains("measured") { Rude::Measured } else { Rude::Encoded };
        if request.text.contains("late") {
            tokio::task::yield_now().await;
        }
        if request.text.contains("elsewhere") {
            let replier = cx.defer();
            tokio::spawn(async move { replier.reply(Ok(reply)).await });
            return Err(Status::deferred());
        }
        if request.text.is_empty() { Ok(Rude::Never) } else { Ok(reply) }
    };
    let builder = cluster.builder("1.2.1").on_call(RUDE_REPLY, handler);
    let callee = builder.limit(RUDE_REPLY.name(), Limit::concurrent(1)).start().await.unwrap();
    let call = |how| caller.call(addr("1.2.1"), RUDE_REPLY, text(how));
    let ways = ["measured", "encoded", "measured late", "encoded late", "encoded elsewhere"];
    for how in ways {
        let outcome = soon(how, call(how).within(Duration::from_secs(60))).await;
        let Err(CallError::Status(status)) = outcome else { panic!("{how}: {outcome:?}") };
        assert_eq!(status, Status::new(Code::Internal, "the handler panicked"), "{how}");
        assert_eq!(soon("a reply", call("")).await, Ok(Rude::Never), "after {how}");
    }
    assert_eq!(callee.stats().panics, ways.len() as u64);
    assert_eq!(caller.stats().dialed, 1);
}

#[tokio::test]
async fn p21_what_panics_when_decoded_is_sent_back_and_the_link_lives() {
    let cluster = Cluster::new();
    let (say, mut heard) = events();
    let builder = cluster.builder("1.1.1").on_undeliverable(move |notice| say.say(notice));
    let sender = builder.start().await.unwrap();
    let builder = cluster.builder("1.2.1").on_message(|_, _: Rude| async {});
    let builder = builder.on_call(RUDE, |_, _| async { Ok(text("")) });
    let receiver = builder.start().await.unwrap();
    let call = |rude| soon("the outcome", sender.call(addr("1.2.1"), RUDE, rude));
    assert_eq!(not_sent(call(Rude::Decoded).await).0, Reason::Malformed);
    assert_eq!(call(Rude::Never).await, Ok(text("")));
    sender.send(addr("1.2.1"), &Rude::Decoded).await.unwrap();
    let notice = heard.any().await;
    assert!(matches!(notice, Undeliverable::Bounced { reason: Reason::Malformed, .. }), "{notice}");
    sender.send(addr("1.2.1"), &Rude::Never).await.unwrap();
    until("the next message", || receiver.stats().handled == 1).await;
    assert_eq!(sender.stats().dialed, 2);
}

type Boxed = Pin<Box<dyn Future<Output = Result<Text, Status>> + Send>>;

/// Panics where the request says.
fn panicky(_: Context, request: Text) -> Boxed {
    match &request.text[..] {
        "in the function" => panic_on_purpose(),
        "before the first wait" => Box::pin(async { panic_on_purpose() }),
        "after the first wait" => Box::pin(async {
            tokio::task::yield_now().await;
            panic_on_purpose()
        }),
        "when a local is dropped" => Box::pin(async {
            let _local = PanicOnDrop;
            tokio::task::yield_now().await;
            Ok(request)
        }),
        "when the future is dropped" => Box::pin(DoneThenPanic(Some(request), PanicOnDrop)),
        "when cancelled" => Box::pin(async {
            let _local = PanicOnDrop;
            pending().await
        }),
        _ => Box::pin(async { Ok(request) }),
    }
}

#[tokio::test]
async fn p21_a_panic_fails_its_own_call_and_nothing_else() {
    let cluster = Cluster::new();
    let caller = cluster.node("1.1.1").await;
    let (gate, (say, mut heard)) = (Gate::closed(), events());
    let door = gate.clone();
    let wait = move |_, request: Number| {
        let (door, say) = (door.clone(), say.clone());
        async move {
            say.say("waits");
            door.pass().await;
            Ok(request)
        }
    };
    let builder = cluster.builder("1.2.1").on_call(ECHO, panicky).on_call(COUNT, wait);
    let callee = builder.limit(ECHO.name(), Limit::concurrent(1)).start().await.unwrap();
    let other = tokio::spawn(caller.call(addr("1.2.1"), COUNT, number(1)).detached());
    heard.expect("waits").await;
    let places = [
        "in the function",
        "before the first wait",
        "after the first wait",
        "when a local is dropped",
        "when the future is dropped",
    ];
    for place in places {
        let outcome = soon(place, caller.call(addr("1.2.1"), ECHO, text(place))).await;
        let Err(CallError::Status(status)) = outcome else { panic!("{place}: {outcome:?}") };
        assert_eq!(status.code(), Code::Internal, "{place}");
        assert!(!status.text().contains(ON_PURPOSE), "{place}: {status}");
        // The method's only permit is free again, and the link lives.
        let reply = soon("a reply", caller.call(addr("1.2.1"), ECHO, text("hi"))).await;
        assert_eq!(reply, Ok(text("hi")), "after a panic {place}");
    }
    assert_eq!(callee.stats().panics, places.len() as u64);
    gate.open();
    assert_eq!(soon("the other", other).await.unwrap(), Ok(number(1)));
    assert_eq!(caller.stats().dialed, 1);
}

#[tokio::test]
async fn p21_a_panic_of_a_cancelled_handler_gives_its_permit_back() {
    let cluster = Cluster::new();
    let caller = cluster.node("1.1.1").await;
    let builder = cluster.builder("1.2.1").on_call(ECHO, panicky);
    let callee = builder.limit(ECHO.name(), Limit::concurrent(1)).start().await.unwrap();
    let request = text("when cancelled");
    let call = caller.call(addr("1.2.1"), ECHO, request.clone()).within(Duration::from_millis(100));
    soon("the deadline", call).await.unwrap_err();
    until("the first panic", || callee.stats().panics == 1).await;
    let call = tokio::spawn(caller.call(addr("1.2.1"), ECHO, request).detached());
    until("the second request", || callee.stats().requests == 2).await;
    call.abort();
    until("the second panic", || callee.stats().panics == 2).await;
    let reply = soon("a reply", caller.call(addr("1.2.1"), ECHO, text("hi"))).await;
    assert_eq!(reply, Ok(text("hi")));
    assert_eq!(caller.stats().dialed, 1);
}

#[tokio::test]
async fn p21_a_panic_behind_a_deferred_reply_leaves_the_reply() {
    let cluster = Cluster::new();
    let caller = cluster.node("1.1.1").await;
    let handler = |cx: Context, request: Text| async move {
        let replier = cx.defer();
        tokio::spawn(async move { replier.reply(Ok(request)).await });
        panic_on_purpose()
    };
    let _callee = cluster.builder("1.2.1").on_call(ECHO, handler).start().await.unwrap();
    let reply = soon("the reply", caller.call(addr("1.2.1"), ECHO, text("hi"))).await;
    assert_eq!(reply, Ok(text("hi")));
}

#[tokio::test]
async fn p21_a_task_of_the_context_panics_alone() {
    let cluster = Cluster::new();
    let caller = cluster.node("1.1.1").await;
    let handler = |cx: Context, request: Text| async move {
        let panicked = cx.spawn(async { panic_on_purpose() }).await;
        assert!(panicked.unwrap_err().is_panic());
        Ok(request)
    };
    let callee = cluster.builder("1.2.1").on_call(ECHO, handler).start().await.unwrap();
    let reply = soon("the reply", caller.call(addr("1.2.1"), ECHO, text("hi"))).await;
    assert_eq!(reply, Ok(text("hi")));
    assert_eq!(callee.stats().panics, 0);
}

#[tokio::test]
async fn p21_a_notification_that_panics_is_counted_as_failed() {
    let cluster = Cluster::new();
    let caller = cluster.node("1.1.1").await;
    let builder = cluster.builder("1.2.1").on_call(ECHO, panicky);
    let callee = builder.limit(ECHO.name(), Limit::concurrent(1)).start().await.unwrap();
    for place in ["in the function", "after the first wait"] {
        let before = callee.stats().panics;
        caller.call(addr("1.2.1"), ECHO, text(place)).notify().await.unwrap();
        until(place, || callee.stats().panics == before + 1).await;
        let reply = soon("a reply", caller.call(addr("1.2.1"), ECHO, text("hi"))).await;
        assert_eq!(reply, Ok(text("hi")));
    }
    assert_eq!(callee.stats().notifications_failed, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn p21_of_ten_thousand_calls_only_those_that_panic_fail() {
    const CALLS: u64 = 10_000;
    const SIDE_BY_SIDE: u64 = 100;
    let cluster = Cluster::new();
    let caller = cluster.node("1.1.1").await;
    let gate = Gate::closed();
    let door = gate.clone();
    let handler = move |_, request: Number| {
        let door = door.clone();
        async move {
            match request.number {
                n if n >= CALLS => door.pass().await,
                n if n % 20 == 0 => panic_on_purpose(),
                n if n % 20 == 10 => {
                    tokio::task::yield_now().await;
                    panic_on_purpose()
                }
                n if n % 2 == 0 => tokio::task::yield_now().await,
                _ => {}
            }
            Ok(request)
        }
    };
    let builder = cluster.builder("1.2.1").on_call(COUNT, handler);
    let limit = Limit::concurrent(usize::try_from(SIDE_BY_SIDE).unwrap());
    let callee = builder.limit(COUNT.name(), limit).start().await.unwrap();
    let mut callers = JoinSet::new();
    for first in 0..SIDE_BY_SIDE {
        let caller = caller.clone();
        callers.spawn(async move {
            let mut failed = 0;
            for n in (first..CALLS).step_by(usize::try_from(SIDE_BY_SIDE).unwrap()) {
                match caller.call(addr("1.2.1"), COUNT, number(n)).await {
                    Ok(reply) => assert!(reply == number(n) && n % 10 != 0, "{n}: {reply:?}"),
                    Err(CallError::Status(status)) => {
                        assert!(status.code() == Code::Internal && n % 10 == 0, "{n}: {status}");
                        failed += 1;
                    }
                    Err(error) => panic!("{n}: {error}"),
                }
            }
            failed
        });
    }
    let failed: u64 = soon("all callers", callers.join_all()).await.into_iter().sum();
    assert_eq!((failed, callee.stats().panics), (1_000, 1_000));
    // No permit leaked: as many as the limit allows run at once.
    let mut held = JoinSet::new();
    for n in 0..SIDE_BY_SIDE {
        held.spawn(caller.call(addr("1.2.1"), COUNT, number(CALLS + n)).detached());
    }
    until("all that are held", || callee.stats().requests == CALLS + SIDE_BY_SIDE).await;
    gate.open();
    for reply in soon("all that were held", held.join_all()).await {
        reply.unwrap();
    }
    assert_eq!(caller.stats().dialed, 1);
}
