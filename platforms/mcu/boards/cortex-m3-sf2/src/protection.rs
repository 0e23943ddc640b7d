//! The memory protection unit: what is code cannot be written, and what can be written is no code.
//!
//! Armv7-M lets nobody execute from 0xA000_0000 on, unless a region says so (ARM DDI 0403E, B3.1 and B3.5).

use cortex_m::peripheral::MPU;

const NORMAL_MEMORY: u32 = 0b001_0_11 << 16;
const READ_ONLY: u32 = 0b110 << 24;
const READ_WRITE: u32 = 0b011 << 24;
const EXECUTE_NEVER: u32 = 1 << 28;
const ENABLE: u32 = 1;

/// A region of 2^`power` bytes.
const fn size(power: u32) -> u32 {
    (power - 1) << 1
}

/// Makes the image executable and read-only, and the rest of the memory no place for code.
///
/// # Safety
///
/// The image is in its place, and this program runs from neither.
pub unsafe fn protect(image: u32) {
    let regions = [
        (image, READ_ONLY | NORMAL_MEMORY | size(20)),
        (
            0x2000_0000,
            READ_WRITE | EXECUTE_NEVER | NORMAL_MEMORY | size(16),
        ),
    ];
    // SAFETY: the MPU is this function's alone; see above for what it changes.
    unsafe {
        let unit = &*MPU::PTR;
        for (number, (base, attributes)) in (0..).zip(regions) {
            unit.rnr.write(number);
            unit.rbar.write(base);
            unit.rasr.write(attributes | ENABLE);
        }
        // In faults too, whose handlers run from the image; everything else is as without the unit.
        unit.ctrl.write(0b111);
    }
    cortex_m::asm::dsb();
    cortex_m::asm::isb();
}
