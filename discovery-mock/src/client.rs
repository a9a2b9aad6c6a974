//! The client: what a node is given as its discovery, and what the subcommands use.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use seaway::discovery::{Announcement, Discovery, DiscoveryError, Event, Member, Watch};
use seaway::{Incarnation, LogicalAddr};
use tokio::time::timeout;

use crate::wire::{Announced, Ask, Fault, Setting, Tell, millis};

mod conversation;
mod follow;

use conversation::Conversation;

/// How long the server has to answer one question, connecting included.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// Discovery from a mock server, for any number of nodes. Clones are cheap and the same.
///
/// Each question has a connection of its own and at most 2 s; a watch has one that lasts. When
/// that one breaks, or the server is silent for 4 s, the watch tells an
/// [`Event::Problem`], tries again after random pauses of at most 0.1 s at first and 2 s in the
/// end, and goes on with a new snapshot. It ends by itself only if the server has gone back to an
/// earlier revision, which a new watch clears up. Nodes keep their members meanwhile.
#[derive(Clone, Debug)]
pub struct MockDiscovery {
    server: Arc<str>,
}

impl MockDiscovery {
    /// Names the server, as `host:port`. It is connected to when there is something to ask.
    ///
    /// ```
    /// let discovery = seaway_discovery_mock::MockDiscovery::connect("127.0.0.1:8110");
    /// ```
    pub fn connect(server: impl Into<String>) -> Self {
        Self { server: server.into().into() }
    }

    /// Asks for all members as the nodes are told of them.
    ///
    /// # Errors
    ///
    /// [`DiscoveryError::Unreachable`] when the server does not answer.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: nothing is changed.
    pub async fn members(&self) -> Result<Vec<Member>, DiscoveryError> {
        let (_, first) = self.open_watch().await?;
        match first {
            Event::Snapshot { members, .. } => Ok(members),
            _ => Ok(Vec::new()),
        }
    }

    /// Adds a member, or replaces what was configured for its address. What a node has announced
    /// there stays.
    ///
    /// # Errors
    ///
    /// When the member [is invalid](Member::check), or the server does not answer or refuses.
    ///
    /// # Cancel safety
    ///
    /// When cancelled, the member may have been added or not.
    pub async fn put(&self, member: Member) -> Result<(), DiscoveryError> {
        member.check()?;
        self.ask(Ask::Put(member)).await
    }

