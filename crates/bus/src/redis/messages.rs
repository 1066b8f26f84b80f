//! The connection for messages: it is subscribed to the channels of exactly the followed topics.

use std::sync::Arc;

use tokio::time::{Duration, timeout};
use tokio_util::sync::CancellationToken;
use turnpike_topic::Topic;

use super::{
    connection::{Connection, Connector},
    health::Health,
};
use crate::followed::{Changes, FollowedTopics};

/// Channels per SUBSCRIBE or UNSUBSCRIBE.
const BATCH: usize = 512;

/// For the answer to one command.
const SUBSCRIBE_TIMEOUT: Duration = Duration::from_secs(1);

/// Keeps the connection subscribed to the channels of the followed topics, and replaces it when it breaks.
pub(super) async fn keep(
    mut connector: Connector,
    followed: Arc<FollowedTopics>,
    health: Arc<Health>,
    stop: CancellationToken,
) {
    let keep_up = async move {
        loop {
            let connection = connector.open().await;
            followed.unconfirm_all();
            serve(&connection, &followed, &health).await;
            connection.lost.cancel();
            health.set_messages(false);
        }
    };
    stop.run_until_cancelled_owned(keep_up).await;
}

/// Returns when the connection is broken.
async fn serve(connection: &Connection, followed: &FollowedTopics, health: &Health) {
    loop {
        while let Some(changes) = followed.take_changes(BATCH) {
            if timeout(SUBSCRIBE_TIMEOUT, apply(connection, followed, &changes)).await != Ok(true) {
                return;
            }
        }
        health.set_messages(true);
        tokio::select! {
            () = connection.end() => return,
            () = followed.changed() => {}
        }
    }
}

/// Whether it worked.
async fn apply(connection: &Connection, followed: &FollowedTopics, changes: &Changes) -> bool {
    let mut commands = connection.commands.clone();
    if !changes.unsubscribe.is_empty() && commands.unsubscribe(channels(&changes.unsubscribe)).await.is_err() {
        return false;
    }
    if !changes.subscribe.is_empty() {
        if commands.subscribe(channels(&changes.subscribe)).await.is_err() {
            return false;
        }
        followed.confirm(&changes.subscribe);
    }
    true
}

fn channels(topics: &[Topic]) -> Vec<String> {
    topics.iter().map(Topic::to_string).collect()
}
