//! Reports to the chat service who is present in rooms on this gateway. Reports renew the lease of this gateway: its users leave when
//! it no longer reports.

use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};
use turnpike_kit::{OnExit, Process};
use turnpike_proto::{
    chat::v1::{self as pb, room_service_client::RoomServiceClient},
    timestamp,
};
use turnpike_rpc::Transport;
use turnpike_topic::RoomId;

use super::{Rooms, readers::State};
use crate::stream::connections::Handle;

/// Pause between two reports without changes: less than a third of the lease.
const RENEW: Duration = Duration::from_secs(2);
/// Changes of this time are reported together.
const GATHER: Duration = Duration::from_millis(30);
/// Pause after a report that failed.
const RETRY: Duration = Duration::from_millis(500);
/// States in one report.
const BATCH: usize = 500;
/// For the last report of a gateway that stops.
const FAREWELL: Duration = Duration::from_secs(2);

struct Reporter {
    rooms: Rooms,
    chat: RoomServiceClient<Transport>,
    /// Random: with it, one can report in the name of this gateway.
    gateway_id: String,
    /// The gateway has a lease under this id.
    begun: bool,
    failing: bool,
}

impl Rooms {
    pub(super) fn report(&self, process: &Process, chat: RoomServiceClient<Transport>, drained: &CancellationToken) {
        let mut reporter = Reporter { rooms: self.clone(), chat, gateway_id: new_id(), begun: false, failing: false };
        let drained = drained.clone();
        process.tasks.spawn("presence", OnExit::StopProcess, async move {
            drained.run_until_cancelled(reporter.run()).await;
            if reporter.begun {
                let _ = timeout(FAREWELL, reporter.send(Vec::new(), true)).await;
            }
        });
    }
}

fn new_id() -> String {
    uuid::Uuid::now_v7().to_string()
}

impl Reporter {
    async fn run(&mut self) {
        loop {
            let pause = if self.failing { RETRY } else { RENEW };
            tokio::select! {
                () = self.rooms.0.changed.notified(), if !self.failing => sleep(GATHER).await,
                () = sleep(pause) => {}
            }
            // A gateway without rooms needs no lease.
            if !self.begun && self.rooms.0.readers.lock().is_empty() {
                continue;
            }
            while self.report_some().await {}
        }
    }

    /// Reports a batch. Returns whether there is more.
    async fn report_some(&mut self) -> bool {
        let states = self.rooms.0.readers.lock().take(BATCH);
        let more = states.len() == BATCH;
        let entries = states.iter().map(entry).collect();
        match self.send(entries, false).await {
            Ok(response) if response.unknown => {
                info!("the lease for presence has ended; everything is reported again");
                (self.gateway_id, self.begun) = (new_id(), false);
                self.rooms.0.readers.lock().report_all();
                true
            }
            Ok(response) => {
                (self.begun, self.failing) = (true, false);
                for refused in response.refused {
                    if let (Ok(room), Ok(user)) = (refused.room_id.parse::<RoomId>(), refused.user_id.parse()) {
                        debug!(%room, %user, "a reader may not follow the room any more");
                        self.rooms.exclude(room, user);
                    }
                }
                more
            }
            Err(status) => {
                if !std::mem::replace(&mut self.failing, true) {
                    warn!(code = ?status.code(), "presence cannot be reported; it is reported again");
                }
                self.rooms.0.readers.lock().put_back(&states);
                false
            }
        }
    }

    async fn send(
        &self,
        entries: Vec<pb::PresenceEntry>,
        leaving: bool,
    ) -> Result<pb::ReportPresenceResponse, tonic::Status> {
        let report =
            pb::ReportPresenceRequest { gateway_id: self.gateway_id.clone(), entries, leaving, begin: !self.begun };
        Ok(self.chat.clone().report_presence(report).await?.into_inner())
    }
}

fn entry(state: &State<std::sync::Arc<Handle>>) -> pb::PresenceEntry {
    pb::PresenceEntry {
        room_id: state.room.to_string(),
        user_id: state.user.to_string(),
        connections: state.connections,
        access_token: state.handle.as_ref().map(|handle| handle.caller().token.expose().to_owned()).unwrap_or_default(),
        connected_at: Some(timestamp::to_protobuf(state.since)),
        last_seen: Some(timestamp::to_protobuf(state.seen)),
    }
}
