//! Events for gateways, written in the transaction of the change and published afterwards: an outage of the bus delays them, and
//! neither the outage nor a restart loses one.
//!
//! One instance at a time publishes, in the order of the rows. That is the order of the changes of an account, because every
//! change locks the account before its row gets a number. A row is removed after the bus has accepted its event. An event can
//! therefore arrive twice, or late from an instance that lost its turn while its request was on the way; so the events of an
//! account carry the row's number, and their readers skip an event whose number is not higher than the last one.

use std::time::Duration;

use jiff::Timestamp;
use sqlx::{Any, Row, Transaction, any::AnyRow};
use tokio::time::timeout;
use tracing::{debug, warn};
use turnpike_bus::Bus;
use turnpike_event::{AccountEvent, Body, Event};
use turnpike_kit::{Clock, Process};
use turnpike_store::{
    Store,
    outbox::{self, Bell, Next, Outbox},
};
use turnpike_topic::{Topic, UserId};

use crate::random;

/// Writes an event, to be published after the transaction.
pub async fn put(tx: &mut Transaction<'_, Any>, body: Body, now: Timestamp) -> Result<(), sqlx::Error> {
    let event = Event { at: now, body };
    sqlx::query("INSERT INTO outbox (event) VALUES ($1)")
        .bind(event.to_bytes().to_vec())
        .execute(&mut **tx)
        .await
        .map(|_| ())
}

/// The event of an account that was switched on or off. It gets its number when it is published.
pub fn account_changed(user_id: UserId, active: bool) -> Body {
    Body::Account(AccountEvent::Changed { user_id, active, change: 0 })
}

/// Pause between two checks of the outbox if the publisher is not woken. The checks repeat failed publishes, and find the rows of
/// an instance that was killed.
const LOOK: Duration = Duration::from_secs(1);
/// The same while another instance has the turn.
const SOON: Duration = Duration::from_millis(50);
/// Timeout of one round of publishing, for a connection that breaks without an error. Events that were published before stay
/// published.
const STUCK: Duration = Duration::from_secs(10);
/// If a turn is neither renewed nor ended for this long, its instance counts as killed, and another instance takes the turn.
const SILENT: Duration = Duration::from_secs(10);
/// A turn is renewed before it is older than this. One publish takes at most [`turnpike_bus::TIMEOUT`].
const RENEW: Duration = Duration::from_secs(3);
/// Rows that are read at once.
const PAGE: usize = 100;

/// Publishes the written events until the process stops.
pub fn publish(process: &Process, store: &Store, bus: &Bus) -> Bell {
    let publisher = Publisher {
        store: store.clone(),
        bus: bus.clone(),
        clock: process.clock.clone(),
        name: random::token(),
        other: None,
        turn_at: Timestamp::UNIX_EPOCH,
    };
    outbox::publish(process, "outbox", publisher)
}

struct Publisher {
    store: Store,
    bus: Bus,
    clock: Clock,
    /// A random name of this run of this instance.
    name: String,
    /// The turn of another instance: its number, and the time at which this instance first saw that number. Only this instance's
    /// clock is used, because the clocks of two instances can differ.
    other: Option<(i64, Timestamp)>,
    /// When this instance took or renewed its turn.
    turn_at: Timestamp,
}

/// The result of one round of publishing.
enum Drained {
    /// There is nothing left.
    All,
    /// There may be more.
    Some,
    /// Another instance is publishing.
    NotOurTurn,
}

impl Outbox for Publisher {
    async fn publish_some(&mut self) -> Next {
        match timeout(STUCK, self.drain()).await {
            Ok(Ok(Drained::Some)) => return Next::Now,
            Ok(Ok(Drained::All)) => return Next::After(LOOK),
            Ok(Ok(Drained::NotOurTurn)) => return Next::After(SOON),
            Ok(Err(error)) => warn!(%error, "ended sessions could not be published yet"),
            Err(_) => warn!("the database or the bus does not answer; ended sessions could not be published yet"),
        }
        self.give_up().await;
        Next::After(LOOK)
    }
}

impl Publisher {
    async fn drain(&mut self) -> anyhow::Result<Drained> {
        let waiting = sqlx::query("SELECT id FROM outbox LIMIT 1").fetch_optional(self.store.reader()).await?;
        if waiting.is_none() {
            return Ok(Drained::All);
        }
        if !self.take_turn().await? {
            return Ok(Drained::NotOurTurn);
        }
        // The rows are read after the turn was taken. By then the previous instance has removed the rows that it published.
        let rows =
            sqlx::query("SELECT id, event FROM outbox ORDER BY id LIMIT 100").fetch_all(self.store.reader()).await?;
        for row in &rows {
            let age = self.clock.now().duration_since(self.turn_at).unsigned_abs();
            if age >= RENEW && !self.take_turn().await? {
                return Ok(Drained::NotOurTurn);
            }
            self.publish(row).await?;
        }
        if rows.len() == PAGE {
            return Ok(Drained::Some);
        }
        self.end_turn().await?;
        Ok(Drained::All)
    }

    async fn publish(&self, row: &AnyRow) -> anyhow::Result<()> {
        let id: i64 = row.try_get("id")?;
        let mut event = Event::from_bytes(row.try_get::<Vec<u8>, _>("event")?.into());
        if let Body::Account(AccountEvent::Changed { change, .. }) = &mut event.body {
            *change = id.unsigned_abs();
        }
        self.bus.publish(&Topic::Sessions, &event.to_bytes()).await?;
        sqlx::query("DELETE FROM outbox WHERE id = $1").bind(id).execute(self.store.pool()).await?;
        Ok(())
    }

    /// Takes or renews the turn if no instance has it, if this instance has it, or if the instance that has it counts as killed.
    async fn take_turn(&mut self) -> Result<bool, sqlx::Error> {
        let now = self.clock.now();
        let dead = self.other.filter(|(_, since)| now.duration_since(*since).unsigned_abs() >= SILENT).map(|(n, _)| n);
        let taken = sqlx::query(
            "UPDATE turns SET holder = $1, n = n + 1 WHERE name = 'outbox' AND (holder = '' OR holder = $1 OR n = $2)",
        )
        .bind(&self.name)
        .bind(dead.unwrap_or(-1))
        .execute(self.store.pool())
        .await?;
        if taken.rows_affected() == 1 {
            if dead.is_some() {
                warn!("an instance ended while it published ended sessions; this instance goes on");
            }
            (self.turn_at, self.other) = (now, None);
            return Ok(true);
        }
        let row = sqlx::query("SELECT n FROM turns WHERE name = 'outbox'").fetch_one(self.store.reader()).await?;
        let n: i64 = row.try_get("n")?;
        if self.other.is_none_or(|(seen, _)| seen != n) {
            self.other = Some((n, now));
        }
        Ok(false)
    }

    async fn end_turn(&self) -> Result<(), sqlx::Error> {
        sqlx::query("UPDATE turns SET holder = '' WHERE name = 'outbox' AND holder = $1")
            .bind(&self.name)
            .execute(self.store.pool())
            .await
            .map(|_| ())
    }

    /// Ends the turn after a failure, because another instance may be able to reach the bus.
    async fn give_up(&self) {
        match timeout(STUCK, self.end_turn()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => debug!(%error, "the turn to publish could not be given up; it ends by itself"),
            Err(_) => debug!("the turn to publish could not be given up; it ends by itself"),
        }
    }
}
