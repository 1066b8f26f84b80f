//! Dispatching a command to its connector: how often it is sent, what a refusal means, and whether the command may have run.

use std::time::Duration;

use tokio::{sync::oneshot, task::AbortHandle};
use tonic::Code;
use tracing::{error, info};
use turnpike_kit::{OnExit, Retry};
use turnpike_proto::{timestamp, vehicle::v1 as pb};
use turnpike_rpc::Context;

use crate::{
    cancel,
    commands::Open,
    fleet::{self, RETRY_CALL},
    leases,
    lifecycle::{Effect, State},
    resources::Resources,
    text::clean,
};

/// How often a command is sent at most.
const ATTEMPTS: u32 = 3;

/// The result of dispatching a command.
pub(crate) enum Outcome {
    Accepted {
        instance_id: String,
        /// Incarnation that the connector's stream still showed then, if it was another one.
        outlived: Option<String>,
    },
    /// The command did not run, and the reason is known.
    Refused { state: State, code: String, message: String },
    /// A cancellation came before a connector had accepted the command. It did not run, or may run any number of times.
    Cancelled,
    /// The connector may have it: an event or the deadline decides.
    Unknown,
}

/// A dispatch under way, in a task of its own: the supervising task waits for the database while it archives events, and a task
/// that waited for both at once could hold the connection that it waits for. Dropping it stops the dispatch.
pub(crate) struct Dispatching {
    task: AbortHandle,
    outcome: oneshot::Receiver<Outcome>,
}

impl Dispatching {
    pub(crate) fn begin(resources: &Resources, open: &Open, fresh: bool) -> Self {
        let dispatch = Dispatch { resources: resources.clone(), open: open.clone(), fresh };
        let (sender, outcome) = oneshot::channel();
        let work = async move {
            // There is no receiver once an end was declared.
            let _ = sender.send(dispatch.run().await);
        };
        Self { task: resources.tasks.spawn("dispatch", OnExit::Continue, Context::current().scope(work)), outcome }
    }

    pub(crate) async fn outcome(dispatching: &mut Option<Self>) -> Outcome {
        match dispatching {
            // If the task panicked, it is not known how far it came.
            Some(dispatching) => (&mut dispatching.outcome).await.unwrap_or(Outcome::Unknown),
            None => std::future::pending().await,
        }
    }
}

impl Drop for Dispatching {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Dispatch {
    resources: Resources,
    open: Open,
    fresh: bool,
}

impl Dispatch {
    async fn run(self) -> Outcome {
        let command = &self.open.command;
        // After a takeover, a command is sent again only if it may run twice; a connector that has seen it answers as it did the
        // first time.
        let unanswered = command.state == State::Dispatched && self.open.instance_id.is_none();
        if !(self.fresh || unanswered && command.effect == Effect::Read) {
            return self.taken_over().await;
        }
        if !self.fresh && self.is_cancelled().await {
            return Outcome::Cancelled;
        }
        let Some(client) = self.resources.fleet.client(&self.open.connector) else {
            return refused(State::Rejected, "NO_CONNECTOR", "No connector of this deployment reaches the vehicle");
        };
        let request = pb::ExecuteRequest {
            command_id: command.id.to_string(),
            vin: self.open.vin.clone(),
            name: command.name.clone(),
            params_json: command.params.clone(),
            deadline: Some(timestamp::to_protobuf(self.open.run_by)),
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
            let pause = RETRY_CALL * attempt + self.jitter(attempt);
            let in_time = self.resources.clock.now() + pause < self.open.accept_by;
            if again && attempt < ATTEMPTS && in_time {
                self.resources.clock.sleep(pause).await;
                if self.is_cancelled().await {
                    return Outcome::Cancelled;
                }
                continue;
            }
            if ran {
                return Outcome::Unknown; // the supervising task checks for a cancellation
            }
            // The connector's text is for the caller: it is about the caller's command and vehicle.
            return match status.code() {
                Code::Unavailable if std::error::Error::source(&status).is_some() => {
                    refused(State::Rejected, "CONNECTOR_UNAVAILABLE", "The vehicle's connector cannot be reached")
                }
                Code::Unavailable => refused(State::Rejected, "VEHICLE_UNAVAILABLE", &reason(&status)),
                _ => refused(State::Rejected, "REJECTED", &reason(&status)),
            };
        }
        Outcome::Unknown
    }

    async fn taken_over(self) -> Outcome {
        let Some(instance_id) = self.open.instance_id.clone() else { return Outcome::Unknown };
        // The instance before may have stopped before it could pass a cancellation on.
        if self.is_cancelled().await {
            cancel::deliver(&self.resources.fleet, &self.open).await;
        }
        Outcome::Accepted { instance_id, outlived: None }
    }

    async fn accepted(&self, instance_id: String) -> Outcome {
        let instance_id = fleet::instance_id(&instance_id);
        // A cancellation that was stored before this found no running command at the connector, and is passed on here. A later
        // cancellation finds the command at the connector.
        if self.mark_accepted(&instance_id).await {
            cancel::deliver(&self.resources.fleet, &self.open).await;
        }
        // A new incarnation may accept a command before the stream of the old one is seen to break.
        let seen = self.resources.fleet.incarnation(&self.open.connector);
        let outlived = seen.filter(|seen| *seen != instance_id);
        Outcome::Accepted { instance_id, outlived }
    }

    /// Stores which incarnation accepted the command. Returns whether a cancellation was requested.
    async fn mark_accepted(&self, instance_id: &str) -> bool {
        let (id, fence) = (self.open.command.id, self.open.fence);
        let mut retry = Retry::default();
        while self.resources.clock.now() < self.open.run_by {
            match leases::mark_accepted(&self.resources.store, id, fence, instance_id).await {
                Ok(cancelled) => return cancelled,
                Err(error) if turnpike_store::is_unavailable(&error) => {
                    retry.pause(&self.resources.clock, "the connector's acceptance cannot be stored yet", error).await;
                }
                // After a takeover, a restart of the connector is then noticed only at the deadline.
                Err(error) => {
                    error!(%error, "the connector's acceptance cannot be stored");
                    return false;
                }
            }
        }
        false
    }

    /// While the database is away, a cancellation cannot be seen; it stays stored.
    async fn is_cancelled(&self) -> bool {
        cancel::is_asked(&self.resources.store, self.open.command.id).await.unwrap_or(false)
    }

    /// Up to a quarter of a second, different for each command and attempt: commands that failed together do not come back
    /// together.
    fn jitter(&self, attempt: u32) -> Duration {
        let id = uuid::Uuid::from(self.open.command.id).as_u128();
        Duration::from_millis(((id >> (attempt * 8)) & 0xff) as u64)
    }
}

fn refused(state: State, code: &str, message: &str) -> Outcome {
    Outcome::Refused { state, code: code.to_owned(), message: message.to_owned() }
}

/// The connector's reason for a refusal.
fn reason(status: &tonic::Status) -> String {
    match status.message() {
        "" => "The connector refused the command".to_owned(),
        message => clean(message, 300),
    }
}

/// Whether a failed Execute may have started something.
fn might_have_run(status: &tonic::Status) -> bool {
    let mut source = std::error::Error::source(status);
    if source.is_none() {
        // The connector itself answered; these codes mean that it may not know what it did.
        return matches!(status.code(), Code::Unknown | Code::DeadlineExceeded | Code::Internal | Code::Cancelled);
    }
    // The transport failed: only a connection that was never made proves that nothing arrived.
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
