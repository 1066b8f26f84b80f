-- Search over titles and messages. The words of each text are found in the full-text table `search_words` by the number of its
-- entry. The texts themselves are not stored a second time.

CREATE TABLE search_entries (
    -- grows with time: the newest entry has the highest number
    n               INTEGER PRIMARY KEY AUTOINCREMENT,
    user_id         TEXT NOT NULL,
    conversation_id TEXT NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    -- NULL: the title
    message_id      TEXT UNIQUE REFERENCES messages (id) ON DELETE CASCADE
);
CREATE INDEX search_entries_by_conversation ON search_entries (conversation_id);
CREATE UNIQUE INDEX search_entries_titles ON search_entries (conversation_id) WHERE message_id IS NULL;

-- Its texts are words between spaces, which the service has folded: the tokenizer `ascii` only divides them.
CREATE VIRTUAL TABLE search_words USING fts5 (
    words, content = '', contentless_delete = 1, tokenize = 'ascii', detail = 'none'
);
CREATE TRIGGER search_entries_deleted AFTER DELETE ON search_entries BEGIN
    DELETE FROM search_words WHERE rowid = old.n;
END;
