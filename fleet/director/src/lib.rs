//! Decides which release each device should run; pure.
