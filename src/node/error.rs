//! Why a node did not start.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use crate::addr::{AddrError, LogicalAddr};
use crate::debug::debug_by_text;
use crate::discovery::DiscoveryError;

/// Why a node did not start.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// What was given as the address of the node is none.
    #[error("the node's own address {text:?} is none: {error}")]
    Address {
        /// What was given.
        text: String,
        /// What is wrong with it.
        error: AddrError,
    },
    /// A field of the config is out of its range, or does not fit another.
    #[error("config: {0}")]
    Config(String),
    /// Two handlers are for the same method or message, or their names have the same hash.
    #[error("{}", clash(*id, first, second))]
    Clash {
        /// The id.
        id: u64,
        /// The name registered first.
        first: String,
        /// The name registered second.
        second: String,
    },
    /// A limit is for a method that is not served.
    #[error(
        "a limit is set on {0:?}, which is not served here: give the builder its handler, \
         or the limit the full name of a method"
    )]
    LimitOnNothing(String),
    /// There is no discovery.
    #[error("a node needs to know its peers: give the builder `.discovery(…)`")]
    NoDiscovery,
    /// Discovery cannot be asked, or refuses the node.
    #[error(transparent)]
    Discovery(#[from] DiscoveryError),
    /// Discovery does not answer; trying again may help.
    #[error("discovery did not name the members within {0:?}; see that its engine runs")]
    DiscoverySilent(Duration),
    /// The engine ended its watch before it named the members; trying again may help.
    #[error("discovery ended its watch before it named the members; see that its engine runs")]
    DiscoveryEnded,
    /// Discovery has no such member.
    #[error("{0} is not in discovery: add it there before the node starts")]
    NotAMember(LogicalAddr),
    /// A node that is no harbor has a harbors' discovery.
    #[error(
        "{0} is no harbor: leave out `.harbor_discovery(…)`, or give the node an address of type \
         255, such as {group}.255.1", group = .0.group()
    )]
    NotAHarbor(LogicalAddr),
    /// What is wrong is so in the harbors' discovery, not in that of the harbor's own group.
    #[error("the harbors' discovery: {0}")]
    HarborDiscovery(Box<Self>),
    /// What was given to listen on is no `host:port`, or its host does not resolve.
    #[error(
        "cannot listen on {address:?}: {error}; what is wanted is host:port with a host or IP \
         address of this machine, such as 127.0.0.1:7001, [::1]:7001 or db.local:7001"
    )]
    Resolve {
        /// What was given: to [`crate::Builder::listen`], or by discovery.
        address: String,
        /// What is wrong with it.
        error: io::Error,
    },
    /// The socket cannot be bound.
    #[error("cannot listen on {address}: {error}{}", what_helps(error))]
    Bind {
        /// Where: what was given to [`crate::Builder::listen`], or by discovery.
        address: String,
        /// Why.
        error: io::Error,
    },
    /// The listener that was given is of no use.
    #[error("the listener given is of no use: {0}")]
    Listener(io::Error),
    /// Without a key only loopback is listened on.
    #[error(
        "{0} is not a loopback address and this node has no cluster key; \
         give the builder `.key(…)`, or set `config.insecure_remote` on a trusted network"
    )]
    NotLoopback(SocketAddr),
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes: {0}")]
    Random(String),
}

debug_by_text!(
    StartError: Address,
    NotAHarbor,
    HarborDiscovery,
    Config,
    Clash,
    LimitOnNothing,
    NoDiscovery,
    Discovery,
    DiscoverySilent,
    DiscoveryEnded,
    NotAMember,
    Resolve,
    Bind,
    Listener,
    NotLoopback,
    Random,
);

fn what_helps(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "; stop who has it, or give this node another port",
        io::ErrorKind::AddrNotAvailable => {
            "; it is none of this machine: if peers reach the node by another address than it \
             has, give the builder `.listen(…)`"
        }
        io::ErrorKind::PermissionDenied => "; take a port above 1023",
        _ => "",
    }
}

fn clash(id: u64, first: &str, second: &str) -> String {
    if first == second {
        return format!("{first} has two handlers: remove one");
    }
    format!("{first} and {second} have the same id {id:#x}: rename one, or give it another id")
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::*;

    /// The text; whoever prints the causes behind it must not print any of it again.
    fn text(error: impl Into<StartError>) -> String {
        let error = error.into();
        assert!(error.source().is_none(), "{error} says its source, and has it");
        error.to_string()
    }

    #[test]
    fn a_main_that_returns_it_prints_its_text() {
        let me = LogicalAddr::new(1, 1, 1);
        assert_eq!(
            format!("{:?}", StartError::NotAMember(me)),
            "NotAMember: 1.1.1 is not in discovery: add it there before the node starts"
        );
    }

    #[test]
    fn what_discovery_says_is_said_once() {
        let me = LogicalAddr::new(1, 1, 1);
        assert_eq!(
            text(DiscoveryError::NotAMember(me)),
            "1.1.1 is not a member; add it to discovery first"
        );
        assert_eq!(
            text(DiscoveryError::Unreachable("no leader".into())),
            "the discovery engine cannot be asked: no leader"
        );
    }
}
