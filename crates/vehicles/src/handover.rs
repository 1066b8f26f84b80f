//! Handing a dispatched command to its connector: how often, what a refusal means, and whether anything may have run.

use std::time::Duration;

use tokio::{sync::oneshot, task::AbortHandle};
use tonic::Code;
use tracing::{info, warn};
use turnpike_kit::{Context, Death};
use turnpike_proto::vehicle::v1 as pb;

use crate::{
    commands::Open,
    conductor::{Conductor, RETRY, timestamp},
    leases,
    lifecycle::{Effect, State},
};

/// How often a command is handed over, at most.
const ATTEMPTS: u32 = 3;
/// How handing over went.
pub(crate) enum HandedOver {
    Accepted {
        instance_id: String,
        /// The life that the watch still showed then, if it was another.
        outlived: Option<String>,
    },
    /// It did not run, and it is known why.
    Refused { state: State, code: String, message: String },
    /// It may have arrived. Whoever waits will see, or the deadline will.
    NobodyKnows,
}

/// A hand-over on its way, in a task of its own: its conductor waits for the database while it records, and one that waited
/// for both at once could hold the very connection that it waits for. Dropped, it goes no further.
pub(crate) struct Leaving {
    task: AbortHandle,
    outcome: oneshot::Receiver<HandedOver>,
}

impl Leaving {
    pub(crate) fn begin(here: &Conductor, open: &Open, fresh: bool) -> Self {
        let hand_over = HandOver { here: here.clone(), open: open.clone(), fresh };
        let (told, outcome) = oneshot::channel();
        let work = async move {
            // Nobody listens once an end was declared.
            let _ = told.send(hand_over.run().await);
        };
        Self { task: here.tasks.spawn("hand over", Death::Ends, Context::current().scope(work)), outcome }
    }

    pub(crate) async fn outcome(leaving: &mut Option<Self>) -> HandedOver {
        match leaving {
            // A task that died has told nobody how far it came.
            Some(leaving) => (&mut leaving.outcome).await.unwrap_or(HandedOver::NobodyKnows),
            None => std::future::pending().await,
        }
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Handing a dispatched command to its connector.
struct HandOver {
    here: Conductor,
    open: Open,
    fresh: bool,
}

impl HandOver {
    async fn run(self) -> HandedOver {
        let command = &self.open.command;
        // Of what a conductor that died has left, only what may run twice is handed over again; a connector that has seen it
        // answers like the first time.
        let unanswered = command.state == State::Dispatched && self.open.instance_id.is_none();
        if !(self.fresh || unanswered && command.effect == Effect::Read) {
            return self.left_by_another();
        }
        let Some(client) = self.here.fleet.client(&self.open.connector) else {
            return refused(State::Rejected, "NO_CONNECTOR", "No connector of this deployment reaches the vehicle");
        };
        let request = pb::ExecuteRequest {
            command_id: command.id.to_string(),
            vin: self.open.vin.clone(),
            name: command.name.clone(),
            params_json: command.params.clone(),
            deadline: Some(timestamp(self.open.run_by)),
        };
        for attempt in 1.. {
            let status = match client.clone().execute(request.clone()).await {
                Ok(answer) => return self.accepted(answer.into_inner().instance_id).await,
                Err(status) => status,
            };
            let ran = might_have_run(&status);
            info!(attempt, code = ?status.code(), ran, "the connector did not accept the command");
            let again = match command.effect {
                Effect::Read => retriable(&status),
                Effect::Idempotent => retriable(&status) && !ran,
                Effect::Unsafe => false,
            };
            let pause = RETRY * attempt + self.jitter(attempt);
            let in_time = self.here.clock.now() + pause < self.open.accept_by;
            if again && attempt < ATTEMPTS && in_time {
                self.here.clock.sleep(pause).await;
                continue;
            }
            if ran {
                return HandedOver::NobodyKnows;
            }
            // What a connector says is for the caller: it speaks of his command and his vehicle.
            return match status.code() {
                Code::Unavailable if std::error::Error::source(&status).is_some() => {
                    refused(State::Rejected, "CONNECTOR_UNAVAILABLE", "The vehicle's connector cannot be reached")
                }
                Code::Unavailable => refused(State::Rejected, "VEHICLE_UNAVAILABLE", &said(&status)),
                _ => refused(State::Rejected, "REJECTED", &said(&status)),
            };
        }
        HandedOver::NobodyKnows
    }

    fn left_by_another(self) -> HandedOver {
        match self.open.instance_id {
            Some(instance_id) => HandedOver::Accepted { instance_id, outlived: None },
            None => HandedOver::NobodyKnows,
        }
    }

    async fn accepted(&self, instance_id: String) -> HandedOver {
        // If this can't be written, a restart does not notice the connector's death early; the deadline still holds.
        if let Err(error) =
            leases::mark_accepted(&self.here.store, self.open.command.id, self.open.fence, &instance_id).await
        {
            warn!(%error, "the connector's acceptance could not be written down");
        }
        // A new life may accept a command before the watch of the old one is seen to break.
        let outlived = self.here.fleet.life(&self.open.connector).filter(|life| *life != instance_id);
        HandedOver::Accepted { instance_id, outlived }
    }

    /// Up to a quarter of a second, different for each command and attempt: commands that failed together do not come back
    /// together.
    fn jitter(&self, attempt: u32) -> Duration {
        let id = uuid::Uuid::from(self.open.command.id).as_u128();
        Duration::from_millis(((id >> (attempt * 8)) & 0xff) as u64)
    }
}

fn refused(state: State, code: &str, message: &str) -> HandedOver {
    HandedOver::Refused { state, code: code.to_owned(), message: message.to_owned() }
}

/// A connector's own words, cut to what fits an event.
fn said(status: &tonic::Status) -> String {
    match status.message() {
        "" => "The connector refused the command".to_owned(),
        message => message.chars().take(300).collect(),
    }
}

/// Whether a failed Execute may have started something.
fn might_have_run(status: &tonic::Status) -> bool {
    let mut source = std::error::Error::source(status);
    if source.is_none() {
        // The connector itself said no; that it may not know what it did is what these two codes mean.
        return matches!(status.code(), Code::Unknown | Code::DeadlineExceeded | Code::Internal | Code::Cancelled);
    }
    // Something on the way failed: only a connection that was never made is proof that nothing arrived.
    while let Some(error) = source {
        if error.is::<tonic::ConnectError>() {
            return false;
        }
        source = error.source();
    }
    true
}

fn retriable(status: &tonic::Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable | Code::DeadlineExceeded | Code::Unknown | Code::Internal | Code::Cancelled
    )
}
