ALTER TABLE devices ADD COLUMN api_key_changed_at BIGINT;
ALTER TABLE devices ADD COLUMN tunnel_key_changed_at BIGINT;

CREATE TABLE rotations (
    device TEXT PRIMARY KEY REFERENCES devices (uuid) ON DELETE CASCADE,
    due_at BIGINT NOT NULL
);
CREATE INDEX rotations_by_time ON rotations (due_at);
