-- Rooms of people: members, messages, events that are yet to be published, and who is present. Times are microseconds since 1970.

CREATE TABLE rooms (
    id          TEXT PRIMARY KEY,
    name        TEXT NOT NULL,
    description TEXT NOT NULL,
    -- public or private; empty: deleted, its members and messages are being removed
    visibility  TEXT NOT NULL,
    -- 1: messages about one's health may get an insight
    insights    BIGINT NOT NULL,
    created_by  TEXT NOT NULL,
    members     BIGINT NOT NULL,
    -- number of the newest message
    last_seq    BIGINT NOT NULL,
    created_at  BIGINT NOT NULL,
    updated_at  BIGINT NOT NULL
);
CREATE INDEX rooms_public ON rooms (id) WHERE visibility = 'public';
CREATE INDEX rooms_deleted ON rooms (id) WHERE visibility = '';
CREATE INDEX rooms_by_creator ON rooms (created_by);

CREATE TABLE room_members (
    room_id   TEXT NOT NULL REFERENCES rooms (id) ON DELETE CASCADE,
    user_id   TEXT NOT NULL,
    -- empty until the user was in the room for the first time
    username  TEXT NOT NULL,
    -- owner, moderator or member
    role      TEXT NOT NULL,
    -- number of the newest message that the user has read
    read_seq  BIGINT NOT NULL,
    joined_at BIGINT NOT NULL,
    PRIMARY KEY (room_id, user_id)
);
CREATE INDEX room_members_by_user ON room_members (user_id, room_id);
CREATE INDEX room_members_by_name ON room_members (room_id, username);
CREATE INDEX room_owners ON room_members (room_id) WHERE role = 'owner';

CREATE TABLE room_messages (
    id          TEXT PRIMARY KEY,
    room_id     TEXT NOT NULL REFERENCES rooms (id) ON DELETE CASCADE,
    -- 1, 2, 3… within the room
    seq         BIGINT NOT NULL,
    user_id     TEXT NOT NULL,
    username    TEXT NOT NULL,
    -- empty: redacted
    content     TEXT NOT NULL,
    edited_at   BIGINT,
    redacted_at BIGINT,
    -- offset of the event `message`; 0: not published yet
    epoch       BIGINT NOT NULL DEFAULT 0,
    n           BIGINT NOT NULL DEFAULT 0,
    created_at  BIGINT NOT NULL,
    UNIQUE (room_id, seq)
);
CREATE INDEX room_messages_by_offset ON room_messages (room_id, epoch, n);

-- Events that are yet to be published, in their order. A row is removed when its event is.
CREATE TABLE room_outbox (
    n          BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topic      TEXT NOT NULL,
    -- the message whose first event this is
    message_id TEXT,
    -- a turnpike.event.v1.Event
    event      BYTEA NOT NULL,
    -- 1: the final event of the topic
    is_final   BIGINT NOT NULL
);

-- The one instance that publishes, so that events keep their order. One row.
CREATE TABLE room_publisher (
    id          BIGINT PRIMARY KEY,
    holder      TEXT NOT NULL,
    lease_until BIGINT NOT NULL
);

-- Gateways that report presence. When the lease ends, the entries of the gateway are removed.
CREATE TABLE presence_gateways (
    id          TEXT PRIMARY KEY,
    lease_until BIGINT NOT NULL
);
CREATE INDEX presence_gateways_by_lease ON presence_gateways (lease_until);

-- The connections of a user to a room on one gateway.
CREATE TABLE presence (
    gateway_id   TEXT NOT NULL,
    room_id      TEXT NOT NULL,
    user_id      TEXT NOT NULL,
    username     TEXT NOT NULL,
    connections  BIGINT NOT NULL,
    connected_at BIGINT NOT NULL,
    last_seen    BIGINT NOT NULL,
    PRIMARY KEY (gateway_id, room_id, user_id)
);
CREATE INDEX presence_by_room ON presence (room_id, user_id);
