//! Connections that know whether they work.

use std::sync::Arc;

use bytes::Bytes;
use redis::{
    AsyncConnectionConfig, Client, PushInfo, PushKind, RedisResult, Value,
    aio::{MultiplexedConnection, SendError},
};
use tokio::time::{Duration, Instant, error::Elapsed, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::feeds::{Feeds, Signal};

/// For everything that opening a connection takes, and for the answer to a ping.
const DEADLINE: Duration = Duration::from_secs(1);

/// An idle connection is asked this often. With the deadline: a silent outage is known after 1.5 seconds.
const PING_EVERY: Duration = Duration::from_millis(500);

/// Between attempts to connect; the wait doubles from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(2);

/// Requests that wait for an answer on one connection; more wait for their turn.
const IN_FLIGHT: usize = 16_384;

/// Requests that wait to be written.
const UNSENT: usize = 1_024;

/// Written at once, at most.
const WRITE_BYTES: usize = 64 << 10;

/// One connection, shared by all who have a clone of it.
#[derive(Clone)]
pub(super) struct Connection {
    pub(super) commands: MultiplexedConnection,
    /// It does not work any more. Whoever finds out says so here.
    pub(super) lost: CancellationToken,
    /// The random id of the Redis process; empty if it is not known. Another id means that Redis was restarted, or that
    /// another server took over, and that newest events may be lost.
    pub(super) run: Arc<str>,
}

/// Opens one connection after another.
pub(super) struct Connector {
    client: Client,
    /// How the connection is called in Redis's `CLIENT LIST`.
    name: &'static str,
    feeds: Option<Arc<Feeds>>,
    opened: Option<Instant>,
}

impl Connector {
    pub(super) fn for_commands(client: Client) -> Self {
        Self { client, name: "turnpike-bus-commands", feeds: None, opened: None }
    }

    /// What is published on a topic's channel goes to the topic's feed.
    pub(super) fn for_messages(client: Client, feeds: Arc<Feeds>) -> Self {
        Self { client, name: "turnpike-bus-messages", feeds: Some(feeds), opened: None }
    }

    /// Opens a connection that answers, however long that takes.
    pub(super) async fn open(&mut self) -> Connection {
        // A connection that did not live is one more failed attempt.
        let mut pause = FIRST_PAUSE;
        if self.opened.is_some_and(|opened| opened.elapsed() < DEADLINE) {
            sleep(pause).await;
        }
        loop {
            match timeout(DEADLINE, self.attempt()).await.unwrap_or_else(|_: Elapsed| Err(no_answer())) {
                Ok(connection) => {
                    info!(connection = self.name, "connected to Redis");
                    self.opened = Some(Instant::now());
                    return connection;
                }
                Err(error) if pause == FIRST_PAUSE => warn!(connection = self.name, %error, "cannot connect to Redis"),
                Err(error) => debug!(connection = self.name, %error, "still cannot connect to Redis"),
            }
            sleep(pause).await;
            pause = (pause * 2).min(LAST_PAUSE);
        }
    }

    async fn attempt(&self) -> RedisResult<Connection> {
        let lost = CancellationToken::new();
        let (ended, feeds) = (lost.clone(), self.feeds.clone());
        let on_push = move |push: PushInfo| {
            match (push.kind, &feeds) {
                (PushKind::Disconnection, _) => ended.cancel(),
                (PushKind::Message, Some(feeds)) => deliver(feeds, push.data),
                _ => {} // confirmations are answers to their requests too
            }
            Ok::<(), SendError>(())
        };
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(None) // the deadline above is for all of it
            .set_response_timeout(None) // whoever asks has a deadline
            .set_concurrency_limit(IN_FLIGHT)
            .set_pipeline_buffer_size(UNSENT)
            .set_write_backpressure_boundary(WRITE_BYTES)
            .set_push_sender(on_push);
        let mut commands = self.client.get_multiplexed_async_connection_with_config(&config).await?;
        let named: RedisResult<Value> =
            redis::cmd("CLIENT").arg("SETNAME").arg(self.name).query_async(&mut commands).await;
        if let Err(error) = named {
            debug!(%error, "the connection stays without a name"); // it may be forbidden, and is only for people
        }
        // A Redis that is still loading its data accepts connections, and refuses this.
        redis::cmd("PING").query_async::<Value>(&mut commands).await?;
        let run = run_id(&mut commands).await.into();
        Ok(Connection { commands, lost, run })
    }
}

impl Connection {
    /// Returns when the connection does not work any more.
    pub(super) async fn end(&self) {
        let (ping, mut commands) = (redis::cmd("PING"), self.commands.clone());
        loop {
            tokio::select! {
                () = self.lost.cancelled() => return,
                () = sleep(PING_EVERY) => {}
            }
            if !matches!(timeout(DEADLINE, ping.query_async::<Value>(&mut commands)).await, Ok(Ok(_))) {
                self.lost.cancel();
            }
        }
    }
}

/// The first 16 of 40 hexadecimal digits: enough to tell processes apart, and short, because each head holds them.
async fn run_id(commands: &mut MultiplexedConnection) -> String {
    let info: RedisResult<String> = redis::cmd("INFO").arg("server").query_async(commands).await;
    let info = info.unwrap_or_else(|error| {
        warn!(%error, "Redis does not tell its run id: topics that lost their newest events may not be recognised");
        String::new()
    });
    let id = info.lines().find_map(|line| line.strip_prefix("run_id:")).unwrap_or_default();
    id.chars().take(16).collect()
}

/// A message as Redis pushes it: the channel, which is the topic's name, and the payload.
fn deliver(feeds: &Feeds, message: Vec<Value>) {
    let Ok([Value::BulkString(channel), Value::BulkString(payload)]) = <[Value; 2]>::try_from(message) else { return };
    let Some(topic) = std::str::from_utf8(&channel).ok().and_then(|name| name.parse().ok()) else { return };
    feeds.tell(&topic, Signal::Record(Bytes::from(payload)));
}

fn no_answer() -> redis::RedisError {
    std::io::Error::from(std::io::ErrorKind::TimedOut).into()
}
