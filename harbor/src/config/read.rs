//! Each part of the file, and the mistakes that there can be in it.

use std::net::SocketAddr;
use std::ops::Range;

use seaway::discovery::Member;
use seaway::{ClusterKey, Config, LogicalAddr, StartError};
use toml::Spanned;
use tracing_subscriber::filter::Targets;

use super::document::{Document, EngineTable, KeyTable, Mistake, Source};
use super::limits::{LIMITS, Limit};
use super::{Engine, LOG};

/// Where something stands that is missing.
const NOWHERE: Range<usize> = 0..0;
/// Whose network address does not matter.
const ANYBODY: LogicalAddr = LogicalAddr::harbor(1, 1);

pub(super) fn address(said: &Document, source: &Source) -> Result<LogicalAddr, Mistake> {
    let address = said.address.as_ref().ok_or_else(|| {
        source.mistake(
            NOWHERE,
            "there is no address: add `address = \"group.255.id\"`, such as \"1.255.1\", or --address",
        )
    })?;
    Ok(*address.get_ref())
}

pub(super) fn discovery(said: &Document, source: &Source) -> Result<Engine, Mistake> {
    let table = said.discovery.as_ref().ok_or_else(|| {
        source.mistake(
            NOWHERE,
            "there is no discovery: add `[discovery]` with `kind` and `address` or `path`, \
             or --discovery-mock or --discovery-file",
        )
    })?;
    engine(table, source)
}

pub(super) fn engine(table: &Spanned<EngineTable>, source: &Source) -> Result<Engine, Mistake> {
    let EngineTable { kind, address, path } = table.get_ref();
    let missing = |what| Err(source.mistake(table.span(), what));
    match (&**kind.get_ref(), address, path) {
        ("mock", Some(address), None) => {
            network(address, source)?;
            Ok(Engine::Mock(address.get_ref().clone()))
        }
        ("file", None, Some(path)) => Ok(Engine::File(path.get_ref().clone())),
        ("mock", _, Some(path)) => {
            Err(source.mistake(path.span(), "a discovery of kind \"mock\" has no path: remove it"))
        }
        ("file", Some(address), _) => Err(source
            .mistake(address.span(), "a discovery of kind \"file\" has no address: remove it")),
        ("mock", None, _) => {
            missing("a discovery of kind \"mock\" has an address: add `address = \"host:port\"`")
        }
        ("file", _, None) => {
            missing("a discovery of kind \"file\" has a path: add `path = \"members.toml\"`")
        }
        (other, ..) => Err(source.mistake(
            kind.span(),
            format_args!("there is no discovery of kind {other:?}: it is \"mock\" or \"file\""),
        )),
    }
}

pub(super) fn keys(said: &Document, source: &Source) -> Result<Vec<ClusterKey>, Mistake> {
    said.keys.iter().map(|table| key(table, source)).collect()
}

fn key(table: &Spanned<KeyTable>, source: &Source) -> Result<ClusterKey, Mistake> {
    let KeyTable { label, secret, secret_file } = table.get_ref();
    let mistake = |what: String| source.mistake(table.span(), format!("key {label:?}: {what}"));
    let secret = match (secret, secret_file) {
        (Some(secret), None) => secret.reveal().map(str::to_owned).ok_or_else(|| {
            mistake("the secret was hidden when this was printed: put it in again".to_owned())
        })?,
        (None, Some(path)) => std::fs::read_to_string(path).map_err(|cause| {
            let path = path.display();
            mistake(format!(
                "cannot read its secret from {path}: {cause}; `openssl rand -hex 32` makes one"
            ))
        })?,
        (None, None) => {
            return Err(mistake("it has no secret: add `secret_file = \"path\"`".to_owned()));
        }
        (Some(_), Some(_)) => {
            return Err(mistake("it has `secret` and `secret_file`: remove one".to_owned()));
        }
    };
    ClusterKey::new(label, secret.trim())
        .map_err(|error| mistake(format!("{error}; `openssl rand -hex 32` makes a secret")))
}

