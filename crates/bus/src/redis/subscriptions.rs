//! The connection for messages: it is subscribed to the channels of exactly the topics that somebody follows.

use std::sync::Arc;

use tokio::time::{Duration, timeout};
use tokio_util::sync::CancellationToken;
use turnpike_topic::Topic;

use super::{
    connection::{Connection, Connector},
    health::Health,
};
use crate::feeds::{Changes, Feeds};

/// How many topics are subscribed to with one command.
const BATCH: usize = 512;

/// For the answer to one such command.
const DEADLINE: Duration = Duration::from_secs(1);

/// Keeps the subscriptions as the feeds want them, over one connection after another.
pub(super) async fn keep(mut connector: Connector, feeds: Arc<Feeds>, health: Arc<Health>, stop: CancellationToken) {
    let keep_up = async move {
        loop {
            let connection = connector.open().await;
            feeds.unconfirm_all();
            serve(&connection, &feeds, &health).await;
            connection.lost.cancel();
            health.set_messages(false);
        }
    };
    stop.run_until_cancelled_owned(keep_up).await;
}

/// Returns when the connection does not work any more.
async fn serve(connection: &Connection, feeds: &Feeds, health: &Health) {
    loop {
        while let Some(changes) = feeds.take_changes(BATCH) {
            if timeout(DEADLINE, apply(connection, feeds, &changes)).await != Ok(true) {
                return;
            }
        }
        health.set_messages(true);
        tokio::select! {
            () = connection.end() => return,
            () = feeds.changed() => {}
        }
    }
}

/// Whether it worked.
async fn apply(connection: &Connection, feeds: &Feeds, changes: &Changes) -> bool {
    let mut commands = connection.commands.clone();
    if !changes.unsubscribe.is_empty() && commands.unsubscribe(channels(&changes.unsubscribe)).await.is_err() {
        return false;
    }
    if !changes.subscribe.is_empty() {
        if commands.subscribe(channels(&changes.subscribe)).await.is_err() {
            return false;
        }
        feeds.confirm(&changes.subscribe);
    }
    true
}

fn channels(topics: &[Topic]) -> Vec<String> {
    topics.iter().map(Topic::to_string).collect()
}
