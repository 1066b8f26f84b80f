-- Messages of rooms that are captions of speech are labelled with the topic that their text is from.

ALTER TABLE room_messages ADD COLUMN source TEXT NOT NULL DEFAULT '';
