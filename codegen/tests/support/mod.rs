//! What the tests share: a folder of files, compiled.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use seaway_codegen::{Config, configure};
use tempfile::TempDir;

/// A package with files in `proto/`.
pub struct Package {
    folder: TempDir,
}

impl Package {
    /// With these files, by their names.
    pub fn new(files: &[(&str, &str)]) -> Self {
        let package = Self { folder: TempDir::new().unwrap() };
        fs::create_dir(package.folder.path().join("out")).unwrap();
        for (name, text) in files {
            package.write(name, text);
        }
        package
    }

    /// With one file, `a.proto`.
    pub fn of(text: &str) -> Self {
        Self::new(&[("a.proto", text)])
    }

    pub fn proto(&self, name: &str) -> PathBuf {
        self.folder.path().join("proto").join(name)
    }

    pub fn out(&self, name: &str) -> PathBuf {
        self.folder.path().join("out").join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        let path = self.proto(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub fn read(&self, path: impl AsRef<Path>) -> String {
        let path = path.as_ref();
        fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// What was generated, by the names of the files.
    pub fn generated(&self) -> Vec<String> {
        let names = fs::read_dir(self.folder.path().join("out")).unwrap();
        let mut names: Vec<_> =
            names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    pub fn config(&self) -> Config {
        configure().out_dir(self.folder.path().join("out"))
    }

    pub fn compile(&self, names: &[&str]) -> io::Result<()> {
        self.compile_with(self.config(), names)
    }

    pub fn compile_with(&self, config: Config, names: &[&str]) -> io::Result<()> {
        config.compile(names.iter().map(|name| self.proto(name)))
    }

    /// What is wrong, one line each, with paths that begin in `proto/`.
    #[track_caller]
    pub fn problems(&self, names: &[&str]) -> Vec<String> {
        self.problems_with(self.config(), names)
    }

    #[track_caller]
    pub fn problems_with(&self, config: Config, names: &[&str]) -> Vec<String> {
        let error = self.compile_with(config, names).unwrap_err();
        let proto = format!("{}/", self.proto("").display().to_string().trim_end_matches('/'));
        error.to_string().replace(&proto, "").lines().map(str::to_owned).collect()
    }
}
