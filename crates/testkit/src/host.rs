//! Loopback addresses for tests that must know in advance where a process will listen.
//!
//! A port on 127.0.0.1 cannot be reserved: between the choice and the `bind` of another process, the kernel may give the port to
//! any socket that asks for port 0, and to any outgoing connection. It gives out ports of other loopback addresses to nobody who
//! does not name the address. So a test takes a whole address of 127.0.0.0/8; all its ports belong to the test, also while a
//! process that listened there is down.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};

use uuid::Uuid;

/// An address on loopback that no other test has, until it is dropped.
pub struct Host {
    ip: Ipv4Addr,
    /// This socket is the claim: the kernel refuses a second one, and takes it back when this process ends, however it ends.
    _claim: TcpListener,
}

/// Port 0 of [`Host::address`]. Below the range of ports that Linux gives out by itself (32768–60999), and common nowhere; the
/// private port of each service is 1000 further up.
const FIRST: u16 = 21_000;
/// The port of the claim.
const CLAIM: u16 = 20_999;

impl Host {
    /// Takes an address.
    pub fn claim() -> Self {
        // The end of an id is random. scripts/with-servers takes its addresses below 127.128.0.0.
        let random = || {
            let [.., a, b, c] = *Uuid::now_v7().as_bytes();
            Ipv4Addr::new(127, a | 0x80, b, c.clamp(1, 254))
        };
        let claim = |ip| TcpListener::bind((ip, CLAIM)).ok().map(|claim| Self { ip, _claim: claim });
        (0..100).find_map(|_| claim(random())).expect("an address of 127.128.0.0/9 whose port 20999 nobody listens on")
    }

    /// The address with its `n`th port.
    pub fn address(&self, n: u16) -> SocketAddr {
        assert!(n < 1000, "the ports from 1000 on are the private ones");
        SocketAddr::new(IpAddr::V4(self.ip), FIRST + n)
    }

    /// The address with a port that the system chooses when it is bound.
    pub fn any_port(&self) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(self.ip), 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_one_owner() {
        let hosts: Vec<_> = (0..50).map(|_| Host::claim()).collect();
        for (n, host) in hosts.iter().enumerate() {
            assert!(TcpListener::bind((host.ip, CLAIM)).is_err(), "claimed");
            assert!(hosts[..n].iter().all(|other| other.ip != host.ip), "{}", host.ip);
        }
        let ip = hosts[0].ip;
        drop(hosts);
        assert!(TcpListener::bind((ip, CLAIM)).is_ok(), "free again");
    }

    #[test]
    fn nobody_is_given_a_port_of_it() {
        let host = Host::claim();
        let others: Vec<_> = (0..200).map(|_| TcpListener::bind(("127.0.0.1", 0)).expect("a port")).collect();
        for (n, other) in others.iter().enumerate() {
            assert_ne!(other.local_addr().expect("bound").ip(), host.any_port().ip());
            drop(TcpListener::bind(host.address(n as u16)).expect("every port is ours"));
        }
    }
}
