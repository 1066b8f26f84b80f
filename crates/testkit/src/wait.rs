//! Waiting for a condition, with a deadline.

use std::{future::Future, time::Duration};

/// Asks again and again until there is an answer; panics after `seconds`, saying what was waited for.
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, seconds: u64, mut ask: impl FnMut() -> F) -> T {
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    within(what, seconds, asking).await
}

/// Waits for something that comes by itself; panics after `seconds`, saying what was waited for.
pub async fn within<T>(what: &str, seconds: u64, coming: impl Future<Output = T>) -> T {
    match tokio::time::timeout(Duration::from_secs(seconds), coming).await {
        Ok(come) => come,
        Err(_) => panic!("waited {seconds} s for {what}"),
    }
}
