//! Dispatches a command to its connector. Decides after a failed call whether the command is sent again, and whether it may have
//! run.

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

/// Maximum number of calls that send one command.
const ATTEMPTS: u32 = 3;

/// The result of dispatching a command.
pub(crate) enum Outcome {
    Accepted {
        instance_id: String,
        /// The earlier incarnation of the connector, if the connector's stream still reported it when a newer one had accepted
        /// the command.
        outlived: Option<String>,
    },
    /// The command did not run, and the reason is known.
    Refused { state: State, code: String, message: String },
    /// A cancellation was requested before a connector had accepted the command. The command did not run, or it is a read.
    Cancelled,
    /// It is not known whether the connector has the command. A final event, a cancellation or the deadline ends it.
    Unknown,
}

/// A running dispatch. Dropping this value stops it.
///
/// The dispatch has a task of its own, because the supervising task waits for the database while it archives events. In one task,
/// a dispatch that is not polled could hold the database connection for which the archiving waits.
pub(crate) struct Dispatching {
    task: AbortHandle,
    outcome: oneshot::Receiver<Outcome>,
}

impl Dispatching {
    pub(crate) fn begin(resources: &Resources, open: &Open, fresh: bool) -> Self {
        let dispatch = Dispatch { resources: resources.clone(), open: open.clone(), fresh };
        let (sender, outcome) = oneshot::channel();
        let work = async move {
            // Fails if an end was declared meanwhile: the receiver was then dropped.
            let _ = sender.send(dispatch.run().await);
        };
        Self { task: resources.tasks.spawn("dispatch", OnExit::Continue, Context::current().scope(work)), outcome }
    }

    pub(crate) async fn outcome(dispatching: &mut Option<Self>) -> Outcome {
        match dispatching {
            // If the task panicked, the command may have been sent.
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
    /// No other instance can have dispatched the command.
    fresh: bool,
}

impl Dispatch {
    async fn run(self) -> Outcome {
        let command = &self.open.command;
        // After a takeover, only a read is sent again, because it may run twice. A connector that already has the command returns
        // the same answer as the first time.
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
            // The caller gets the connector's text, because it is about the caller's own command and vehicle.
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
        // The previous instance may have stopped before it sent a stored cancellation to the connector.
        if self.is_cancelled().await {
            cancel::deliver(&self.resources.fleet, &self.open).await;
        }
        Outcome::Accepted { instance_id, outlived: None }
    }

    async fn accepted(&self, instance_id: String) -> Outcome {
        let instance_id = fleet::instance_id(&instance_id);
        // A cancellation that was stored before this may have found no running command at the connector, so it is sent again. A
        // later cancellation finds the command at the connector.
        if self.mark_accepted(&instance_id).await {
            cancel::deliver(&self.resources.fleet, &self.open).await;
        }
        // A restarted connector can accept a command before the stream of its earlier incarnation is seen to end.
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
                // An instance that takes the command over then does not know the incarnation, so it cannot detect a restart of
                // the connector: the command may end only at its deadline.
                Err(error) => {
                    error!(%error, "the connector's acceptance cannot be stored");
                    return false;
                }
            }
        }
        false
    }

    /// `false` also if the database cannot be read. The cancellation stays stored.
    async fn is_cancelled(&self) -> bool {
        cancel::is_asked(&self.resources.store, self.open.command.id).await.unwrap_or(false)
    }

    /// Up to a quarter of a second, different for each command and attempt, so that commands which failed at the same time are
    /// not sent again at the same time.
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

/// Whether the command may have run although `Execute` failed.
fn might_have_run(status: &tonic::Status) -> bool {
    let mut source = std::error::Error::source(status);
    if source.is_none() {
        // The connector itself answered. With one of these codes, it may have started the command.
        return matches!(status.code(), Code::Unknown | Code::DeadlineExceeded | Code::Internal | Code::Cancelled);
    }
    // The transport failed. Only a connection that was never established proves that the request did not arrive.
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
