//! What serves the services of this package.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use seaway::{Code, Context, Status};

use crate::{echo, health};

/// Gives back what it gets: `.serve(echo::Server::new(Echo))`. For trying out whether a node can be
/// reached, and how long that takes.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "there is nothing to be known of an echo")]
pub struct Echo;

impl echo::Service for Echo {
    async fn call(&self, _: &Context, request: echo::Request) -> Result<echo::Response, Status> {
        Ok(echo::Response { msg: request.msg })
    }
}

/// How a node and the parts of it are, as the process itself says:
/// `.serve(health::checker::Server::new(health.clone()))`. Clones share what was said.
///
/// The node as a whole, whose name is empty, is `Serving` from the start.
#[derive(Clone, Debug)]
pub struct Health(Arc<Mutex<BTreeMap<String, health::Condition>>>);

impl Health {
    /// A node that is `Serving` and has no parts.
    #[must_use]
    pub fn new() -> Self {
        let whole = (String::new(), health::Condition::Serving);
        Self(Arc::new(Mutex::new(BTreeMap::from([whole]))))
    }

    /// Says how a part is from now on. A name is kept for as long as the process runs: it is meant
    /// for services, not for users or sessions.
    pub fn set(&self, part: impl Into<String>, condition: health::Condition) {
        self.conditions().insert(part.into(), condition);
    }

    fn conditions(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, health::Condition>> {
        // Whoever panicked has not left half a map behind.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}

impl health::checker::Service for Health {
    async fn check(
        &self,
        _: &Context,
        request: health::CheckRequest,
    ) -> Result<health::CheckReply, Status> {
        let found = self.conditions().get(&request.part).copied();
        let unknown = || Status::new(Code::NotFound, format!("no part {:?} here", request.part));
        let condition = found.ok_or_else(unknown)?.into();
        Ok(health::CheckReply { condition })
    }
}
