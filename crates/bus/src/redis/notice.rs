//! Sending notices: messages on the channel of a topic that are not stored.

use std::sync::LazyLock;

use redis::Script;
use tokio::time::Duration;
use turnpike_topic::Topic;

use super::{keys::Keys, link::Link};
use crate::{error::Unavailable, record};

static SEND: LazyLock<Script> = LazyLock::new(|| Script::new("return redis.call('PUBLISH', ARGV[1], ARGV[2])"));

/// Sends a notice, and returns the number of its receivers. If the connection breaks meanwhile, it may be sent twice.
pub(super) async fn send(link: &Link, timeout: Duration, topic: &Topic, event: &[u8]) -> Result<usize, Unavailable> {
    let channel = topic.to_string();
    let (keys, message) = (Keys::of(&channel), record::notice(event));
    link.call(timeout, &SEND, |call, _, _| {
        call.key(&keys.stream).arg(&channel).arg(&message);
    })
    .await
}
