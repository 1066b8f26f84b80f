//! The configuration.

use std::net::SocketAddr;

use turnpike_bus::BusConfig;
use turnpike_kit::{ConfigError, Environment, listen, variables};

#[derive(Clone, Debug)]
pub struct Config {
    /// `TURNPIKE_MOCK_VEHICLE_CONNECTOR_GRPC`.
    pub grpc: SocketAddr,
    /// `TURNPIKE_MOCK_SEED`: same seed, same vehicles.
    pub seed: u64,
    /// `TURNPIKE_MOCK_VEHICLES`.
    pub vehicles: u32,
    /// `TURNPIKE_MOCK_DELAY_MS`: mean milliseconds between the parts of an answer; 0: no delay.
    pub delay_ms: u32,
    pub bus: BusConfig,
}

impl Config {
    pub fn new(env: &Environment) -> Result<Self, ConfigError> {
        Ok(Self {
            grpc: listen::address(env, &variables::MOCK_VEHICLE_CONNECTOR_GRPC)?,
            seed: env.parse(&variables::MOCK_SEED, "a whole number", |_| true)?,
            vehicles: env.parse(&variables::MOCK_VEHICLES, "a number from 0 to 10000", |n| *n <= 10_000)?,
            delay_ms: env.parse(&variables::MOCK_DELAY_MS, "milliseconds from 0 to 60000", |ms| *ms <= 60_000)?,
            bus: BusConfig::new(env)?,
        })
    }
}
