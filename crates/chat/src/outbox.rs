//! Publishes changes of conversations on `conversation:{id}`. A change is marked in the transaction that makes it and published
//! until it is: a bus outage or a restart delays it and does not lose it.
//!
//! The present values are published: of several changes during an outage, followers receive the last one. A change can be
//! published twice (after a crash in between), and the last event is always the present one. The deletion of a conversation is the
//! final event of its topic.

use std::time::Duration;

use jiff::Timestamp;
use sqlx::{Row, any::AnyRow};
use tokio::time::timeout;
use tracing::{debug, warn};
use turnpike_bus::{Bus, PublishError};
use turnpike_event::{Body, ChatEvent, Event};
use turnpike_kit::{Clock, Process};
use turnpike_store::{
    Store, from_micros, micros,
    outbox::{self, Bell, Next, Outbox},
};
use turnpike_topic::{ConversationId, Topic};

use crate::conversations::{self, Conversation};

/// Pause between two searches for changes: those of an outage of the bus, and those that another instance left.
const LOOK: Duration = Duration::from_secs(1);
/// No other instance publishes a conversation's change for this long after an instance has claimed it.
const CLAIM: Duration = Duration::from_secs(10);
/// Publishing a batch ends well before its claim does, so that two instances never publish the same conversation's changes at
/// once.
const STUCK: Duration = Duration::from_secs(5);
/// Changes per batch.
const BATCH: i64 = 100;

struct Publisher {
    store: Store,
    bus: Bus,
    clock: Clock,
    /// The last attempt failed. An outage is logged once.
    delayed: bool,
}

/// A conversation whose present values, or whose deletion, are yet to be published.
struct Change {
    id: String,
    number: i64,
    at: Timestamp,
    claimed_until: i64,
}

/// Publishes marked changes until the process stops.
pub(crate) fn publish(process: &Process, store: &Store, bus: &Bus) -> Bell {
    let publisher = Publisher { store: store.clone(), bus: bus.clone(), clock: process.clock.clone(), delayed: false };
    outbox::publish(process, "conversation outbox", publisher)
}

type Error = Box<dyn std::error::Error + Send + Sync>;

impl Outbox for Publisher {
    async fn publish_some(&mut self) -> Next {
        match self.drain().await {
            Ok(more) => {
                self.delayed = false;
                if more {
                    return Next::Now;
                }
            }
            Err(error) if !self.delayed => {
                self.delayed = true;
                warn!(error = &*error, "changes of conversations are published later");
            }
            Err(error) => debug!(error = &*error, "changes of conversations cannot be published yet"),
        }
        Next::After(LOOK)
    }
}

impl Publisher {
    /// Publishes one batch. Returns whether there may be more.
    async fn drain(&self) -> Result<bool, Error> {
        let changes = self.claim().await?;
        let mut published = 0;
        let publishing = async {
            for change in &changes {
                self.publish(change).await?;
                published += 1;
            }
            Ok::<_, Error>(())
        };
        let outcome = timeout(STUCK, publishing).await;
        let (done, left) = changes.split_at(published);
        self.settle(done, left).await?;
        outcome.map_err(|_| "the bus does not answer")??;
        Ok(changes.len() == BATCH as usize)
    }

