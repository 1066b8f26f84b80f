//! Time that a test can push.

use std::{future::Future, time::Duration};

use jiff::Timestamp;
use tokio::sync::watch;

/// Says what time it is, and waits for a time to come.
#[derive(Clone)]
pub struct Clock(Source);

#[derive(Clone)]
enum Source {
    System,
    Pushed(watch::Receiver<Timestamp>),
}

/// Pushes a clock of [`Clock::pushed`].
#[derive(Clone)]
pub struct ClockControl(watch::Sender<Timestamp>);

impl Clock {
    /// The system's clock.
    pub const fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that stands still until its hand is moved.
    pub fn pushed(start: Timestamp) -> (Self, ClockControl) {
        let (sender, receiver) = watch::channel(start);
        (Self(Source::Pushed(receiver)), ClockControl(sender))
    }

    /// The time, cut to whole microseconds: what databases and JSON keep of it is what was said.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
    pub fn now(&self) -> Timestamp {
        let now = match &self.0 {
            Source::System => Timestamp::now(),
            Source::Pushed(now) => *now.borrow(),
        };
        Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
    }

    /// Waits until it is `at`, or later.
    pub fn sleep_until(&self, at: Timestamp) -> impl Future<Output = ()> + Send + 'static {
        let source = self.0.clone();
        async move {
            match source {
                Source::System => loop {
                    // In steps: a system clock that is set meanwhile is seen within a minute.
                    let left = Clock::system().now().duration_until(at);
                    let Ok(left) = Duration::try_from(left) else { return };
                    if left.is_zero() {
                        return;
                    }
                    tokio::time::sleep(left.min(Duration::from_secs(60))).await;
                },
                Source::Pushed(mut now) => {
                    if now.wait_for(|now| *now >= at).await.is_err() {
                        std::future::pending::<()>().await; // nobody is left to push
                    }
                }
            }
        }
    }

    /// Waits for so long.
    pub fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + 'static {
        self.sleep_until(self.now().checked_add(duration).unwrap_or(Timestamp::MAX))
    }
}

impl ClockControl {
    /// Moves the clock on.
    pub fn advance(&self, by: Duration) {
        self.0.send_modify(|now| *now = now.checked_add(by).unwrap_or(Timestamp::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_pushed_clock_wakes_who_waits() {
        let (clock, hand) = Clock::pushed(Timestamp::UNIX_EPOCH);
        let wait = clock.sleep(Duration::from_secs(3600));
        hand.advance(Duration::from_secs(3600));
        wait.await;
        assert_eq!(clock.now().as_second(), 3600);
    }
}
