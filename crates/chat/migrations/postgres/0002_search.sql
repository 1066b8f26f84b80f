-- Search over titles and messages. The words of each text are stored with its entry; the texts themselves are not stored a second
-- time.

CREATE TABLE search_entries (
    -- grows with time: the newest entry has the highest number
    n               BIGINT PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    user_id         TEXT NOT NULL,
    conversation_id TEXT NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    -- NULL: the title
    message_id      TEXT UNIQUE REFERENCES messages (id) ON DELETE CASCADE,
    -- words that the service has folded; no configuration of Postgres divides or changes them
    words           TSVECTOR NOT NULL
);
CREATE INDEX search_entries_by_conversation ON search_entries (conversation_id);
CREATE UNIQUE INDEX search_entries_titles ON search_entries (conversation_id) WHERE message_id IS NULL;
CREATE INDEX search_entries_words ON search_entries USING GIN (words);
