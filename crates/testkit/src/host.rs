//! Loopback addresses for tests that must know a process's address before the process listens.
//!
//! A port on 127.0.0.1 cannot be reserved: before another process binds the chosen port, the kernel may assign it to a socket
//! that binds port 0 or to an outgoing connection. The kernel assigns a port of another loopback address only to a socket that
//! names this address. A test therefore claims a whole address of 127.0.0.0/8. All ports of the address belong to the test, also
//! while the process that listens there is stopped.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};

use uuid::Uuid;

/// A loopback address claimed by one test until it is dropped.
pub struct Host {
    ip: Ipv4Addr,
    /// This socket is the claim. The kernel refuses a second one, and closes it when the process ends, also after a crash.
    _claim: TcpListener,
}

/// The port of `Host::address(0)`. It is below the range that Linux assigns ports from (32768–60999), and no common service uses
/// it. A service's private port is this port + 1000.
const FIRST: u16 = 21_000;
/// The port of the socket that claims an address.
const CLAIM: u16 = 20_999;

impl Host {
    /// Claims a random free address.
    pub fn claim() -> Self {
        // The last bytes of a UUIDv7 are random. scripts/with-servers uses addresses below 127.128.0.0.
        let random = || {
            let [.., a, b, c] = *Uuid::now_v7().as_bytes();
            Ipv4Addr::new(127, a | 0x80, b, c.clamp(1, 254))
        };
        let claim = |ip| TcpListener::bind((ip, CLAIM)).ok().map(|claim| Self { ip, _claim: claim });
        (0..100).find_map(|_| claim(random())).expect("an address in 127.128.0.0/9 has a free port 20999")
    }

    /// The address with the `n`th port of the test.
    pub fn address(&self, n: u16) -> SocketAddr {
        assert!(n < 1000, "the ports from 1000 on are the private ports of the services");
        SocketAddr::new(IpAddr::V4(self.ip), FIRST + n)
    }

    /// The address with port 0: the system chooses a port when a socket is bound.
    pub fn any_port(&self) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(self.ip), 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_claimed_once() {
        let hosts: Vec<_> = (0..50).map(|_| Host::claim()).collect();
        for (n, host) in hosts.iter().enumerate() {
            assert!(TcpListener::bind((host.ip, CLAIM)).is_err(), "the address is claimed");
            assert!(hosts[..n].iter().all(|other| other.ip != host.ip), "{}", host.ip);
        }
        let ip = hosts[0].ip;
        drop(hosts);
        assert!(TcpListener::bind((ip, CLAIM)).is_ok(), "the address is free after the drop");
    }

    #[test]
    fn the_system_assigns_no_port_of_a_claimed_address() {
        let host = Host::claim();
        let others: Vec<_> = (0..200).map(|_| TcpListener::bind(("127.0.0.1", 0)).expect("a port")).collect();
        for (n, other) in others.iter().enumerate() {
            assert_ne!(other.local_addr().expect("bound").ip(), host.any_port().ip());
            drop(TcpListener::bind(host.address(n as u16)).expect("every port of the address is free"));
        }
    }
}
