//! A circuit breaker: a server that fails again and again is left out for a while.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use parking_lot::Mutex;

/// Failures in a row after which a server is left out.
const FAILURES: u32 = 5;
/// How long it is left out, doubled after each probe that fails.
const FIRST: Duration = Duration::from_secs(5);
const MOST: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, Default)]
pub struct Breaker(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    failures: u32,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    until: Timestamp,
    pause: Duration,
    /// One request finds out whether the server works again.
    probing: bool,
}

/// The right to send one request. Dropped without an outcome (the caller has gone), it says nothing about the server.
#[derive(Debug)]
pub struct Permit {
    breaker: Breaker,
    probes: bool,
    is_over: bool,
}

impl Breaker {
    /// A permit, or how long the server is still left out.
    pub fn admit(&self, now: Timestamp) -> Result<Permit, Duration> {
        let mut state = self.0.lock();
        let mut probes = false;
        if let Some(open) = &mut state.open {
            if now < open.until {
                return Err(Duration::try_from(open.until.duration_since(now)).unwrap_or_default());
            }
            if open.probing {
                return Err(Duration::from_secs(1));
            }
            (open.probing, probes) = (true, true);
        }
        Ok(Permit { breaker: self.clone(), probes, is_over: false })
    }
}

impl Permit {
    /// The server works.
    pub fn succeeded(mut self) {
        self.is_over = true;
        *self.breaker.0.lock() = State::default();
    }

    /// The server failed. Returns how long it is left out if that begins now.
    pub fn failed(mut self, now: Timestamp) -> Option<Duration> {
        self.is_over = true;
        let mut state = self.breaker.0.lock();
        state.failures = state.failures.saturating_add(1);
        let pause = match &state.open {
            Some(open) if self.probes => (open.pause * 2).min(MOST),
            // Requests that were sent before the server was left out.
            Some(_) => return None,
            None if state.failures >= FAILURES => FIRST,
            None => return None,
        };
        state.open = Some(Open { until: now.checked_add(pause).unwrap_or(Timestamp::MAX), pause, probing: false });
        Some(pause)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.probes
            && !self.is_over
            && let Some(open) = &mut self.breaker.0.lock().open
        {
            open.probing = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn fail(breaker: &Breaker, now: Timestamp) -> Option<Duration> {
        breaker.admit(now).expect("admitted").failed(now)
    }

    #[test]
    fn failures_in_a_row_open_it_and_one_probe_at_a_time_closes_it() {
        let breaker = Breaker::default();
        for _ in 1..FAILURES {
            assert_eq!(fail(&breaker, at(0)), None);
        }
        breaker.admit(at(0)).expect("admitted").succeeded();
        for _ in 1..FAILURES {
            assert_eq!(fail(&breaker, at(0)), None);
        }
        assert_eq!(fail(&breaker, at(0)), Some(FIRST));
        assert_eq!(breaker.admit(at(1)).expect_err("open"), Duration::from_secs(4));

        let probe = breaker.admit(at(5)).expect("a probe");
        assert!(breaker.admit(at(5)).is_err(), "one probe at a time");
        drop(probe); // its caller has gone
        assert_eq!(fail(&breaker, at(5)), Some(2 * FIRST));
        assert!(breaker.admit(at(14)).is_err());
        breaker.admit(at(15)).expect("a probe").succeeded();
        assert_eq!(fail(&breaker, at(15)), None, "closed, and the count begins again");
    }

    #[test]
    fn the_pause_is_bounded() {
        let breaker = Breaker::default();
        let mut now = at(0);
        let mut longest = Duration::ZERO;
        for _ in 0..20 {
            if let Some(pause) = fail(&breaker, now) {
                longest = longest.max(pause);
                now += pause;
            }
        }
        assert_eq!(longest, MOST);
    }
}
