CREATE TABLE users (
    name TEXT PRIMARY KEY,
    password TEXT NOT NULL,
    admin BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE tokens (
    id TEXT PRIMARY KEY,
    user_name TEXT NOT NULL REFERENCES users (name) ON DELETE CASCADE,
    label TEXT NOT NULL,
    secret TEXT NOT NULL,
    scopes TEXT NOT NULL,
    session BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX tokens_of_user ON tokens (user_name);

CREATE TABLE fleets (
    name TEXT PRIMARY KEY,
    product TEXT NOT NULL,
    description TEXT NOT NULL,
    policy_release BIGINT,
    created_at BIGINT NOT NULL
);

CREATE TABLE members (
    fleet TEXT NOT NULL REFERENCES fleets (name) ON DELETE CASCADE,
    user_name TEXT NOT NULL REFERENCES users (name) ON DELETE CASCADE,
    role TEXT NOT NULL,
    PRIMARY KEY (fleet, user_name)
);
CREATE INDEX members_of_user ON members (user_name);

CREATE TABLE changes (
    number {serial},
    at BIGINT NOT NULL,
    by_whom TEXT NOT NULL,
    fleet TEXT,
    what TEXT NOT NULL,
    subject TEXT NOT NULL,
    detail TEXT NOT NULL
);
CREATE INDEX changes_of_fleet ON changes (fleet, number);

CREATE TABLE provisioning_keys (
    id TEXT PRIMARY KEY,
    fleet TEXT NOT NULL REFERENCES fleets (name) ON DELETE CASCADE,
    label TEXT NOT NULL,
    secret TEXT NOT NULL UNIQUE,
    max_uses BIGINT NOT NULL,
    uses BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    revoked_at BIGINT
);
CREATE INDEX provisioning_keys_of_fleet ON provisioning_keys (fleet);

CREATE TABLE blobs (
    digest TEXT PRIMARY KEY,
    size BIGINT NOT NULL,
    touched_at BIGINT NOT NULL
);

CREATE TABLE repository_blobs (
    fleet TEXT NOT NULL REFERENCES fleets (name) ON DELETE CASCADE,
    repository TEXT NOT NULL,
    digest TEXT NOT NULL REFERENCES blobs (digest),
    linked_at BIGINT NOT NULL,
    PRIMARY KEY (repository, digest)
);
CREATE INDEX repository_blobs_of_digest ON repository_blobs (digest);
CREATE INDEX repository_blobs_of_fleet ON repository_blobs (fleet, digest);

CREATE TABLE manifests (
    fleet TEXT NOT NULL REFERENCES fleets (name) ON DELETE CASCADE,
    repository TEXT NOT NULL,
    digest TEXT NOT NULL,
    media_type TEXT NOT NULL,
    subject TEXT,
    descriptor TEXT NOT NULL,
    body {blob} NOT NULL,
    pushed_at BIGINT NOT NULL,
    PRIMARY KEY (repository, digest)
);
CREATE INDEX manifests_of_subject ON manifests (repository, subject);
CREATE INDEX manifests_of_fleet ON manifests (fleet, digest);

CREATE TABLE tags (
    repository TEXT NOT NULL,
    tag TEXT NOT NULL,
    digest TEXT NOT NULL,
    PRIMARY KEY (repository, tag),
    FOREIGN KEY (repository, digest) REFERENCES manifests (repository, digest) ON DELETE CASCADE
);
CREATE INDEX tags_of_manifest ON tags (repository, digest);
