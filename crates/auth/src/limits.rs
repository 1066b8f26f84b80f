//! How often somebody may try to sign in.

use std::{
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU32,
    sync::Arc,
    time::Duration,
};

use governor::{
    DefaultKeyedRateLimiter, NotUntil, Quota, RateLimiter,
    clock::{Clock, DefaultClock},
};
use turnpike_event::UserId;
use turnpike_fault::{Fault, Kind};
use turnpike_kit::{Death, Process};

use crate::{dice, users};

/// So many a minute for an account from an address; from one address to all accounts ten times as many, and to one account from
/// all addresses as well. An account that does not exist counts like one that does.
#[derive(Clone)]
pub struct Logins(Option<Arc<Keyed>>);

struct Keyed {
    pair: DefaultKeyedRateLimiter<String>,
    address: DefaultKeyedRateLimiter<String>,
    account: DefaultKeyedRateLimiter<String>,
}

impl Logins {
    /// 0 is no limit.
    pub fn new(process: &Process, per_minute: u32) -> Self {
        let Some(one) = NonZeroU32::new(per_minute) else { return Self(None) };
        let ten = one.saturating_mul(NonZeroU32::MIN.saturating_add(9));
        let keyed = Arc::new(Keyed {
            pair: RateLimiter::keyed(Quota::per_minute(one)),
            address: RateLimiter::keyed(Quota::per_minute(ten)),
            account: RateLimiter::keyed(Quota::per_minute(ten)),
        });
        let (swept, stopping) = (keyed.clone(), process.tasks.stopping().clone());
        process.tasks.spawn("login limits", Death::Ends, async move {
            loop {
                tokio::select! {
                    () = stopping.cancelled() => return,
                    () = tokio::time::sleep(Duration::from_secs(60)) => {
                        for limiter in [&swept.pair, &swept.address, &swept.account] {
                            limiter.retain_recent();
                        }
                    }
                }
            }
        });
        Self(Some(keyed))
    }

    /// Counts one try.
    pub fn count(&self, address: &str, identifier: &str) -> Result<(), Fault> {
        let Some(keyed) = &self.0 else { return Ok(()) };
        // A name may be long, and is somebody's: its hash is neither.
        let account = dice::hash(&users::key(identifier));
        let address = network(address);
        let counted = keyed
            .address
            .check_key(&address)
            .and_then(|()| keyed.pair.check_key(&format!("{address} {account}")))
            .and_then(|()| keyed.account.check_key(&account));
        counted.map_err(|until| too_many(&until))
    }

    /// Counts one try to prove an open session's password again: a stolen token must not be a way to guess it.
    pub fn count_again(&self, user: UserId) -> Result<(), Fault> {
        let Some(keyed) = &self.0 else { return Ok(()) };
        keyed.pair.check_key(&user.to_string()).map_err(|until| too_many(&until))
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

fn too_many(until: &NotUntil<<DefaultClock as Clock>::Instant>) -> Fault {
    let wait = until.wait_time_from(DefaultClock::default().now());
    Fault::new(Kind::RateLimited, "Too many attempts to sign in").retry_after(wait)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_customer_of_a_network_is_one_address() {
        assert_eq!(network("203.0.113.7"), "203.0.113.7");
        assert_eq!(network("::ffff:203.0.113.7"), "203.0.113.7");
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), network("2001:db8:1:2:ffff::1"));
        assert_ne!(network("2001:db8:1:2::1"), network("2001:db8:1:3::1"));
        assert_eq!(network("a socket"), "a socket");
    }
}
