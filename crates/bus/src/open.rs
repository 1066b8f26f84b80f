//! Opening the bus: its variables, and its state as a component of the process's health.

use std::time::Duration;

use turnpike_kit::{ConfigError, Environment, OnExit, Process, Refused, variables};

use crate::{Bus, DownReason, Limits, Status};

/// The variables about the bus.
#[derive(Clone, Debug)]
pub struct BusConfig {
    /// `TURNPIKE_REDIS_URL`; without it there is only this process.
    pub redis_url: Option<String>,
    /// The variables `TURNPIKE_TOPIC_…`.
    pub limits: Limits,
}

impl BusConfig {
    /// Reads the variables.
    pub fn new(env: &Environment) -> Result<Self, ConfigError> {
        let retention = env.parse(&variables::TOPIC_RETENTION_SECONDS, "seconds from 60 to 31536000", |s| {
            (60..=31_536_000).contains(s)
        })?;
        let ended_retention =
            env.parse(&variables::TOPIC_ENDED_RETENTION_SECONDS, "seconds from 1 to 31536000", |s| {
                (1..=31_536_000).contains(s)
            })?;
        let max_memory = env.parse(&variables::TOPIC_MEMORY_BYTES, "bytes, at least 16777216", |bytes| {
            (16 << 20..=1 << 50).contains(bytes)
        })?;
        let max_events =
            env.parse(&variables::TOPIC_MAX_EVENTS, "a number from 16 to 1000000", |n| (16..=1_000_000).contains(n))?;
        Ok(Self {
            redis_url: env.get(&variables::REDIS_URL).map(str::to_owned),
            limits: Limits {
                retention: Duration::from_secs(retention),
                ended_retention: Duration::from_secs(ended_retention),
                max_events,
                max_memory,
            },
        })
    }
}

/// Why the bus cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A variable is missing or not valid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The process may not connect to this address.
    #[error(transparent)]
    Refused(#[from] Refused),
}

/// Opens the bus that separate processes share, and reports its state as the component `bus`.
pub fn open_shared(process: &Process, config: &BusConfig) -> Result<Bus, OpenError> {
    let url = config.redis_url.as_deref().ok_or(ConfigError::Missing(
        "TURNPIKE_REDIS_URL",
        "separate processes share events over Redis, e.g. redis://127.0.0.1:6379",
    ))?;
    process.outbound.permit(url)?;
    // The URL may hold a password: the error names the variable, not the value.
    let invalid = |_| process.env.invalid(&variables::REDIS_URL, "a URL such as redis://:password@127.0.0.1:6379/0");
    let bus = Bus::redis(url, config.limits.clone()).map_err(invalid)?;
    report(process, &bus);
    Ok(bus)
}

/// The bus within one process: Redis if it is configured, else memory.
pub fn open(process: &Process, config: &BusConfig) -> Result<Bus, OpenError> {
    if config.redis_url.is_some() {
        return open_shared(process, config);
    }
    let bus = Bus::memory(config.limits.clone());
    report(process, &bus);
    Ok(bus)
}

fn report(process: &Process, bus: &Bus) {
    let component = process.health.component("bus");
    let (mut status, ending, stopping) = (bus.status(), bus.clone(), process.tasks.stopping().clone());
    process.tasks.spawn("bus health", OnExit::Continue, async move {
        loop {
            match &*status.borrow_and_update() {
                Status::Up => component.up(),
                Status::Down { reason: DownReason::Unreachable, .. } => component.down("Redis does not answer"),
                Status::Down { reason: DownReason::ReadOnly, .. } => {
                    component.down("Redis refuses writes: it is out of memory or disk space, or read-only");
                }
            }
            tokio::select! {
                changed = status.changed() => if changed.is_err() { return },
                () = stopping.cancelled() => return,
            }
        }
    });
    process.at_the_end(async move { ending.shutdown().await });
}
