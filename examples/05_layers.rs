//! Layers: what stands around each call, where it is made and where it is served.
//!
//! `cargo run --example layers`

use std::error::Error;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use seaway::discovery::InProcess;
use seaway::layer::{Call, Concurrency, Layer, Logging, Next, Outcome, RateLimit, Timeout};
use seaway::{CallError, Code, Context, Node, Status};
use seaway_testproto::hotel::{BookReply, BookRequest, desk};
use tokio::time::timeout;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::{layer::SubscriberExt as _, util::SubscriberInitExt as _};

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;
static LOGGED: AtomicU32 = AtomicU32::new(0);

/// Says which way a call has come, and never comes to an end with Mr Slow.
struct Desk;

impl desk::Service for Desk {
    async fn book(&self, cx: &Context, request: BookRequest) -> Result<BookReply, Status> {
        if request.guest == "Slow" {
            std::future::pending::<()>().await;
        }
        Ok(BookReply { by: cx.metadata("way").unwrap_or_default().to_owned() })
    }
}

/// A layer of one's own is a closure: this one adds itself to the way that the call has come.
fn via(name: &'static str) -> impl Layer + 'static {
    move |mut call: Call, next: Next| async move {
        let way = call.metadata("way").unwrap_or("from");
        call.set_metadata("way", format!("{way} {name}"));
        next.run(call).await
    }
}

/// So is a function: this one lets in only what has come such a way. Messages have no metadata, so a
/// node that handles some would look at `call.kind()` first.
async fn check(call: Call, next: Next) -> Outcome {
    match call.metadata("way") {
        Some(_) => next.run(call).await,
        None => Err(Status::new(Code::Unauthenticated, "who sends you?").into()),
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    // `Logging` tells `tracing` of each call. Here that is a line on the terminal.
    let logs = tracing_subscriber::fmt().without_time().with_target(false).with_ansi(false);
    let logs = logs.with_max_level(LevelFilter::DEBUG).with_writer(|| {
        LOGGED.fetch_add(1, Relaxed);
        std::io::stdout()
    });
    logs.finish().with(Targets::new().with_target("seaway::layer", LevelFilter::DEBUG)).init();
    timeout(Duration::from_secs(10), story()).await?
}

async fn story() -> Result<()> {
    let members = InProcess::new();
    let node = |address| Node::builder(address).in_process(&members);
    let [caller, stranger, desk] = ["1.1.1", "1.1.2", "1.2.1"].map(node);
    let caller = caller.layer_outgoing(via("one")).layer_outgoing(via("two"));
    let desk = desk
        .layer(Logging::new())
        .layer(check)
        .layer(via("three"))
        .layer(RateLimit::per_peer(1, 4))
        .layer(Concurrency::new(1))
        .layer(Timeout::new(Duration::from_millis(100)))
        .layer(via("four"));
    let desk = desk.serve(desk::Server::new(Desk)).start().await?;
    let (caller, stranger) = (caller.start().await?, stranger.start().await?);
    let ask = |guest: &str| BookRequest { guest: guest.to_owned() };
    let book = |node, guest| desk::book(node, desk.address(), ask(guest));
    let way = book(&caller, "Ann").await?.by;
    assert_eq!(way, "from one two three four", "the first one given is the outermost");
    println!("order: {way}");
    show("check", book(&stranger, "Ann").await, "Unauthenticated")?;
    // Of two at once, one finds the only place taken, and the other runs into the limit of time.
    let (slow, other) = tokio::join!(book(&caller, "Slow"), book(&caller, "Slow"));
    show("timeout", slow, "DeadlineExceeded")?;
    show("concurrency", other, "did not run: too much is in flight")?;
    // These were three of the four calls that a peer may make at once.
    while book(&caller, "Ann").await.is_ok() {}
    show("rate", book(&caller, "Ann").await, "did not run: too much is in flight")?;
    assert!(LOGGED.load(Relaxed) >= 6, "each call that came to the desk is logged");
    Ok(())
}

/// Tells of a call that fails as it has to.
fn show(what: &str, outcome: Result<BookReply, CallError>, expected: &str) -> Result<()> {
    let error = outcome.err().ok_or("it did not fail")?.to_string();
    assert!(error.contains(expected), "{what}: {error}");
    println!("{what}: {error}");
    Ok(())
}
