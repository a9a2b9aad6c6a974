//! Who is in the cluster and where: what a node must know before it can talk to anybody.
//!
//! An *engine* implements [`Discovery`]: it tells a node the members through a [`Watch`] and hears
//! from the node that it lives. Two engines are here: [`InProcess`] for tests and for several nodes
//! in one process, [`MembersFile`] for a file that somebody else writes. No data path depends on an
//! engine being up: with the engine gone, a node goes on with the members it knows.
//!
//! ```text
//!  engine --Event--> Watch --> View --ViewChange--> routing table, links
//!         <--- announce, withdraw, carry --- node
//! ```

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;

use crate::addr::LogicalAddr;
use crate::debug::debug_by_text;
use crate::incarnation::Incarnation;

mod labels;
mod member;
mod watch;

mod view;

mod file;
mod in_process;

pub use file::MembersFile;
pub use in_process::InProcess;
pub use labels::Labels;
pub use member::{Announcement, Member, MemberError};
pub(crate) use view::{Applied, View, ViewChange};
pub use watch::{Change, Event, Watch, WatchClosed, WatchSender};

/// Where a node learns who the members are, and says that it lives.
///
/// An engine tells the truth as it knows it and nothing else: filtering what a node may see,
/// doubting an empty answer, trying again and logging are the node's part. All methods may be
/// called again at any time, and from several nodes at once. A node takes one that has not answered
/// within 5 s, or that panics, for one that cannot be asked, and drops its future.
///
/// # Examples
///
/// An engine for a list that never changes (`async-trait` is a dependency of yours then):
///
/// ```
/// use seaway::discovery::{Announcement, Discovery, DiscoveryError, Event, Member, Watch};
/// use seaway::{Incarnation, LogicalAddr};
///
/// struct Fixed(Vec<Member>);
///
/// #[async_trait::async_trait]
/// impl Discovery for Fixed {
///     async fn watch(&self) -> Result<Watch, DiscoveryError> {
///         let (sender, watch) = Watch::channel(1);
///         let all = Event::Snapshot { revision: 1, members: self.0.clone() };
///         tokio::spawn(async move {
///             // The watch lasts as long as its sender.
///             if sender.send(all).await.is_ok() {
///                 sender.closed().await;
///             }
///         });
///         Ok(watch)
///     }
///
///     async fn announce(&self, _: &Announcement) -> Result<(), DiscoveryError> {
///         Ok(())
///     }
///
///     async fn withdraw(&self, _: LogicalAddr, _: Incarnation) -> Result<(), DiscoveryError> {
///         Ok(())
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let engine = Fixed(vec![Member::new(LogicalAddr::new(1, 1, 1), "127.0.0.1:7001")]);
/// let first = engine.watch().await?.next().await;
/// assert!(matches!(first, Some(Event::Snapshot { members, .. }) if members.len() == 1));
/// # Ok(())
/// # }
/// ```
#[async_trait]
pub trait Discovery: Send + Sync {
    /// Starts to tell the members: first an [`Event::Snapshot`] of all of them, also when there
    /// are none, then what changes.
    ///
    /// A node keeps one watch; when it ends, the node watches again after a pause.
    ///
    /// # Errors
    ///
    /// When the engine cannot be asked now; the node tries again, except while it starts.
    async fn watch(&self) -> Result<Watch, DiscoveryError>;

    /// Says that a node lives; called when something about it changes and every few seconds.
    ///
    /// An engine that can forget does so when nothing was announced for the announcement's `ttl`:
    /// the member is then unavailable, but still a member.
    ///
    /// # Errors
    ///
    /// [`DiscoveryError::Superseded`] when a later incarnation has announced itself: the node
    /// stops. [`DiscoveryError::NotAMember`] when the engine takes no strangers.
    async fn announce(&self, me: &Announcement) -> Result<(), DiscoveryError>;

    /// Takes the announcement back, if it is still this incarnation's; otherwise does nothing,
    /// and that is a success.
    ///
    /// # Errors
    ///
    /// When the engine cannot be asked now.
    async fn withdraw(
        &self,
        me: LogicalAddr,
        incarnation: Incarnation,
    ) -> Result<(), DiscoveryError>;

    /// Makes known here what the harbor `carrier` brings from its other discovery: all of it, until
    /// its next word or until `ttl` has passed. So the exported members of a group come into the
    /// [harbors' discovery](crate::Builder::harbor_discovery), and those of other groups from there
    /// into the group's own, and nobody enters them twice. Called only by harbors with two
    /// discoveries, when something about these members changes and every few seconds.
    ///
    /// An engine tells them like other members, with [`Member::carried_by`] set to the carrier. An
    /// address that was entered here is told as that and not as carried. Of several carriers one
    /// that is of the member's own group counts first, and then the one whose word about it is the
    /// latest that was new.
    ///
    /// By default nothing is done, and this is a success: for members of other groups to be seen,
    /// somebody must enter them in such an engine.
    ///
    /// # Errors
    ///
    /// When a member is invalid, nothing is changed; or when the engine cannot be asked now.
    async fn carry(
        &self,
        carrier: LogicalAddr,
        members: &[Member],
        ttl: Duration,
    ) -> Result<(), DiscoveryError> {
        let _ = (carrier, members, ttl);
        Ok(())
    }
}

/// Why an engine did not do what it was asked.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum DiscoveryError {
    /// The address is not that of a member; trying again helps once somebody has added it.
    #[error("{0} is not a member; add it to discovery first")]
    NotAMember(LogicalAddr),
    /// A later incarnation of the address has announced itself: this one is history, and trying
    /// again never helps.
    #[error("{address} was started again: {recorded} has taken over from {announced}")]
    Superseded {
        /// The node that announced itself.
        address: LogicalAddr,
        /// The incarnation that it announced.
        announced: Incarnation,
        /// The later one that the engine has recorded.
        recorded: Incarnation,
    },
    /// What was said of a member cannot be; nothing was changed, and trying again never helps.
    #[error(transparent)]
    Invalid(#[from] MemberError),
    /// The members file cannot be used; trying again helps once it was mended.
    #[error("members file {}: {cause}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong, with the line if it is one line's fault.
        cause: String,
    },
    /// The engine cannot be asked or refuses to answer; worth trying again.
    #[error("the discovery engine cannot be asked: {}", whole(&**.0))]
    Unreachable(Box<dyn Error + Send + Sync>),
}

debug_by_text!(DiscoveryError: NotAMember, Superseded, Invalid, File, Unreachable);

/// An error of somebody else's with all its causes, each said once.
fn whole(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let next_text = next.to_string();
        if !text.contains(&next_text) {
            text = format!("{text}: {next_text}");
        }
        cause = next.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("no leader")]
    struct NoLeader(#[source] std::io::Error);

    #[test]
    fn an_engine_that_cannot_be_asked_is_told_with_all_causes_once() {
        let cause = NoLeader(std::io::Error::other("connection refused"));
        let error = DiscoveryError::Unreachable(cause.into());
        let text = "the discovery engine cannot be asked: no leader: connection refused";
        assert_eq!(error.to_string(), text);
        assert!(error.source().is_none(), "a chain of causes would say them again");
    }
}
