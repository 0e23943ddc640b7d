//! The two archive formats of a Debian package: tar (POSIX.1-1988, "ustar") and ar.
//!
//! The same files give the same bytes: nothing of the machine, the user or the day gets in.

use anyhow::{Context, Result};

/// What a tar entry is.
pub(crate) enum Kind<'a> {
    /// A folder; its path ends with `/`.
    Folder,
    /// A file with these bytes.
    File(&'a [u8]),
}

/// Appends one entry, owned by root, to a tar archive.
///
/// # Errors
///
/// When the path is longer than the 100 bytes that are used of the format here.
pub(crate) fn tar_entry(out: &mut Vec<u8>, path: &str, mode: u32, kind: &Kind<'_>) -> Result<()> {
    let bytes: &[u8] = match kind {
        Kind::Folder => &[],
        Kind::File(bytes) => bytes,
    };
    let mut head = [0; 512];
    head.get_mut(..path.len())
        .filter(|field| field.len() <= 100)
        .with_context(|| format!("the path is too long for the archive: {path}"))?
        .copy_from_slice(path.as_bytes());
    octal(&mut head[100..108], u64::from(mode));
    octal(&mut head[108..116], 0); // user
    octal(&mut head[116..124], 0); // group
    octal(&mut head[124..136], bytes.len() as u64);
    octal(&mut head[136..148], 0); // time
    head[156] = match kind {
        Kind::Folder => b'5',
        Kind::File(_) => b'0',
    };
    head[257..265].copy_from_slice(b"ustar\x0000");
    head[265..269].copy_from_slice(b"root");
    head[297..301].copy_from_slice(b"root");
    // The sum is taken with blanks in its own place.
    head[148..156].fill(b' ');
    let sum: u64 = head.iter().map(|byte| u64::from(*byte)).sum();
    octal(&mut head[148..155], sum);
    out.extend(head);
    out.extend(bytes);
    out.resize(out.len().next_multiple_of(512), 0);
    Ok(())
}

/// Ends a tar archive: two empty blocks.
pub(crate) fn tar_end(out: &mut Vec<u8>) {
    out.extend([0; 1024]);
}

/// An ar archive of short-named files.
pub(crate) fn ar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = b"!<arch>\n".to_vec();
    for (name, bytes) in members {
        let head = format!(
            "{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n",
            0,
            0,
            0,
            100_644,
            bytes.len()
        );
        out.extend(head.as_bytes());
        out.extend(*bytes);
        if bytes.len() % 2 == 1 {
            out.push(b'\n');
        }
    }
    out
}

/// Digits to the base of eight that fill `field` but for a closing zero.
fn octal(field: &mut [u8], value: u64) {
    let digits = field.len() - 1;
    let text = format!("{value:0digits$o}");
    assert_eq!(text.len(), digits, "the formats bound what is written here");
    field[..digits].copy_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_a_head_and_whole_blocks() {
        let mut out = Vec::new();
        tar_entry(&mut out, "./usr/", 0o755, &Kind::Folder).expect("a short path");
        tar_entry(&mut out, "./usr/x", 0o644, &Kind::File(b"hello")).expect("a short path");
        tar_end(&mut out);
        assert_eq!(out.len(), 512 + 512 + 512 + 1024);
        assert_eq!(&out[512..519], b"./usr/x");
        assert_eq!(&out[512 + 124..512 + 136], b"00000000005\0");
        assert_eq!(&out[1024..1029], b"hello");
    }

    #[test]
    fn a_path_that_does_not_fit_is_an_error() {
        let path = "x".repeat(101);
        assert!(tar_entry(&mut Vec::new(), &path, 0o644, &Kind::Folder).is_err());
        let path = "x".repeat(1000);
        assert!(tar_entry(&mut Vec::new(), &path, 0o644, &Kind::Folder).is_err());
    }

    #[test]
    fn members_start_at_even_places() {
        let out = ar(&[("a", b"1"), ("b", b"22")]);
        assert_eq!(out.len(), 8 + 60 + 2 + 60 + 2);
        assert_eq!(&out[8 + 58..8 + 60], b"`\n");
        assert_eq!(&out[8 + 60 + 2..][..1], b"b");
    }
}
