-- The registry, and the durable life of commands: a restart finds here what was open, how far it was recorded and until when
-- it may run. Times are microseconds since 1970.

CREATE TABLE vehicles (
    id                TEXT PRIMARY KEY,
    vin               TEXT NOT NULL UNIQUE,
    make              TEXT NOT NULL,
    model             TEXT NOT NULL,
    year              BIGINT NOT NULL,
    connector         TEXT NOT NULL,
    connection_status TEXT NOT NULL,
    last_seen_at      BIGINT NOT NULL
);
CREATE INDEX vehicles_by_connector ON vehicles (connector);

CREATE TABLE commands (
    id              TEXT PRIMARY KEY,
    user_id         TEXT NOT NULL,
    vehicle_id      TEXT NOT NULL REFERENCES vehicles (id),
    name            TEXT NOT NULL,
    params          TEXT NOT NULL,
    ecu             TEXT NOT NULL,
    effect          TEXT NOT NULL,
    state           TEXT NOT NULL,
    ended           BIGINT NOT NULL,
    timeout_seconds BIGINT NOT NULL,
    submitted_at    BIGINT NOT NULL,
    -- until then a connector must have accepted it
    accept_by       BIGINT NOT NULL,
    -- until then it must have ended
    run_by          BIGINT NOT NULL,
    completed_at    BIGINT,
    error_code      TEXT,
    error_message   TEXT,
    cancel_asked_at BIGINT,
    -- which life of the connector accepted it
    instance_id     TEXT,
    -- how far its topic is recorded; recorded counts the rows in command_events
    epoch           BIGINT,
    reached         BIGINT,
    recorded        BIGINT NOT NULL,
    -- one instance at a time conducts a command; whoever takes over raises the fence, and writes of the one before fail
    lease_until     BIGINT NOT NULL,
    fence           BIGINT NOT NULL
);
CREATE INDEX commands_by_user ON commands (user_id, id);
CREATE INDEX commands_by_vehicle ON commands (vehicle_id, id);
CREATE INDEX commands_open ON commands (lease_until) WHERE ended = 0;
-- One unsafe command per ECU at a time.
CREATE UNIQUE INDEX commands_unsafe ON commands (vehicle_id, ecu) WHERE ended = 0 AND effect = 'unsafe';

-- What happened on the topic of a command, in the order in which it was recorded.
CREATE TABLE command_events (
    command_id      TEXT NOT NULL REFERENCES commands (id) ON DELETE CASCADE,
    position        BIGINT NOT NULL,
    epoch           BIGINT NOT NULL,
    n               BIGINT NOT NULL,
    is_final        BIGINT NOT NULL,
    -- of a response, its number within the command
    sequence_number BIGINT,
    -- a turnpike.event.v1.Event
    event           BYTEA NOT NULL,
    PRIMARY KEY (command_id, position),
    UNIQUE (command_id, epoch, n)
);

CREATE TABLE idempotency_keys (
    user_id      TEXT NOT NULL,
    key          TEXT NOT NULL,
    -- of what was asked for: another body under the same key is a mistake
    request_hash TEXT NOT NULL,
    -- the command
    result       TEXT NOT NULL,
    created_at   BIGINT NOT NULL,
    PRIMARY KEY (user_id, key)
);
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);
