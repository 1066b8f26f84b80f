//! New access tokens for the connections of API keys. A program has no newer token to send, so its connections last as long as its
//! key, or until its session ends.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use tracing::debug;
use turnpike_identity::Caller;
use turnpike_kit::{OnExit, Process};
use turnpike_topic::ApiKeyId;

use super::{Connections, Handle};
use crate::access::caller::Identity;

/// Pause between two passes over all connections.
const INTERVAL: Duration = Duration::from_secs(10);
/// A token is replaced this long before it expires: there is time for several attempts.
const MARGIN: Duration = Duration::from_secs(60);
/// Keys that are exchanged at the same time.
const AT_ONCE: usize = 16;

impl Connections {
    /// Renews the tokens of connections of API keys until the process stops.
    pub(crate) fn renew_api_keys(&self, process: &Process, identity: &Identity) {
        let (connections, identity) = (self.clone(), identity.clone());
        let (clock, stopping) = (process.clock.clone(), process.tasks.stopping().clone());
        process.tasks.spawn("connections renewal", OnExit::StopProcess, async move {
            loop {
                let pass = async {
                    clock.sleep(INTERVAL).await;
                    connections.renew_those_before(clock.now() + MARGIN, &identity).await;
                };
                tokio::select! {
                    () = stopping.cancelled() => return,
                    () = pass => {}
                }
            }
        });
    }

    async fn renew_those_before(&self, at: Timestamp, identity: &Identity) {
        let due = stream::iter(self.of_api_keys_before(at));
        due.for_each_concurrent(AT_ONCE, async |(key, handles)| match identity.of_api_key_again(key).await {
            Ok(caller) => handles.iter().for_each(|handle| self.replace(handle, &caller)),
            // The connections end when their token expires, if no later attempt succeeds.
            Err(fault) => debug!(%key, code = fault.code(), "the token of an API key was not renewed"),
        })
        .await;
    }

    /// The connections of API keys whose tokens expire before this time.
    fn of_api_keys_before(&self, at: Timestamp) -> HashMap<ApiKeyId, Vec<Arc<Handle>>> {
        let mut due: HashMap<_, Vec<_>> = HashMap::new();
        for handle in self.0.table.lock().handles.values() {
            let claims = &handle.caller.lock().claims;
            if let Some(key) = claims.api_key
                && claims.expires_at < at
            {
                due.entry(key.id).or_default().push(handle.clone());
            }
        }
        due
    }

    /// The session is checked after the replacement, as in [`Connections::register`].
    fn replace(&self, handle: &Handle, caller: &Caller) {
        let mut current = handle.caller.lock();
        // The client may have sent another token meanwhile.
        if current.claims.api_key.map(|key| key.id) != caller.claims.api_key.map(|key| key.id) {
            return;
        }
        *current = caller.clone();
        drop(current);
        if let Err(refusal) = (self.0.check)(&caller.claims) {
            handle.end(refusal.into());
        }
    }
}
