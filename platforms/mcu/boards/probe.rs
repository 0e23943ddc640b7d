//! What the virtual boards' `probe` programs do: they find the next image in spare flash, try it,
//! and say what happens on the serial port.
//!
//! It stands where an agent does, so that slots, records and bootloader are tested on a board
//! whose power is really cut, without a network.

use core::fmt::Write;
use embedded_storage::nor_flash::ReadNorFlash;
use lightship_image::{HEADER_LEN, Header, HeaderBytes, signed_part};
use lightship_mcu::Why;
use lightship_mcu::slots::{Artifact, Error, Slots};

/// What the board does next.
pub(crate) enum Next {
    /// Starts again, as the slots asked.
    Reset,
    /// Nothing is left to do.
    Idle,
}

/// A delivery starts with this, then the image's size and the digest of the whole image.
pub(crate) const MARK: [u8; 8] = *b"DELIVERY";
/// Where the image itself begins.
pub(crate) const IMAGE_AT: u32 = 256;

/// Looks at what runs and at what was delivered, and moves one step on.
pub(crate) fn run(
    slots: &mut impl Slots,
    spare: &mut impl ReadNorFlash,
    out: &mut impl Write,
) -> Next {
    match step(slots, spare, out) {
        Ok(next) => next,
        Err(error) => {
            say(out, format_args!("failed {error:?}"));
            Next::Idle
        }
    }
}

fn step(
    slots: &mut impl Slots,
    spare: &mut impl ReadNorFlash,
    out: &mut impl Write,
) -> Result<Next, Error> {
    let (report, running) = (slots.report(), slots.running()?);
    let (version, why, outcome) = (running.version, report.why, report.outcome);
    say(
        out,
        format_args!("report version={version} why={why:?} outcome={outcome:?}"),
    );
    if report.why == Why::Trial {
        slots.confirm(running.security_version)?;
        say(out, format_args!("confirmed version={version}"));
    }
    match delivery(spare) {
        Some((artifact, header)) if header.version != running.version => {
            stage(slots, spare, &artifact, out)?;
            say(out, format_args!("marked version={}", header.version));
            Ok(Next::Reset)
        }
        _ => {
            say(out, format_args!("idle version={version}"));
            Ok(Next::Idle)
        }
    }
}

fn stage(
    slots: &mut impl Slots,
    spare: &mut impl ReadNorFlash,
    artifact: &Artifact,
    out: &mut impl Write,
) -> Result<(), Error> {
    let mut next = slots.begin(artifact)?;
    say(
        out,
        format_args!("staging from={next} of={}", artifact.size),
    );
    let mut chunk = [0; 1024];
    while next < artifact.size {
        let bytes = &mut chunk[..(artifact.size - next).min(1024) as usize];
        spare
            .read(IMAGE_AT + next, bytes)
            .map_err(|_| Error::FlashFailed)?;
        next = slots.write(next, bytes)?;
    }
    slots.mark_trial()
}

fn delivery(spare: &mut impl ReadNorFlash) -> Option<(Artifact, Header)> {
    let (mut start, mut header): ([u8; 44], HeaderBytes) = ([0; 44], [0; HEADER_LEN]);
    spare.read(0, &mut start).ok()?;
    spare.read(IMAGE_AT, &mut header).ok()?;
    let rest = start.strip_prefix(&MARK)?;
    let (size, digest) = rest.split_first_chunk()?;
    let artifact = Artifact {
        size: u32::from_le_bytes(*size),
        digest: digest.try_into().ok()?,
    };
    Some((artifact, Header::decode(signed_part(&header).0).ok()?))
}

/// A port that cannot take a line does not stop an update.
fn say(out: &mut impl Write, line: core::fmt::Arguments<'_>) {
    let _ = writeln!(out, "{line}");
}
