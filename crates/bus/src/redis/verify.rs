//! Asks Redis for the heads of all followed topics every two seconds.
//!
//! Pub/Sub may lose messages. A lost message shows as a gap when the next message arrives. This task finds a lost message without
//! a next one, a connection that no longer gets messages, and a topic that was lost.

use std::sync::Arc;

use redis::RedisResult;
use tokio::time::{Duration, Instant, timeout};
use tokio_util::sync::CancellationToken;
use turnpike_kit::tick;
use turnpike_topic::{Offset, Topic};

use super::{connection::Connection, keys::Keys, link::Link};
use crate::followed::FollowedTopics;

const INTERVAL: Duration = Duration::from_secs(2);

/// Topics per round trip.
const BATCH: usize = 512;
/// For one round trip.
const HEADS_TIMEOUT: Duration = Duration::from_secs(1);

pub(super) async fn keep(link: Link, followed: Arc<FollowedTopics>, stop: CancellationToken) {
    let keep_on = async move {
        loop {
            tick(INTERVAL).await;
            // Without a connection there are no heads to compare; after the next connection every follower reads history.
            let Some(connection) = link.connection(Instant::now() + INTERVAL).await else { continue };
            for topics in followed.topics().chunks(BATCH) {
                let Ok(Ok(heads)) = timeout(HEADS_TIMEOUT, heads(&connection, topics)).await else { break };
                for (topic, head) in topics.iter().zip(heads) {
                    followed.send_head(topic, head);
                }
            }
        }
    };
    stop.run_until_cancelled_owned(keep_on).await;
}

async fn heads(connection: &Connection, topics: &[Topic]) -> RedisResult<Vec<Option<Offset>>> {
    let mut ask = redis::pipe();
    for topic in topics {
        ask.cmd("HMGET").arg(Keys::of(&topic.to_string()).head).arg("epoch").arg("n");
    }
    let answers: Vec<(Option<u64>, Option<u64>)> = ask.query_async(&mut connection.commands.clone()).await?;
    // The head of a forgotten topic has `n` 0.
    let head = |(epoch, n): (Option<u64>, Option<u64>)| Some(Offset { epoch: epoch?, n: n.filter(|n| *n > 0)? });
    Ok(answers.into_iter().map(head).collect())
}
