//! An engine that reads the members from a file.
//!
//! The file is looked at 5 times a second. That is cheap, works on every file system and through
//! the symbolic links of container platforms, and needs no watching service of the system.

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Once};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use serde::Deserialize;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};
use toml::Spanned;

use super::member::{Announcement, Member};
use super::watch::{Event, Watch, WatchSender};
use super::{Discovery, DiscoveryError};
use crate::addr::LogicalAddr;
use crate::incarnation::Incarnation;

/// The largest file that is read.
const FILE_BYTES_MAX: u64 = 16 << 20;
/// The pause between two looks at the file.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// Discovery from a TOML file of at most 16 MiB that somebody else writes.
///
/// ```toml
/// [[member]]
/// address = "1.1.1"
/// network = "127.0.0.1:7001"    # host:port; IPv6 in brackets
/// exported = true               # other groups may know of it; false if left out
/// available = true              # pickers may choose it; true if left out
/// labels = { zone = "a" }       # none if left out
/// ```
///
/// A change counts within half a second. A file that is broken or gone is reported, with the line
/// and what is wrong there, and the members stay as they were; only the first look at it must
/// succeed. A file that is being written counts once it was left alone for 200 ms; to be on the
/// safe side, write another file and rename it.
///
/// Nothing is written to the file: announcing and withdrawing succeed and do nothing, so nobody
/// learns from it that a node drains or was started twice, nor the labels of its builder. Exported
/// members of other groups that a node should see are to be in its file: harbors do not carry them
/// there.
#[derive(Clone, Debug)]
pub struct MembersFile {
    path: PathBuf,
    /// Shared by all watches, so that a later one does not seem to go back.
    revision: Arc<AtomicU64>,
    /// Of labels that nobody sees.
    warned: Arc<Once>,
}

impl MembersFile {
    /// Names the file. It is read when a node starts to watch, and must exist and be valid then.
    ///
    /// ```
    /// let discovery = seaway::discovery::MembersFile::open("members.toml");
    /// ```
    pub fn open(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), revision: Arc::default(), warned: Arc::new(Once::new()) }
    }

    fn snapshot(&self, members: Vec<Member>) -> Event {
        let revision = self.revision.fetch_add(1, Ordering::Relaxed) + 1;
        Event::Snapshot { revision, members }
    }

    fn error(&self, cause: String) -> DiscoveryError {
        DiscoveryError::File { path: self.path.clone(), cause }
    }
}

#[async_trait]
impl Discovery for MembersFile {
    async fn watch(&self) -> Result<Watch, DiscoveryError> {
        let path = self.path.clone();
        let members = spawn_blocking(move || parse(&read(&path)?))
            .await
            .map_err(|cause| DiscoveryError::Unreachable(cause.into()))?
            .map_err(|cause| self.error(cause))?;
        let (sender, watch) = Watch::channel(1);
        tokio::spawn(poll(Poller::new(self.clone(), members), sender));
        Ok(watch)
    }

    async fn announce(&self, me: &Announcement) -> Result<(), DiscoveryError> {
        if !me.labels.is_empty() {
            self.warned.call_once(|| {
                tracing::warn!(
                    node = %me.address,
                    labels = me.labels.len(),
                    "labels of the builder reach no peer: write them into the members file"
                );
            });
        }
        Ok(())
    }

    async fn withdraw(&self, _: LogicalAddr, _: Incarnation) -> Result<(), DiscoveryError> {
        Ok(())
    }
}

/// Tells what the file says, until nobody listens.
async fn poll(mut poller: Poller, watcher: WatchSender) {
    let mut event = Some(poller.file.snapshot(poller.members.clone()));
    let mut ticks = interval(POLL_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        if let Some(event) = event.take()
            && watcher.send(event).await.is_err()
        {
            return;
        }
        tokio::select! {
            _ = ticks.tick() => {}
            () = watcher.closed() => return,
        }
        let look = spawn_blocking(move || {
            let event = poller.poll();
            (poller, event)
        });
        // An error means that the runtime stops, and then so does the watch.
        let Ok(looked) = look.await else { return };
        (poller, event) = looked;
    }
}

/// What was found at the last looks at the file.
#[derive(Debug)]
struct Poller {
    file: MembersFile,
    /// The last good members.
    members: Vec<Member>,
    /// The file as it was at the last look.
    seen: Option<Stamp>,
    /// The file as it was when it was last read.
    read: Option<Stamp>,
    /// What was last reported, so that it is not reported at every look.
    problem: Option<String>,
}

