//! The state file: what an operator entered, for the next run.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use seaway::discovery::{Discovery, Event, InProcess, Member, MembersFile};
use serde::Serialize;
use tokio::task::spawn_blocking;

use super::ServerError;

/// See the module. Clones are the same.
#[derive(Clone, Debug)]
pub(super) struct StateFile {
    path: PathBuf,
    members: InProcess,
    /// What the file says.
    written: Arc<Mutex<Option<Vec<Member>>>>,
}

/// The whole file.
#[derive(Serialize)]
struct Document<'a> {
    member: &'a [Member],
}

impl StateFile {
    /// Reads the file, if there is one, into `members`, and makes sure that it can be written.
    pub(super) async fn open(path: PathBuf, members: &InProcess) -> Result<Self, ServerError> {
        if path.try_exists().map_err(|cause| error(&path, &cause))? {
            let mut watch = MembersFile::open(&path).watch().await?;
            if let Some(Event::Snapshot { members: read, .. }) = watch.next().await {
                for member in read {
                    members.put(member)?;
                }
            }
        }
        let this = Self { path, members: members.clone(), written: Arc::default() };
        // Better now than when the first change is to be kept.
        this.save().await?;
        Ok(this)
    }

    /// Makes the file say what was entered. What is begun is done, also when this is cancelled.
    pub(super) async fn save(&self) -> Result<(), ServerError> {
        let this = self.clone();
        let saved = spawn_blocking(move || this.save_now()).await;
        let saved = saved.map_err(io::Error::from).and_then(|saved| saved);
        saved.map_err(|cause| error(&self.path, &cause))
    }

    fn save_now(&self) -> io::Result<()> {
        let mut written = self.written.lock();
        // Read under the lock, so that no older state is written after a newer one.
        let members = self.members.configured();
        if written.as_ref() != Some(&members) {
            replace(&self.path, &text(&members)?)?;
            *written = Some(members);
        }
        Ok(())
    }
}

fn error(path: &Path, cause: &io::Error) -> ServerError {
    ServerError::State { path: path.to_owned(), cause: cause.to_string() }
}

fn text(members: &[Member]) -> io::Result<String> {
    let mut members = members.to_vec();
    for member in &mut members {
        // A run is news, not something that was entered.
        member.incarnation = None;
    }
    toml::to_string(&Document { member: &members }).map_err(io::Error::other)
}

/// Writes another file and renames it, so that at no time there is half a file; blocks.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let mut file = File::create(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(new, path)
}
