//! The publisher of a service's outbox: events that are stored in the transaction of a change and published afterwards, so that
//! neither an outage of the bus nor a restart loses one. How a service stores events and in which order it publishes them is its
//! own; the task that publishes is this one.

use std::{future::Future, sync::Arc, time::Duration};

use tokio::sync::Notify;
use turnpike_kit::{OnExit, Process};

/// Stored events that are not published yet.
pub trait Outbox: Send + 'static {
    /// Publishes a bounded number of events. It logs its failures.
    fn publish_some(&mut self) -> impl Future<Output = Next> + Send;
}

/// When the publisher continues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Now: there may be more events.
    Now,
    /// At the next [tick](turnpike_kit::tick) of this period, or earlier if the [`Bell`] rings.
    After(Duration),
}

/// Wakes the publisher of this instance after an event was stored.
#[derive(Clone, Default)]
pub struct Bell(Arc<Notify>);

impl Bell {
    /// An event was stored.
    pub fn ring(&self) {
        self.0.notify_one();
    }
}

/// Publishes until the process stops. Other instances, and failures, are why a publisher also looks without being woken.
pub fn publish(process: &Process, task: &'static str, mut outbox: impl Outbox) -> Bell {
    let bell = Bell::default();
    let (rung, stopping) = (bell.clone(), process.tasks.stopping().clone());
    process.tasks.spawn(task, OnExit::StopProcess, async move {
        loop {
            let Next::After(pause) = outbox.publish_some().await else { continue };
            tokio::select! {
                () = stopping.cancelled() => return,
                () = rung.0.notified() => {}
                () = turnpike_kit::tick(pause) => {}
            }
        }
    });
    bell
}