pub(super) fn log(said: &Document, source: &Source) -> Result<Targets, Mistake> {
    let (span, log) =
        said.log.as_ref().map_or((NOWHERE, LOG), |log| (log.span(), log.get_ref().as_str()));
    log.parse().map_err(|error| {
        let what = format_args!(
            "the log filter {log:?} is none ({error}): it is a level, or targets and their \
             levels, such as \"warn,seaway=debug\""
        );
        source.mistake(span, what)
    })
}

/// What goes into the node's config; the node checks it.
pub(super) fn config(said: &Document, source: &Source) -> Result<Config, Mistake> {
    let mut config = seaway_harbor::config();
    if let Some(deployment) = &said.deployment {
        config.deployment.clone_from(deployment.get_ref());
    }
    if let Some(label) = &said.version_label {
        config.version_label.clone_from(label.get_ref());
    }
    config.insecure_remote = said.insecure_remote.unwrap_or(config.insecure_remote);
    for (name, value) in &said.limits {
        let limit = Limit::named(name.get_ref()).ok_or_else(|| {
            let known: Vec<_> = LIMITS.iter().map(|(name, _)| *name).collect();
            let (name, known) = (name.get_ref(), known.join(", "));
            let what = format!("there is no limit {name:?}: remove it, or take one of {known}");
            source.mistake(span_of(said, name), what)
        })?;
        limit.set(&mut config, *value.get_ref());
    }
    Ok(config)
}

/// Checks what a node would find out only when it is where it is to run.
pub(super) fn check_network(
    said: &Document,
    source: &Source,
    has_key: bool,
) -> Result<(), Mistake> {
    let Some(listen) = &said.listen else { return Ok(()) };
    network(listen, source)?;
    let address = listen.get_ref().parse::<SocketAddr>();
    let is_remote = address.is_ok_and(|address| !address.ip().to_canonical().is_loopback());
    if is_remote && !has_key && said.insecure_remote != Some(true) {
        return Err(source.mistake(
            listen.span(),
            "who reaches this address could act as any node: add a key (`[[keys]]`, --key), or \
             say `insecure_remote = true` (--insecure-remote) on a trusted network",
        ));
    }
    Ok(())
}

/// Checks that something is `host:port`, as members have it.
fn network(text: &Spanned<String>, source: &Source) -> Result<(), Mistake> {
    let member = Member::new(ANYBODY, text.get_ref());
    member.check().map_err(|error| source.mistake(text.span(), error))
}

/// What a node finds wrong, and where that was said.
pub(super) fn locate(error: &StartError, said: &Document, source: &Source) -> Mistake {
    let labels = said.labels.as_ref().map_or(NOWHERE, Spanned::span);
    let text = match error {
        StartError::Config(text) => text,
        // It refuses nothing else that a harbor tells of itself.
        StartError::Discovery(_) => return source.mistake(labels, error),
        _ => return source.mistake(NOWHERE, error),
    };
    // Fields stand between backquotes; what is wrong without one are the keys.
    let fields = text.split('`').skip(1).step_by(2);
    let spans =
        fields.flat_map(|field| [span_of(said, field), span_of(said, &format!("{field}_ms"))]);
    let keys = said.keys.last().map_or(NOWHERE, Spanned::span);
    let mut found = spans.filter(|span| *span != NOWHERE);
    source.mistake(found.next().unwrap_or(keys), text)
}

/// Where a field of the config is set, if it is.
fn span_of(said: &Document, field: &str) -> Range<usize> {
    let span = match field {
        "address" => said.address.as_ref().map(Spanned::span),
        "deployment" => said.deployment.as_ref().map(Spanned::span),
        "version_label" => said.version_label.as_ref().map(Spanned::span),
        limit => said.limits.keys().find(|name| name.get_ref() == limit).map(Spanned::span),
    };
    span.unwrap_or(NOWHERE)
}
