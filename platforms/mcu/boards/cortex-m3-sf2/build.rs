//! Each program has a memory map of its own.

fn main() {
    let here = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    for (program, map) in [
        ("bootloader", "bootloader"),
        ("drivers", "image"),
        ("firmware", "image"),
        ("probe", "image"),
    ] {
        println!("cargo:rustc-link-arg-bin={program}=-L{here}/memory/{map}");
    }
    println!("cargo:rustc-link-search={here}/memory");
    // The table of what is logged.
    println!("cargo:rustc-link-arg-bin=firmware=-Tdefmt.x");
    for silent in ["bootloader", "drivers", "probe"] {
        println!("cargo:rustc-link-arg-bin={silent}=-T{here}/../silent.x");
    }
    println!("cargo:rerun-if-changed=memory");
    println!("cargo:rerun-if-changed=../silent.x");
}
