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
    println!("cargo:rerun-if-changed=memory");
}
