//! Streams of bytes between nodes.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod support;

#[path = "streams/basics.rs"]
mod basics;
#[path = "streams/drains.rs"]
mod drains;

use seaway::{Builder, Stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy, split};

/// Serves streams: what comes goes back, and the end as well.
fn echo(builder: Builder) -> Builder {
    builder.on_stream("echo", |_, stream| async move {
        let (mut reader, mut writer) = split(stream);
        copy(&mut reader, &mut writer).await.ok();
        writer.shutdown().await.ok();
    })
}

/// Writes all, ends, and reads all that comes until the end.
async fn exchange(mut stream: Stream, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut back = Vec::new();
    let (mut reader, mut writer) = split(&mut stream);
    let write = async {
        writer.write_all(bytes).await?;
        writer.shutdown().await
    };
    let (written, read) = tokio::join!(write, reader.read_to_end(&mut back));
    written.and(read)?;
    Ok(back)
}
