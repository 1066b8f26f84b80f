//! Now and then, where is the head of everything that is followed?
//!
//! Pub/Sub promises nothing. A lost message shows as a hole as soon as another one comes; this finds the one that nothing
//! follows, the subscription that is dead without knowing it, and the topic that was lost.

use std::sync::Arc;

use redis::RedisResult;
use tokio::time::{Duration, Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use turnpike_topic::{Offset, Topic};

use super::{Keys, connection::Connection, link::Link};
use crate::feeds::Feeds;

const EVERY: Duration = Duration::from_secs(2);

/// How many topics are asked for in one round trip, and how long it may take.
const BATCH: usize = 512;
const DEADLINE: Duration = Duration::from_secs(1);

pub(super) async fn keep(link: Link, feeds: Arc<Feeds>, stop: CancellationToken) {
    let keep_on = async move {
        loop {
            sleep(EVERY).await;
            // Without a connection there is nothing to compare with: the next one makes every follower look.
            let Some(connection) = link.connection(Instant::now() + EVERY).await else { continue };
            for topics in feeds.topics().chunks(BATCH) {
                let Ok(Ok(heads)) = timeout(DEADLINE, heads(&connection, topics)).await else { break };
                for (topic, head) in topics.iter().zip(heads) {
                    feeds.tell_head(topic, head);
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
    // A forgotten topic leaves a head that counts to 0.
    let head = |(epoch, n): (Option<u64>, Option<u64>)| Some(Offset { epoch: epoch?, n: n.filter(|n| *n > 0)? });
    Ok(answers.into_iter().map(head).collect())
}
