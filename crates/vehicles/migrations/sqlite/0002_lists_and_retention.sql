-- Lists of commands read an index from its end, whatever they are filtered by, and so does the removal of commands that ended
-- long ago: neither looks at rows that it does not want. Ids sort by the time of submission.

CREATE INDEX commands_by_user_state ON commands (user_id, state, id);
CREATE INDEX commands_by_user_vehicle ON commands (user_id, vehicle_id, id);
CREATE INDEX commands_by_vehicle_state ON commands (vehicle_id, state, id);
CREATE INDEX commands_by_state ON commands (state, id);
CREATE INDEX commands_ended ON commands (completed_at) WHERE ended = 1;
