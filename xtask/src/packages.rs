//! Debian packages that tests use, and what for.
//!
//! Add a line here when a test needs a tool; the test itself must still skip where the tool is missing.

/// A Debian package and the reason it is wanted.
pub(crate) struct Package {
    /// Name as apt knows it.
    pub(crate) name: &'static str,
    /// What uses it.
    pub(crate) why: &'static str,
}

const fn package(name: &'static str, why: &'static str) -> Package {
    Package { name, why }
}

/// What `cargo xtask test` wants to find.
pub(crate) const FOR_TESTS: &[Package] = &[
    package("aardvark-dns", "names of services in podman's networks"),
    package(
        "busybox-static",
        "the program of the images in the Docker engine tests",
    ),
    package("docker.io", "the Docker that the Docker engine is tried on"),
    package("netavark", "podman's networks"),
    package("podman", "the podman that the Docker engine is tried on"),
    package("build-essential", "C parts of dependencies (ring, SQLite)"),
    package(
        "busybox-static",
        "what the containers of the engine tests are made of",
    ),
    package("ca-certificates", "downloads over TLS"),
    package(
        "iproute2",
        "network namespaces and interfaces in the WireGuard and engine tests",
    ),
    package("iptables", "NAT and port publishing in the engine tests"),
    package("nftables", "`nft`, the engine's own NAT, in its tests"),
    package("mosquitto", "an MQTT 5 broker that others wrote"),
    package("postgresql", "the fleet server's other database"),
    package(
        "python3-venv",
        "schemathesis, which makes up requests to the fleet server",
    ),
    package(
        "gcc-aarch64-linux-gnu",
        "C parts of dependencies of the daemon for arm64, which the tests run",
    ),
    package(
        "gcc-arm-linux-gnueabihf",
        "C parts of dependencies of the daemon for armhf, which the tests run",
    ),
    package(
        "qemu-user-static",
        "runs daemons for other processors than this one",
    ),
    package("qemu-system-arm", "the cortex-m3-sf2 board"),
    package("qemu-system-misc", "the riscv-virt board"),
    package("qemu-system-x86", "a machine with a kernel of its own"),
    package(
        "linux-image-cloud-amd64",
        "the kernel's WireGuard, inside that machine",
    ),
    package("cpio", "that machine's file system"),
    package(
        "systemd-container",
        "a machine that boots systemd, on which our packages are installed",
    ),
    package("wireguard-go", "a WireGuard peer that others wrote"),
    package("wireguard-tools", "`wg`, to look at tunnels from outside"),
];

/// What `cargo xtask dist` wants to find.
pub(crate) const FOR_DIST: &[Package] = &[
    package("gcc-aarch64-linux-gnu", "C parts of dependencies for arm64"),
    package(
        "gcc-arm-linux-gnueabihf",
        "C parts of dependencies for armhf",
    ),
    package("musl-tools", "C parts of dependencies for amd64"),
];
