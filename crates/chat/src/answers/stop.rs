//! Stopping an answer, on whichever instance it is generated.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tracing::debug;
use turnpike_bus::{Delivery, From};
use turnpike_event::{Body, ChatEvent, Event};
use turnpike_kit::{OnExit, Process};
use turnpike_topic::{ConversationId, MessageId, Topic};

use super::{Resources, leases};

/// How long a caller waits for the end of the answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// Pause between two looks at an answer of another instance.
const LOOK: Duration = Duration::from_millis(25);

/// Stops the running answer of a conversation and waits for its end, at most [`PATIENCE`]. Returns which one; `None`: it has none.
pub(crate) async fn stop(resources: &Resources, id: ConversationId) -> Result<Option<MessageId>, sqlx::Error> {
    let Some(message_id) = leases::ask_to_stop(&resources.store, id, resources.clock.now()).await? else {
        return Ok(None);
    };
    if let Some(source) = resources.running.stop(message_id) {
        let _ = timeout(PATIENCE, source.ended()).await; // the end is published in any case
        return Ok(Some(message_id));
    }
    let event = Event { at: resources.clock.now(), body: Body::Chat(ChatEvent::StopRequested { message_id }) };
    if let Err(error) = resources.bus.publish(&Topic::Answers, &event.to_bytes()).await {
        debug!(%error, message = %message_id, "another instance learns of a stop when it renews its lease");
    }
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until && leases::is_running(&resources.store, message_id).await? {
        sleep(LOOK).await;
    }
    Ok(Some(message_id))
}

/// Starts the task that stops answers of this instance when another instance asks for it.
pub(crate) fn listen(process: &Process, resources: &Resources) {
    let resources = resources.clone();
    let stopping = process.tasks.stopping().clone();
    process.tasks.spawn("stop requests", OnExit::StopProcess, async move {
        let mut follower = resources.bus.follow(Topic::Answers, From::Live);
        loop {
            let delivery = tokio::select! {
                () = stopping.cancelled() => return,
                delivery = follower.next() => delivery,
            };
            let Delivery::Record(record) = delivery else { continue };
            if let Body::Chat(ChatEvent::StopRequested { message_id }) = Event::from_bytes(record.event).body {
                resources.running.stop(message_id);
            }
        }
    });
}
