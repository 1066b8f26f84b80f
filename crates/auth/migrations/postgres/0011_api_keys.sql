-- API keys: credentials of programs. A key is 32 random bytes; only a keyed hash of it is kept here (HMAC-SHA-256 under a key of the
-- server's secret), and the first characters, by which its owner recognises it. A revoked key is deleted. Times are microseconds
-- since 1970.
CREATE TABLE api_keys (
    id                  TEXT PRIMARY KEY,
    user_id             TEXT NOT NULL REFERENCES users (id),
    name                TEXT NOT NULL,
    prefix              TEXT NOT NULL,
    hash                TEXT NOT NULL UNIQUE,
    -- words with spaces between them
    scopes              TEXT NOT NULL,
    requests_per_minute BIGINT,
    tokens_per_day      BIGINT,
    created_at          BIGINT NOT NULL,
    expires_at          BIGINT,
    last_used_at        BIGINT
);
CREATE INDEX api_keys_by_user ON api_keys (user_id, id);

-- The key that began this session. Such a session has no cookie and no refresh token; the tokens that the key is exchanged for
-- belong to it, so that they end as those of any other session do. The key may be deleted before the session.
ALTER TABLE sessions ADD COLUMN api_key_id TEXT;
CREATE INDEX sessions_by_api_key ON sessions (api_key_id) WHERE api_key_id IS NOT NULL;
