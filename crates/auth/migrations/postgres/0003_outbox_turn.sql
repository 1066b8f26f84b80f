-- One instance at a time publishes the outbox, so that two instances cannot publish the events of one account in the wrong
-- order. The instance named in `holder` has the turn; nobody has it while it is empty. `n` grows whenever the turn is taken or
-- renewed: an instance whose `n` stands still for too long has died, and another one takes the turn.
ALTER TABLE turns ADD COLUMN holder TEXT NOT NULL DEFAULT '';
INSERT INTO turns (name, n) VALUES ('outbox', 0);
