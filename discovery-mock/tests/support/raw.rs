//! A client that says whatever a test wants.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::soon;

pub const HELLO: &str = "{\"hello\":{\"version\":1}}\n";
pub const WATCH: &str = "{\"watch\":{}}\n";
pub const ALIVE: &str = "{\"alive\":{}}\n";

pub struct Raw {
    pub read: BufReader<OwnedReadHalf>,
    pub write: OwnedWriteHalf,
}

impl Raw {
    pub async fn connect(at: SocketAddr) -> Self {
        let (read, write) = TcpStream::connect(at).await.unwrap().into_split();
        Self { read: BufReader::new(read), write }
    }

    /// Says something; that the other end has hung up is no matter.
    pub async fn say(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        soon("the bytes to go", self.write.write_all(bytes.as_ref())).await.is_ok()
    }

    /// The next line; `None` at the end or after a reset.
    pub async fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        match soon("a line", self.read.read_line(&mut line)).await {
            Ok(0) | Err(_) => None,
            Ok(_) => Some(line.trim_end().to_owned()),
        }
    }

    /// All lines until the end.
    pub async fn rest(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        while let Some(line) = self.line().await {
            lines.push(line);
        }
        lines
    }

    /// Says again and again that it lives, and reads nothing, until it is cut off.
    pub async fn pulse(&mut self) {
        while self.write.write_all(ALIVE.as_bytes()).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
}
