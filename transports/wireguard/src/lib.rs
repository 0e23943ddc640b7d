//! WireGuard for devices and the hub: kernel, user-space and no_std tunnels, enrolment.
