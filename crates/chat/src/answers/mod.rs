//! Answers of a language model in conversations.
//!
//! `submit` stores the user's message and an empty answer, `generation` asks the model and publishes what it says, `leases` decide
//! which instance of this service does that, and `recovery` ends the answers whose instance has stopped.

mod context;
mod delta;
mod ending;
mod generation;
mod leases;
mod log;
mod publisher;
mod recovery;
mod renewal;
mod replay;
mod running;
mod start;
mod stop;
mod submit;
mod titles;

use turnpike_bus::Bus;
use turnpike_kit::{Clock, Process, Tasks};
use turnpike_store::{Store, outbox::Bell};

pub(crate) use log::{Entry, Tail};
pub(crate) use recovery::recover;
pub(crate) use replay::Replay;
pub(crate) use start::{Answering, start};
pub(crate) use stop::{listen, stop};
pub(crate) use submit::{MAX_CONTENT_BYTES, Submission, What};

use crate::{
    config::{Limits, Models},
    upstream::Upstreams,
};
use running::Running;

/// What the service gives to its answers.
pub(crate) struct Parts {
    pub(crate) store: Store,
    pub(crate) bus: Bus,
    /// Rung after a change of a conversation.
    pub(crate) bell: Bell,
    pub(crate) upstreams: Upstreams,
    pub(crate) models: Models,
    pub(crate) limits: Limits,
}

/// What the tasks share.
#[derive(Clone)]
pub(crate) struct Resources {
    pub(crate) store: Store,
    bus: Bus,
    bell: Bell,
    upstreams: Upstreams,
    models: Models,
    pub(crate) limits: Limits,
    pub(crate) clock: Clock,
    tasks: Tasks,
    running: Running,
}

impl Resources {
    pub(crate) fn new(process: &Process, parts: Parts) -> Self {
        let Parts { store, bus, bell, upstreams, models, limits } = parts;
        let (clock, tasks) = (process.clock.clone(), process.tasks.clone());
        Self { store, bus, bell, upstreams, models, limits, clock, tasks, running: Running::default() }
    }
}