    async fn publish(&self, change: &Change) -> Result<(), Error> {
        let conversation_id: ConversationId = change.id.parse()?;
        let present = conversations::get(&self.store, conversation_id).await?;
        let topic = Topic::Conversation(conversation_id);
        let event = |event| Event { at: change.at, body: Body::Chat(event) }.to_bytes();
        let published = match present {
            Some(present) => self.bus.publish(&topic, &event(changed(present))).await,
            None => self.bus.close(&topic, &event(ChatEvent::Deleted { conversation_id })).await,
        };
        match published {
            // Only the deletion closes the topic.
            Ok(_) | Err(PublishError::Closed { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes marked changes that no other instance is publishing, oldest first.
    async fn claim(&self) -> Result<Vec<Change>, sqlx::Error> {
        let now = self.clock.now();
        let marked = sqlx::query("SELECT 1 AS one FROM unpublished_changes WHERE claimed_until < $1 LIMIT 1")
            .bind(micros(now))
            .fetch_optional(self.store.reader())
            .await?;
        if marked.is_none() {
            return Ok(Vec::new()); // the usual case writes nothing
        }
        let claimed = format!(
            "UPDATE unpublished_changes SET claimed_until = $1
             WHERE claimed_until < $2 AND conversation_id IN
                 (SELECT conversation_id FROM unpublished_changes WHERE claimed_until < $2 ORDER BY changed_at LIMIT $3{})
             RETURNING conversation_id, number, changed_at, claimed_until",
            self.store.skip_locked()
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(claimed))
            .bind(micros(now + CLAIM))
            .bind(micros(now))
            .bind(BATCH)
            .fetch_all(self.store.pool())
            .await?;
        let change = |row: &AnyRow| {
            Ok(Change {
                id: row.try_get("conversation_id")?,
                number: row.try_get("number")?,
                at: from_micros(row.try_get("changed_at")?),
                claimed_until: row.try_get("claimed_until")?,
            })
        };
        let mut changes = rows.iter().map(change).collect::<Result<Vec<_>, sqlx::Error>>()?;
        changes.sort_by_key(|change| change.at);
        Ok(changes)
    }

    /// Removes published changes, and releases the others. A conversation that has changed since is published again: its present
    /// values must be the last event.
    async fn settle(&self, done: &[Change], left: &[Change]) -> Result<(), sqlx::Error> {
        if done.is_empty() && left.is_empty() {
            return Ok(());
        }
        let mut tx = self.store.begin().await?;
        for change in done {
            sqlx::query(
                "DELETE FROM unpublished_changes WHERE conversation_id = $1 AND number = $2 AND claimed_until = $3",
            )
            .bind(&change.id)
            .bind(change.number)
            .bind(change.claimed_until)
            .execute(&mut *tx)
            .await?;
        }
        for change in done.iter().chain(left) {
            sqlx::query(
                "UPDATE unpublished_changes SET claimed_until = 0 WHERE conversation_id = $1 AND claimed_until = $2",
            )
            .bind(&change.id)
            .bind(change.claimed_until)
            .execute(&mut *tx)
            .await?;
        }
        tx.commit().await
    }
}

fn changed(present: Conversation) -> ChatEvent {
    let Conversation { id: conversation_id, title, pinned, leaf_message_id, .. } = present;
    ChatEvent::Changed { conversation_id, title, pinned, leaf_message_id }
}

#[cfg(test)]
mod tests {
    use turnpike_bus::Limits;
    use turnpike_testkit::{Database, on_both};
    use uuid::Uuid;

    use super::*;
    use crate::{changes::mark, service::MIGRATIONS};

    on_both!(a_change_during_the_publication_is_published_again);

    async fn a_change_during_the_publication_is_published_again(database: Database) {
        let store = Store::open(database.url(), MIGRATIONS).await.expect("a database");
        let now = Timestamp::from_second(1_763_700_000).expect("in range");
        let (clock, _hand) = Clock::controlled(now);
        let publisher = Publisher { store: store.clone(), bus: Bus::memory(Limits::default()), clock, delayed: false };
        let id = ConversationId::from(Uuid::now_v7());
        let mark = async || {
            let mut tx = store.begin().await.expect("a database");
            mark(&mut tx, id, now).await.expect("marked");
            tx.commit().await.expect("committed");
        };
        mark().await;
        let first = publisher.claim().await.expect("a database");
        mark().await; // while the first change is published
        publisher.settle(&first, &[]).await.expect("a database");
        let second = publisher.claim().await.expect("a database");
        assert_eq!(
            second.iter().map(|change| (change.id.as_str(), change.number)).collect::<Vec<_>>(),
            [(id.to_string().as_str(), 2)]
        );
        publisher.settle(&second, &[]).await.expect("a database");
        assert!(publisher.claim().await.expect("a database").is_empty());
    }
}
