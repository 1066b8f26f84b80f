//! Publishes the events of rooms, each exactly once and in the order in which they were stored.
//!
//! One instance publishes at a time: it holds a lease. A row is removed when its event is on the topic. After a takeover, and after a
//! publish without an answer, it is not known which events are on their topics already, so the topics are read first.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use sqlx::{AnyConnection, Row};
use tracing::{debug, warn};
use turnpike_bus::{Bus, PublishError};
use turnpike_event::{Body, RoomEvent};
use turnpike_kit::{Clock, Process};
use turnpike_store::{
    Backend, Store, Write, micros,
    outbox::{self, Bell, Next, Outbox},
};
use turnpike_topic::{MessageId, Offset, Topic};
use uuid::Uuid;

/// How long an instance that stopped without notice keeps others from publishing.
const LEASE: Duration = Duration::from_secs(5);
/// A publish begins only if the lease lasts for this long.
const MARGIN: Duration = Duration::from_millis(2_500);
/// Pause between two searches for events: those of an outage, and on Postgres those that other instances have stored.
const LOOK: Duration = Duration::from_secs(1);
const LOOK_FOR_OTHERS: Duration = Duration::from_millis(50);
/// Events per batch, and topics that are published to at the same time.
const BATCH: i64 = 256;
const AT_ONCE: usize = 16;

/// An event that a transaction stores for the publisher.
pub(super) struct Event {
    topic: Topic,
    message_id: Option<MessageId>,
    event: Vec<u8>,
    is_final: bool,
}

impl Event {
    pub(super) fn of(topic: Topic, event: RoomEvent, now: Timestamp) -> Self {
        let event = turnpike_event::Event { at: now, body: Body::Room(event) }.to_bytes().to_vec();
        Self { topic, message_id: None, event, is_final: false }
    }

    /// The message gets the offset of this event.
    pub(super) fn of_message(self, id: MessageId) -> Self {
        Self { message_id: Some(id), ..self }
    }

    pub(super) fn that_is_final(self) -> Self {
        Self { is_final: true, ..self }
    }

    /// Events of one topic are published in the order of the transactions that have locked the room.
    pub(super) async fn store(&self, on: &mut AnyConnection) -> Result<(), sqlx::Error> {
        sqlx::query("INSERT INTO room_outbox (topic, message_id, event, is_final) VALUES ($1, $2, $3, $4)")
            .bind(self.topic.to_string())
            .bind(self.message_id.map(|id| id.to_string()))
            .bind(self.event.as_slice())
            .bind(i64::from(self.is_final))
            .execute(on)
            .await
            .map(|_| ())
    }
}

/// A stored event.
struct Stored {
    n: i64,
    topic: Topic,
    message_id: Option<String>,
    event: Vec<u8>,
    is_final: bool,
}

struct Publisher {
    store: Store,
    bus: Bus,
    clock: Clock,
    /// This instance, in the row of the lease.
    holder: String,
    held_until: Option<Timestamp>,
    /// Events up to this one may be on their topics already.
    uncertain_to: i64,
    /// Published, but not removed yet.
    published: BTreeMap<i64, Published>,
    /// The last attempt failed. An outage is logged once.
    delayed: bool,
}

#[derive(Clone)]
struct Published {
    message_id: Option<String>,
    /// `None`: the topic was closed before.
    offset: Option<Offset>,
}

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Publishes stored events until the process stops.
pub(crate) fn publish(process: &Process, store: &Store, bus: &Bus) -> Bell {
    let publisher = Publisher {
        store: store.clone(),
        bus: bus.clone(),
        clock: process.clock.clone(),
        holder: Uuid::now_v7().to_string(),
        held_until: None,
        uncertain_to: 0,
        published: BTreeMap::new(),
        delayed: false,
    };
    outbox::publish(process, "room outbox", publisher)
}

impl Outbox for Publisher {
    async fn publish_some(&mut self) -> Next {
        match self.drain().await {
            Ok(true) => {
                self.delayed = false;
                return Next::Now;
            }
            Ok(false) => {
                self.delayed = false;
                if self.store.backend() == Backend::Postgres {
                    return Next::After(LOOK_FOR_OTHERS);
                }
            }
            Err(error) if !self.delayed => {
                self.delayed = true;
                warn!(error = &*error, "events of rooms are published later");
            }
            Err(error) => debug!(error = &*error, "events of rooms cannot be published yet"),
        }
        Next::After(LOOK)
    }
}

impl Publisher {
    /// Publishes one batch. Returns whether there may be more.
    async fn drain(&mut self) -> Result<bool, Error> {
        self.settle().await?;
        let rows = self.stored().await?;
        let Some(last) = rows.last().map(|row| row.n) else { return Ok(false) };
        if !self.hold(last).await? {
            return Ok(false); // another instance publishes
        }
        let more = rows.len() == BATCH as usize;
        let mut topics: BTreeMap<i64, Vec<Stored>> = BTreeMap::new();
        let mut first_of: HashMap<Topic, i64> = HashMap::new();
        for row in rows {
            let first = *first_of.entry(row.topic).or_insert(row.n);
            topics.entry(first).or_default().push(row);
        }
        let uncertain_to = self.uncertain_to;
        let (bus, until) = (&self.bus, self.held_until);
        let publishing = stream::iter(topics.into_values().map(|events| {
            let clock = self.clock.clone();
            async move { publish_in_order(bus, &clock, until, uncertain_to, events).await }
        }));
        let outcomes: Vec<_> = publishing.buffer_unordered(AT_ONCE).collect().await;
        let mut failed = None;
        for (published, error) in outcomes {
            self.published.extend(published);
            failed = error.or(failed);
        }
        match failed {
            None => self.uncertain_to = 0,
            Some(_) => self.uncertain_to = last.max(uncertain_to),
        }
        self.settle().await?;
        failed.map_or(Ok(more), Err)
    }