    /// Removes a member; whether it was one.
    ///
    /// # Errors
    ///
    /// When the server does not answer or refuses.
    ///
    /// # Cancel safety
    ///
    /// When cancelled, the member may have been removed or not.
    pub async fn remove(&self, address: LogicalAddr) -> Result<bool, DiscoveryError> {
        match self.ask(Ask::Remove(address)).await {
            Ok(()) => Ok(true),
            Err(DiscoveryError::NotAMember(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Sets whether pickers should choose a member; `false` holds whatever the node announces.
    ///
    /// # Errors
    ///
    /// When it is not a member, or the server does not answer or refuses.
    ///
    /// # Cancel safety
    ///
    /// When cancelled, it may have been set or not.
    pub async fn set_available(
        &self,
        address: LogicalAddr,
        available: bool,
    ) -> Result<(), DiscoveryError> {
        self.ask(Ask::Set { address, what: Setting::Available(available) }).await
    }

    /// Sets whether nodes of other groups may know of a member.
    ///
    /// # Errors
    ///
    /// When it is not a member, or the server does not answer or refuses.
    ///
    /// # Cancel safety
    ///
    /// When cancelled, it may have been set or not.
    pub async fn set_exported(
        &self,
        address: LogicalAddr,
        exported: bool,
    ) -> Result<(), DiscoveryError> {
        self.ask(Ask::Set { address, what: Setting::Exported(exported) }).await
    }

    /// Sets where a member is reached.
    ///
    /// # Errors
    ///
    /// When it is not a member, `network` is not a network address, or the server does not answer
    /// or refuses.
    ///
    /// # Cancel safety
    ///
    /// When cancelled, it may have been set or not.
    pub async fn set_network(
        &self,
        address: LogicalAddr,
        network: impl Into<String>,
    ) -> Result<(), DiscoveryError> {
        let network = network.into();
        Member::new(address, &*network).check()?;
        self.ask(Ask::Set { address, what: Setting::Network(network) }).await
    }

    async fn ask(&self, ask: Ask) -> Result<(), DiscoveryError> {
        self.ask_in_lines(&[ask]).await
    }

    async fn ask_in_lines(&self, lines: &[Ask]) -> Result<(), DiscoveryError> {
        let answer = async { Conversation::open(&self.server, lines).await?.next().await };
        match self.in_time(answer).await? {
            Tell::Done {} => Ok(()),
            Tell::Refused { why: Some(why), .. } => Err(why.into()),
            Tell::Refused { message, .. } => Err(self.unreachable(&Fault::Refused(message))),
            other => Err(self.unreachable(&Fault::Nonsense(format!("{other:?}")))),
        }
    }

    /// Begins to watch and waits for the first snapshot.
    async fn open_watch(&self) -> Result<(Conversation, Event), DiscoveryError> {
        let first = async {
            let mut conversation = Conversation::open(&self.server, &[Ask::Watch {}]).await?;
            match conversation.event().await? {
                event @ Event::Snapshot { .. } => Ok((conversation, event)),
                _ => Err(Fault::Nonsense("the first event is no snapshot".to_owned())),
            }
        };
        self.in_time(first).await
    }

    async fn in_time<T>(
        &self,
        answer: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, DiscoveryError> {
        let late = Err(Fault::Late(ANSWER_WITHIN));
        let answer = timeout(ANSWER_WITHIN, answer).await.unwrap_or(late);
        answer.map_err(|fault| self.unreachable(&fault))
    }

    fn unreachable(&self, fault: &Fault) -> DiscoveryError {
        DiscoveryError::Unreachable(self.tell_of(fault).into())
    }

    /// What is wrong, and what to do about it.
    fn tell_of(&self, fault: &Fault) -> String {
        let server = &self.server;
        match fault {
            Fault::Io(cause) => format!(
                "{server}: {cause}; start `seaway-discovery-mock serve --listen {server}`, \
                 or name the host:port at which it listens"
            ),
            Fault::Refused(message) => format!("{server} refused: {message}"),
            Fault::Nonsense(what) => {
                format!("{server} is not a seaway-discovery-mock of this version: {what}")
            }
            fault => format!("{server}: {fault}"),
        }
    }
}

#[async_trait]
impl Discovery for MockDiscovery {
    async fn watch(&self) -> Result<Watch, DiscoveryError> {
        let (conversation, first) = self.open_watch().await?;
        let (sender, watch) = Watch::channel(1);
        tokio::spawn(follow::follow(self.clone(), conversation, first, sender));
        Ok(watch)
    }

    async fn announce(&self, me: &Announcement) -> Result<(), DiscoveryError> {
        // The server would say the same, but not of a line that is too long.
        let mut labels = Member::new(me.address, "localhost:1");
        labels.labels.clone_from(&me.labels);
        labels.check()?;
        self.ask(Ask::Announce(Announced::from(me))).await
    }

    async fn withdraw(
        &self,
        me: LogicalAddr,
        incarnation: Incarnation,
    ) -> Result<(), DiscoveryError> {
        self.ask(Ask::Withdraw { address: me, incarnation }).await
    }

    async fn carry(
        &self,
        carrier: LogicalAddr,
        members: &[Member],
        ttl: Duration,
    ) -> Result<(), DiscoveryError> {
        // The server would say the same, but not of a line that is too long.
        members.iter().try_for_each(Member::check)?;
        let mut lines = vec![Ask::Carry { carrier, ttl_ms: millis(ttl) }];
        lines.extend(members.iter().cloned().map(Ask::Carried));
        lines.push(Ask::End {});
        self.ask_in_lines(&lines).await
    }
}
