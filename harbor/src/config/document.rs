//! The file as it is written, and where in it something stands.

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::ops::Range;
use std::path::{Path, PathBuf};

use seaway::LogicalAddr;
use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::limits::Limit;

/// What a secret is printed as.
const HIDDEN: &str = "(hidden)";

/// All that can be said in the file. Nothing must be: flags may say it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Document {
    pub(crate) address: Option<Spanned<LogicalAddr>>,
    pub(crate) listen: Option<Spanned<String>>,
    pub(crate) deployment: Option<Spanned<String>>,
    pub(crate) version_label: Option<Spanned<String>>,
    pub(crate) insecure_remote: Option<bool>,
    pub(crate) shutdown_within_ms: Option<u64>,
    pub(crate) stats_every_ms: Option<u64>,
    pub(crate) log: Option<Spanned<String>>,
    pub(crate) labels: Option<Spanned<BTreeMap<String, String>>>,
    pub(crate) keys: Vec<Spanned<KeyTable>>,
    pub(crate) discovery: Option<Spanned<EngineTable>>,
    pub(crate) harbors: Option<Spanned<EngineTable>>,
    pub(crate) limits: BTreeMap<Spanned<String>, Spanned<u64>>,
}

/// A cluster key.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, expecting = "a table with `label` and `secret_file`")]
pub(crate) struct KeyTable {
    pub(crate) label: String,
    pub(crate) secret: Option<Secret>,
    pub(crate) secret_file: Option<PathBuf>,
}

/// Text that is never printed.
#[derive(Clone, PartialEq, Deserialize)]
#[serde(transparent)]
pub(crate) struct Secret(String);

/// A discovery. Which fields there must be depends on its kind.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, expecting = "a table with `kind` and `address` or `path`")]
pub(crate) struct EngineTable {
    pub(crate) kind: Spanned<String>,
    pub(crate) address: Option<Spanned<String>>,
    pub(crate) path: Option<Spanned<PathBuf>>,
}

/// What is wrong, where, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[error("{place}{what}")]
pub(crate) struct Mistake {
    place: String,
    what: String,
}

/// A text that was read, to tell the lines of it.
#[derive(Debug, Default)]
pub(crate) struct Source {
    path: PathBuf,
    text: String,
}

impl Secret {
    /// The text, unless it is what this program prints instead of one.
    pub(crate) fn reveal(&self) -> Option<&str> {
        Some(&*self.0).filter(|text| *text != HIDDEN)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(HIDDEN)
    }
}

impl Source {
    /// Reads the file.
    pub(crate) fn read(path: &Path) -> Result<Self, Mistake> {
        let text = std::fs::read_to_string(path).map_err(|cause| Mistake {
            place: format!("{}: ", path.display()),
            what: format!("{cause}; name the file to read with --config"),
        })?;
        Ok(Self { path: path.to_owned(), text })
    }

    /// What it says.
    pub(crate) fn document(&self) -> Result<Document, Mistake> {
        toml::from_str(&self.text).map_err(|error| {
            let what = in_words(error.message());
            self.mistake(error.span().unwrap_or_default(), what)
        })
    }

    /// A mistake in what stands there. What was said by a flag stands nowhere.
    pub(crate) fn mistake(&self, at: Range<usize>, what: impl Display) -> Mistake {
        let place = match self.text.get(..at.start).filter(|_| at.end > 0) {
            Some(before) => {
                let line = before.matches('\n').count() + 1;
                let column = before.chars().rev().take_while(|letter| *letter != '\n').count() + 1;
                format!("{}, line {line}, column {column}: ", self.path.display())
            }
            None => String::new(),
        };
        Mistake { place, what: what.to_string() }
    }
}

/// What a flag said, as if it stood in the file.
pub(crate) fn from_flag<T>(value: T) -> Spanned<T> {
    Spanned::new(0..0, value)
}

/// Whether it is the name of a limit that is not known where it stands.
fn is_limit(message: &str) -> bool {
    let name = message.strip_prefix("unknown field `").and_then(|rest| rest.split('`').next());
    name.is_some_and(|name| Limit::named(name).is_some())
}

/// What the parser says, without the value that it did not expect, which may be a secret, and in
/// words of people.
fn in_words(message: &str) -> String {
    let message = match message.rsplit_once(", expected ") {
        Some((found, expected)) if found.starts_with("invalid") => {
            let quote = found.find(['`', '"']).unwrap_or(found.len());
            format!("{}, expected {expected}", found[..quote].trim_end())
        }
        _ => message.to_owned(),
    };
    let message = message
        .replace("expected u64", "expected a whole number, such as 1_048_576")
        .replace("expected a sequence", "expected a list: write `[[keys]]`");
    match message.as_str() {
        "duplicate key" => format!("{message}: remove one of them"),
        missing if missing.starts_with("missing field") => format!("{message}: add it"),
        unknown if is_limit(unknown) => format!("{message}; it belongs under `[limits]`"),
        // Such as `log = info`, which begins as `inf` does.
        bare if bare.starts_with("invalid float")
            || bare.starts_with("unexpected key or value") =>
        {
            format!("{message}; text must be in quotes")
        }
        _ => message,
    }
}
