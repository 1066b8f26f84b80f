CREATE TABLE limits (key TEXT PRIMARY KEY, full_at BIGINT NOT NULL);
CREATE INDEX limits_by_time ON limits (full_at);
