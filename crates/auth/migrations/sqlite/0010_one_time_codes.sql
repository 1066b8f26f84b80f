-- One-time sign-in codes: a process that runs everything leaves one in a file that only its own operating system user can read, so
-- that this user's client needs no password. A code is 32 random bytes; only its SHA-256 hash is kept here. Times are microseconds
-- since 1970.
CREATE TABLE one_time_codes (
    hash       TEXT PRIMARY KEY,
    user_id    TEXT NOT NULL REFERENCES users (id),
    expires_at BIGINT NOT NULL
);
CREATE INDEX one_time_codes_by_user ON one_time_codes (user_id);
