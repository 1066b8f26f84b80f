//! One running command: frames arrive, pieces are published, an end is found.

use std::time::Duration;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use turnpike_bus::{Bus, PublishError, UNTIL_DROPPED};
use turnpike_event::{Body, CommandEvent, CommandState, Event};
use turnpike_kit::Clock;
use turnpike_topic::{CommandId, Topic};

use crate::{
    command::{self, Command, Meaning},
    fleet::{Fleet, NotAsked},
    link::{Arrival, Assembled, Assembler},
};

/// A command on its way.
pub(crate) struct Execution {
    pub(crate) id: CommandId,
    pub(crate) vin: String,
    pub(crate) command: Command,
    /// Nobody listens any longer.
    pub(crate) deadline: Timestamp,
    pub(crate) cancelled: CancellationToken,
    pub(crate) bus: Bus,
    pub(crate) clock: Clock,
    pub(crate) fleet: Fleet,
}

/// How a command ends, as far as this connector knows.
#[derive(Debug, PartialEq)]
enum End {
    Completed,
    Failed {
        code: &'static str,
        message: String,
    },
    /// It is not known whether it ran; told like a failure, with its reason.
    Unknown {
        code: &'static str,
        message: String,
    },
    Cancelled,
    /// No word: whoever waits has a deadline of his own.
    Silence,
}

/// Nothing can be published any longer: somebody else has ended the command, or its time is over.
#[derive(Debug)]
struct Over;

/// Until a bus that refuses is asked again.
const RETRY: Duration = Duration::from_millis(200);

impl Execution {
    /// Runs it to its end.
    pub(crate) async fn run(self) {
        let over = self.clock.sleep_until(self.deadline);
        let outcome = tokio::select! {
            outcome = self.play() => outcome,
            () = over => Err(Over),
        };
        match outcome {
            Ok(()) => info!("the command has ended"),
            Err(Over) => info!("the command has ended elsewhere"),
        }
    }

    async fn play(&self) -> Result<(), Over> {
        self.say(Body::Command(CommandEvent::Status { command_id: self.id, state: CommandState::InProgress }), false)
            .await?;
        let end = self.answer().await?;
        let state = match &end {
            End::Completed => CommandState::Completed,
            End::Failed { .. } => CommandState::Failed,
            End::Unknown { .. } => CommandState::Unknown,
            End::Cancelled => CommandState::Cancelled,
            End::Silence => {
                self.cancelled.cancelled().await;
                CommandState::Cancelled
            }
        };
        if let End::Failed { code, message } | End::Unknown { code, message } = end {
            let body = Body::Command(CommandEvent::Error {
                command_id: self.id,
                error_code: code.to_owned(),
                error_message: message,
            });
            self.say(body, false).await?;
        }
        self.say(Body::Command(CommandEvent::Status { command_id: self.id, state }), true).await
    }

    /// Publishes the pieces as they come.
    async fn answer(&self) -> Result<End, Over> {
        let arrivals = match self.fleet.ask(&self.vin, &self.command) {
            Ok(arrivals) => arrivals,
            Err(NotAsked::Unknown | NotAsked::Disconnected) => {
                return Ok(End::Failed { code: DISCONNECTED, message: "The vehicle is not connected".to_owned() });
            }
        };
        let mut assembler = Assembler::default();
        let mut sequence_number = 0;
        for (delay, arrival) in arrivals {
            if delay > 0 {
                tokio::select! {
                    () = self.clock.sleep(Duration::from_millis(delay)) => {}
                    () = self.cancelled.cancelled() => return Ok(End::Cancelled),
                }
            }
            let frame = match arrival {
                Arrival::Frame(frame) => frame,
                Arrival::Lost => {
                    self.fleet.lose(&self.vin);
                    return Ok(self.broken(DISCONNECTED, "The vehicle was lost while it answered"));
                }
            };
            let Assembled::Messages(messages) = assembler.take(frame) else {
                return Ok(self.broken(MALFORMED, "The vehicle's answer is out of all order"));
            };
            for (message, last) in messages {
                let response = match command::read(&self.command, &message) {
                    Meaning::Piece(response) => response,
                    Meaning::Pending => continue,
                    Meaning::Negative { message } => return Ok(End::Failed { code: "NEGATIVE_RESPONSE", message }),
                    Meaning::Malformed => return Ok(self.broken(MALFORMED, "The vehicle's answer cannot be read")),
                };
                sequence_number += 1;
                let body = Body::Command(CommandEvent::Response {
                    command_id: self.id,
                    sequence_number,
                    is_final: last,
                    response,
                });
                self.say(body, false).await?;
                if last {
                    return Ok(End::Completed);
                }
            }
        }
        // The answer has a hole, or there is none.
        Ok(End::Silence)
    }

    /// What was asked for may have been done, or not.
    fn broken(&self, code: &'static str, message: &str) -> End {
        let message = message.to_owned();
        match self.command.is_unsafe() {
            true => End::Unknown { code, message },
            false => End::Failed { code, message },
        }
    }

    /// Publishes, in order, for as long as somebody listens.
    async fn say(&self, body: Body, is_final: bool) -> Result<(), Over> {
        let topic = Topic::Response(self.id);
        let event = Event { at: self.clock.now(), body };
        loop {
            // The bus waits for its Redis: a second call would be a second event. The deadline ends it.
            let said = match is_final {
                true => self.bus.close_within(UNTIL_DROPPED, &topic, &event.to_bytes()).await,
                false => self.bus.publish_within(UNTIL_DROPPED, &topic, &event.to_bytes()).await,
            };
            match said {
                Ok(_) => return Ok(()),
                Err(PublishError::Closed { .. }) => return Err(Over),
                Err(error) => warn!(%error, "the bus refuses an event"),
            }
            self.clock.sleep(RETRY).await;
        }
    }
}

const DISCONNECTED: &str = "VEHICLE_DISCONNECTED";
const MALFORMED: &str = "MALFORMED_RESPONSE";
