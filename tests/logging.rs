//! What the layer that logs tells `tracing`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod support;

use std::io;
use std::time::Duration;

use seaway::layer::Logging;
use seaway::{CallError, Node};
use support::recorder::Recorder;
use support::{COUNT, Cluster, ECHO, Text, addr, number, soon, text};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::util::SubscriberInitExt as _;

const HERE: &str = "1.1.1";
const THERE: &str = "1.2.1";

/// The lines that were logged.
#[derive(Clone, Default)]
struct Lines(Recorder<String>);

impl io::Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.add(String::from_utf8(line.to_vec()).unwrap());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Lines {
    /// Waits for a line that has all parts.
    async fn until(&self, parts: &[&str]) {
        let is_it = |line: &String| parts.iter().all(|part| line.contains(part));
        self.0.until(&format!("{parts:?}"), |lines| lines.iter().any(is_it)).await;
    }
}

/// Two nodes that log on this thread, which is that of their tasks too.
async fn pair() -> (Node, Node) {
    let cluster = Cluster::new();
    let there = cluster.builder(THERE).layer(Logging::new());
    let there = there.on_call(ECHO, |_, request: Text| async move {
        match request.text.as_str() {
            "never" => std::future::pending().await,
            _ => Ok(request),
        }
    });
    let there = there.on_message(|_, _: Text| async {}).start().await.unwrap();
    let here = cluster.builder(HERE).layer_outgoing(Logging::new()).start().await.unwrap();
    (here, there)
}

#[tokio::test]
async fn a_call_is_logged_on_both_sides_with_who_what_how_much_and_how_it_ended() {
    let lines = Lines::default();
    let writer = lines.clone();
    let logs = tracing_subscriber::fmt().with_max_level(LevelFilter::DEBUG);
    let _logs = logs.with_writer(move || writer.clone()).set_default();
    let (here, _there) = pair().await;

    soon("a reply", here.call(addr(THERE), ECHO, text("abc"))).await.unwrap();
    let what = r#"kind=Call peer=1.2.1 method="test.Echo/Echo" bytes=5 reply_bytes=5 took="#;
    lines.until(&["DEBUG seaway::layer::logging: done direction=Outgoing", what]).await;
    let what = what.replace("1.2.1", "1.1.1");
    lines.until(&["DEBUG seaway::layer::logging: done direction=Incoming", &what]).await;

    let absent = soon("a refusal", here.call(addr(THERE), COUNT, number(1))).await.unwrap_err();
    lines.until(&["DEBUG", "failed direction=Outgoing", &format!("error={absent}")]).await;

    let request = here.call(addr(THERE), ECHO, text("never")).within(Duration::from_millis(50));
    let doubt = soon("an end", request).await.unwrap_err();
    assert!(matches!(doubt, CallError::MaybeDone { .. }), "{doubt}");
    lines.until(&["WARN", "in doubt direction=Outgoing", &format!("error={doubt}")]).await;

    here.send(addr(THERE), &text("a")).await.unwrap();
    lines.until(&["DEBUG", "done direction=Incoming kind=Message peer=1.1.1", "bytes=3"]).await;
}
