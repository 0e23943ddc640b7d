CREATE TABLE devices (
    uuid TEXT PRIMARY KEY,
    fleet TEXT NOT NULL REFERENCES fleets (name),
    name TEXT NOT NULL,
    device_type TEXT NOT NULL,
    tags TEXT NOT NULL,
    api_key TEXT,
    next_api_key TEXT,
    wireguard TEXT UNIQUE,
    next_wireguard TEXT,
    pinned BIGINT,
    attempt BIGINT NOT NULL,
    override_locks BIGINT NOT NULL,
    record TEXT NOT NULL,
    counter BIGINT NOT NULL,
    target BIGINT,
    last_command BIGINT NOT NULL,
    report TEXT,
    root_version BIGINT NOT NULL,
    inventory TEXT NOT NULL,
    metrics TEXT NOT NULL,
    registered_at BIGINT,
    last_seen_at BIGINT,
    last_handshake_at BIGINT,
    created_at BIGINT NOT NULL
);
CREATE INDEX devices_of_fleet ON devices (fleet, uuid);

CREATE TABLE assignments (
    device TEXT PRIMARY KEY REFERENCES devices (uuid) ON DELETE CASCADE,
    counter BIGINT NOT NULL,
    document {blob} NOT NULL,
    digest TEXT NOT NULL
);

CREATE TABLE settings (
    device TEXT NOT NULL REFERENCES devices (uuid) ON DELETE CASCADE,
    digest TEXT NOT NULL,
    body {blob} NOT NULL,
    PRIMARY KEY (device, digest)
);

CREATE TABLE commands (
    device TEXT NOT NULL REFERENCES devices (uuid) ON DELETE CASCADE,
    id BIGINT NOT NULL,
    command_order TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (device, id)
);

CREATE TABLE roots (
    fleet TEXT NOT NULL REFERENCES fleets (name) ON DELETE CASCADE,
    version BIGINT NOT NULL,
    document {blob} NOT NULL,
    created_by TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (fleet, version)
);

CREATE TABLE releases (
    fleet TEXT NOT NULL REFERENCES fleets (name) ON DELETE CASCADE,
    number BIGINT NOT NULL,
    version TEXT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT,
    plan TEXT,
    progress TEXT,
    created_by TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (fleet, number)
);

CREATE TABLE release_documents (
    fleet TEXT NOT NULL,
    number BIGINT NOT NULL,
    device_type TEXT NOT NULL,
    digest TEXT NOT NULL,
    document {blob} NOT NULL,
    PRIMARY KEY (fleet, number, device_type),
    UNIQUE (fleet, digest),
    FOREIGN KEY (fleet, number) REFERENCES releases (fleet, number) ON DELETE CASCADE
);

CREATE TABLE release_blobs (
    fleet TEXT NOT NULL,
    number BIGINT NOT NULL,
    digest TEXT NOT NULL,
    PRIMARY KEY (fleet, digest, number),
    FOREIGN KEY (fleet, number) REFERENCES releases (fleet, number) ON DELETE CASCADE
);

CREATE TABLE manifest_refs (
    repository TEXT NOT NULL,
    digest TEXT NOT NULL,
    child TEXT NOT NULL,
    PRIMARY KEY (repository, digest, child),
    FOREIGN KEY (repository, digest) REFERENCES manifests (repository, digest) ON DELETE CASCADE
);
CREATE INDEX manifest_refs_of_child ON manifest_refs (repository, child);

CREATE TABLE variables (
    fleet TEXT NOT NULL REFERENCES fleets (name) ON DELETE CASCADE,
    device TEXT NOT NULL,
    kind TEXT NOT NULL,
    service TEXT NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (fleet, device, kind, service, name)
);

CREATE TABLE log_lines (
    number {serial},
    device TEXT NOT NULL REFERENCES devices (uuid) ON DELETE CASCADE,
    at BIGINT NOT NULL,
    service TEXT NOT NULL,
    stream TEXT NOT NULL,
    line TEXT NOT NULL
);
CREATE INDEX log_lines_of_device ON log_lines (device, number);
