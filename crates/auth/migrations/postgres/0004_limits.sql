-- Limits of sign-in attempts and tickets, which all instances share and a restart keeps. Names and addresses of people stand
-- here only as keyed hashes (HMAC-SHA-256 under a key of the server's secret). Times are microseconds since 1970.
CREATE TABLE limits (
    key     TEXT PRIMARY KEY,
    -- the time at which the whole budget of the key is available again
    full_at BIGINT NOT NULL
);
CREATE INDEX limits_by_time ON limits (full_at);

-- The addresses from which an account has signed in: there, the failures of others do not lock it out.
CREATE TABLE known_addresses (
    user_id      TEXT NOT NULL REFERENCES users (id),
    -- a keyed hash
    address      TEXT NOT NULL,
    last_used_at BIGINT NOT NULL,
    PRIMARY KEY (user_id, address)
);
CREATE INDEX known_addresses_by_time ON known_addresses (last_used_at);
