//! What is wrong with the files, and where.

use std::fmt;
use std::io;

/// A line of a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// As it can be opened from where the build script runs.
    pub(crate) path: String,
    /// Counted from 1.
    pub(crate) line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.path, self.line)
    }
}

/// All that is wrong, so that it can be put right at once.
#[derive(Default)]
pub(crate) struct Problems(Vec<(Place, String)>);

impl Problems {
    pub(crate) fn add(&mut self, place: &Place, text: impl Into<String>) {
        self.0.push((place.clone(), text.into()));
    }

    /// An error if there is anything.
    pub(crate) fn done(mut self) -> io::Result<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        self.0.sort();
        let lines: Vec<_> = self.0.iter().map(|(place, text)| format!("{place}: {text}")).collect();
        Err(error(lines.join("\n")))
    }
}

/// An error whose text keeps its lines when `main` returns it.
pub(crate) fn error(text: impl Into<String>) -> io::Error {
    io::Error::other(Failure(text.into()))
}

struct Failure(String);

impl std::error::Error for Failure {}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// What `main` returns is shown with `Debug`, which would put all lines into one.
impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\n\n{}\n", self.0)
    }
}
