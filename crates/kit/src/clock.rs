//! Time that a test can control.

use std::{future::Future, sync::LazyLock, time::Duration};

use jiff::Timestamp;
use tokio::{sync::watch, time::Instant};

/// Tells the time, and waits until a time.
#[derive(Clone)]
pub struct Clock(Source);

#[derive(Clone)]
enum Source {
    System,
    Controlled(watch::Receiver<Timestamp>),
}

/// Moves a clock of [`Clock::controlled`].
#[derive(Clone)]
pub struct ClockControl(watch::Sender<Timestamp>);

impl Clock {
    /// The system's clock.
    pub const fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that stands still until its control moves it.
    pub fn controlled(start: Timestamp) -> (Self, ClockControl) {
        let (sender, receiver) = watch::channel(start);
        (Self(Source::Controlled(receiver)), ClockControl(sender))
    }

    /// The time in whole microseconds: databases store no finer unit, so a stored time equals the original.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
    pub fn now(&self) -> Timestamp {
        let now = match &self.0 {
            Source::System => Timestamp::now(),
            Source::Controlled(now) => *now.borrow(),
        };
        Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
    }

    /// Waits until it is `at`, or later.
    pub fn sleep_until(&self, at: Timestamp) -> impl Future<Output = ()> + Send + 'static {
        let source = self.0.clone();
        async move {
            match source {
                Source::System => loop {
                    // In steps: a change of the system clock takes effect within a minute.
                    let left = Clock::system().now().duration_until(at);
                    let Ok(left) = Duration::try_from(left) else { return };
                    if left.is_zero() {
                        return;
                    }
                    tokio::time::sleep(left.min(Duration::from_secs(60))).await;
                },
                Source::Controlled(mut now) => {
                    if now.wait_for(|now| *now >= at).await.is_err() {
                        std::future::pending::<()>().await; // no control is left to move the clock
                    }
                }
            }
        }
    }

    /// Waits for a duration.
    pub fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + 'static {
        self.sleep_until(self.now().checked_add(duration).unwrap_or(Timestamp::MAX))
    }

    /// As [`tick`]; on a clock of [`Clock::controlled`], [`Clock::sleep`].
    pub async fn tick(&self, every: Duration) {
        match &self.0 {
            Source::System => tick(every).await,
            Source::Controlled(_) => self.sleep(every).await,
        }
    }
}

/// Waits until [`next_tick`]: at most `every`. Loops that look at intervals wait with this instead of a sleep, so that they wake an
/// idle process together and not each at its own time.
pub async fn tick(every: Duration) {
    tokio::time::sleep_until(next_tick(every)).await;
}

/// The next time at which a whole number of `every` has passed since the process began.
///
/// # Panics
///
/// If `every` is zero.
pub fn next_tick(every: Duration) -> Instant {
    static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
    let now = Instant::now();
    let over = now.saturating_duration_since(*BEGAN).as_nanos() % every.as_nanos();
    now + (every - Duration::from_nanos(over as u64))
}

impl ClockControl {
    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        self.0.send_modify(|now| *now = now.checked_add(by).unwrap_or(Timestamp::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn ticks_of_loops_that_began_at_different_times_are_at_the_same_time() {
        tick(Duration::from_millis(100)).await;
        let begin = Instant::now();
        let late = async {
            tokio::time::sleep(Duration::from_millis(37)).await;
            tick(Duration::from_millis(100)).await;
            begin.elapsed()
        };
        let loop_of_two = async {
            tick(Duration::from_millis(50)).await;
            tick(Duration::from_millis(50)).await;
            begin.elapsed()
        };
        let (late, loop_of_two) = tokio::join!(late, loop_of_two);
        assert_eq!(late, loop_of_two);
        assert!(late.abs_diff(Duration::from_millis(100)) <= Duration::from_millis(2), "{late:?}");
    }

    #[tokio::test]
    async fn a_moved_clock_wakes_a_waiting_task() {
        let (clock, control) = Clock::controlled(Timestamp::UNIX_EPOCH);
        let wait = clock.sleep(Duration::from_secs(3600));
        control.advance(Duration::from_secs(3600));
        wait.await;
        assert_eq!(clock.now().as_second(), 3600);
    }
}
