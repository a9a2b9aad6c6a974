//! One connection: hello, questions and answers, and then perhaps events until the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use seaway::LogicalAddr;
use seaway::discovery::{Change, Discovery, DiscoveryError, Event, Member};
use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::select;
use tokio::sync::Notify;
use tokio::time::{interval, timeout};

use super::{CARRIED_MAX, CONNECTIONS_MAX, MEMBERS_MAX, Shared};
use crate::wire::{
    ALIVE_EVERY, Ask, DEAD_AFTER, Fault, LINE_BYTES_MAX, Lines, Setting, Tell, VERSION, put_line,
};

/// How long a connection may stay open for its last words to arrive.
const LINGER: Duration = Duration::from_millis(500);

/// Attends to a connection until its end; `pushed_out` may end it while it has not said hello.
pub(super) async fn serve(
    stream: TcpStream,
    pushed_out: Arc<Notify>,
    shared: &Shared,
) -> Result<(), Fault> {
    stream.set_nodelay(true)?;
    let (read, write) = stream.into_split();
    let (mut lines, mut out) = (Lines::new(read), Out { write, waiting: Vec::new() });
    let outcome = converse(&mut lines, &mut out, pushed_out, shared).await;
    let words = match &outcome {
        Err(fault @ (Fault::LineTooLong | Fault::Nonsense(_))) => {
            format!("this is seaway-discovery-mock, speaking version {VERSION}; you: {fault}")
        }
        Err(Fault::Refused(message)) => message.clone(),
        _ => return ended(outcome),
    };
    out.last_words(&mut lines, words).await?;
    ended(outcome)
}

/// That the other end hangs up is how connections end.
fn ended(outcome: Result<(), Fault>) -> Result<(), Fault> {
    match outcome {
        Err(Fault::Closed) => Ok(()),
        outcome => outcome,
    }
}

async fn converse(
    lines: &mut Lines,
    out: &mut Out,
    pushed_out: Arc<Notify>,
    shared: &Shared,
) -> Result<(), Fault> {
    let hello = select! {
        // Whoever has said hello was quick enough, however long it lay here.
        biased;
        hello = lines.next() => hello?,
        () = pushed_out.notified() => return Err(Fault::Silent),
    };
    drop(pushed_out);
    match hello {
        Ask::Hello { version: VERSION } => {}
        Ask::Hello { version } => {
            return Err(Fault::Nonsense(format!("version {version}; use the same on both ends")));
        }
        _ => {
            let hello = "the first line must be {\"hello\":{\"version\":1}}";
            return Err(Fault::Nonsense(hello.to_owned()));
        }
    }
    let Ok(_place) = shared.connections.try_acquire() else {
        let full = format!("there are {CONNECTIONS_MAX} connections already; try again later");
        return Err(Fault::Refused(full));
    };
    out.tell(&Tell::Hello { version: VERSION }).await?;
    loop {
        let answer = match lines.next().await? {
            Ask::Watch {} => return watch(lines, out, shared).await,
            Ask::Carry { carrier, ttl_ms } => {
                let ttl = Duration::from_millis(ttl_ms);
                carry(lines, carrier, ttl, shared).await?
            }
            ask => obey(ask, shared).await?,
        };
        out.tell(&answer).await?;
    }
}

/// Does what was asked and says what came of it.
async fn obey(ask: Ask, shared: &Shared) -> Result<Tell, Fault> {
    let members = &shared.members;
    let is_entry = matches!(ask, Ask::Put(_) | Ask::Remove(_) | Ask::Set { .. });
    let outcome = match ask {
        Ask::Put(mut member) => {
            let all = members.configured();
            if all.len() >= MEMBERS_MAX && all.iter().all(|one| one.address != member.address) {
                let message = format!("there are {MEMBERS_MAX} members already; remove some");
                return Ok(Tell::Refused { message, why: None });
            }
            // Which run it is, is for the node to say.
            member.incarnation = None;
            members.put(member)
        }
        Ask::Remove(address) => {
            members.remove(address).map(drop).ok_or(DiscoveryError::NotAMember(address))
        }
        Ask::Set { address, what } => match what {
            Setting::Available(available) => members.set_available(address, available),
            Setting::Exported(exported) => members.set_exported(address, exported),
            Setting::Network(network) => members.set_network(address, network),
        },
        Ask::Announce(announced) => members.announce(&announced.into()).await,
        Ask::Withdraw { address, incarnation } => members.withdraw(address, incarnation).await,
        Ask::Alive {} => Ok(()),
        Ask::Hello { .. } | Ask::Watch {} => {
            return Err(Fault::Nonsense("hello comes once, and watch last".to_owned()));
        }
        Ask::Carry { .. } | Ask::Carried(_) | Ask::End {} => {
            return Err(Fault::Nonsense("what is carried comes after carry".to_owned()));
        }
    };
    if let Err(error) = outcome {
        return Ok(error.into());
    }
    if is_entry && let Err(error) = shared.save().await {
        let message = format!("it counts until the server stops, but was not kept: {error}");
        return Ok(Tell::Refused { message, why: None });
    }
    Ok(Tell::Done {})
}

