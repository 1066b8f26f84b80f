//! The limit of WebSocket messages of one user.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter, clock::Clock as _};
use turnpike_fault::{Fault, Kind};
use turnpike_kit::{OnExit, Process};
use turnpike_topic::UserId;

/// A rate limit for each user, on this gateway. The messages of a whole minute may arrive at once.
#[derive(Clone)]
pub(crate) struct PerMinute(Option<Arc<DefaultKeyedRateLimiter<UserId>>>);

impl PerMinute {
    /// 0 is no limit.
    pub(crate) fn new(process: &Process, times: u32) -> Self {
        let Some(times) = NonZeroU32::new(times) else { return Self(None) };
        let limiter = Arc::new(RateLimiter::keyed(Quota::per_minute(times)));
        let (swept, stopping) = (limiter.clone(), process.tasks.stopping().clone());
        process.tasks.spawn("limits", OnExit::Continue, async move {
            loop {
                tokio::select! {
                    () = stopping.cancelled() => return,
                    () = tokio::time::sleep(Duration::from_secs(60)) => swept.retain_recent(),
                }
            }
        });
        Self(Some(limiter))
    }

    /// Counts one message.
    pub(crate) fn count(&self, user: UserId) -> Result<(), Fault> {
        let Some(limiter) = &self.0 else { return Ok(()) };
        limiter.check_key(&user).map_err(|until| {
            let wait = until.wait_time_from(limiter.clock().now());
            Fault::new(Kind::RateLimited, "Too many messages, please slow down").retry_after(wait)
        })
    }
}
