//! Answers the requests of other gateways.

use std::time::Duration;

use tokio::{sync::broadcast::error::RecvError, time::timeout};
use turnpike_bus::{Delivery, From};
use turnpike_event::{Body, Event, GatewayNotice};
use turnpike_kit::{OnExit, Process};
use turnpike_topic::Topic;

use super::Peers;

/// The longest page that is answered.
const MOST: u32 = 101;
/// How long the farewell of a stopping gateway may take.
const FAREWELL: Duration = Duration::from_millis(500);

impl Peers {
    /// Answers for this gateway until the process stops. `name` is for people.
    pub(crate) fn serve(&self, process: &Process, name: String) {
        let _ = self.0.name.set(name); // a gateway serves once
        let (peers, stopping) = (self.clone(), process.tasks.stopping().clone());
        process.tasks.spawn("gateway peers", OnExit::StopProcess, async move {
            stopping.run_until_cancelled(peers.run()).await;
            let gone = GatewayNotice::Gone { gateway_id: peers.0.id };
            let _ = timeout(FAREWELL, peers.send(gone)).await;
        });
    }

    async fn run(&self) {
        let mut notices = self.0.bus.notices();
        let mut follower = self.0.bus.follow(Topic::Gateways, From::Live);
        let mut has_begun = false;
        loop {
            let received = tokio::select! {
                received = notices.recv() => received,
                // The follower is here for its subscription: the topic has no stored events.
                delivery = follower.next(), if !has_begun => {
                    if matches!(delivery, Delivery::CaughtUp { .. }) {
                        has_begun = true;
                        self.introduce(true).await;
                    }
                    continue;
                }
            };
            match received {
                Ok((Topic::Gateways, bytes)) => {
                    if let Body::Gateway(notice) = Event::from_bytes(bytes).body {
                        self.handle(notice).await;
                    }
                }
                // A gateway that misses a request is reported as one that has not answered.
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            }
            tokio::task::coop::consume_budget().await;
        }
    }

    async fn introduce(&self, asks: bool) {
        self.send(GatewayNotice::Here { gateway_id: self.0.id, name: self.name(), asks }).await;
    }

    async fn handle(&self, notice: GatewayNotice) {
        let (id, name) = (self.0.id, self.name());
        match notice {
            GatewayNotice::Here { gateway_id, name, asks } if gateway_id != id => {
                self.0.roster.lock().saw(gateway_id, &name);
                if asks {
                    self.introduce(false).await;
                }
            }
            GatewayNotice::Gone { gateway_id } => self.0.roster.lock().gone(gateway_id),
            GatewayNotice::List { asked, user_id, before, limit } if asked.by != id => {
                let connections = self.page(user_id, before, limit.min(MOST));
                self.send(GatewayNotice::Listed { gateway_id: id, name, asked, connections }).await;
            }
            GatewayNotice::Close { asked, connection_id } if asked.by != id => {
                let found = self.0.connections.close(connection_id);
                self.send(GatewayNotice::Closed { gateway_id: id, name, asked, found }).await;
            }
            GatewayNotice::Listed { asked, .. } | GatewayNotice::Closed { asked, .. } if asked.by == id => {
                // The receiver is gone if the answer is too late. Its queue is longer than a deployment has gateways.
                let waiting = self.0.waiting.lock().get(&asked.request).cloned();
                waiting.map(|waiting| waiting.try_send(notice));
            }
            _ => {}
        }
    }
}
