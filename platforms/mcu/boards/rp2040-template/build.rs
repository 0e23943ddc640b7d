//! Each program has a memory map of its own; the bootloader's starts with the RP2040's second stage.

fn main() {
    let here = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    for (program, map) in [("bootloader", "bootloader"), ("firmware", "image")] {
        println!("cargo:rustc-link-arg-bin={program}=-L{here}/memory/{map}");
    }
    println!("cargo:rustc-link-arg-bin=bootloader=-Tlink-rp.x");
    println!("cargo:rustc-link-arg-bin=firmware=-Tdefmt.x");
    println!("cargo:rustc-link-arg-bin=bootloader=-T{here}/../silent.x");
    println!("cargo:rerun-if-changed=memory");
    println!("cargo:rerun-if-changed=../silent.x");
}
