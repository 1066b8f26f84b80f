#![doc = include_str!("../README.md")]

mod clock;
pub mod descriptors;
mod env;
mod health;
mod home;
pub mod host;
pub mod listen;
mod log;
pub mod ops;
mod outbound;
mod pages;
mod probe;
mod process;
mod recorder;
mod retry;
mod tasks;
mod trust;
pub mod variables;

pub use clock::{Clock, ClockControl, next_tick, tick};
pub use env::{ConfigError, Environment};
pub use health::{Changes, Component, Health};
pub use home::config_home;
pub use outbound::{Outbound, Refused};
pub use probe::probe;
pub use process::{Process, executable, run, run_service};
pub use retry::Retry;
pub use tasks::{OnExit, Tasks};
pub use trust::Trust;
pub use variables::Variable;

/// The allocator of every binary of the workspace.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
