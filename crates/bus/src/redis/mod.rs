//! The bus over Redis: two connections, five scripts, three background tasks.

mod call;
mod connection;
mod health;
mod history;
mod known;
mod link;
mod publish;
mod subscriptions;
mod verify;

use std::sync::Arc;

use redis::{Client, IntoConnectionInfo, ProtocolVersion};
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use turnpike_topic::Topic;

use self::{connection::Connector, health::Health, history::History, link::Link, publish::Publisher};
use crate::{
    InvalidUrl, Limits, Status,
    feeds::{Feeds, Subscription},
};

pub(crate) struct Redis {
    limits: Limits,
    publisher: Publisher,
    history: History,
    link: Link,
    feeds: Arc<Feeds>,
    health: Arc<Health>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Redis {
    pub(crate) fn open(url: &str, limits: Limits) -> Result<Self, InvalidUrl> {
        let info = url.into_connection_info().map_err(|_| InvalidUrl)?;
        // RESP3 lets the connection's driver hand messages to the feeds itself; RESP2 would put an unbounded queue in between.
        let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        let client = Client::open(info.set_redis_settings(settings)).map_err(|_| InvalidUrl)?;

        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let (feeds, health) = (Feeds::by_server(), Arc::new(Health::new()));
        let (link, keep_link) = link::new(Connector::for_commands(client.clone()), health.clone(), stop.clone());
        let messages = Connector::for_messages(client, feeds.clone());
        tasks.spawn(keep_link);
        tasks.spawn(subscriptions::keep(messages, feeds.clone(), health.clone(), stop.clone()));
        tasks.spawn(verify::keep(link.clone(), feeds.clone(), stop.clone()));
        tasks.close();
        let (publisher, history) = (Publisher::new(), History::new());
        Ok(Self { limits, publisher, history, link, feeds, health, tasks, stop })
    }

    pub(crate) fn join(&self, topic: Topic) -> Subscription {
        self.feeds.join(topic)
    }

    pub(crate) fn status(&self) -> watch::Receiver<Status> {
        self.health.status()
    }

    pub(crate) async fn shutdown(&self) {
        self.stop.cancel();
        self.tasks.wait().await;
    }
}

/// The tasks hold nothing of this, so that they end with the last handle to the bus.
impl Drop for Redis {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// The two keys of a topic. The braces make a Redis Cluster keep them together.
struct Keys {
    stream: String,
    head: String,
}

impl Keys {
    fn of(topic: &str) -> Self {
        Self { stream: format!("topic:{{{topic}}}"), head: format!("topic:{{{topic}}}:head") }
    }
}
