-- Conversations, their messages, the answers that are being generated, and the tokens that were used. Times are microseconds since
-- 1970.

CREATE TABLE personas (
    id            TEXT PRIMARY KEY,
    -- NULL: system-wide
    user_id       TEXT,
    name          TEXT NOT NULL,
    description   TEXT NOT NULL,
    system_prompt TEXT NOT NULL,
    temperature   DOUBLE PRECISION,
    created_at    BIGINT NOT NULL
);
CREATE INDEX personas_by_user ON personas (user_id, name);

CREATE TABLE conversations (
    id            TEXT PRIMARY KEY,
    -- empty: deleted; its messages are being removed
    user_id       TEXT NOT NULL,
    title         TEXT NOT NULL,
    -- default, rule, model or user: a title of the user stays
    title_source  TEXT NOT NULL,
    pinned        BIGINT NOT NULL,
    temporary     BIGINT NOT NULL,
    persona_id    TEXT REFERENCES personas (id) ON DELETE SET NULL,
    system_prompt TEXT NOT NULL,
    -- the newest message of the shown path
    leaf_id       TEXT,
    created_at    BIGINT NOT NULL,
    updated_at    BIGINT NOT NULL
);
CREATE INDEX conversations_by_user ON conversations (user_id, pinned, updated_at, id);
CREATE INDEX conversations_by_owner ON conversations (user_id, id);
CREATE INDEX conversations_temporary ON conversations (updated_at) WHERE temporary = 1;
CREATE INDEX conversations_by_persona ON conversations (persona_id);

-- Conversations whose last change, or deletion, is not yet published. A row is removed when it is.
CREATE TABLE unpublished_changes (
    conversation_id TEXT PRIMARY KEY,
    -- counts the changes: a change that is made while an earlier one is being published is published, too
    number          BIGINT NOT NULL,
    changed_at      BIGINT NOT NULL,
    -- no other instance publishes it until then
    claimed_until   BIGINT NOT NULL
);
CREATE INDEX unpublished_changes_by_time ON unpublished_changes (changed_at);

-- A tree: each message names the one before it.
CREATE TABLE messages (
    id                TEXT PRIMARY KEY,
    conversation_id   TEXT NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    -- empty: the first message
    parent_id         TEXT NOT NULL,
    -- user or assistant
    role              TEXT NOT NULL,
    -- 1, 2, 3… among the messages with the same parent and role
    version           BIGINT NOT NULL,
    content           TEXT NOT NULL,
    reasoning_content TEXT NOT NULL DEFAULT '',
    -- complete, generating, stopped, interrupted or error
    state             TEXT NOT NULL,
    finish_reason     TEXT NOT NULL DEFAULT '',
    model             TEXT NOT NULL DEFAULT '',
    prompt_tokens     BIGINT NOT NULL DEFAULT 0,
    completion_tokens BIGINT NOT NULL DEFAULT 0,
    -- 1: the upstream did not count the tokens
    estimated         BIGINT NOT NULL DEFAULT 0,
    first_token_ms    BIGINT NOT NULL DEFAULT 0,
    total_ms          BIGINT NOT NULL DEFAULT 0,
    error_code        TEXT NOT NULL DEFAULT '',
    error_message     TEXT NOT NULL DEFAULT '',
    created_at        BIGINT NOT NULL,
    UNIQUE (conversation_id, parent_id, role, version)
);

-- The answers that are being generated, and those whose last event is not yet published. A row is removed when it is.
CREATE TABLE open_answers (
    message_id      TEXT PRIMARY KEY REFERENCES messages (id) ON DELETE CASCADE,
    conversation_id TEXT NOT NULL,
    user_id         TEXT NOT NULL,
    -- empty: not by an API key
    api_key_id      TEXT NOT NULL,
    -- one instance at a time generates an answer; a takeover raises the fencing token, and writes with an older one fail
    lease_until     BIGINT NOT NULL,
    fence           BIGINT NOT NULL,
    -- 1: the message has its final state
    ended           BIGINT NOT NULL,
    stop_asked_at   BIGINT,
    -- offset of the event `started` on the topic
    epoch           BIGINT,
    n               BIGINT
);
CREATE INDEX open_answers_by_conversation ON open_answers (conversation_id);
-- One running answer per conversation.
CREATE UNIQUE INDEX open_answers_running ON open_answers (conversation_id) WHERE ended = 0;
CREATE INDEX open_answers_by_user ON open_answers (user_id) WHERE ended = 0;
CREATE INDEX open_answers_by_lease ON open_answers (lease_until);

-- Tokens by day, user, API key and model. `day` counts days since 1970 in UTC.
CREATE TABLE usage_days (
    user_id           TEXT NOT NULL,
    day               BIGINT NOT NULL,
    api_key_id        TEXT NOT NULL,
    model             TEXT NOT NULL,
    requests          BIGINT NOT NULL,
    prompt_tokens     BIGINT NOT NULL,
    completion_tokens BIGINT NOT NULL,
    -- those of both that the upstream did not count
    estimated_tokens  BIGINT NOT NULL,
    PRIMARY KEY (user_id, day, api_key_id, model)
);

CREATE TABLE idempotency_keys (
    user_id      TEXT NOT NULL,
    key          TEXT NOT NULL,
    request_hash TEXT NOT NULL,
    -- the id of the conversation or the message
    result       TEXT NOT NULL,
    created_at   BIGINT NOT NULL,
    PRIMARY KEY (user_id, key)
);
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);
