//! Scenarios on simulated, virtual and bench rigs.
