//! How calls fail: what certainly did not run is told from what may have, and may be tried again.
//!
//! `cargo run --example errors_and_retries`

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use seaway::discovery::InProcess;
use seaway::layer::Retry;
use seaway::{CallError, Code, Context, Limit, LogicalAddr, Node, NodeType, Pick, Status};
use seaway_testproto::hotel::{BookReply, BookRequest, desk};
use tokio::{sync::Mutex, sync::Notify, time::timeout};

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;
const DESKS: NodeType = NodeType::new(2);

/// Books nobody without a name, and never comes to an end with Mr Slow.
#[derive(Default)]
struct Desk {
    writes: Notify,
    pen: Mutex<()>,
}

impl desk::Service for Desk {
    async fn book(&self, _: &Context, request: BookRequest) -> Result<BookReply, Status> {
        match request.guest.as_str() {
            "" => Err(Status::new(Code::InvalidArgument, "which guest?")),
            "Slow" => {
                let _pen = self.pen.lock().await;
                self.writes.notify_one();
                std::future::pending().await
            }
            _ => Ok(BookReply::default()),
        }
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    timeout(Duration::from_secs(10), story()).await?
}

async fn story() -> Result<()> {
    let members = InProcess::new();
    let node = |address| Node::builder(address).in_process(&members);
    let [caller, open, full] = ["1.1.1", "1.2.1", "1.2.2"].map(node);
    let clerk = Arc::new(Desk::default());
    let open = open.serve(desk::Server::from(Arc::clone(&clerk))).start().await?;
    let full = full.serve(desk::Server::new(Desk::default()));
    let full = full.limit(desk::BOOK.name(), Limit::concurrent(0)).start().await?;
    // May try again 3 times at once, and in the long run for each fifth call.
    let caller = caller.layer_outgoing(Retry::new().budget(3, 0.2)).start().await?;
    let ask = |guest: &str| BookRequest { guest: guest.to_owned() };
    let book = |to: LogicalAddr, guest| desk::book(&caller, to, ask(guest));
    let (at, brief) = (open.address(), Duration::from_millis(100));
    // Every other call is refused at the full desk, and is made again at the open one, until the
    // budget is spent: when all fails, tries must not add to the load.
    let mut booked = 0;
    while desk::book(&caller, Pick::round_robin(DESKS), ask("Ann")).await.is_ok() {
        booked += 1;
    }
    let again = caller.stats().calls - booked - 1;
    assert_eq!(again, 3, "so many tries again are in the budget");
    println!("{booked} booked with {again} tries again; then the budget is spent");
    show("full desk", book(full.address(), "Ann").await, "NotSent")?;
    show("no name", book(at, "").await, "Status")?;
    show("stranger", book(LogicalAddr::new(1, 2, 9), "Ann").await, "NotSent")?;
    show("deadline", book(at, "Slow").within(brief).await, "MaybeDone")?;
    clerk.writes.notified().await;

    // To drop the future of a call takes it back: the handler is dropped, and with it the pen.
    let slow = tokio::spawn(book(at, "Slow").detached());
    clerk.writes.notified().await;
    slow.abort();
    drop(clerk.pen.lock().await);
    println!("dropped: the handler has ended with its call");

    // The node dies while Mr Slow is at the desk, and nobody can say how far they came.
    let slow = tokio::spawn(book(at, "Slow").detached());
    clerk.writes.notified().await;
    drop(open);
    show("dies", slow.await?, "MaybeDone")?;
    show("is dead", book(at, "Ann").within(brief).await, "NotSent")
}

/// Says how a call has failed, which has to be in the way that is expected.
fn show(what: &str, outcome: Result<BookReply, CallError>, expected: &str) -> Result<()> {
    let error = outcome.err().ok_or("it did not fail")?;
    let kind = match &error {
        CallError::NotSent { .. } => "NotSent",
        CallError::MaybeDone { .. } => "MaybeDone",
        CallError::Status(_) => "Status",
        _ => "unknown",
    };
    assert_eq!(kind, expected, "{what}: {error}");
    assert_eq!(error.is_safe_to_retry(), kind == "NotSent", "nothing else is safe to retry");
    println!("{what}: {kind}: {error}");
    Ok(())
}
