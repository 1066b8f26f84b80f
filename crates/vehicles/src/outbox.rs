//! Publishes changes of vehicles' status. A change is marked in the transaction that makes it and published until it is: a bus
//! outage or a restart delays it and does not lose it.
//!
//! The present status is published: of several changes during an outage, followers receive the last one. A change can
//! be published twice (after a crash in between), and the last event on a vehicle's topic is always its present status.

use std::time::Duration;

use jiff::Timestamp;
use sqlx::Row;
use tokio::time::timeout;
use tracing::{debug, warn};
use turnpike_bus::{Bus, PublishError};
use turnpike_event::{Body, ConnectionStatus, Event, VehicleEvent};
use turnpike_kit::{Clock, Process};
use turnpike_store::{
    Store, from_micros, micros,
    outbox::{self, Bell, Next, Outbox},
};
use turnpike_topic::{Topic, VehicleId};

use crate::registry::corrupt_column;

/// Pause between two searches for changes: those of an outage of the bus, and those that another instance left.
const LOOK: Duration = Duration::from_secs(1);

/// No other instance publishes a vehicle's change for this long after an instance has claimed it.
const CLAIM: Duration = Duration::from_secs(10);

/// Publishing a batch ends well before its claim does, so that two instances never publish the same vehicle's changes at once.
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

/// A vehicle whose present status has yet to be published.
struct Change {
    id: String,
    number: i64,
    at: Timestamp,
    status: ConnectionStatus,
}

/// Publishes marked changes until the process stops.
pub fn publish(process: &Process, store: &Store, bus: &Bus) -> Bell {
    let publisher = Publisher { store: store.clone(), bus: bus.clone(), clock: process.clock.clone(), delayed: false };
    outbox::publish(process, "vehicle outbox", publisher)
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
                warn!(error = &*error, "changes of vehicles' status are published later");
            }
            Err(error) => debug!(error = &*error, "changes of vehicles' status cannot be published yet"),
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
        let vehicle_id: VehicleId = change.id.parse()?;
        let body = Body::Vehicle(VehicleEvent::Changed { vehicle_id, connection_status: change.status });
        let event = Event { at: change.at, body };
        match self.bus.publish(&Topic::Vehicle(vehicle_id), &event.to_bytes()).await {
            // No service closes the topic of a vehicle; a closed one has no followers.
            Ok(_) | Err(PublishError::Closed { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes marked changes that no other instance is publishing, oldest first.
    async fn claim(&self) -> Result<Vec<Change>, sqlx::Error> {
        let now = self.clock.now();
        let marked = sqlx::query("SELECT 1 AS one FROM vehicles WHERE unpublished = 1 AND claimed_until < $1 LIMIT 1")
            .bind(micros(now))
            .fetch_optional(self.store.reader())
            .await?;
        if marked.is_none() {
            return Ok(Vec::new()); // the usual case writes nothing
        }
        let rows = sqlx::query(
            "UPDATE vehicles SET claimed_until = $1
             WHERE unpublished = 1 AND claimed_until < $2 AND id IN
                 (SELECT id FROM vehicles WHERE unpublished = 1 AND claimed_until < $2 ORDER BY changed_at LIMIT $3)
             RETURNING id, changes, changed_at, connection_status",
        )
        .bind(micros(now + CLAIM))
        .bind(micros(now))
        .bind(BATCH)
        .fetch_all(self.store.pool())
        .await?;
        let change = |row: &sqlx::any::AnyRow| {
            let status: String = row.try_get("connection_status")?;
            Ok(Change {
                id: row.try_get("id")?,
                number: row.try_get("changes")?,
                at: from_micros(row.try_get("changed_at")?),
                status: ConnectionStatus::from_word(&status).ok_or_else(|| corrupt_column("connection_status"))?,
            })
        };
        let mut changes = rows.iter().map(change).collect::<Result<Vec<_>, sqlx::Error>>()?;
        changes.sort_by_key(|change| change.at);
        Ok(changes)
    }

    /// Clears the marks of published changes, and releases the others. A status that has changed since is marked again: it must
    /// be the last event, also if another instance has published it meanwhile.
    async fn settle(&self, done: &[Change], left: &[Change]) -> Result<(), sqlx::Error> {
        if done.is_empty() && left.is_empty() {
            return Ok(());
        }
        let mut tx = self.store.begin().await?;
        for change in done {
            sqlx::query(
                "UPDATE vehicles SET claimed_until = 0, unpublished = CASE WHEN changes = $1 THEN 0 ELSE 1 END
                 WHERE id = $2",
            )
            .bind(change.number)
            .bind(&change.id)
            .execute(&mut *tx)
            .await?;
        }
        for change in left {
            sqlx::query("UPDATE vehicles SET claimed_until = 0 WHERE id = $1 AND unpublished = 1")
                .bind(&change.id)
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await
    }
}
