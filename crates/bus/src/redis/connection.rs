//! One connection after another, each with a check whether it still works.

use std::sync::Arc;

use bytes::Bytes;
use redis::{
    AsyncConnectionConfig, Client, PushInfo, PushKind, RedisResult, Value,
    aio::{MultiplexedConnection, SendError},
};
use tokio::time::{Duration, Instant, error::Elapsed, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};
use turnpike_kit::tick;

use crate::{
    followed::{FollowedTopics, Signal},
    record,
};

/// For opening a connection, and for the answer to a `PING`.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// Between two pings. With the timeout, a silent outage is found after 1.5 s.
const PING_INTERVAL: Duration = Duration::from_millis(500);

/// Between attempts to connect; the delay doubles from the first to the last.
const FIRST_DELAY: Duration = Duration::from_millis(100);
const LAST_DELAY: Duration = Duration::from_secs(2);

/// Requests without an answer on one connection; further requests are not sent before.
const IN_FLIGHT: usize = 16_384;

/// Requests that are not written yet.
const UNSENT: usize = 1_024;

/// Bytes per write, at most.
const WRITE_BYTES: usize = 64 << 10;

/// One connection; its clones share it.
#[derive(Clone)]
pub(super) struct Connection {
    pub(super) commands: MultiplexedConnection,
    /// Cancelled by the first task that finds the connection broken.
    pub(super) lost: CancellationToken,
    /// The random id of the Redis process; empty if it is not known. Another id means that Redis was restarted, or that another
    /// server took over, and that the newest events may be lost.
    pub(super) run: Arc<str>,
}

/// Opens one connection after another.
pub(super) struct Connector {
    client: Client,
    /// The name of the connection in Redis's `CLIENT LIST`.
    name: &'static str,
    followed: Option<Arc<FollowedTopics>>,
    opened: Option<Instant>,
}

impl Connector {
    pub(super) fn for_commands(client: Client) -> Self {
        Self { client, name: "turnpike-bus-commands", followed: None, opened: None }
    }

    /// A message on the channel of a topic becomes a signal to the followers of the topic.
    pub(super) fn for_messages(client: Client, followed: Arc<FollowedTopics>) -> Self {
        Self { client, name: "turnpike-bus-messages", followed: Some(followed), opened: None }
    }

    /// Tries to connect until a connection answers, without a time limit.
    pub(super) async fn open(&mut self) -> Connection {
        // A connection that broke at once counts as a failed attempt.
        let mut delay = FIRST_DELAY;
        if self.opened.is_some_and(|opened| opened.elapsed() < ANSWER_TIMEOUT) {
            sleep(delay).await;
        }
        loop {
            match timeout(ANSWER_TIMEOUT, self.attempt()).await.unwrap_or_else(|_: Elapsed| Err(no_answer())) {
                Ok(connection) => {
                    info!(connection = self.name, "connected to Redis");
                    self.opened = Some(Instant::now());
                    return connection;
                }
                Err(error) if delay == FIRST_DELAY => warn!(connection = self.name, %error, "cannot connect to Redis"),
                Err(error) => debug!(connection = self.name, %error, "still cannot connect to Redis"),
            }
            sleep(delay).await;
            delay = (delay * 2).min(LAST_DELAY);
        }
    }

    async fn attempt(&self) -> RedisResult<Connection> {
        let lost = CancellationToken::new();
        let (ended, followed) = (lost.clone(), self.followed.clone());
        let on_push = move |push: PushInfo| {
            match (push.kind, &followed) {
                (PushKind::Disconnection, _) => ended.cancel(),
                (PushKind::Message, Some(followed)) => deliver(followed, push.data),
                _ => {} // a confirmation is also the answer to its request
            }
            Ok::<(), SendError>(())
        };
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(None) // the timeout of `open` includes it
            .set_response_timeout(None) // each caller has a timeout
            .set_concurrency_limit(IN_FLIGHT)
            .set_pipeline_buffer_size(UNSENT)
            .set_write_backpressure_boundary(WRITE_BYTES)
            .set_push_sender(on_push);
        let mut commands = self.client.get_multiplexed_async_connection_with_config(&config).await?;
        let named: RedisResult<Value> =
            redis::cmd("CLIENT").arg("SETNAME").arg(self.name).query_async(&mut commands).await;
        if let Err(error) = named {
            debug!(%error, "the connection stays without a name"); // the user may not be allowed to set it, and only operators read it
        }
        // A Redis that is still loading its data accepts connections, and refuses this.
        redis::cmd("PING").query_async::<Value>(&mut commands).await?;
        let run = run_id(&mut commands).await.into();
        Ok(Connection { commands, lost, run })
    }
}

impl Connection {
    /// Returns when the connection is broken.
    pub(super) async fn end(&self) {
        let (ping, mut commands) = (redis::cmd("PING"), self.commands.clone());
        loop {
            tokio::select! {
                () = self.lost.cancelled() => return,
                () = tick(PING_INTERVAL) => {}
            }
            if !matches!(timeout(ANSWER_TIMEOUT, ping.query_async::<Value>(&mut commands)).await, Ok(Ok(_))) {
                self.lost.cancel();
            }
        }
    }
}

/// The first 16 of 40 hexadecimal digits: enough to distinguish processes, and short, because each head stores them.
async fn run_id(commands: &mut MultiplexedConnection) -> String {
    let info: RedisResult<String> = redis::cmd("INFO").arg("server").query_async(commands).await;
    let info = info.unwrap_or_else(|error| {
        warn!(%error, "cannot read the run id of Redis: topics that lost their newest events may not be recognised");
        String::new()
    });
    let id = info.lines().find_map(|line| line.strip_prefix("run_id:")).unwrap_or_default();
    id.chars().take(16).collect()
}

/// A message as Redis pushes it: the channel, which is the topic's name, and the payload.
fn deliver(followed: &FollowedTopics, message: Vec<Value>) {
    let Ok([Value::BulkString(channel), Value::BulkString(payload)]) = <[Value; 2]>::try_from(message) else { return };
    let Some(topic) = std::str::from_utf8(&channel).ok().and_then(|name| name.parse().ok()) else { return };
    let payload = Bytes::from(payload);
    match record::notice_event(&payload) {
        Some(event) => {
            followed.send_notice(topic, event);
        }
        None => followed.send(&topic, Signal::Record(payload)),
    }
}

fn no_answer() -> redis::RedisError {
    std::io::Error::from(std::io::ErrorKind::TimedOut).into()
}
