-- Whether an admin is left, and which accounts were deactivated of late, is answered from an index, not from all accounts.

CREATE INDEX users_admins ON users (id) WHERE role = 'admin' AND active = 1 AND deleted_at IS NULL;
CREATE INDEX users_deactivated ON users (deactivated_at) WHERE active = 0;
