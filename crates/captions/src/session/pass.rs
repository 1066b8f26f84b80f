//! Finals that are passed on to the chat service: to the language model that translates them, and to a room. Each way has a bounded
//! queue and a task of its own, so that its failure, slowness or absence does not delay a caption.
//!
//! The chat service is called with an access token of the session's owner, the latest one with which the owner has called this
//! service. While there is no valid one, finals wait.

use std::{future::Future, sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;
use turnpike_fault::{Fault, Kind};
use turnpike_identity::AccessToken;
use turnpike_kit::Retry;

use super::{publisher::Publisher, state::Session};
use crate::passing::{Item, Queue};

/// Why a final is left out: the session has ended, and no token of its owner is valid.
const NO_TOKEN: &str = "NO_TOKEN";

/// How long finals are passed on after the session has ended.
const AFTERWARDS: Duration = Duration::from_secs(60);

/// Where finals are passed on to.
pub(super) trait Way: Send + Sync + 'static {
    /// The reason of the status event that reports the first failure.
    const FAILED: &'static str;
    /// How often a final is tried.
    const ATTEMPTS: u32;

    fn queue<'a>(&self, session: &'a Session) -> Option<&'a Queue>;

    fn call(
        &self,
        token: &AccessToken,
        session: &Session,
        item: &Item,
    ) -> impl Future<Output = Result<String, Fault>> + Send;

    /// Keeps the answer. Returns false if the final has another text by now.
    fn keep(
        &self,
        publisher: &Publisher,
        session: &Session,
        item: &Item,
        answer: String,
    ) -> impl Future<Output = bool> + Send;
}

/// Passes on what waits, until the session has ended and nothing waits, or the process stops.
pub(super) async fn run<W: Way>(way: W, publisher: Publisher, session: Arc<Session>, stopping: CancellationToken) {
    let Some(queue) = way.queue(&session) else { return };
    let too_late = async {
        queue.ended().await;
        tokio::time::sleep(AFTERWARDS).await;
    };
    tokio::select! {
        () = empty(&way, &publisher, &session, queue) => {}
        () = too_late => queue.give_up(),
        () = stopping.cancelled() => {}
    }
}

async fn empty<W: Way>(way: &W, publisher: &Publisher, session: &Session, queue: &Queue) {
    while let Some(item) = queue.next().await {
        match pass(way, publisher, session, queue, &item).await {
            Some(answer) if item.is_final => match way.keep(publisher, session, &item, answer).await {
                true => queue.done(),
                false => queue.replaced(),
            },
            Some(answer) => _ = way.keep(publisher, session, &item, answer).await,
            None if item.is_final => queue.missed(),
            None => {}
        }
    }
}

/// Calls the chat service until it has answered. `None`: it does not take the text.
async fn pass<W: Way>(way: &W, publisher: &Publisher, session: &Session, queue: &Queue, item: &Item) -> Option<String> {
    let (mut retry, mut attempts) = (Retry::default(), 0);
    let attempts_of_item = if item.is_final { W::ATTEMPTS } else { 1 };
    loop {
        let Some(token) = token(publisher, session, queue).await else {
            queue.failed(NO_TOKEN);
            return None;
        };
        let fault = match way.call(&token, session, item).await {
            Ok(answer) => return Some(answer),
            Err(fault) => fault,
        };
        if fault.kind() == Kind::Unauthenticated {
            session.credential.reject(&token);
            continue;
        }
        // Reported before it is noted, because the end of the session waits until a failure is noted.
        if queue.passed().problem.is_empty() {
            publisher.report(session, W::FAILED).await;
        }
        queue.failed(fault.code());
        attempts += 1;
        let may_succeed =
            matches!(fault.kind(), Kind::Unavailable | Kind::Timeout | Kind::RateLimited | Kind::Internal);
        // Without a model, every attempt fails alike.
        if attempts == attempts_of_item || !may_succeed || fault.code() == "NO_MODEL" {
            if item.is_final {
                tracing::info!(%fault, session_id = %session.id(), segment = item.segment, "a caption could not be passed on");
            }
            return None;
        }
        retry.pause(&publisher.clock, "a caption cannot be passed on yet", fault).await;
    }
}

/// A valid token. `None`: the session has ended, and there is none.
async fn token(publisher: &Publisher, session: &Session, queue: &Queue) -> Option<AccessToken> {
    loop {
        let renewed = session.credential.renewed();
        tokio::pin!(renewed);
        if let Some(token) = session.credential.current(publisher.now()) {
            return Some(token);
        }
        if queue.is_ended() {
            return None;
        }
        tokio::select! {
            () = &mut renewed => {}
            () = queue.ended() => {}
        }
    }
}
