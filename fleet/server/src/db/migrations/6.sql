CREATE TABLE builds (
    fleet TEXT NOT NULL REFERENCES fleets (name) ON DELETE CASCADE,
    number BIGINT NOT NULL,
    server TEXT NOT NULL,
    state TEXT NOT NULL,
    request TEXT NOT NULL,
    images TEXT NOT NULL,
    error TEXT,
    created_by TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    started_at BIGINT,
    ended_at BIGINT,
    PRIMARY KEY (fleet, number)
);

CREATE TABLE build_lines (
    fleet TEXT NOT NULL,
    build BIGINT NOT NULL,
    number BIGINT NOT NULL,
    device_type TEXT NOT NULL,
    service TEXT NOT NULL,
    line TEXT NOT NULL,
    PRIMARY KEY (fleet, build, number),
    FOREIGN KEY (fleet, build) REFERENCES builds (fleet, number) ON DELETE CASCADE
);
