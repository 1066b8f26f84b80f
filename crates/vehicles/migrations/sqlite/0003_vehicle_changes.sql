-- A change of a vehicle's status is marked in the row that it changes and published from there, so that a bus outage or a
-- restart delays it and does not lose it. `search` is what a search looks at: both databases fold only ASCII by themselves.

ALTER TABLE vehicles ADD COLUMN search TEXT NOT NULL DEFAULT '';
-- number of status changes; tells a change from a later one
ALTER TABLE vehicles ADD COLUMN changes BIGINT NOT NULL DEFAULT 0;
ALTER TABLE vehicles ADD COLUMN changed_at BIGINT NOT NULL DEFAULT 0;
-- 1: the present status has yet to be published
ALTER TABLE vehicles ADD COLUMN unpublished BIGINT NOT NULL DEFAULT 0;
-- until then one instance is publishing it
ALTER TABLE vehicles ADD COLUMN claimed_until BIGINT NOT NULL DEFAULT 0;
CREATE INDEX vehicles_unpublished ON vehicles (changed_at) WHERE unpublished = 1;
-- vehicles that were stored before there was a text to search; the service fills it at its start
CREATE INDEX vehicles_unsearchable ON vehicles (id) WHERE search = '';
