//! The configuration of the gateway.

use std::{net::SocketAddr, time::Duration};

use ipnet::IpNet;
use turnpike_bus::BusConfig;
use turnpike_kit::{ConfigError, Environment, listen, variables};

use crate::access::slots::PerAddress;

#[derive(Clone, Debug)]
pub struct Config {
    /// `TURNPIKE_HTTP`: the public address.
    pub http: SocketAddr,
    /// `TURNPIKE_AUTH_URL`.
    pub auth_url: String,
    /// `TURNPIKE_VEHICLES_URL`.
    pub vehicles_url: String,
    /// `TURNPIKE_CHAT_URL`.
    pub chat_url: String,
    /// `TURNPIKE_CAPTIONS_URL`.
    pub captions_url: String,
    pub bus: BusConfig,
    pub limits: Limits,
    /// `TURNPIKE_HEARTBEAT_SECONDS`.
    pub heartbeat: Duration,
    /// `TURNPIKE_DRAIN_SECONDS`: connections end over this time at most when the process stops.
    pub drain: Duration,
    /// `TURNPIKE_TRUSTED_PROXIES`: networks of proxies whose forwarding headers are trusted.
    pub trusted_proxies: Vec<IpNet>,
    /// `TURNPIKE_ALLOWED_ORIGINS`: origins besides the gateway's own whose pages may use the session cookie.
    pub allowed_origins: Vec<String>,
}

/// Limits; 0 means no limit.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Open sockets of one user on this gateway.
    pub sockets_per_user: u32,
    /// Messages of one user over WebSocket.
    pub messages_per_minute: u32,
    /// Bytes of one WebSocket frame.
    pub frame_bytes: usize,
    /// Open connections of one client address.
    pub connections_per_address: PerAddress,
}

impl Config {
    pub fn new(env: &Environment) -> Result<Self, ConfigError> {
        let whole = "a whole number, 0 for no limit";
        let heartbeat =
            env.parse(&variables::HEARTBEAT_SECONDS, "seconds from 1 to 3600", |s| (1..=3600).contains(s))?;
        let drain = env.parse(&variables::DRAIN_SECONDS, "seconds from 0 to 15", |s| *s <= 15)?;
        Ok(Self {
            http: listen::address(env, &variables::HTTP)?,
            auth_url: env.value(&variables::AUTH_URL).to_owned(),
            vehicles_url: env.value(&variables::VEHICLES_URL).to_owned(),
            chat_url: env.value(&variables::CHAT_URL).to_owned(),
            captions_url: env.value(&variables::CAPTIONS_URL).to_owned(),
            bus: BusConfig::new(env)?,
            limits: Limits {
                sockets_per_user: env.parse(&variables::LIMIT_SOCKETS_PER_USER, whole, |_| true)?,
                messages_per_minute: env.parse(&variables::LIMIT_MESSAGES_PER_MINUTE, whole, |_| true)?,
                frame_bytes: env
                    .parse(&variables::LIMIT_FRAME_BYTES, "bytes up to 1048576, 0 for that", |b| *b <= MAX_FRAME)?,
                connections_per_address: connections_per_address(env)?,
            },
            heartbeat: Duration::from_secs(heartbeat),
            drain: Duration::from_secs(drain),
            trusted_proxies: proxies(env)?,
            allowed_origins: origins(env)?,
        })
    }
}

/// How long a client may leave written data unread: two and a half of the default heartbeats.
pub(crate) const WRITE_TIMEOUT: Duration = Duration::from_secs(75);

/// A longer WebSocket frame closes its socket.
pub(crate) const MAX_FRAME: usize = 1 << 20;

fn connections_per_address(env: &Environment) -> Result<PerAddress, ConfigError> {
    let variable = &variables::LIMIT_CONNECTIONS_PER_ADDRESS;
    match env.get(variable) {
        None => Ok(PerAddress::Unset),
        Some(_) => env.parse(variable, "a whole number, 0 for no limit", |_| true).map(PerAddress::Set),
    }
}

fn proxies(env: &Environment) -> Result<Vec<IpNet>, ConfigError> {
    let text = env.value(&variables::TRUSTED_PROXIES);
    let net = |part: &str| {
        let invalid =
            || env.invalid(&variables::TRUSTED_PROXIES, "addresses or networks such as 10.0.0.0/8, comma-separated");
        part.parse().or_else(|_| part.parse::<std::net::IpAddr>().map(IpNet::from)).map_err(|_| invalid())
    };
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(net).collect()
}

fn origins(env: &Environment) -> Result<Vec<String>, ConfigError> {
    let text = env.value(&variables::ALLOWED_ORIGINS);
    let origin = |part: &str| {
        let uri: Option<http::Uri> = part.parse().ok();
        let good = uri.is_some_and(|uri| {
            uri.scheme().is_some() && uri.host().is_some() && uri.path() == "/" && !part.ends_with('/')
        });
        good.then(|| part.to_ascii_lowercase()).ok_or_else(|| {
            env.invalid(&variables::ALLOWED_ORIGINS, "origins such as https://console.example.com, comma-separated")
        })
    };
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(origin).collect()
}
