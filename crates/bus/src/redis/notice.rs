//! Notices: messages on the channel of a topic that are not stored. They begin with a byte that no record begins with.

use std::sync::LazyLock;

use bytes::Bytes;
use redis::Script;
use tokio::time::Duration;
use turnpike_topic::Topic;

use super::{keys::Keys, link::Link};
use crate::error::Unavailable;

/// The first byte of a notice. A record begins with the tag of its first field.
const MARK: u8 = 0;

static SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new("redis.call('PUBLISH', ARGV[1], ARGV[2]) return 1"));

/// Sends a notice. If the connection breaks meanwhile, it may be sent twice.
pub(super) async fn send(link: &Link, timeout: Duration, topic: &Topic, event: &[u8]) -> Result<(), Unavailable> {
    let (channel, message) = (topic.to_string(), [&[MARK], event].concat());
    let keys = Keys::of(&channel);
    let sent: u8 = link
        .call(timeout, &SCRIPT, |call, _, _| {
            call.key(&keys.stream).arg(&channel).arg(&message);
        })
        .await?;
    debug_assert_eq!(sent, 1, "what the script returns");
    Ok(())
}

/// The event of a message that is a notice.
pub(super) fn event(message: &Bytes) -> Option<Bytes> {
    (message.first() == Some(&MARK)).then(|| message.slice(1..))
}
