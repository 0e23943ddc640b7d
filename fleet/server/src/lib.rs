//! The fleet server: HTTP API, MQTT broker, OCI registry, builder, tunnel hub, logs.
