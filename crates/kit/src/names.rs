//! Every environment variable there is.

/// One environment variable.
#[derive(Debug)]
pub struct Name {
    /// The whole name.
    pub name: &'static str,
    /// Its default, as `turnpike config` shows it.
    pub default: &'static str,
    /// Its value is never printed.
    pub secret: bool,
}

const fn plain(name: &'static str, default: &'static str) -> Name {
    Name { name, default, secret: false }
}

const fn secret(name: &'static str, default: &'static str) -> Name {
    Name { name, default, secret: true }
}

/// Every binary accepts all of them, so that one environment file can serve a whole stack. What each means stands in the
/// README's table; a test compares the two.
pub const NAMES: &[Name] = &[
    plain("TURNPIKE_HTTP", "127.0.0.1:8080"),
    plain("TURNPIKE_DATA_DIR", "./turnpike-data"),
    plain("TURNPIKE_ADMIN_EMAIL", "admin@turnpike.local"),
    secret("TURNPIKE_ADMIN_PASSWORD", "generated"),
    secret("TURNPIKE_AUTH_SECRET", "generated in the data directory"),
    secret("TURNPIKE_REDIS_URL", ""),
    secret("TURNPIKE_AUTH_DATABASE_URL", "SQLite in the data directory"),
    secret("TURNPIKE_CHAT_DATABASE_URL", "SQLite in the data directory"),
    secret("TURNPIKE_VEHICLES_DATABASE_URL", "SQLite in the data directory"),
    plain("TURNPIKE_AUTH_GRPC", "127.0.0.1:50051"),
    plain("TURNPIKE_CHAT_GRPC", "127.0.0.1:50052"),
    plain("TURNPIKE_VEHICLES_GRPC", "127.0.0.1:50053"),
    plain("TURNPIKE_MOCK_VEHICLE_CONNECTOR_GRPC", "127.0.0.1:50054"),
    plain("TURNPIKE_CAPTIONS_GRPC", "127.0.0.1:50055"),
    plain("TURNPIKE_AUTH_URL", "http://127.0.0.1:50051"),
    plain("TURNPIKE_CHAT_URL", "http://127.0.0.1:50052"),
    plain("TURNPIKE_VEHICLES_URL", "http://127.0.0.1:50053"),
    plain("TURNPIKE_CAPTIONS_URL", "http://127.0.0.1:50055"),
    plain("TURNPIKE_CONNECTORS", "mock=http://127.0.0.1:50054"),
    plain("TURNPIKE_LLM_URL", ""),
    secret("TURNPIKE_LLM_API_KEY", ""),
    plain("TURNPIKE_LLM_MODEL", ""),
    plain("TURNPIKE_OFFLINE", "0"),
    plain("TURNPIKE_TRUSTED_PROXIES", ""),
    plain("TURNPIKE_ALLOWED_ORIGINS", ""),
    plain("TURNPIKE_LIMIT_SOCKETS_PER_USER", "8"),
    plain("TURNPIKE_LIMIT_MESSAGES_PER_MINUTE", "60"),
    plain("TURNPIKE_LIMIT_FRAME_BYTES", "65536"),
    plain("TURNPIKE_LIMIT_LOGINS_PER_MINUTE", "5"),
    plain("TURNPIKE_LIMIT_COMMANDS_PER_MINUTE", "60"),
    plain("TURNPIKE_HEARTBEAT_SECONDS", "30"),
    plain("TURNPIKE_TOPIC_RETENTION_SECONDS", "86400"),
    plain("TURNPIKE_TOPIC_ENDED_RETENTION_SECONDS", "3600"),
    plain("TURNPIKE_TOPIC_MAX_EVENTS", "10000"),
    plain("TURNPIKE_TOPIC_MEMORY_BYTES", "268435456"),
    plain("TURNPIKE_MOCK_SEED", "1"),
    plain("TURNPIKE_MOCK_VEHICLES", "3"),
    plain("TURNPIKE_MOCK_DELAY_MS", "400"),
    plain("TURNPIKE_LOG", "info"),
    plain("TURNPIKE_LOG_FORMAT", "pretty on a terminal, else json"),
];

/// The row of a name.
pub fn find(name: &str) -> Option<&'static Name> {
    NAMES.iter().find(|row| row.name == name)
}
