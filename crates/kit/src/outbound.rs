//! The offline guard: the addresses that a process may connect to.

use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

use http::Uri;

use crate::{ConfigError, Environment, variables};

/// A refused connection; names the address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("TURNPIKE_OFFLINE=1 refuses a connection to {0}, which is neither loopback nor configured")]
pub struct Refused(String);

/// Permits connections. Everything that opens one asks here first.
#[derive(Clone, Debug, Default)]
pub struct Outbound(Option<Arc<BTreeSet<String>>>);

impl Outbound {
    /// Permits every address unless the environment has `TURNPIKE_OFFLINE=1`.
    pub fn new(env: &Environment) -> Result<Self, ConfigError> {
        if !env.switch(&variables::OFFLINE)? {
            return Ok(Self(None));
        }
        let mut allowed = BTreeSet::new();
        for variable in variables::ALL.iter().filter(|variable| variable.destination) {
            // Several addresses may stand in one variable, separated by commas, each perhaps after a name.
            for part in env.get(variable).unwrap_or_default().split(',') {
                let url = part.split_once('=').filter(|(name, _)| !name.contains(':')).map_or(part, |(_, url)| url);
                allowed.extend(authority(url.trim()));
            }
        }
        Ok(Self(Some(Arc::new(allowed))))
    }

    /// Whether a connection to this URL may be made.
    pub fn permit(&self, url: &str) -> Result<(), Refused> {
        let Some(allowed) = &self.0 else { return Ok(()) };
        if url.starts_with("sqlite:") {
            return Ok(()); // a file
        }
        match authority(url) {
            Some(address) if is_loopback(&address) || allowed.contains(&address) => Ok(()),
            Some(address) => Err(Refused(address)),
            None => Err(Refused("an address that cannot be read".to_owned())),
        }
    }
}

/// `host:port` of a URL, without user and password.
fn authority(url: &str) -> Option<String> {
    let uri: Uri = url.parse().ok()?;
    let host = uri.host()?.to_ascii_lowercase();
    let port = uri.port_u16().or(match uri.scheme_str()? {
        "http" | "ws" => Some(80),
        "https" | "wss" => Some(443),
        "redis" | "rediss" => Some(6379),
        "postgres" | "postgresql" => Some(5432),
        _ => None,
    })?;
    Some(format!("{host}:{port}"))
}

fn is_loopback(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let literal = host.trim_start_matches('[').trim_end_matches(']');
    // "localhost" is loopback by RFC 6761. To resolve any other name, a DNS server is asked, which is a connection too.
    host == "localhost" || literal.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offline(pairs: &[(&str, &str)]) -> Outbound {
        let pairs = pairs.iter().copied().chain([("TURNPIKE_OFFLINE", "1")]);
        Outbound::new(&Environment::new(pairs).expect("known names")).expect("valid")
    }

    #[test]
    fn offline_permits_loopback_and_configured_addresses() {
        let guard = offline(&[
            ("TURNPIKE_REDIS_URL", "redis://:secret@redis:6379/0"),
            ("TURNPIKE_CONNECTORS", "mock=http://mock:50054,depot=http://10.0.0.7:9000"),
        ]);
        for url in [
            "http://127.0.0.1:8080",
            "http://localhost:1",
            "http://[::1]:50051",
            "redis://redis",
            "http://mock:50054",
            "http://10.0.0.7:9000/",
        ] {
            assert_eq!(guard.permit(url), Ok(()), "{url}");
        }
        for (url, address) in [
            ("https://example.com/x", "example.com:443"),
            ("http://10.0.0.7:9001", "10.0.0.7:9001"),
            ("http://user:password@127.0.0.1.example.com:80", "127.0.0.1.example.com:80"),
        ] {
            assert_eq!(guard.permit(url), Err(Refused(address.to_owned())), "{url}");
        }
        let shown = guard.permit("https://a:hunter2@b.example/").expect_err("refused").to_string();
        assert!(shown.contains("b.example:443") && !shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn online_permits_everything() {
        let guard = Outbound::new(&Environment::default()).expect("valid");
        assert_eq!(guard.permit("https://example.com"), Ok(()));
    }
}
