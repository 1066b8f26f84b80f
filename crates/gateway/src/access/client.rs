//! The client of a request: its address, its user agent, and whether it used TLS.

use std::{net::IpAddr, sync::Arc};

use axum::extract::{FromRef, FromRequestParts};
use http::{HeaderMap, header, request::Parts};
use ipnet::IpNet;

#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) ip: IpAddr,
    /// At most 256 characters.
    pub(crate) user_agent: String,
    /// The request used TLS, which a trusted proxy terminated.
    pub(crate) secure: bool,
    /// The connection comes directly from this machine.
    pub(crate) local: bool,
}

/// The networks of proxies whose forwarding headers are trusted.
#[derive(Clone)]
pub(crate) struct TrustedProxies(pub(crate) Arc<[IpNet]>);

/// The remote address of a connection.
#[derive(Clone, Copy)]
pub(crate) struct Peer(pub(crate) IpAddr);

impl<S: Sync> FromRequestParts<S> for Client
where
    TrustedProxies: FromRef<S>,
{
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        let peer = parts.extensions.get().map_or(IpAddr::from([0, 0, 0, 0]), |Peer(ip)| *ip);
        let TrustedProxies(trusted) = &TrustedProxies::from_ref(state);
        let agent = parts.headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        Ok(Self {
            ip: client_ip(peer, &parts.headers, trusted),
            user_agent: agent.chars().take(256).collect(),
            local: is_local(peer, &parts.headers, trusted),
            secure: is_trusted(peer, trusted) && last(&parts.headers, "x-forwarded-proto") == Some("https"),
        })
    }
}

/// The right-most hop that is not a trusted proxy. A client can invent the hops to the left of it.
fn client_ip(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let mut ip = peer;
    let lines: Vec<&str> = headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok()).collect();
    for hop in lines.iter().flat_map(|line| line.split(',')).rev() {
        if !is_trusted(ip, trusted) {
            break;
        }
        match hop.trim().parse() {
            Ok(hop) => ip = hop,
            Err(_) => break,
        }
    }
    ip
}

/// Headers by which a proxy describes its client.
const FORWARDED: [&str; 7] =
    ["forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-port", "x-forwarded-proto", "x-real-ip"];

/// Whether the connection comes directly from a client on this machine. A forwarding header with any value means that a
/// proxy is in between, or that the client imitates one. A trusted address belongs to a proxy, also without such a header.
fn is_local(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> bool {
    let forwarded = FORWARDED.iter().any(|name| headers.contains_key(*name));
    peer.to_canonical().is_loopback() && !is_trusted(peer, trusted) && !forwarded
}

fn is_trusted(ip: IpAddr, trusted: &[IpNet]) -> bool {
    trusted.iter().any(|net| net.contains(&ip.to_canonical()))
}

fn last<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get_all(name).iter().next_back()?.to_str().ok()?.rsplit(',').next().map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(forwarded: &[&str], peer: &str, trusted: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append("x-forwarded-for", line.parse().expect("a header"));
        }
        let trusted: Vec<IpNet> = trusted.iter().map(|net| net.parse().expect("a network")).collect();
        client_ip(peer.parse().expect("an address"), &headers, &trusted).to_string()
    }

    #[test]
    fn a_spoofed_header_changes_nothing() {
        assert_eq!(ip(&["1.1.1.1"], "9.9.9.9", &[]), "9.9.9.9");
        assert_eq!(ip(&["1.1.1.1, 8.8.8.8"], "10.0.0.1", &["10.0.0.0/8"]), "8.8.8.8");
        assert_eq!(ip(&["1.1.1.1", "8.8.8.8, 10.0.0.2"], "10.0.0.1", &["10.0.0.0/8"]), "8.8.8.8");
        assert_eq!(ip(&["garbage"], "10.0.0.1", &["10.0.0.0/8"]), "10.0.0.1");
        assert_eq!(ip(&[], "10.0.0.1", &["10.0.0.0/8"]), "10.0.0.1");
    }

    #[test]
    fn only_a_direct_connection_from_loopback_is_local() {
        let local = |peer: &str, header: Option<&'static str>, trusted: &[&str]| {
            let headers = header.map(|name| (name.parse().expect("a name"), "127.0.0.1".parse().expect("a value")));
            let trusted: Vec<IpNet> = trusted.iter().map(|net| net.parse().expect("a network")).collect();
            is_local(peer.parse().expect("an address"), &HeaderMap::from_iter(headers), &trusted)
        };
        for peer in ["127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1"] {
            assert!(local(peer, None, &[]), "{peer}");
            assert!(local(peer, None, &["10.0.0.0/8"]), "{peer}: another proxy is trusted");
            for header in FORWARDED {
                assert!(!local(peer, Some(header), &[]), "{peer} {header}");
            }
        }
        assert!(!local("127.0.0.1", None, &["127.0.0.0/8"]), "a trusted proxy on loopback that adds no header");
        for peer in ["0.0.0.0", "::", "10.0.0.1", "192.168.1.5", "203.0.113.7", "2001:db8::1", "::ffff:10.0.0.1"] {
            assert!(!local(peer, None, &[]), "{peer}");
            assert!(!local(peer, Some("x-forwarded-for"), &[peer_net(peer)]), "{peer}: a trusted proxy's word");
        }
    }

    fn peer_net(peer: &str) -> &'static str {
        if peer.contains(':') { "::/0" } else { "0.0.0.0/0" }
    }
}
