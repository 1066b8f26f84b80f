//! Words for gateways, laid out in the transaction of the change and published until they are: a bus that is away delays them,
//! and neither it nor a restart loses one.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use sqlx::{Any, Row, Transaction};
use tokio::{sync::Notify, time::timeout};
use tracing::warn;
use turnpike_bus::Bus;
use turnpike_event::{Body, Event, Topic};
use turnpike_kit::{Context, Death, Process};
use turnpike_store::Store;

/// Lays a word out.
pub async fn put(tx: &mut Transaction<'_, Any>, body: Body, now: Timestamp) -> Result<(), sqlx::Error> {
    let event = Event { at: now, traceparent: Some(Context::current().traceparent()), body };
    // The database numbers them. Words about one account are in order: whoever changes it has locked it before.
    sqlx::query("INSERT INTO outbox (event) VALUES ($1)")
        .bind(event.to_bytes().to_vec())
        .execute(&mut **tx)
        .await
        .map(|_| ())
}

/// Whoever has laid something out says so here.
#[derive(Clone, Default)]
pub struct Bell(Arc<Notify>);

impl Bell {
    /// There is something.
    pub fn ring(&self) {
        self.0.notify_one();
    }
}

/// While the bus is away, and to find what an instance that died has laid out.
const LOOK: Duration = Duration::from_secs(1);

/// A connection that dies without a word is given up after so long. What was told by then stays told.
const STUCK: Duration = Duration::from_secs(10);

/// Publishes what is laid out, for as long as the process lives.
pub fn publish(process: &Process, store: &Store, bus: &Bus) -> Bell {
    let bell = Bell::default();
    let (rung, store, bus, stopping) = (bell.clone(), store.clone(), bus.clone(), process.tasks.stopping().clone());
    process.tasks.spawn("outbox", Death::Fatal, async move {
        loop {
            match timeout(STUCK, drain(&store, &bus)).await {
                Ok(Ok(true)) => continue,
                Ok(Ok(false)) => {}
                Ok(Err(error)) => warn!(%error, "ended sessions could not be told yet"),
                Err(_) => warn!("the database or the bus has fallen silent; ended sessions could not be told yet"),
            }
            tokio::select! {
                () = stopping.cancelled() => return,
                () = rung.0.notified() => {}
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    });
    bell
}

/// Publishes some; says whether there may be more. A word is removed after it was published: after a crash in between it is said
/// twice, which changes nothing.
async fn drain(store: &Store, bus: &Bus) -> Result<bool, anyhow::Error> {
    let rows = sqlx::query("SELECT id, event FROM outbox ORDER BY id LIMIT 100").fetch_all(store.pool()).await?;
    for row in &rows {
        let event = Event::from_bytes(row.try_get::<Vec<u8>, _>("event")?.into());
        bus.publish(&Topic::Sessions, &event).await?;
        sqlx::query("DELETE FROM outbox WHERE id = $1")
            .bind(row.try_get::<i64, _>("id")?)
            .execute(store.pool())
            .await?;
    }
    Ok(rows.len() == 100)
}
