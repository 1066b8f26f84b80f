//! Connection slots: how many connections may be open, in all and from one client address.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

use ipnet::IpNet;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The limit when many files may be open: the task and the buffers of each connection need memory.
const MAX_CONNECTIONS: u64 = 100_000;
/// Files that are reserved for Redis, gRPC, the databases and the log.
const RESERVED_FILES: u64 = 512;

/// How many connections of one client address may be open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PerAddress {
    /// 512. No limit for loopback, where the clients are a proxy or users of this machine.
    Unset,
    /// For every address; 0 is no limit.
    Set(u32),
}

impl PerAddress {
    const DEFAULT: u32 = 512;

    fn limit(self, address: IpAddr) -> u32 {
        match self {
            Self::Unset if address.is_loopback() => 0,
            Self::Unset => Self::DEFAULT,
            Self::Set(limit) => limit,
        }
    }
}

/// The slots of the public port.
pub(crate) struct ConnectionSlots {
    total: Arc<Semaphore>,
    per_address: PerAddress,
    trusted: Vec<IpNet>,
    /// Open connections of each address that has a limit.
    open: Mutex<HashMap<IpAddr, u32>>,
}

/// Why a connection is closed as soon as it is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    Total,
    Address,
}

impl Full {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Total => "total",
            Self::Address => "address",
        }
    }
}

/// The slot of one connection. Its drop makes it free.
pub(crate) struct Slot {
    slots: Arc<ConnectionSlots>,
    address: Option<IpAddr>,
    _total: OwnedSemaphorePermit,
}

/// The number of slots that a limit of open files allows.
pub(crate) fn slots_for(files: Option<u64>) -> usize {
    let files = files.unwrap_or(u64::MAX);
    let slots = (files - RESERVED_FILES.min(files / 2)).min(MAX_CONNECTIONS);
    usize::try_from(slots).unwrap_or(usize::MAX)
}

impl ConnectionSlots {
    /// `trusted` are proxies, which carry the connections of many clients.
    pub(crate) fn new(total: usize, per_address: PerAddress, trusted: Vec<IpNet>) -> Arc<Self> {
        Arc::new(Self { total: Arc::new(Semaphore::new(total)), per_address, trusted, open: Mutex::default() })
    }

    pub(crate) fn take(self: &Arc<Self>, peer: IpAddr) -> Result<Slot, Full> {
        let total = self.total.clone().try_acquire_owned().map_err(|_| Full::Total)?;
        let limit = match self.trusted.iter().any(|net| net.contains(&peer)) {
            true => 0,
            false => self.per_address.limit(peer),
        };
        let address = (limit > 0).then(|| client(peer));
        if let Some(address) = address {
            let mut open = self.open.lock();
            let count = open.entry(address).or_default();
            if *count >= limit {
                return Err(Full::Address);
            }
            *count += 1;
        }
        Ok(Slot { slots: self.clone(), address, _total: total })
    }
}

/// One subscriber usually has a whole /64 of IPv6 addresses.
fn client(peer: IpAddr) -> IpAddr {
    match peer {
        IpAddr::V4(_) => peer,
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from(u128::from(v6) >> 64 << 64)),
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let Some(address) = self.address else { return };
        let mut open = self.slots.open.lock();
        if let Some(count) = open.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                open.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn an_address_has_its_limit_and_frees_its_slots() {
        let slots = ConnectionSlots::new(100, PerAddress::Set(2), vec!["10.0.0.0/8".parse().expect("a network")]);
        let first = slots.take(ip("192.0.2.1"));
        let _second = slots.take(ip("192.0.2.1"));
        assert_eq!(slots.take(ip("192.0.2.1")).err(), Some(Full::Address));
        assert!(slots.take(ip("192.0.2.2")).is_ok(), "another address");
        drop(first);
        assert!(slots.take(ip("192.0.2.1")).is_ok());
        let proxied: Vec<_> = (0..50).map(|_| slots.take(ip("10.1.2.3"))).collect();
        assert!(proxied.iter().all(Result::is_ok), "a trusted proxy carries many clients");
        drop(proxied);
        let _one = slots.take(ip("2001:db8:1:2::1"));
        let _two = slots.take(ip("2001:db8:1:2::2"));
        assert_eq!(slots.take(ip("2001:db8:1:2:3::3")).err(), Some(Full::Address), "the same subscriber");
    }

    #[test]
    fn loopback_is_limited_only_when_the_limit_is_set() {
        assert_eq!(PerAddress::Unset.limit(ip("127.0.0.1")), 0);
        assert_eq!(PerAddress::Unset.limit(ip("192.0.2.1")), PerAddress::DEFAULT);
        assert_eq!(PerAddress::Set(3).limit(ip("127.0.0.1")), 3);
    }

    #[test]
    fn a_refused_connection_leaves_no_trace() {
        let slots = ConnectionSlots::new(1, PerAddress::Set(1), Vec::new());
        let first = slots.take(ip("192.0.2.1")).expect("a free slot");
        assert_eq!(slots.take(ip("192.0.2.2")).err(), Some(Full::Total));
        drop(first);
        assert!(slots.open.lock().is_empty());
        assert_eq!(slots.total.available_permits(), 1);
    }

    #[test]
    fn files_are_left_for_everything_else() {
        assert_eq!(slots_for(Some(20_000)), 19_488);
        assert_eq!(slots_for(Some(256)), 128);
        assert_eq!(slots_for(None), 100_000);
    }
}
