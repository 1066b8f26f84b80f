//! The two backends, so that one test runs on both.

use turnpike_bus::{Bus, Limits};
use turnpike_testkit::redis_url;

#[derive(Clone, Copy)]
pub(crate) enum Backend {
    Memory,
    Redis,
}

impl Backend {
    pub(crate) fn bus(self, limits: Limits) -> Bus {
        match self {
            Self::Memory => Bus::memory(limits),
            Self::Redis => Bus::redis(&redis_url(), limits).expect("a URL"),
        }
    }

    /// The same bus, on Redis as another process would open it.
    pub(crate) fn peer(self, bus: &Bus) -> Bus {
        match self {
            Self::Memory => bus.clone(),
            Self::Redis => self.bus(Limits::default()),
        }
    }
}

macro_rules! on_both {
    ($($(#[$doc:meta])* async fn $name:ident($backend:ident: Backend) $body:block)*) => {
        $($(#[$doc])* async fn $name($backend: Backend) $body)*

        mod memory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(crate::backend::Backend::Memory).await;
            })*
        }

        mod redis {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(crate::backend::Backend::Redis).await;
            })*
        }
    };
}

pub(crate) use on_both;
