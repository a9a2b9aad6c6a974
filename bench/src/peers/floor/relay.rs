//! The least that a relay can cost: frames are read, and appended to the next connection's buffer.

use std::sync::Arc;

use anyhow::Result;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::frame::{self, FrameReader};
use super::outbox::{Outbox, Writes};

/// Listens, and for each connection makes one to `to`.
pub async fn start(to: &str) -> Result<(JoinHandle<()>, String)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let addr = listener.local_addr()?.to_string();
    let to = to.to_owned();
    let accepting = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            match connect(stream, &to).await {
                Ok(()) => {}
                Err(error) => eprintln!("floor: the relay cannot connect: {error:#}"),
            }
        }
    });
    Ok((accepting, addr))
}

async fn connect(near: TcpStream, to: &str) -> Result<()> {
    let far = TcpStream::connect(to).await?;
    let (near_reader, near_outbox) = super::start(near, Writes::Batched)?;
    let (far_reader, far_outbox) = super::start(far, Writes::Batched)?;
    tokio::spawn(hand_on(near_reader, far_outbox));
    tokio::spawn(hand_on(far_reader, near_outbox));
    Ok(())
}

async fn hand_on(mut reader: FrameReader, outbox: Arc<Outbox>) {
    if let Err(error) = hand_on_all(&mut reader, &outbox).await {
        eprintln!("floor: the relay failed: {error:#}");
    }
    outbox.close();
}

async fn hand_on_all(reader: &mut FrameReader, outbox: &Outbox) -> Result<()> {
    while reader.fill().await? {
        outbox.room().await?;
        outbox.append(|out| -> Result<()> {
            while let Some(frame) = reader.next()? {
                frame::put(out, frame.kind, frame.id, &[], frame.body)?;
            }
            Ok(())
        })??;
    }
    Ok(())
}
