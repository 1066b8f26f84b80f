//! Waits for a condition, with a deadline.

use std::{future::Future, time::Duration};

/// Calls `check` every 10 ms until it returns `Some`. Panics after `seconds`; the message contains `what`.
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, seconds: u64, mut check: impl FnMut() -> F) -> T {
    let polling = async {
        loop {
            if let Some(value) = check().await {
                return value;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    within(what, seconds, polling).await
}

/// Awaits a future. Panics after `seconds`; the message contains `what`.
pub async fn within<T>(what: &str, seconds: u64, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(Duration::from_secs(seconds), future).await {
        Ok(value) => value,
        Err(_) => panic!("waited {seconds} s for {what}"),
    }
}
