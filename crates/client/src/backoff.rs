//! Pauses between attempts to connect. They double, and half of each is random, so that clients that were cut together do not come back
//! together.

use std::time::Duration;

pub(crate) struct Backoff {
    shortest: Duration,
    longest: Duration,
    failures: u32,
}

impl Backoff {
    pub(crate) const fn new(shortest: Duration, longest: Duration) -> Self {
        Self { shortest, longest, failures: 0 }
    }

    /// The pause after a failure; `random` is from 0 to 1.
    pub(crate) fn fail(&mut self, random: f64) -> Duration {
        let doubled = self.shortest.saturating_mul(1 << self.failures.min(20)).min(self.longest);
        self.failures = self.failures.saturating_add(1);
        doubled.mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0)
    }

    /// The gateway has answered.
    pub(crate) const fn succeed(&mut self) {
        self.failures = 0;
    }

    pub(crate) const fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_half_of_each_is_random() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(ms(250), ms(15_000));
        let pauses: Vec<_> = (0..9).map(|_| backoff.fail(1.0)).collect();
        assert_eq!(pauses, [250, 500, 1000, 2000, 4000, 8000, 15_000, 15_000, 15_000].map(ms));
        assert_eq!(backoff.fail(0.0), ms(7500));
        backoff.succeed();
        assert_eq!((backoff.fail(0.5), backoff.failures()), (Duration::from_micros(187_500), 1));
        (0..100).for_each(|_| assert!(backoff.fail(1.0) <= ms(15_000)));
    }
}
