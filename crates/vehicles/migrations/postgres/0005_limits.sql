-- How many commands a user may send: all instances share the counters, and a restart keeps them.
CREATE TABLE limits (
    key     TEXT PRIMARY KEY,
    -- the time at which the whole budget of the key is available again, in microseconds since 1970
    full_at BIGINT NOT NULL
);
CREATE INDEX limits_by_time ON limits (full_at);
