//! What a build script calls.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use protox::Compiler;

use crate::check::check;
use crate::generator::{Generator, files_of_messages};
use crate::lock::Lock;
use crate::model::{self, File};
use crate::problem::error;
use crate::source::{OPTIONS, Resolver, Source, Sources};

/// The environment variable that names the package whose lock file is to be written.
const WRITE: &str = "SEAWAY_LOCK";

/// Generates code from these files, into `OUT_DIR`, with all defaults.
///
/// ```no_run
/// // build.rs
/// fn main() -> std::io::Result<()> {
///     seaway_codegen::compile(["proto/chat.proto", "proto/echo.proto"])
/// }
/// ```
///
/// # Errors
///
/// As [`Config::compile`].
pub fn compile(protos: impl IntoIterator<Item = impl AsRef<Path>>) -> io::Result<()> {
    configure().compile(protos)
}

/// A [`Config`], for what [`compile`] cannot say.
pub fn configure() -> Config {
    let mut prost = prost_build::Config::new();
    prost.prost_path("::seaway::rt::prost").prost_types_path("::seaway::rt::prost_types");
    Config { includes: Vec::new(), lock: None, writes_lock: false, prost }
}

/// How code is generated. Made by [`configure`].
///
/// ```no_run
/// fn main() -> std::io::Result<()> {
///     seaway_codegen::configure()
///         .include("proto")
///         .prost(|prost| prost.bytes(["."]).extern_path(".common", "::common_types::common"))
///         .compile(["proto/chat.proto"])
/// }
/// ```
#[derive(Debug)]
#[must_use = "nothing is generated without `compile`"]
pub struct Config {
    includes: Vec<PathBuf>,
    lock: Option<PathBuf>,
    writes_lock: bool,
    prost: prost_build::Config,
}

impl Config {
    /// Looks for imports in this folder, too. Folders are asked in the order in which they were
    /// added, and after them those of the files given that are in none of them.
    pub fn include(mut self, folder: impl Into<PathBuf>) -> Self {
        self.includes.push(folder.into());
        self
    }

    /// Writes the code into this folder instead of `OUT_DIR`.
    pub fn out_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        self.prost.out_dir(folder);
        self
    }

    /// The lock file, instead of `seaway.lock` in the folder of the files given: the topmost one, or
    /// the include folder, of the first of them.
    pub fn lock_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.lock = Some(path.into());
        self
    }

    /// Writes into the lock file what is new in each build, as the environment variable
    /// `SEAWAY_LOCK=package` does in one. Not for packages that are published: a build must not write
    /// into what was downloaded.
    pub fn write_lock(mut self) -> Self {
        self.writes_lock = true;
        self
    }

    /// Sets options of prost: attributes of types, extern paths, `bytes`, maps and so on.
    ///
    /// An extern path stands for what another package has generated: it is neither generated again
    /// nor named as a message again. The paths of prost itself and the service generator are set
    /// already, and must stay.
    pub fn prost(
        mut self,
        set: impl for<'c> FnOnce(&'c mut prost_build::Config) -> &'c mut prost_build::Config,
    ) -> Self {
        set(&mut self.prost);
        self
    }

    /// Generates the code of these files and of those that they import: `chat.rs` for
    /// `package chat;`, to be taken in with `seaway::include_proto!("chat")`.
    ///
    /// Tells cargo to run the build script again when one of them changes, on standard output.
    ///
    /// # Errors
    ///
    /// When a file cannot be read or parsed, names clash, or something is not as the lock file has
    /// it: with the file, the line, and what to do. Then nothing was written.
    pub fn compile(mut self, protos: impl IntoIterator<Item = impl AsRef<Path>>) -> io::Result<()> {
        let mut protos: Vec<_> = protos.into_iter().map(|path| path.as_ref().to_owned()).collect();
        // A folder that is listed has no order.
        protos.sort();
        let folders = folders(&self.includes, &protos);
        let sources = Sources::default();
        let mut compiler = Compiler::with_file_resolver(Resolver::new(&folders, &sources));
        compiler.include_imports(true).include_source_info(true);
        for proto in &protos {
            // protox would say that it is in no include folder.
            std::fs::metadata(proto)
                .map_err(|problem| error(format!("{}: {problem}", proto.display())))?;
            let opened = compiler.open_file(proto);
            opened.map_err(|problem| error(text_of(&problem, &sources.borrow())))?;
        }
        let sources = Rc::unwrap_or_clone(sources).into_inner();
        let files = model::files(&compiler, &sources);
        let pool = compiler.descriptor_pool();
        let (messages, methods) = (model::messages(&pool, &files), model::methods(&files));
        check(&files, &messages, &methods).done()?;

        let lock = self.lock.take().or_else(|| lock_beside(protos.first()?, &folders));
        let lock = lock.map(Lock::read).transpose()?;
        if let Some(lock) = &lock {
            lock.check(&messages, &methods).done()?;
        }

        let ids = messages.iter().filter_map(|it| Some((it.name.clone(), it.given_id?))).collect();
        let generator = Generator { short: short_services(&files), ids };
        let mut set = compiler.file_descriptor_set();
        set.file.retain(|file| file.name() != OPTIONS);
        set.file.extend(files_of_messages(&messages));
        self.prost.service_generator(Box::new(generator)).compile_fds(set)?;

        if let Some(lock) = lock {
            if self.writes_lock || is_lock_wanted() {
                lock.write(&messages, &methods)?;
            }
            lock.tell_cargo();
        }
        for source in sources.values() {
            println!("cargo::rerun-if-changed={}", source.path);
        }
        println!("cargo::rerun-if-env-changed={WRITE}");
        Ok(())
    }
}

/// Whether this package is the one named: the build scripts of others run in the same build, and
/// must not write into what was downloaded.
fn is_lock_wanted() -> bool {
    let own = std::env::var_os("CARGO_PKG_NAME");
    own.is_some() && own == std::env::var_os(WRITE)
}

/// In the folder from which the first file is named.
fn lock_beside(proto: &Path, folders: &[PathBuf]) -> Option<PathBuf> {
    let folder = folders.iter().find(|folder| proto.starts_with(folder));
    Some(folder?.join("seaway.lock"))
}

/// The folders given, and the topmost ones of the files that are in none of them.
fn folders(includes: &[PathBuf], protos: &[PathBuf]) -> Vec<PathBuf> {
    let mut parents: Vec<_> = protos.iter().filter_map(|path| path.parent()).collect();
    parents.sort();
    let mut folders = includes.to_vec();
    for parent in parents {
        if !folders.iter().any(|folder| parent.starts_with(folder)) {
            folders.push(parent.to_owned());
        }
    }
    folders
}

/// What is wrong with a file, with its path instead of the name under which it is imported.
fn text_of(problem: &protox::Error, sources: &BTreeMap<String, Source>) -> String {
    let text = format!("{problem:?}");
    let Some(name) = problem.file() else { return text };
    match (sources.get(name), text.strip_prefix(name)) {
        (Some(source), Some(rest)) => format!("{}{rest}", source.path),
        _ => text,
    }
}

/// The services that the short form makes.
fn short_services(files: &[File]) -> BTreeSet<String> {
    let short = files.iter().filter(|file| file.source.is_short);
    let services = short.flat_map(|file| file.descriptor.services().collect::<Vec<_>>());
    services.map(|service| service.full_name().to_owned()).collect()
}