impl Poller {
    fn new(file: MembersFile, members: Vec<Member>) -> Self {
        // Nothing counts as read, so that a change during the first reading is not overlooked.
        Self { file, members, seen: None, read: None, problem: None }
    }

    /// Looks at the file; blocks. What there is to tell, if anything.
    fn poll(&mut self) -> Option<Event> {
        let stamp = match Stamp::of(&self.file.path) {
            Ok(stamp) => Some(stamp),
            Err(cause) => return self.on_problem(cause),
        };
        if self.seen != stamp {
            // New or being written: wait until it is left alone.
            self.seen = stamp;
            return None;
        }
        if self.read == stamp {
            return None;
        }
        let text = match read(&self.file.path) {
            Ok(text) => text,
            Err(cause) => return self.on_problem(cause),
        };
        let event = match parse(&text) {
            Ok(members) => self.on_members(members),
            Err(cause) => self.on_problem(cause),
        };
        self.read = stamp;
        event
    }

    fn on_members(&mut self, members: Vec<Member>) -> Option<Event> {
        if self.problem.take().is_some() {
            tracing::info!(path = %self.file.path.display(), "the members file is good again");
        }
        if self.members == members {
            return None;
        }
        self.members.clone_from(&members);
        Some(self.file.snapshot(members))
    }

    fn on_problem(&mut self, cause: String) -> Option<Event> {
        // What is in the way may go and leave the file just as it was: then it is read again.
        self.read = None;
        if self.problem.as_ref() == Some(&cause) {
            return None;
        }
        self.problem = Some(cause.clone());
        Some(Event::Problem(self.file.error(cause).to_string()))
    }
}

/// What changes when a file does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    bytes: u64,
    inode: u64,
}

impl Stamp {
    fn of(path: &Path) -> Result<Self, String> {
        let metadata = path.metadata().map_err(|cause| cause.to_string())?;
        if !metadata.is_file() {
            // Reading a pipe could block for ever.
            return Err("it is not a file".to_owned());
        }
        Ok(Self {
            modified: metadata.modified().ok(),
            bytes: metadata.len(),
            inode: inode(&metadata),
        })
    }
}

#[cfg(unix)]
fn inode(metadata: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(metadata)
}

#[cfg(not(unix))]
fn inode(_: &Metadata) -> u64 {
    0
}

/// Reads the file; blocks.
fn read(path: &Path) -> Result<String, String> {
    Stamp::of(path)?;
    let file = File::open(path).map_err(|cause| cause.to_string())?;
    let mut text = Vec::new();
    // One byte more tells a file that is too large, also one that grows meanwhile.
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut text).map_err(|cause| cause.to_string())?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("it is larger than {} MiB", FILE_BYTES_MAX >> 20));
    }
    String::from_utf8(text).map_err(|cause| {
        let good = cause.utf8_error().valid_up_to();
        format!("line {}: this is not UTF-8 text", line(cause.as_bytes(), good))
    })
}

/// The whole file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    member: Vec<Entry>,
}

/// A member as the file has it. Not [`Member`] itself, which takes fields that it does not know.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    address: Spanned<LogicalAddr>,
    network: String,
    #[serde(default)]
    exported: bool,
    #[serde(default = "yes")]
    available: bool,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

fn yes() -> bool {
    true
}

/// Reads the members from the text of the file.
fn parse(text: &str) -> Result<Vec<Member>, String> {
    let line = |offset| line(text.as_bytes(), offset);
    let document: Document = toml::from_str(text).map_err(|cause| match cause.span() {
        Some(span) => format!("line {}: {}", line(span.start), cause.message()),
        None => cause.message().to_owned(),
    })?;
    let mut offsets = BTreeMap::new();
    let mut members = Vec::with_capacity(document.member.len());
    for entry in document.member {
        let offset = entry.address.span().start;
        let address = entry.address.into_inner();
        if let Some(first) = offsets.insert(address, offset) {
            return Err(format!(
                "line {}: {address} is already a member by line {}; remove one of them",
                line(offset),
                line(first),
            ));
        }
        let member = Member {
            exported: entry.exported,
            available: entry.available,
            labels: entry.labels.into(),
            ..Member::new(address, entry.network)
        };
        member.check().map_err(|cause| format!("line {}: {address}: {cause}", line(offset)))?;
        members.push(member);
    }
    Ok(members)
}

/// The line of a text, counted from 1, that a byte is in.
fn line(text: &[u8], offset: usize) -> usize {
    1 + text.iter().take(offset).filter(|byte| **byte == b'\n').count()
}

#[cfg(test)]
mod tests;
