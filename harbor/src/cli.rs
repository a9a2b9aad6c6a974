//! The command line.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::PathBuf;

use clap::{Args, Parser};
use seaway::LogicalAddr;

use crate::config::{Document, EngineTable, KeyTable, Mistake, Settings, Source, from_flag};

/// What went wrong, and what to do about it.
pub(crate) type Failure = Box<dyn Error>;

/// A harbor of seaway: relays between its group and others.
///
/// What it is to do stands in a TOML file (--config), in flags, which go before the file, or in
/// both; the documentation of the crate describes the file, and --print-config prints one. It logs
/// on stderr. SIGTERM and ctrl-c let it drain, a second one ends it at once.
#[derive(Debug, Parser)]
#[command(name = "seaway-harbor", version)]
pub(crate) struct Cli {
    /// The file that says what to do.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Says what it would do, or what is wrong, and starts nothing.
    #[arg(long, conflicts_with = "print_config")]
    pub(crate) check: bool,
    /// Prints all that can be set as it is now, as TOML to be used as a file, and starts nothing.
    /// Secrets are hidden.
    #[arg(long)]
    pub(crate) print_config: bool,
    #[command(flatten)]
    flags: Flags,
}

/// What goes before the file.
#[derive(Debug, Args)]
struct Flags {
    /// The address of the harbor, group.255.id, such as 1.255.1.
    #[arg(long)]
    address: Option<LogicalAddr>,
    /// Where to listen, instead of the network address that discovery has.
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
    /// The name of the deployment.
    #[arg(long, value_name = "NAME")]
    deployment: Option<String>,
    /// A cluster key: its label, and a file with its secret. May be given several times, instead of
    /// all keys in the file.
    #[arg(long = "key", value_name = "LABEL=FILE", value_parser = pair)]
    keys: Vec<(String, String)>,
    /// Where the discovery server of its group listens (seaway-discovery-mock).
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "discovery_file")]
    discovery_mock: Option<String>,
    /// The file with the members of its group.
    #[arg(long, value_name = "FILE")]
    discovery_file: Option<PathBuf>,
    /// Where the discovery server of the harbors listens, if it is another.
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "harbors_file")]
    harbors_mock: Option<String>,
    /// The file with the harbors of all groups, if it is another.
    #[arg(long, value_name = "FILE")]
    harbors_file: Option<PathBuf>,
    /// A word for those who look at the members; may be given several times, beside those in the
    /// file.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = pair)]
    labels: Vec<(String, String)>,
    /// Goes beyond loopback without a key: whoever reaches the port may act as any node.
    #[arg(long)]
    insecure_remote: bool,
    /// How long to drain at most, in milliseconds; 30,000.
    #[arg(long, value_name = "MS")]
    shutdown_within_ms: Option<u64>,
    /// What to log: a level, or targets and their levels, such as warn,seaway=debug. Without it
    /// RUST_LOG is asked, then the file.
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("there is no = in it")?;
    Ok((key.to_owned(), value.to_owned()))
}

impl Cli {
    /// All that is said, checked, in the file's words and in the program's.
    pub(crate) async fn settings(self) -> Result<(Document, Settings), Mistake> {
        let source = self.config.as_deref().map(Source::read).transpose()?.unwrap_or_default();
        let document = self.flags.before(source.document()?);
        let settings = Settings::new(&document, &source).await?;
        Ok((document, settings))
    }
}

impl Flags {
    /// What the file says, as far as no flag says otherwise.
    fn before(self, mut file: Document) -> Document {
        let discovery = engine(self.discovery_mock, self.discovery_file);
        let harbors = engine(self.harbors_mock, self.harbors_file);
        let log = self.log.or_else(|| std::env::var("RUST_LOG").ok());
        file.address = self.address.map(from_flag).or(file.address);
        file.listen = self.listen.map(from_flag).or(file.listen);
        file.deployment = self.deployment.map(from_flag).or(file.deployment);
        file.discovery = discovery.map(from_flag).or(file.discovery);
        file.harbors = harbors.map(from_flag).or(file.harbors);
        file.insecure_remote = self.insecure_remote.then_some(true).or(file.insecure_remote);
        file.shutdown_within_ms = self.shutdown_within_ms.or(file.shutdown_within_ms);
        file.log = log.map(from_flag).or(file.log);
        if !self.keys.is_empty() {
            file.keys = self.keys.into_iter().map(key).map(from_flag).collect();
        }
        if !self.labels.is_empty() {
            let labels = file.labels.get_or_insert_with(|| from_flag(BTreeMap::new()));
            labels.get_mut().extend(self.labels);
        }
        file
    }
}

fn engine(mock: Option<String>, file: Option<PathBuf>) -> Option<EngineTable> {
    let kind = match (&mock, &file) {
        (None, None) => return None,
        (Some(_), _) => "mock",
        (None, Some(_)) => "file",
    };
    let (address, path) = (mock.map(from_flag), file.map(from_flag));
    Some(EngineTable { kind: from_flag(kind.to_owned()), address, path })
}

fn key((label, file): (String, String)) -> KeyTable {
    KeyTable { label, secret: None, secret_file: Some(file.into()) }
}