    async fn stored(&self) -> Result<Vec<Stored>, Error> {
        let rows = sqlx::query(
            "SELECT n, topic, message_id, event, is_final FROM room_outbox WHERE n > $1 ORDER BY n LIMIT $2",
        )
        .bind(0_i64)
        .bind(BATCH)
        .fetch_all(self.store.reader())
        .await?;
        let mut stored = Vec::with_capacity(rows.len());
        for row in rows {
            stored.push(Stored {
                n: row.try_get("n")?,
                topic: row.try_get::<String, _>("topic")?.parse()?,
                message_id: row.try_get("message_id")?,
                event: row.try_get("event")?,
                is_final: row.try_get::<i64, _>("is_final")? == 1,
            });
        }
        Ok(stored)
    }

    /// Takes or renews the lease. Returns whether this instance has it. `last` is the newest stored event that is known.
    async fn hold(&mut self, last: i64) -> Result<bool, Error> {
        let now = self.clock.now();
        if self.held_until.is_some_and(|until| now + MARGIN < until) {
            return Ok(true);
        }
        let until = now + LEASE;
        let taken = sqlx::query(
            "INSERT INTO room_publisher (id, holder, lease_until) VALUES (1, $1, $2)
             ON CONFLICT (id) DO UPDATE SET holder = excluded.holder, lease_until = excluded.lease_until
             WHERE room_publisher.holder = excluded.holder OR room_publisher.lease_until < $3",
        )
        .bind(&self.holder)
        .bind(micros(until))
        .bind(micros(now))
        .execute(self.store.pool())
        .await?
        .rows_affected();
        if taken == 0 {
            self.held_until = None;
            return Ok(false);
        }
        if self.held_until.is_none_or(|until| until < now) {
            // Another instance, or an earlier run of this one, may have published meanwhile.
            self.published.clear();
            self.uncertain_to = last;
        }
        self.held_until = Some(until);
        Ok(true)
    }

    /// Removes what was published.
    async fn settle(&mut self) -> Result<(), Error> {
        if self.published.is_empty() {
            return Ok(());
        }
        let rows: Vec<_> = self.published.iter().map(|(n, published)| (*n, published.clone())).collect();
        self.store.write(Settle { rows }).await?;
        self.published.clear();
        Ok(())
    }
}

/// Publishes events of one topic, until one fails.
async fn publish_in_order(
    bus: &Bus,
    clock: &Clock,
    until: Option<Timestamp>,
    uncertain_to: i64,
    events: Vec<Stored>,
) -> (Vec<(i64, Published)>, Option<Error>) {
    let mut published = Vec::with_capacity(events.len());
    let mut known = match events.first() {
        Some(first) if first.n <= uncertain_to => match on_topic(bus, first.topic, &events).await {
            Ok(known) => known,
            Err(error) => return (published, Some(error)),
        },
        _ => HashMap::new(),
    };
    for event in events {
        let offset = match known.remove(event.event.as_slice()) {
            Some(offset) => Some(offset),
            None if until.is_none_or(|until| clock.now() + MARGIN > until) => {
                return (published, Some("the lease ends before the batch".into()));
            }
            None => {
                let sent = match event.is_final {
                    true => bus.close(&event.topic, &event.event).await,
                    false => bus.publish(&event.topic, &event.event).await,
                };
                match sent {
                    Ok(offset) => Some(offset),
                    Err(PublishError::Closed { .. }) => None,
                    Err(error) => return (published, Some(error.into())),
                }
            }
        };
        published.push((event.n, Published { message_id: event.message_id, offset }));
    }
    (published, None)
}

/// The offsets of those of these events that are on the topic. An event has the time at which it was stored, and no earlier event of
/// the topic has the same bytes.
async fn on_topic(bus: &Bus, topic: Topic, events: &[Stored]) -> Result<HashMap<Vec<u8>, Offset>, Error> {
    const PAGE: usize = 1_000;
    let (mut known, mut after) = (HashMap::new(), None);
    loop {
        let page = bus.read(&topic, after, PAGE).await?;
        let Some(last) = page.records.last().map(|record| record.offset) else { return Ok(known) };
        for record in &page.records {
            if events.iter().any(|event| event.event == record.event) {
                known.insert(record.event.to_vec(), record.offset);
            }
        }
        after = Some(last);
    }
}

/// Removes published events, and stores the offsets of messages.
struct Settle {
    rows: Vec<(i64, Published)>,
}

impl Write for Settle {
    type Output = ();

    async fn perform(writes: &[Self], on: &mut AnyConnection) -> Result<Vec<()>, sqlx::Error> {
        for (n, Published { message_id, offset }) in writes.iter().flat_map(|write| &write.rows) {
            sqlx::query("DELETE FROM room_outbox WHERE n = $1").bind(*n).execute(&mut *on).await?;
            if let (Some(id), Some(offset)) = (message_id, offset) {
                sqlx::query("UPDATE room_messages SET epoch = $2, n = $3 WHERE id = $1")
                    .bind(id)
                    .bind(offset.epoch.cast_signed())
                    .bind(offset.n.cast_signed())
                    .execute(&mut *on)
                    .await?;
            }
        }
        Ok(vec![(); writes.len()])
    }
}
