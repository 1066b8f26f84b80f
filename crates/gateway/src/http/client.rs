//! Who is at the other end of the line, as far as HTTP tells.

use std::net::IpAddr;

use axum::extract::FromRequestParts;
use http::{HeaderMap, header, request::Parts};
use ipnet::IpNet;

use crate::App;

/// The client's address and browser.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) ip: IpAddr,
    /// At most 256 characters.
    pub(crate) user_agent: String,
    /// It came over TLS, which a trusted proxy took off.
    pub(crate) secure: bool,
}

/// The address at the other end of the connection.
#[derive(Clone, Copy)]
pub(crate) struct Peer(pub(crate) IpAddr);

impl FromRequestParts<App> for Client {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Self::Rejection> {
        let peer = parts.extensions.get().map_or(IpAddr::from([0, 0, 0, 0]), |Peer(ip)| *ip);
        let trusted = &app.config.trusted_proxies;
        let agent = parts.headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        Ok(Self {
            ip: client_ip(peer, &parts.headers, trusted),
            user_agent: agent.chars().take(256).collect(),
            secure: is_trusted(peer, trusted) && last(&parts.headers, "x-forwarded-proto") == Some("https"),
        })
    }
}

/// The right-most hop that is not a trusted proxy. What stands further left is the client's to invent.
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
}
