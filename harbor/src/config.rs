//! What a harbor is told to do.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use seaway::discovery::{InProcess, MembersFile};
use seaway::{Builder, ClusterKey, Config, LogicalAddr, StartError};
use seaway_discovery_mock::MockDiscovery;
use toml::Spanned;
use tracing_subscriber::filter::Targets;

mod document;
mod limits;
mod read;

#[cfg(test)]
mod tests;

pub(crate) use document::{Document, EngineTable, KeyTable, Mistake, Source, from_flag};
use limits::{LIMITS, millis};

/// For how long a harbor drains, unless it is told otherwise.
const SHUTDOWN_WITHIN: Duration = Duration::from_secs(30);
/// How often a harbor logs what it has counted, unless it is told otherwise.
const STATS_EVERY: Duration = Duration::from_secs(60);
/// What is logged, unless somebody says otherwise.
const LOG: &str = "info";

/// All that a harbor is told, complete and checked.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) address: LogicalAddr,
    pub(crate) shutdown_within: Duration,
    pub(crate) stats_every: Duration,
    pub(crate) log: Targets,
    listen: Option<String>,
    keys: Vec<ClusterKey>,
    labels: BTreeMap<String, String>,
    discovery: Engine,
    /// If it is not the same as `discovery`.
    harbors: Option<Engine>,
    config: Config,
}

/// Where members come from.
#[derive(Debug, PartialEq)]
enum Engine {
    Mock(String),
    File(PathBuf),
}

impl Settings {
    /// Checks what was said, and adds what was not.
    ///
    /// # Errors
    ///
    /// The first mistake.
    pub(crate) async fn new(said: &Document, source: &Source) -> Result<Self, Mistake> {
        let discovery = read::discovery(said, source)?;
        let harbors = said.harbors.as_ref().map(|table| read::engine(table, source)).transpose()?;
        let this = Self {
            address: read::address(said, source)?,
            shutdown_within: said.shutdown_within_ms.map_or(SHUTDOWN_WITHIN, Duration::from_millis),
            stats_every: said.stats_every_ms.map_or(STATS_EVERY, Duration::from_millis),
            log: read::log(said, source)?,
            listen: said.listen.clone().map(Spanned::into_inner),
            keys: read::keys(said, source)?,
            labels: said.labels.clone().map(Spanned::into_inner).unwrap_or_default(),
            harbors: harbors.filter(|harbors| *harbors != discovery),
            discovery,
            config: read::config(said, source)?,
        };
        read::check_network(said, source, !this.keys.is_empty())?;
        this.rehearse().await.map_err(|error| read::locate(&error, said, source))?;
        Ok(this)
    }

    /// The node that does it.
    pub(crate) fn builder(&self) -> Result<Builder, StartError> {
        let builder = self.builder_alone()?;
        let builder = match &self.discovery {
            Engine::Mock(server) => builder.discovery(MockDiscovery::connect(&**server)),
            Engine::File(path) => builder.discovery(MembersFile::open(path)),
        };
        let builder = match &self.harbors {
            Some(Engine::Mock(at)) => builder.harbor_discovery(MockDiscovery::connect(&**at)),
            Some(Engine::File(path)) => builder.harbor_discovery(MembersFile::open(path)),
            None => builder,
        };
        Ok(match &self.listen {
            Some(listen) => builder.listen(listen),
            None => builder,
        })
    }

    /// The same without a way to anybody else.
    fn builder_alone(&self) -> Result<Builder, StartError> {
        let mut builder = seaway_harbor::builder(self.address)?.config(self.config.clone());
        for key in &self.keys {
            builder = builder.key(key.clone());
        }
        for (key, value) in &self.labels {
            builder = builder.label(key, value);
        }
        Ok(builder)
    }

    /// Starts the node for a moment, alone and on a free port of loopback: so all is checked that a
    /// node checks, and the rules stand in one place.
    async fn rehearse(&self) -> Result<(), StartError> {
        let node = self.builder_alone()?.in_process(&InProcess::new()).start().await?;
        node.shutdown(Duration::ZERO).await;
        Ok(())
    }

    /// What was said, and what holds where nothing was.
    pub(crate) fn complete(&self, said: &Document) -> Document {
        let mut all = said.clone();
        let config = &self.config;
        all.deployment.get_or_insert_with(|| from_flag(config.deployment.clone()));
        all.version_label.get_or_insert_with(|| from_flag(config.version_label.clone()));
        all.insecure_remote.get_or_insert(config.insecure_remote);
        all.shutdown_within_ms.get_or_insert_with(|| millis(self.shutdown_within));
        all.stats_every_ms.get_or_insert_with(|| millis(self.stats_every));
        all.log.get_or_insert_with(|| from_flag(LOG.to_owned()));
        for (name, limit) in &LIMITS {
            let value = limit.get(config);
            all.limits.insert(from_flag((*name).to_owned()), from_flag(value));
        }
        all
    }
}

/// What it would do, for people.
impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (group, deployment) = (self.address.group(), &self.config.deployment);
        writeln!(f, "{} would relay for group {group} of deployment {deployment:?}", self.address)?;
        let listen = self.listen.as_deref().unwrap_or("where discovery says");
        writeln!(f, "  listen     {listen}")?;
        writeln!(f, "  discovery  {}", self.discovery)?;
        match &self.harbors {
            Some(harbors) => writeln!(f, "  harbors    {harbors}")?,
            None => writeln!(f, "  harbors    the same")?,
        }
        let keys: Vec<_> = self.keys.iter().map(ClusterKey::id).collect();
        match keys.as_slice() {
            [] if self.config.insecure_remote => writeln!(f, "  keys       none, anywhere")?,
            [] => writeln!(f, "  keys       none, so on loopback only")?,
            keys => writeln!(f, "  keys       {}", keys.join(", "))?,
        }
        write!(f, "  drain      within {:?}", self.shutdown_within)
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mock(server) => write!(f, "mock at {server}"),
            Self::File(path) => write!(f, "file {}", path.display()),
        }
    }
}
