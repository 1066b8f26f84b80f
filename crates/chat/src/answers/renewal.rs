//! The renewal of one answer's lease, beside its generation. Each renewal also stores what the model has said so far.

use std::time::Duration;

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use tracing::warn;
use turnpike_kit::Clock;
use turnpike_store::Store;
use turnpike_topic::{MessageId, Offset};

use super::{
    Resources,
    leases::{Checkpoint, LEASE, RENEW, Renewed},
    submit::Open,
};

/// Pause after a failed renewal.
const RETRY: Duration = Duration::from_millis(250);
/// This long before the lease ends, the answer counts as possibly taken over.
const MARGIN: Duration = Duration::from_millis(500);

pub(super) struct Renewal {
    store: Store,
    clock: Clock,
    id: MessageId,
    fence: i64,
    writing: Option<BoxFuture<'static, Result<Renewed, sqlx::Error>>>,
    /// The lease holds until then, unless it is renewed.
    until: Timestamp,
    /// When the present renewal began.
    began: Timestamp,
    next: Timestamp,
    /// Bytes of the text in the last checkpoint.
    stored: usize,
}

/// A step of the renewal.
pub(super) enum Step {
    /// A renewal should begin.
    Due,
    /// A renewal is written; `None`: it failed, and the next one is due soon.
    Written(Option<Renewed>),
    /// The lease may have ended.
    Overdue,
}

impl Renewal {
    pub(super) fn new(resources: &Resources, open: &Open) -> Self {
        let now = resources.clock.now();
        Self {
            store: resources.store.clone(),
            clock: resources.clock.clone(),
            id: open.message_id,
            fence: open.fence,
            writing: None,
            until: now + LEASE,
            began: now,
            next: now + RENEW,
            stored: 0,
        }
    }

    /// Waits for the next step. `held`: the lease is known to be overdue. Cancel-safe.
    pub(super) async fn next(&mut self, held: bool) -> Step {
        let overdue = self.clock.sleep_until(self.until - MARGIN);
        let step = async {
            match &mut self.writing {
                None => {
                    self.clock.sleep_until(self.next).await;
                    None
                }
                Some(writing) => Some(writing.await),
            }
        };
        let written = tokio::select! {
            biased;
            written = step => written,
            () = overdue, if !held => return Step::Overdue,
        };
        let Some(renewed) = written else { return Step::Due };
        self.writing = None;
        Step::Written(match renewed {
            Ok(renewed) => {
                self.until = self.began + LEASE;
                self.next = self.began + RENEW;
                Some(renewed)
            }
            Err(error) => {
                warn!(%error, message = %self.id, "the lease of an answer could not be renewed");
                self.stored = 0;
                self.next = self.clock.now() + RETRY;
                None
            }
        })
    }

    /// The next renewal is due at once.
    pub(super) fn hurry(&mut self) {
        self.next = self.clock.now();
    }

    /// Begins a renewal. `started`: offset of the event `started`, once it is known.
    pub(super) fn begin(&mut self, content: &str, reasoning_content: &str, started: Option<Offset>) {
        let (id, fence, now, store) = (self.id, self.fence, self.clock.now(), self.store.clone());
        let bytes = content.len() + reasoning_content.len();
        let text = (bytes > self.stored).then(|| (content.to_owned(), reasoning_content.to_owned()));
        self.stored = self.stored.max(bytes);
        self.began = now;
        self.writing = Some(Box::pin(async move { store.write(Checkpoint { id, fence, text, started, now }).await }));
    }
}
