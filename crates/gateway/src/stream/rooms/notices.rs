//! Delivers notices to the sockets that follow a room here.

use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;
use turnpike_event::{Body, Event, frame_without_offset};
use turnpike_kit::{OnExit, Process};
use turnpike_topic::Topic;

use super::Rooms;
use crate::stream::rfc6455;

impl Rooms {
    pub(super) fn deliver_notices(&self, process: &Process, drained: &CancellationToken) {
        let (rooms, mut notices) = (self.clone(), self.0.bus.notices());
        let drained = drained.clone();
        process.tasks.spawn("room notices", OnExit::StopProcess, async move {
            loop {
                let received = tokio::select! {
                    () = drained.cancelled() => return,
                    received = notices.recv() => received,
                };
                match received {
                    Ok((topic @ Topic::Room(room), bytes)) => {
                        let event = Event::from_bytes(bytes);
                        let Body::Notice(notice) = &event.body else { continue };
                        let handles = rooms.audience(room, notice.audience());
                        if handles.is_empty() {
                            continue;
                        }
                        let frame = rfc6455::text(frame_without_offset(&topic, &event));
                        handles.iter().for_each(|handle| handle.notify(topic, &frame));
                    }
                    // A notice may be lost.
                    Ok(_) | Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                }
                tokio::task::coop::consume_budget().await;
            }
        });
    }
}
