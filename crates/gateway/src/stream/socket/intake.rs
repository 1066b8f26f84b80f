//! How many frames a socket may send before it is closed as a flood.
//!
//! Text and binary frames count against the messages of the user, control frames against an allowance of the socket. A frame
//! over its limit is refused with an `error` frame before it is parsed. A client with too many refused frames is closed.

use std::time::Duration;

use tokio::time::Instant;
use turnpike_fault::{Fault, Kind};

/// Pings and unsolicited pongs of one socket in a minute: one a second, which no heartbeat needs. Answers to this gateway's
/// pings are not counted.
const CONTROL_FRAMES: u32 = 60;
/// Refusals that are answered in a minute, even if the limit of messages is lower.
const MIN_ANSWERED: u32 = 60;
const MINUTE: Duration = Duration::from_secs(60);

/// The counters of one socket.
pub(super) struct Intake {
    /// `None`: the operator set no limit.
    answered: Option<u32>,
    control: Window,
    refused: Window,
}

/// A count within one minute, which begins with the first frame.
#[derive(Default)]
struct Window {
    began: Option<Instant>,
    count: u32,
}

impl Window {
    fn count(&mut self, now: Instant) -> u32 {
        if self.began.is_none_or(|began| now.duration_since(began) >= MINUTE) {
            *self = Self { began: Some(now), count: 0 };
        }
        self.count = self.count.saturating_add(1);
        self.count
    }

    fn left(&self, now: Instant) -> Duration {
        self.began.map_or(Duration::ZERO, |began| MINUTE.saturating_sub(now.duration_since(began)))
    }
}

impl Intake {
    /// With a limit of messages in a minute; 0 is no limit.
    pub(super) fn new(messages_per_minute: u32) -> Self {
        let answered = (messages_per_minute > 0).then(|| messages_per_minute.saturating_mul(2).max(MIN_ANSWERED));
        Self { answered, control: Window::default(), refused: Window::default() }
    }

    /// Counts a control frame.
    pub(super) fn control(&mut self, now: Instant) -> Result<(), Fault> {
        if self.answered.is_none() || self.control.count(now) <= CONTROL_FRAMES {
            return Ok(());
        }
        let fault = Fault::new(Kind::RateLimited, format!("A socket sends at most {CONTROL_FRAMES} pings a minute"));
        Err(fault.retry_after(self.control.left(now)))
    }

    /// Counts a refusal. Returns whether there were so many within a minute that the socket must be closed.
    pub(super) fn is_flood(&mut self, now: Instant) -> bool {
        let count = self.refused.count(now);
        self.answered.is_some_and(|answered| count > answered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_a_flood_once_they_exceed_twice_the_limit_within_a_minute() {
        let start = Instant::now();
        let mut intake = Intake::new(60);
        for n in 0..120_u64 {
            assert!(!intake.is_flood(start + Duration::from_millis(n)));
        }
        assert!(intake.is_flood(start + Duration::from_secs(59)));
        assert!(!intake.is_flood(start + Duration::from_secs(60)), "a new minute");
        assert!(!Intake::new(1).is_flood(start), "a low limit is no trap");
    }

    #[test]
    fn a_ping_a_second_is_allowed_and_more_is_not() {
        let start = Instant::now();
        let mut intake = Intake::new(60);
        for n in 0..600_u64 {
            intake.control(start + Duration::from_secs(n)).expect("one a second");
        }
        let now = start + Duration::from_secs(600);
        let refused = (0..100).filter(|_| intake.control(now).is_err()).count();
        assert_eq!(refused, 40);
        let fault = intake.control(now + Duration::from_secs(45)).expect_err("too many");
        assert_eq!(fault.retry_in(), Some(Duration::from_secs(15)));
    }

    #[test]
    fn without_a_limit_there_is_no_flood() {
        let (mut intake, now) = (Intake::new(0), Instant::now());
        assert!((0..10_000).all(|_| intake.control(now).is_ok() && !intake.is_flood(now)));
    }
}