/// Hears all that a harbor carries and says what came of it.
async fn carry(
    lines: &mut Lines,
    carrier: LogicalAddr,
    ttl: Duration,
    shared: &Shared,
) -> Result<Tell, Fault> {
    // What is heard is kept until its end, so few may be heard at once, and none for long.
    let _place = shared.carrying.acquire().await.map_err(|_| Fault::Closed)?;
    let heard = timeout(DEAD_AFTER, all_carried(lines)).await;
    let all = heard.map_err(|_| Fault::Silent)??;
    let counts = shared.members.carried();
    let others = counts.iter().filter(|(other, _)| **other != carrier).map(|(_, count)| count);
    if others.sum::<usize>() + all.len() > CARRIED_MAX {
        let message = format!("harbors carry at most {CARRIED_MAX} members here");
        return Ok(Tell::Refused { message, why: None });
    }
    let outcome = shared.members.carry(carrier, &all, ttl).await;
    Ok(outcome.map_or_else(Tell::from, |()| Tell::Done {}))
}

async fn all_carried(lines: &mut Lines) -> Result<Vec<Member>, Fault> {
    let mut all = Vec::new();
    loop {
        match lines.next().await? {
            Ask::Carried(_) if all.len() >= MEMBERS_MAX => {
                let full = format!("a harbor carries at most {MEMBERS_MAX} members");
                return Err(Fault::Refused(full));
            }
            Ask::Carried(member) => {
                member.check().map_err(|error| Fault::Refused(error.to_string()))?;
                all.push(member);
            }
            Ask::End {} => return Ok(all),
            _ => return Err(Fault::Nonsense("what is carried has its end first".to_owned())),
        }
    }
}

/// Tells what the members are and how they change, until the watcher is gone or silent.
async fn watch(lines: &mut Lines, out: &mut Out, shared: &Shared) -> Result<(), Fault> {
    let mut watch = match shared.members.watch().await {
        Ok(watch) => watch,
        Err(error) => return Err(Fault::Refused(error.to_string())),
    };
    let mut counted = None;
    let tell = async {
        let mut ticks = interval(ALIVE_EVERY);
        loop {
            // Nothing is queued here: what happens while the watcher takes nothing is added up.
            let event = select! {
                event = watch.next() => event,
                _ = ticks.tick() => {
                    out.tell(&Tell::Alive {}).await?;
                    continue;
                }
            };
            let Some(event) = event else { return Ok(()) };
            out.event(event, shared.revisions_from).await?;
            counted.get_or_insert_with(|| Counted::new(&shared.watchers));
        }
    };
    let listen = async {
        loop {
            let Ask::Alive {} = lines.next().await? else {
                return Err(Fault::Nonsense("a watcher says nothing but alive".to_owned()));
            };
        }
    };
    select! {
        outcome = tell => outcome,
        outcome = listen => outcome,
    }
}

/// One watcher more, until it is dropped.
struct Counted<'c>(&'c AtomicUsize);

impl<'c> Counted<'c> {
    fn new(count: &'c AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What is said to the other end.
struct Out {
    write: OwnedWriteHalf,
    /// Lines that are not written yet, of two lines' length at most.
    waiting: Vec<u8>,
}

impl Out {
    async fn tell(&mut self, said: &impl Serialize) -> Result<(), Fault> {
        put_line(said, &mut self.waiting)?;
        self.flush().await
    }

    /// The same, but it may wait for more.
    async fn add(&mut self, said: &impl Serialize) -> Result<(), Fault> {
        put_line(said, &mut self.waiting)?;
        if self.waiting.len() >= LINE_BYTES_MAX { self.flush().await } else { Ok(()) }
    }

    async fn flush(&mut self) -> Result<(), Fault> {
        let write = self.write.write_all(&self.waiting);
        timeout(DEAD_AFTER, write).await.map_err(|_| Fault::Silent)??;
        self.waiting.clear();
        Ok(())
    }

    async fn event(&mut self, event: Event, revisions_from: u64) -> Result<(), Fault> {
        let revision = match event {
            Event::Snapshot { revision, members } => {
                self.add(&Tell::Snapshot { revision: revisions_from + revision }).await?;
                for member in members {
                    self.add(&Tell::Put(member)).await?;
                }
                revision
            }
            Event::Delta { base, revision, changes } => {
                self.add(&Tell::Delta { base: revisions_from + base }).await?;
                for change in changes {
                    match change {
                        Change::Put(member) => self.add(&Tell::Put(member)).await?,
                        Change::Remove(address) => self.add(&Tell::Remove(address)).await?,
                        _ => return Err(Fault::Nonsense("a change of an unknown kind".to_owned())),
                    }
                }
                revision
            }
            Event::Problem(problem) => return self.tell(&Tell::Problem(problem)).await,
            _ => return Ok(()),
        };
        self.tell(&Tell::End { revision: revisions_from + revision }).await
    }

    /// Says why and closes, so that it arrives: what the other end has sent must be read first, or
    /// the system resets the connection, and a reset destroys what the other end has not read.
    async fn last_words(mut self, lines: &mut Lines, message: String) -> Result<(), Fault> {
        self.tell(&Tell::Refused { message, why: None }).await?;
        self.write.shutdown().await?;
        let mut waste = vec![0; 4 << 10];
        let read = async { while matches!(lines.socket().read(&mut waste).await, Ok(1..)) {} };
        // Who goes on for longer has had its time.
        timeout(LINGER, read).await.ok();
        Ok(())
    }
}
