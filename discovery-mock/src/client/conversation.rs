//! One connection to the server.

use seaway::discovery::{Change, Event};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;

use crate::wire::{ALIVE_EVERY, Ask, Fault, Lines, Tell, VERSION, put_line};

/// The longest event, as bytes of its lines: more than a server takes in.
const EVENT_BYTES_MAX: usize = 64 << 20;

/// See the module.
#[derive(Debug)]
pub(super) struct Conversation {
    lines: Lines,
    write: OwnedWriteHalf,
}

impl Conversation {
    /// Connects and asks.
    pub(super) async fn open(server: &str, lines: &[Ask]) -> Result<Self, Fault> {
        let stream = TcpStream::connect(server).await?;
        stream.set_nodelay(true)?;
        let (read, mut write) = stream.into_split();
        let mut words = Vec::new();
        put_line(&Ask::Hello { version: VERSION }, &mut words)?;
        lines.iter().try_for_each(|line| put_line(line, &mut words))?;
        write.write_all(&words).await?;
        let mut this = Self { lines: Lines::new(read), write };
        match this.next().await? {
            Tell::Hello { version: VERSION } => Ok(this),
            Tell::Hello { version } => {
                Err(Fault::Nonsense(format!("it speaks version {version}, not {VERSION}")))
            }
            Tell::Refused { message, .. } => Err(Fault::Refused(message)),
            other => Err(Fault::Nonsense(format!("no hello but {other:?}"))),
        }
    }

    pub(super) async fn next(&mut self) -> Result<Tell, Fault> {
        self.lines.next().await
    }

    /// Both directions, to be used side by side.
    pub(super) fn split(&mut self) -> (Events<'_>, Pulse<'_>) {
        (Events(&mut self.lines), Pulse(&mut self.write))
    }

    pub(super) async fn event(&mut self) -> Result<Event, Fault> {
        Events(&mut self.lines).next().await
    }
}

/// What the server tells a watcher.
pub(super) struct Events<'c>(&'c mut Lines);

impl Events<'_> {
    /// Waits for the next event. Not cancel safe.
    pub(super) async fn next(&mut self) -> Result<Event, Fault> {
        loop {
            match self.0.next().await? {
                Tell::Alive {} => {}
                Tell::Problem(problem) => return Ok(Event::Problem(problem)),
                Tell::Refused { message, .. } => return Err(Fault::Refused(message)),
                Tell::Delta { base } => {
                    let (changes, revision) = self.changes().await?;
                    return Ok(Event::Delta { base, revision, changes });
                }
                Tell::Snapshot { .. } => {
                    let (changes, revision) = self.changes().await?;
                    let member = |change| match change {
                        Change::Put(member) => Some(member),
                        _ => None,
                    };
                    let members = changes.into_iter().filter_map(member).collect();
                    return Ok(Event::Snapshot { revision, members });
                }
                other => return Err(Fault::Nonsense(format!("{other:?} to a watcher"))),
            }
        }
    }

    /// The rest of an event, and the revision that it leads to.
    async fn changes(&mut self) -> Result<(Vec<Change>, u64), Fault> {
        let (mut changes, mut bytes) = (Vec::new(), 0);
        while bytes <= EVENT_BYTES_MAX {
            match self.0.next().await? {
                Tell::Put(member) => changes.push(Change::Put(member)),
                Tell::Remove(address) => changes.push(Change::Remove(address)),
                Tell::End { revision } => return Ok((changes, revision)),
                other => return Err(Fault::Nonsense(format!("{other:?} within an event"))),
            }
            bytes += self.0.line_bytes();
        }
        Err(Fault::Nonsense(format!("an event of more than {EVENT_BYTES_MAX} bytes")))
    }
}

/// What a watcher says to the server.
pub(super) struct Pulse<'c>(&'c mut OwnedWriteHalf);

impl Pulse<'_> {
    /// Says again and again that the watcher lives, until that fails.
    pub(super) async fn beat(&mut self) -> Result<(), Fault> {
        let mut word = Vec::new();
        put_line(&Ask::Alive {}, &mut word)?;
        let mut ticks = tokio::time::interval(ALIVE_EVERY);
        loop {
            ticks.tick().await;
            self.0.write_all(&word).await?;
        }
    }
}
