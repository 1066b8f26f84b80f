//! How often somebody may try a password.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex},
    time::Duration,
};

use jiff::Timestamp;
use turnpike_event::UserId;
use turnpike_fault::{Fault, Kind};
use turnpike_kit::{Clock, Death, Process};

use crate::{dice, users};

/// So many failures a minute for an account from an address; from one address to all accounts ten times as many, and to one
/// account from all addresses as well. An account that does not exist counts like one that does. A try counts from its
/// beginning, so that many at once are many, and no longer once it has turned out right.
#[derive(Clone)]
pub struct Logins(Option<Arc<Keyed>>);

struct Keyed {
    clock: Clock,
    pair: Tries,
    address: Tries,
    account: Tries,
}

/// A try that was counted.
#[must_use]
pub struct Counted(Option<(Arc<Keyed>, Key)>);

enum Key {
    Login { address: String, account: String },
    Again(UserId),
}

impl Logins {
    /// 0 is no limit.
    pub fn new(process: &Process, per_minute: u32) -> Self {
        if per_minute == 0 {
            return Self(None);
        }
        let [pair, address, account] = [1, 10, 10].map(|times| Tries::new(per_minute.saturating_mul(times)));
        let keyed = Arc::new(Keyed { clock: process.clock.clone(), pair, address, account });
        let (swept, stopping) = (keyed.clone(), process.tasks.stopping().clone());
        process.tasks.spawn("login limits", Death::Ends, async move {
            loop {
                tokio::select! {
                    () = stopping.cancelled() => return,
                    () = swept.clock.sleep(MINUTE) => {
                        for tries in [&swept.pair, &swept.address, &swept.account] {
                            tries.sweep(swept.clock.now());
                        }
                    }
                }
            }
        });
        Self(Some(keyed))
    }

    /// Counts a try to sign in.
    pub fn count(&self, address: &str, identifier: &str) -> Result<Counted, Fault> {
        let Some(keyed) = &self.0 else { return Ok(Counted(None)) };
        let now = keyed.clock.now();
        // A name may be long, and is somebody's: its hash is neither.
        let account = dice::hash(&users::key(identifier));
        let address = network(address);
        keyed.address.take(&address, now)?;
        keyed.pair.take(&pair(&address, &account), now)?;
        keyed.account.take(&account, now)?;
        Ok(Counted(Some((keyed.clone(), Key::Login { address, account }))))
    }

    /// Counts a try to prove an open session's password again: a stolen token must not be a way to guess it.
    pub fn count_again(&self, user: UserId) -> Result<Counted, Fault> {
        let Some(keyed) = &self.0 else { return Ok(Counted(None)) };
        keyed.pair.take(&user.to_string(), keyed.clock.now())?;
        Ok(Counted(Some((keyed.clone(), Key::Again(user)))))
    }
}

impl Counted {
    /// It was right, or was not judged.
    pub fn forgive(self) {
        let Some((keyed, key)) = self.0 else { return };
        match key {
            Key::Login { address, account } => {
                keyed.pair.give_back(&pair(&address, &account));
                keyed.address.give_back(&address);
                keyed.account.give_back(&account);
            }
            Key::Again(user) => keyed.pair.give_back(&user.to_string()),
        }
    }
}

fn pair(address: &str, account: &str) -> String {
    format!("{address} {account}")
}

/// So many a minute for each key, all at once or spread: the generic cell rate algorithm (ITU-T I.371, A.2). The crates that
/// have it take nothing back.
struct Tries {
    interval: Duration,
    /// By when each key will have its whole minute's worth again; who is not here has it.
    whole_at: Mutex<HashMap<String, Timestamp>>,
}

const MINUTE: Duration = Duration::from_secs(60);

impl Tries {
    fn new(per_minute: u32) -> Self {
        Self { interval: MINUTE / per_minute, whole_at: Mutex::default() }
    }

    fn take(&self, key: &str, now: Timestamp) -> Result<(), Fault> {
        let mut whole_at = self.whole_at.lock().expect("no panic while it is held");
        let whole = whole_at.get(key).map_or(now, |at| (*at).max(now)) + self.interval;
        let beyond = Duration::try_from(whole.duration_since(now + MINUTE)).unwrap_or_default();
        if !beyond.is_zero() {
            return Err(Fault::new(Kind::RateLimited, "Too many attempts to sign in").retry_after(beyond));
        }
        whole_at.insert(key.to_owned(), whole);
        Ok(())
    }

    fn give_back(&self, key: &str) {
        if let Some(whole) = self.whole_at.lock().expect("no panic while it is held").get_mut(key) {
            *whole -= self.interval;
        }
    }

    fn sweep(&self, now: Timestamp) {
        self.whole_at.lock().expect("no panic while it is held").retain(|_, whole| *whole > now);
    }
}

/// What one customer of a network has for himself: an IPv4 address, or 2^64 of IPv6 (RFC 6177).
fn network(address: &str) -> String {
    match address.parse().map(|ip: IpAddr| ip.to_canonical()) {
        Ok(IpAddr::V6(ip)) => {
            let [a, b, c, d, ..] = ip.segments();
            format!("{}/64", Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        Ok(IpAddr::V4(ip)) => ip.to_string(),
        Err(_) => address.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_customer_of_a_network_is_one_address() {
        assert_eq!(network("203.0.113.7"), "203.0.113.7");
        assert_eq!(network("::ffff:203.0.113.7"), "203.0.113.7");
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), network("2001:db8:1:2:ffff::1"));
        assert_ne!(network("2001:db8:1:2::1"), network("2001:db8:1:3::1"));
        assert_eq!(network("a socket"), "a socket");
    }

    proptest! {
        /// Whatever the pauses: no more than a minute's worth at once, and no more than the rate after it; and who was refused
        /// is let in when he was told to come back.
        #[test]
        fn tries_are_bounded_and_the_wait_is_true(per_minute in 1..120_u32, pauses in prop::collection::vec(0..30_000_u64, 1..200)) {
            let tries = Tries::new(per_minute);
            let (start, mut now, mut taken) = (Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH, 0_u32);
            for pause in pauses {
                now += Duration::from_millis(pause);
                match tries.take("key", now) {
                    Ok(()) => taken += 1,
                    Err(fault) => {
                        now += fault.retry_in().expect("a wait");
                        tries.take("key", now).expect("let in when told");
                        taken += 1;
                    }
                }
                let passed = now.duration_since(start).as_secs_f64();
                let most = f64::from(per_minute) * (1.0 + passed / 60.0);
                prop_assert!(f64::from(taken) <= most + 0.01, "{taken} in {passed} s");
            }
        }

        #[test]
        fn what_is_given_back_was_never_taken(times in 1..500_usize) {
            let tries = Tries::new(5);
            for _ in 0..times {
                tries.take("key", Timestamp::UNIX_EPOCH).expect("given back each time");
                tries.give_back("key");
            }
            for _ in 0..5 {
                tries.take("key", Timestamp::UNIX_EPOCH).expect("five a minute");
            }
            prop_assert!(tries.take("key", Timestamp::UNIX_EPOCH).is_err());
        }
    }
}
