//! Remembers what happened, and waits for what is to happen.

use tokio::sync::watch;

use super::soon;

/// What happened so far, in order.
#[derive(Clone, Debug)]
pub struct Recorder<T>(watch::Sender<Vec<T>>);

impl<T: Clone> Default for Recorder<T> {
    fn default() -> Self {
        Self(watch::Sender::new(Vec::new()))
    }
}

impl<T: Clone> Recorder<T> {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn add(&self, item: T) {
        self.0.send_modify(|all| all.push(item));
    }

    pub fn all(&self) -> Vec<T> {
        self.0.borrow().clone()
    }

    pub fn len(&self) -> usize {
        self.0.borrow().len()
    }

    /// Waits until what happened is as wanted, and returns it.
    pub async fn until(&self, what: &str, is_wanted: impl Fn(&[T]) -> bool) -> Vec<T> {
        let mut receiver = self.0.subscribe();
        let all = soon(what, receiver.wait_for(|all| is_wanted(all))).await;
        all.unwrap().clone()
    }

    /// Waits until that much has happened.
    pub async fn until_len(&self, len: usize) -> Vec<T> {
        self.until(&format!("{len} entries"), |all| all.len() >= len).await
    }
}
