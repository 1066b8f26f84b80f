//! Appending an event: one script call.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use redis::Script;
use turnpike_event::{Offset, Topic, event_field};

use super::{Keys, Redis, call::Attempt};
use crate::PublishError;

pub(super) struct Publisher {
    script: Script,
    /// This publisher among all of them.
    id: u64,
    published: AtomicU64,
}

impl Publisher {
    pub(super) fn new() -> Self {
        Self { script: Script::new(include_str!("publish.lua")), id: rand::random(), published: AtomicU64::new(0) }
    }

    /// Names one publish, so that its attempts can be recognised as one.
    fn next_id(&self) -> [u8; 16] {
        let count = self.published.fetch_add(1, Ordering::Relaxed);
        (u128::from(self.id) << 64 | u128::from(count)).to_be_bytes()
    }
}

impl Redis {
    /// `event` is an encoded event.
    pub(crate) async fn append(
        &self,
        bound: Duration,
        topic: &Topic,
        event: &[u8],
        is_final: bool,
    ) -> Result<Offset, PublishError> {
        let channel = topic.to_string();
        let keys = Keys::of(&channel);
        let (event, id) = (event_field(event), self.publisher.next_id());
        let (is_there, epoch, n): (bool, u64, u64) = self
            .link
            .call(bound, &self.publisher.script, |call, attempt| {
                call.key(&keys.stream)
                    .key(&keys.head)
                    .arg(&event)
                    .arg(is_final)
                    .arg(&id)
                    .arg(attempt == Attempt::Again)
                    .arg(self.limits.retention_ms())
                    .arg(self.limits.max_events())
                    .arg(&channel);
            })
            .await?;
        let offset = Offset { epoch, n };
        if is_there { Ok(offset) } else { Err(PublishError::Closed { final_offset: offset }) }
    }
}
