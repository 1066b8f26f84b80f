-- Accounts and their sessions. Nothing here can be presented as a credential: passwords are Argon2id hashes, cookies and tickets
-- are SHA-256 hashes of 32 random bytes, refresh tokens are not stored at all (a keyed hash over session and counter). Times are
-- microseconds since 1970.

CREATE TABLE users (
    id             TEXT PRIMARY KEY,
    email          TEXT NOT NULL,
    -- lower case: one account a name, in whatever case
    email_key      TEXT NOT NULL UNIQUE,
    username       TEXT NOT NULL,
    username_key   TEXT NOT NULL UNIQUE,
    display_name   TEXT NOT NULL,
    role           TEXT NOT NULL,
    active         BIGINT NOT NULL,
    password_hash  TEXT NOT NULL,
    created_at     BIGINT NOT NULL,
    deactivated_at BIGINT,
    -- a deleted account keeps its id, so that what it did still has an author, and nothing else
    deleted_at     BIGINT
);

CREATE TABLE sessions (
    id                TEXT PRIMARY KEY,
    user_id           TEXT NOT NULL REFERENCES users (id),
    cookie_hash       TEXT NOT NULL UNIQUE,
    cookie_expires_at BIGINT NOT NULL,
    -- the refresh token of this number is the one in use
    refresh_counter   BIGINT NOT NULL,
    refreshed_at      BIGINT NOT NULL,
    created_at        BIGINT NOT NULL,
    last_seen_at      BIGINT NOT NULL,
    expires_at        BIGINT NOT NULL,
    ip                TEXT NOT NULL,
    user_agent        TEXT NOT NULL,
    ended_at          BIGINT,
    end_reason        TEXT
);
CREATE INDEX sessions_by_user ON sessions (user_id, id);
CREATE INDEX sessions_ended ON sessions (ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX sessions_by_expiry ON sessions (expires_at);

CREATE TABLE tickets (
    hash       TEXT PRIMARY KEY,
    session_id TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    expires_at BIGINT NOT NULL
);
CREATE INDEX tickets_by_expiry ON tickets (expires_at);
CREATE INDEX tickets_by_session ON tickets (session_id);

-- What gateways must hear of, written in the transaction of the change and published afterwards, until it is.
CREATE TABLE outbox (
    -- words about one account are told in this order: who changes it has locked it before he gets a number
    id    INTEGER PRIMARY KEY AUTOINCREMENT,
    -- a turnpike.event.v1.Event
    event BLOB NOT NULL
);

-- Rows that transactions lock to take turns.
CREATE TABLE turns (
    name TEXT PRIMARY KEY,
    n    BIGINT NOT NULL
);
INSERT INTO turns (name, n) VALUES ('admins', 0);

-- A request that came twice is one request.
CREATE TABLE idempotency_keys (
    user_id      TEXT NOT NULL,
    key          TEXT NOT NULL,
    -- of what was asked for, under a key of the server's: passwords are among it
    request_hash TEXT NOT NULL,
    -- the account that was made, or nothing
    result       TEXT NOT NULL,
    created_at   BIGINT NOT NULL,
    PRIMARY KEY (user_id, key)
);
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);
