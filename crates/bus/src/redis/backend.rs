//! Two connections, five scripts, three background tasks.

use std::sync::Arc;

use bytes::Bytes;
use redis::{Client, IntoConnectionInfo, ProtocolVersion};
use tokio::{
    sync::{broadcast, watch},
    time::Duration,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use turnpike_topic::{Offset, Topic};

use super::{
    connection::Connector,
    health::Health,
    history::History,
    link::{self, Link},
    messages, notice,
    publish::Publisher,
    verify,
};
use crate::{
    append::{Append, Appended},
    error::{InvalidUrl, PublishError, Unavailable},
    followed::{FollowedTopics, Signals},
    history::Found,
    limits::Limits,
    status::Status,
};

pub(crate) struct Redis {
    publisher: Publisher,
    history: History,
    link: Link,
    followed: Arc<FollowedTopics>,
    health: Arc<Health>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Redis {
    pub(crate) fn open(url: &str, limits: Limits) -> Result<Self, InvalidUrl> {
        let info = url.into_connection_info().map_err(|_| InvalidUrl)?;
        // With RESP3 the connection's driver calls this process for each message; RESP2 would put an unbounded queue in between.
        let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        let client = Client::open(info.set_redis_settings(settings)).map_err(|_| InvalidUrl)?;

        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let (followed, health) = (FollowedTopics::by_server(), Arc::new(Health::new()));
        let (link, keep_link) = link::new(Connector::for_commands(client.clone()), health.clone(), stop.clone());
        let messages = Connector::for_messages(client, followed.clone());
        tasks.spawn(keep_link);
        tasks.spawn(messages::keep(messages, followed.clone(), health.clone(), stop.clone()));
        tasks.spawn(verify::keep(link.clone(), followed.clone(), stop.clone()));
        tasks.close();
        let publisher = Publisher::new(limits, link.clone(), followed.clone());
        Ok(Self { publisher, history: History::new(link.clone()), link, followed, health, tasks, stop })
    }

    pub(crate) async fn append(
        &self,
        timeout: Duration,
        topic: &Topic,
        event: &[u8],
        how: Append,
    ) -> Result<Appended, PublishError> {
        self.publisher.append(timeout, topic, event, how).await
    }

    pub(crate) async fn notify(&self, timeout: Duration, topic: &Topic, event: &[u8]) -> Result<usize, Unavailable> {
        notice::send(&self.link, timeout, topic, event).await
    }

    pub(crate) fn notices(&self) -> broadcast::Receiver<(Topic, Bytes)> {
        self.followed.notices()
    }

    pub(crate) async fn read(
        &self,
        timeout: Duration,
        topic: &Topic,
        after: Option<Offset>,
        limit: usize,
    ) -> Result<Found, Unavailable> {
        self.history.read(timeout, topic, after, limit).await
    }

    pub(crate) async fn forget(&self, timeout: Duration, topic: &Topic) -> Result<(), Unavailable> {
        self.history.forget(timeout, topic).await?;
        self.publisher.forget(topic);
        Ok(())
    }

    /// Makes the topic's next publish start a new epoch, unless it has started already.
    pub(crate) async fn mark_lost(&self, timeout: Duration, topic: &Topic, epoch: u64) -> Result<(), Unavailable> {
        self.history.mark_lost(timeout, topic, epoch).await
    }

    pub(crate) fn signals(&self, topic: Topic) -> Signals {
        self.followed.signals(topic)
    }

    pub(crate) fn status(&self) -> watch::Receiver<Status> {
        self.health.status()
    }

    pub(crate) async fn shutdown(&self) {
        self.stop.cancel();
        self.tasks.wait().await;
    }
}

/// The tasks hold no reference to this value, so that they end with the last handle to the bus.
impl Drop for Redis {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
