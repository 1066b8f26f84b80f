//! When a socket is pinged, and when it counts as dead.

use std::time::Duration;

use tokio::time::Instant;

pub(super) struct Heartbeat {
    interval: Duration,
    /// When the last frame of the client arrived.
    last_received: Instant,
    next_ping: Instant,
    /// Pings without a pong so far.
    unanswered: u32,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    Nothing,
    Ping,
    Dead,
}

impl Heartbeat {
    pub(super) fn new(interval: Duration, now: Instant) -> Self {
        Self { interval, last_received: now, next_ping: now + interval, unanswered: 0 }
    }

    pub(super) fn received(&mut self, now: Instant) {
        self.last_received = now;
    }

    /// A pong arrived. Returns whether it answers a ping: RFC 6455 also allows unsolicited pongs.
    pub(super) fn is_answer(&mut self) -> bool {
        let answers = self.unanswered > 0;
        self.unanswered = self.unanswered.saturating_sub(1);
        answers
    }

    /// When to call [`Heartbeat::check`] next.
    pub(super) fn due(&self) -> Instant {
        self.next_ping.min(self.dead_at())
    }

    pub(super) fn check(&mut self, now: Instant) -> Due {
        if now >= self.dead_at() {
            return Due::Dead;
        }
        if now < self.next_ping {
            return Due::Nothing;
        }
        self.next_ping = now + self.interval;
        self.unanswered += 1;
        Due::Ping
    }

    /// Two and a half intervals after the last frame.
    pub(super) fn dead_at(&self) -> Instant {
        self.last_received + self.interval * 5 / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(start: Instant, n: u64) -> Instant {
        start + Duration::from_secs(n)
    }

    /// The default interval, and a client that falls silent at any second between two pings.
    #[test]
    fn a_silent_socket_is_dead_after_two_and_a_half_intervals() {
        for last in 0..30 {
            let start = Instant::now();
            let mut heartbeat = Heartbeat::new(Duration::from_secs(30), start);
            heartbeat.received(second(start, last));
            let mut pings = 0;
            let dead = loop {
                let now = heartbeat.due();
                match heartbeat.check(now) {
                    Due::Ping => pings += 1,
                    Due::Dead => break now,
                    Due::Nothing => panic!("looked too early"),
                }
            };
            assert_eq!(dead, second(start, last + 75));
            assert!(pings >= 2, "it is asked before it is given up");
        }
    }

    #[test]
    fn each_ping_has_one_answer() {
        let start = Instant::now();
        let mut heartbeat = Heartbeat::new(Duration::from_secs(30), start);
        assert!(!heartbeat.is_answer(), "nobody asked");
        assert_eq!(heartbeat.check(second(start, 30)), Due::Ping);
        assert_eq!(heartbeat.check(second(start, 60)), Due::Ping);
        assert!(heartbeat.is_answer() && heartbeat.is_answer());
        assert!(!heartbeat.is_answer());
    }
}
