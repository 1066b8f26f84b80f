//! The registry as admins see it: pages of open connections, newest first, and the end of one of them.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use turnpike_event::OpenConnection;
use turnpike_topic::{ConnectionId, UserId};

use super::{Connections, Handle, Target};
use crate::stream::{
    conn::Traffic,
    ending::Ending,
    wheel::{TICK, Tick},
};

/// Which connections a page has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Query {
    /// Only those of this user.
    pub(crate) user_id: Option<UserId>,
    /// Only those with smaller ids.
    pub(crate) before: Option<ConnectionId>,
    pub(crate) limit: usize,
}

/// Topics that are named for each connection.
const TOPICS: usize = 16;

impl Connections {
    /// A page of the open connections, newest first.
    pub(crate) fn page(&self, query: Query, now: Timestamp) -> Vec<OpenConnection> {
        // Only what is reported is looked at more closely, and without the lock of the registry.
        let handles = self.newest(query);
        let tick = self.0.wheel.now();
        handles.iter().map(|handle| describe(handle, now, tick)).collect()
    }

    fn newest(&self, Query { user_id, before, limit }: Query) -> Vec<Arc<Handle>> {
        let table = self.0.table.lock();
        let is_wanted = |handle: &&Arc<Handle>| {
            before.is_none_or(|before| handle.id < before) && user_id.is_none_or(|id| handle.user_id == id)
        };
        let mut wanted: Vec<_> = table.handles.values().filter(is_wanted).collect();
        if limit < wanted.len() {
            wanted.select_nth_unstable_by_key(limit, |handle| std::cmp::Reverse(handle.id));
            wanted.truncate(limit);
        }
        wanted.sort_unstable_by_key(|handle| std::cmp::Reverse(handle.id));
        wanted.into_iter().cloned().collect()
    }

    /// Ends a connection for an admin. Returns whether it was open here.
    pub(crate) fn close(&self, id: ConnectionId) -> bool {
        let found = self.0.table.lock().handles.values().find(|handle| handle.id == id).cloned();
        if let Some(handle) = &found {
            handle.end(Ending::ClosedByAdmin);
        }
        found.is_some()
    }
}

fn describe(handle: &Handle, now: Timestamp, tick: Tick) -> OpenConnection {
    let caller = handle.caller();
    let ago = |at: Tick| {
        let passed = TICK.checked_mul(tick.since(at).min(u32::MAX / 2)).unwrap_or(Duration::ZERO);
        // The wheel turns every 100 ms: a connection that has just been opened is not active before.
        now.checked_sub(passed).unwrap_or(now).max(handle.since)
    };
    let (traffic, topics, topics_total) = match handle.target() {
        Some(Target::Socket(conn)) => {
            let (topics, total) = conn.topics(TOPICS);
            (Some(conn.traffic()), topics, total)
        }
        Some(Target::Stream(_)) | None => {
            let topic = handle.stream_topic();
            (None, topic.into_iter().collect(), usize::from(topic.is_some()))
        }
    };
    let Traffic { last_active, last_heartbeat, sent, received, lag } =
        traffic.unwrap_or_else(|| handle.stream_traffic());
    OpenConnection {
        id: handle.id,
        user_id: handle.user_id,
        username: caller.claims.username.to_string(),
        session_id: caller.claims.session_id,
        api_key_id: caller.claims.api_key.map(|key| key.id),
        route: handle.origin.route().to_owned(),
        address: handle.origin.address.to_string(),
        user_agent: handle.origin.user_agent.to_string(),
        since: handle.since,
        last_active: last_active.map_or(handle.since, ago),
        last_heartbeat: last_heartbeat.map(ago),
        topics: topics.iter().map(ToString::to_string).collect(),
        topics_total: u32::try_from(topics_total).unwrap_or(u32::MAX),
        bytes_sent: sent,
        bytes_received: received,
        lag,
    }
}
