CREATE TABLE addresses (
    number {serial},
    device TEXT NOT NULL UNIQUE REFERENCES devices (uuid) ON DELETE CASCADE
);

INSERT INTO addresses (device) SELECT uuid FROM devices ORDER BY uuid;
