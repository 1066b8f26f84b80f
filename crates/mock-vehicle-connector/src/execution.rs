//! One running command: its frames arrive, responses are published, and its end is published.

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

/// A running command.
pub(crate) struct Execution {
    pub(crate) id: CommandId,
    pub(crate) vin: String,
    pub(crate) command: Command,
    /// The end of the command at the latest.
    pub(crate) deadline: Timestamp,
    pub(crate) cancelled: CancellationToken,
    pub(crate) bus: Bus,
    pub(crate) clock: Clock,
    pub(crate) fleet: Fleet,
}

/// The end of a command.
#[derive(Debug, PartialEq)]
enum End {
    Completed,
    Failed {
        code: &'static str,
        message: String,
    },
    /// It is not known whether it ran; published with a reason, like a failure.
    Unknown {
        code: &'static str,
        message: String,
    },
    Cancelled,
    /// No answer: vehicles declares the end at the deadline.
    Silence,
}

/// Nothing more can be published: the topic is closed, or the deadline has passed.
#[derive(Debug)]
struct Over;

/// Pause after an event that the bus has refused.
const RETRY: Duration = Duration::from_millis(200);

impl Execution {
    /// Runs the command to its end.
    pub(crate) async fn run(self) {
        let over = self.clock.sleep_until(self.deadline);
        let outcome = tokio::select! {
            outcome = self.play() => outcome,
            () = over => Err(Over),
        };
        match outcome {
            Ok(()) => info!("the command has ended"),
            Err(Over) => info!("the command was ended by another service"),
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

    /// Publishes responses as their frames arrive.
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
        // The answer is incomplete, or there is none.
        Ok(End::Silence)
    }

    /// The end if it is not known whether the command ran.
    fn broken(&self, code: &'static str, message: &str) -> End {
        let message = message.to_owned();
        match self.command.is_unsafe() {
            true => End::Unknown { code, message },
            false => End::Failed { code, message },
        }
    }

    /// Publishes events in order, until the deadline.
    async fn say(&self, body: Body, is_final: bool) -> Result<(), Over> {
        let topic = Topic::Response(self.id);
        let event = Event { at: self.clock.now(), body };
        loop {
            // The bus itself waits for Redis: a second call would publish the event twice. The deadline ends the call.
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
