//! Facts about the machine.

/// The kernel's word for a processor in OCI's.
pub(crate) fn architecture(machine: &str) -> String {
    match machine {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "armv7l" | "armv6l" | "armhf" => "arm",
        "i386" | "i686" => "386",
        other => other,
    }
    .to_owned()
}

/// Whether images of one architecture run on the other: 64-bit processors run the 32-bit programs of
/// their kind.
pub(crate) fn runs(host: &str, image: &str) -> bool {
    host == image || matches!((host, image), ("arm64", "arm") | ("amd64", "386"))
}
