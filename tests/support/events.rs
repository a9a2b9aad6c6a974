//! What handlers tell their test, and what they wait for.

use std::fmt::Debug;
use std::sync::Arc;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;

use super::soon;

/// One end speaks, in any number of handlers; the other is the test.
pub fn events<T>() -> (Say<T>, Heard<T>) {
    let (sender, receiver) = unbounded_channel();
    (Say(sender), Heard(receiver))
}

/// Where handlers say what happens.
pub struct Say<T>(UnboundedSender<T>);

impl<T> Clone for Say<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Say<T> {
    /// Says it; nobody need listen any more.
    pub fn say(&self, what: T) {
        self.0.send(what).ok();
    }

    /// Something that says it when it is dropped.
    pub fn on_drop(&self, what: T) -> OnDrop<T> {
        OnDrop(self.clone(), Some(what))
    }
}

/// See [`Say::on_drop`].
pub struct OnDrop<T>(Say<T>, Option<T>);

impl<T> Drop for OnDrop<T> {
    fn drop(&mut self) {
        if let Some(what) = self.1.take() {
            self.0.say(what);
        }
    }
}

/// Where the test hears it.
pub struct Heard<T>(UnboundedReceiver<T>);

impl<T> Heard<T> {
    /// The next thing said.
    pub async fn any(&mut self) -> T {
        soon("an event", self.0.recv()).await.unwrap()
    }
}

impl<T: Debug + PartialEq> Heard<T> {
    /// Waits for the next thing said, which must be this.
    pub async fn expect(&mut self, what: T) {
        let said = soon(&format!("{what:?}"), self.0.recv()).await.unwrap();
        assert_eq!(said, what);
    }

    /// Waits until nobody can say anything any more; whether nothing was said until then.
    pub async fn is_over(&mut self) -> bool {
        soon("the end of all voices", self.0.recv()).await.is_none()
    }

    /// All that was said and not yet heard.
    pub fn rest(&mut self) -> Vec<T> {
        std::iter::from_fn(|| self.0.try_recv().ok()).collect()
    }
}

/// Holds up whoever wants to pass until it is opened.
#[derive(Clone)]
pub struct Gate(Arc<watch::Sender<bool>>);

impl Gate {
    pub fn closed() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }

    pub fn open(&self) {
        self.0.send_replace(true);
    }

    pub async fn pass(&self) {
        self.0.subscribe().wait_for(|is_open| *is_open).await.unwrap();
    }
}
