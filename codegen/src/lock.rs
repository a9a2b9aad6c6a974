//! The lock file: what has been released on the wire, and so may not change its meaning.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::io;
use std::path::PathBuf;

use crate::model::{Message, Method};
use crate::problem::{Place, Problems, error};

/// What a new file begins with.
const HEAD: &str = "\
# What these .proto files have released on the wire. Commit this file; a build fails when a message
# or a method is no longer what it was. `SEAWAY_LOCK=package cargo build`, with the name of the
# package, adds what is new. A line that begins with `retired` keeps the id of what is gone for good.
";

/// `message` or `method`, and the name.
type Key = (String, String);

/// A lock file, which may not exist.
pub(crate) struct Lock {
    path: PathBuf,
    /// Comments at the beginning.
    head: String,
    entries: BTreeMap<Key, Entry>,
    /// Comments at the end.
    rest: String,
}

#[derive(Clone)]
struct Entry {
    /// Comments above.
    above: String,
    is_retired: bool,
    /// The id; for a method, its hash and types.
    meaning: String,
    line: usize,
}

/// What the files say now of something.
struct Current {
    meaning: String,
    place: Place,
}

impl Lock {
    pub(crate) fn read(path: PathBuf) -> io::Result<Self> {
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(problem) if problem.kind() == io::ErrorKind::NotFound => HEAD.to_owned(),
            Err(problem) => return Err(error(format!("{}: {problem}", path.display()))),
        };
        let (head, rest) = (String::new(), String::new());
        let mut lock = Self { path, head, entries: BTreeMap::new(), rest };
        let mut problems = Problems::default();
        for (at, text) in text.lines().enumerate() {
            if text.trim().is_empty() || text.starts_with('#') {
                lock.rest += &format!("{text}\n");
                continue;
            }
            let line = at + 1;
            let is_known = parse(text).is_some_and(|(key, is_retired, meaning)| {
                let mut above = std::mem::take(&mut lock.rest);
                if lock.entries.is_empty() {
                    lock.head = std::mem::take(&mut above);
                }
                let entry = Entry { above, is_retired, meaning, line };
                lock.entries.insert(key, entry).is_none()
            });
            if !is_known {
                problems.add(
                    &lock.place(line),
                    "neither `message NAME = ID` nor `method NAME = HASH (REQUEST) returns \
                     (RESPONSE)`, or twice: take the file as it was committed last",
                );
            }
        }
        problems.done()?;
        if lock.entries.is_empty() {
            lock.head = std::mem::take(&mut lock.rest);
        }
        Ok(lock)
    }

    /// Compares with what the files say now.
    pub(crate) fn check(&self, messages: &[Message], methods: &[Method]) -> Problems {
        let mut problems = Problems::default();
        let current = current(messages, methods);
        for (key, entry) in &self.entries {
            let (name, was) = (format!("{} {}", key.0, key.1), &entry.meaning);
            let locked = self.place(entry.line);
            match current.get(key) {
                Some(now) if entry.is_retired => problems.add(
                    &now.place,
                    format!("{name} is retired ({locked}): give what is new another name"),
                ),
                Some(now) if now.meaning != *was => problems.add(
                    &now.place,
                    format!(
                        "{name} was released as {was} ({locked}) and is {} now: make it again what \
                         it was, and give what is new another name",
                        now.meaning
                    ),
                ),
                None if !entry.is_retired => problems.add(&locked, gone(&name, was, key, &current)),
                _ => {}
            }
        }
        self.check_ids(&current, &mut problems);
        problems
    }

    /// The id of something retired must not be given to anything else.
    fn check_ids(&self, current: &BTreeMap<Key, Current>, problems: &mut Problems) {
        for (key, entry) in self.entries.iter().filter(|(_, entry)| entry.is_retired) {
            for (other, now) in current {
                if other.0 == key.0 && other != key && id(&now.meaning) == id(&entry.meaning) {
                    let text = format!(
                        "{} {} has the id {} of {}, which is retired ({}): give it another",
                        other.0,
                        other.1,
                        id(&entry.meaning),
                        key.1,
                        self.place(entry.line)
                    );
                    problems.add(&now.place, text);
                }
            }
        }
    }

    /// Adds what is new.
    pub(crate) fn write(&self, messages: &[Message], methods: &[Method]) -> io::Result<()> {
        let mut entries = self.entries.clone();
        for (key, Current { meaning, .. }) in current(messages, methods) {
            let new = Entry { above: String::new(), is_retired: false, meaning, line: 0 };
            entries.entry(key).or_insert(new);
        }
        if entries.len() == self.entries.len() {
            return Ok(());
        }
        let mut text = self.head.clone();
        for ((kind, name), Entry { above, is_retired, meaning, .. }) in &entries {
            let retired = if *is_retired { "retired " } else { "" };
            // Writing to a `String` does not fail.
            writeln!(text, "{above}{retired}{kind} {name} = {meaning}")
                .map_err(io::Error::other)?;
        }
        text += &self.rest;
        fs::write(&self.path, text)
            .map_err(|problem| error(format!("{}: {problem}", self.path.display())))
    }

    /// Has the build script run again when the file changes.
    pub(crate) fn tell_cargo(&self) {
        // For a file that does not exist, cargo would run it always.
        if self.path.exists() {
            println!("cargo::rerun-if-changed={}", self.path.display());
        }
    }

    fn place(&self, line: usize) -> Place {
        Place { path: self.path.display().to_string(), line }
    }
}

/// What a line says: whether it is retired, and what it is.
fn parse(line: &str) -> Option<(Key, bool, String)> {
    let active = line.strip_prefix("retired ");
    let (what, meaning) = active.unwrap_or(line).split_once(" = ")?;
    let (kind, name) = what.split_once(' ')?;
    let is_known = ["message", "method"].contains(&kind) && !name.contains(' ');
    is_known.then(|| ((kind.into(), name.into()), active.is_some(), meaning.trim_end().into()))
}

/// What the files given say; what is imported belongs to others.
fn current(messages: &[Message], methods: &[Method]) -> BTreeMap<Key, Current> {
    let messages = messages.iter().filter(|message| !message.is_import).map(|message| {
        let hashed = || format!("{:#018x}", message.id());
        let meaning = message.given_id.map_or_else(hashed, |id| id.to_string());
        let key = ("message".to_owned(), message.name.clone());
        (key, Current { meaning, place: message.place.clone() })
    });
    let methods = methods.iter().filter(|method| !method.is_import).map(|method| {
        let Method { request, response, place, .. } = method;
        let meaning = format!("{:#018x} ({request}) returns ({response})", method.id());
        let key = ("method".to_owned(), method.name.clone());
        (key, Current { meaning, place: place.clone() })
    });
    messages.chain(methods).collect()
}

/// The first word: the id of a message, the hash of a method.
fn id(meaning: &str) -> &str {
    meaning.split(' ').next().unwrap_or(meaning)
}

fn gone(name: &str, was: &str, key: &Key, current: &BTreeMap<Key, Current>) -> String {
    let mut heirs =
        current.iter().filter(|(other, now)| other.0 == key.0 && id(&now.meaning) == id(was));
    let heir =
        heirs.next().map(|((_, heir), now)| format!(", {} is {heir} now ({})", id(was), now.place));
    format!(
        "{name}, released as {was}, is in no file any more{}: give it its name back if it was \
         renamed; if it is gone for good, begin this line with `retired`",
        heir.unwrap_or_default()
    )
}
