//! Publishes this service's own events on the topic of a command: the first event, and an end that it declares.

use jiff::Timestamp;
use turnpike_bus::{Bus, PublishError, UNTIL_DROPPED};
use turnpike_event::{Body, CommandEvent, CommandState, Event};
use turnpike_kit::{Clock, Retry};
use turnpike_topic::{CommandId, Topic};

use crate::lifecycle::State;

/// An end that this service has declared.
#[derive(Clone, Debug)]
pub(crate) struct Declared {
    pub(crate) state: State,
    /// The code and the message that explain it.
    pub(crate) error: Option<(String, String)>,
    pub(crate) at: Timestamp,
}

/// Publishes on one command's topic. Each call waits for the bus as long as necessary; its caller can drop it.
#[derive(Clone)]
pub(crate) struct Publisher {
    pub(crate) bus: Bus,
    pub(crate) clock: Clock,
    pub(crate) id: CommandId,
}

impl Publisher {
    fn topic(&self) -> Topic {
        Topic::Response(self.id)
    }

    /// Opens the topic with its first event, `pending`. Another supervisor may have opened it and stopped before it could store
    /// that, or may be opening it now: the topic then has that one's event.
    pub(crate) async fn open(self, now: Timestamp) {
        let first =
            event(Body::Command(CommandEvent::Status { command_id: self.id, state: CommandState::Pending }), now);
        let mut retry = Retry::default();
        loop {
            match self.bus.open_within(UNTIL_DROPPED, &self.topic(), &first.to_bytes()).await {
                Ok(_) | Err(PublishError::Closed { .. }) => return,
                Err(error) => retry.pause(&self.clock, "the command's topic cannot be opened yet", error).await,
            }
        }
    }

    /// Closes the topic with a declared end. The first final event wins: if there is another, nothing is published.
    pub(crate) async fn end(self, Declared { state, error, at }: Declared) {
        let command_id = self.id;
        let error = error.map(|(error_code, error_message)| {
            Body::Command(CommandEvent::Error { command_id, error_code, error_message })
        });
        let status = Body::Command(CommandEvent::Status { command_id, state: state.shown() });
        for body in error.into_iter().chain([status]) {
            let is_final = matches!(body, Body::Command(CommandEvent::Status { .. }));
            let event = event(body, at);
            let mut retry = Retry::default();
            loop {
                // The bus waits for its Redis: a second call would be a second event.
                let appended = match is_final {
                    true => self.bus.close_within(UNTIL_DROPPED, &self.topic(), &event.to_bytes()).await,
                    false => self.bus.publish_within(UNTIL_DROPPED, &self.topic(), &event.to_bytes()).await,
                };
                match appended {
                    Ok(_) => break,
                    Err(PublishError::Closed { .. }) => return,
                    Err(error) => retry.pause(&self.clock, "the command's end cannot be published yet", error).await,
                }
            }
        }
    }
}

fn event(body: Body, at: Timestamp) -> Event {
    Event { at, body }
}
