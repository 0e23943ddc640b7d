-- The hub key that a device used last or was told when it registered, and which of its pre-shared
-- keys are accepted: the keys themselves are derived, so that none is in here.
ALTER TABLE devices ADD COLUMN hub_key TEXT;
ALTER TABLE devices ADD COLUMN preshared BIGINT;
ALTER TABLE devices ADD COLUMN next_preshared BIGINT;
