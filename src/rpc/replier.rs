//! Replies that come from elsewhere.

use std::fmt;
use std::marker::PhantomData;

use crate::context::{Answer, Context};
use crate::error::Status;

/// The right to answer one request, taken out of its handler with [`Context::defer`]. Dropped
/// without having been used, the caller gets [`crate::Code::Internal`].
pub struct Replier<R> {
    answer: Option<Answer<'static>>,
    reply: PhantomData<fn(R)>,
}

impl<R: prost::Message + 'static> Replier<R> {
    /// Answers. Waits while the lane to the caller is full, until the caller's deadline.
    ///
    /// # Cancel safety
    ///
    /// When dropped before it is done, the reply may not be sent; the caller then ends at its
    /// deadline.
    pub async fn reply(self, outcome: Result<R, Status>) {
        if let Some(answer) = self.answer {
            answer.give(outcome).await;
        }
    }
}

impl<R> fmt::Debug for Replier<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replier").field("answer", &self.answer).finish()
    }
}

impl Context {
    /// Takes the reply out of the handler, so that it can be given from elsewhere. What the handler
    /// then returns is not looked at; [`Status::deferred`] says so to readers.
    ///
    /// The type is that of the method's reply; another one does not decode at the caller. In a
    /// message handler, and the second time, there is nothing to be taken, and what the replier is
    /// given goes nowhere.
    ///
    /// The request counts as in flight, and against limits, until the replier is used or dropped.
    ///
    /// ```
    /// # #[derive(Clone, PartialEq, prost::Message)] struct Move {}
    /// # #[derive(Clone, PartialEq, prost::Message)] struct Turn {}
    /// use seaway::{Context, Method, Node, Replier, Status};
    /// use tokio::sync::mpsc;
    /// const PLAY: Method<Move, Turn> = Method::new("chess.Game/Play");
    ///
    /// // One task plays the game; the handler only brings it the moves.
    /// let (moves, mut game) = mpsc::channel::<(Move, Replier<Turn>)>(16);
    /// let play = async move {
    ///     while let Some((_, replier)) = game.recv().await {
    ///         replier.reply(Ok(Turn {})).await;
    ///     }
    /// };
    /// let builder = Node::builder("1.4.1").on_call(PLAY, move |cx: Context, request: Move| {
    ///     let moves = moves.clone();
    ///     async move {
    ///         // Should the game be over, the replier is dropped, and the caller told so.
    ///         moves.send((request, cx.defer())).await.ok();
    ///         Err(Status::deferred())
    ///     }
    /// });
    /// # drop(play);
    /// ```
    #[must_use = "dropped, the replier tells the caller that there is no answer"]
    pub fn defer<R: prost::Message>(&self) -> Replier<R> {
        let mut answer = self.clone().into_answer();
        if let Some(answer) = &mut answer {
            answer.defer();
        }
        Replier { answer, reply: PhantomData }
    }
}
