//! Bytes to lines: frames are told apart by their zeros, and each is taken out of its rzCOBS.

use std::fmt;

use defmt_parser::Level;

use crate::decode::Reader;
use crate::show;
use crate::table::Table;

/// Bytes of the longest frame: one that does not end is none.
const FRAME_BYTES: usize = 64 * 1024;

/// What was logged at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// When, as the device writes it.
    pub time: Option<String>,
    /// How grave it is; something that is only printed has no level.
    pub level: Option<Level>,
    /// What it says.
    pub text: String,
}

/// A frame that no message of this program is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a frame is none of this program's")]
pub struct Malformed;

/// Frames of one program, as they come.
#[derive(Debug)]
pub struct Stream<'t> {
    table: &'t Table,
    /// The beginning of a frame.
    open: Vec<u8>,
    /// The frame is too long, and what comes up to its end is dropped.
    too_long: bool,
}

impl<'t> Stream<'t> {
    /// The start of a stream, or any place in it.
    pub fn new(table: &'t Table) -> Self {
        Self {
            table,
            open: Vec::new(),
            too_long: false,
        }
    }

    /// Takes bytes, and gives what the frames that end in them say.
    pub fn take(&mut self, bytes: &[u8]) -> Vec<Result<Line, Malformed>> {
        let mut lines = Vec::new();
        for byte in bytes {
            match *byte {
                0 if self.too_long => lines.push(Err(Malformed)),
                0 if self.open.is_empty() => (),
                0 => lines.push(self.line()),
                _ if self.open.len() == FRAME_BYTES => self.too_long = true,
                byte => self.open.push(byte),
            }
            if *byte == 0 {
                self.open.clear();
                self.too_long = false;
            }
        }
        lines
    }

    fn line(&self) -> Result<Line, Malformed> {
        line_of(self.table, &unstuffed(&self.open).ok_or(Malformed)?)
    }
}

/// What a frame says.
fn line_of(table: &Table, frame: &[u8]) -> Result<Line, Malformed> {
    let mut reader = Reader::new(table, frame);
    let (level, format) = table.message(reader.index()?).ok_or(Malformed)?;
    let time = match &table.timestamp {
        Some(format) => Some(show::part(&reader.part(format)?)),
        None => None,
    };
    let text = show::part(&reader.part(format)?);
    Ok(Line { time, level, text })
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(time) = &self.time {
            write!(f, "{time} ")?;
        }
        if let Some(level) = self.level {
            write!(f, "{} ", level.as_str().to_uppercase())?;
        }
        f.write_str(&self.text)
    }
}

/// What was encoded, read from its end: a byte that says which of the seven before it are zeros, or how many there are of others.
fn unstuffed(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut rest = bytes.iter().rev().copied();
    while let Some(mark) = rest.next() {
        match mark {
            0 => return None,
            0x01..=0x7F => {
                for bit in (0..7).rev() {
                    out.push(if mark & (1 << bit) == 0 {
                        rest.next()?
                    } else {
                        0
                    });
                }
            }
            0x80..=0xFE => {
                out.push(0);
                for _ in 0..(mark & 0x7F) + 7 {
                    out.push(rest.next()?);
                }
            }
            0xFF => {
                for _ in 0..134 {
                    out.push(rest.next()?);
                }
            }
        }
    }
    out.reverse();
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// rzCOBS, in its simplest form: seven bytes and which of them are zeros.
    fn stuffed(frame: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for seven in frame.chunks(7) {
            let mut mark = 0;
            for at in 0..7 {
                match seven.get(at) {
                    Some(0) | None => mark |= 1 << at,
                    Some(byte) => out.push(*byte),
                }
            }
            // Seven others would have the mark zero, which ends frames.
            assert_ne!(mark, 0);
            out.push(mark);
        }
        out.push(0);
        out
    }

    fn said(table: &Table, frame: &[u8]) -> Result<String, Malformed> {
        line_of(table, frame).map(|line| line.to_string())
    }

    fn one(format: &str, bytes: &[u8]) -> Result<String, Malformed> {
        let table = Table::of(
            &[
                (1, Some(Level::Info), format),
                (2, None, "{=u8}"),
                (3, None, "Idle|Busy({=?})|Lost {{ code: {=u16:#x} }}"),
                (4, None, "a name"),
                (5, None, ""),
                (6, None, "{=?}"),
            ],
            None,
        );
        said(&table, &[&[1, 0][..], bytes].concat()).map(|line| line.replacen("INFO ", "", 1))
    }

    #[test]
    fn every_type_is_read_and_shown() {
        for (format, bytes, expected) in [
            ("{=u8} of {=u16:04}", &[7, 1, 2][..], "7 of 0513"),
            ("{=i32}", &[0xFE, 0xFF, 0xFF, 0xFF], "-2"),
            ("{=u32:#010x}", &[1, 2, 0, 0], "0x00000201"),
            ("{=u8:b} {0=u8:X}", &[10], "1010 A"),
            ("{=bool} {=char}", &[1, 0x41, 0, 0, 0], "true A"),
            ("{=f32}", &1.5_f32.to_le_bytes(), "1.5"),
            (
                "{=str} {=istr}",
                &[2, 0, 0, 0, b'h', b'i', 4, 0],
                "hi a name",
            ),
            ("{=str:?}", &[1, 0, 0, 0, b'"'], "\"\\\"\""),
            ("{=[u8]:02x}", &[2, 0, 0, 0, 10, 255], "[0a, ff]"),
            ("{=[u8; 2]:a}", b"a\n", "b\"a\\n\""),
            ("{=__internal_Display}!", b"text\xFF", "text!"),
            ("{=u64:ms}", &[0xD2, 4, 0, 0, 0, 0, 0, 0], "1.234"),
            ("{=u32:ts}", &[0x0D, 0x0E, 0, 0], "00:59:57"),
            ("{0=0..3} {0=4..8}", &[0xA5], "5 10"),
            ("{}", &[3, 0, 0], "Idle"),
            ("{}", &[3, 0, 1, 2, 0, 9], "Busy(9)"),
            ("{:x}", &[3, 0, 1, 2, 0, 10], "Busy(a)"),
            ("{}", &[3, 0, 2, 4, 1], "Lost { code: 0x104 }"),
            ("{=[?]}", &[2, 0, 0, 0, 2, 0, 8, 9], "[8, 9]"),
            ("{=[?; 2]}", &[2, 0, 8, 9], "[8, 9]"),
            (
                "{=__internal_FormatSequence}",
                &[2, 0, 8, 4, 0, 0, 0],
                "8a name",
            ),
        ] {
            let line = one(format, bytes).unwrap_or_else(|_| panic!("{format}"));
            assert_eq!(line, expected, "{format}");
        }
    }

    #[test]
    fn what_cannot_be_is_malformed() {
        for (format, bytes) in [
            ("{=u32}", &[1, 2][..]),
            ("{=bool}", &[2]),
            ("{=char}", &[0, 0xD8, 0, 0]),
            ("{=str}", &[9, 0, 0, 0, b'x']),
            ("{=str}", &[1, 0, 0, 0, 0xFF]),
            ("{=[u8]}", &[0xFF, 0xFF, 0xFF, 0xFF]),
            ("{=istr}", &[99, 0]),
            ("{}", &[3, 0, 3]),
            ("{}", &[1, 0]),
            ("{=__internal_Debug}", b"no end"),
            // A list of nothing that does not end, and a format inside itself.
            ("{=[?]}", &[0xFF, 0xFF, 0xFF, 0xFF, 5, 0]),
            ("{}", &[6, 0].repeat(100)),
        ] {
            assert_eq!(one(format, bytes), Err(Malformed), "{format}");
        }
        let table = Table::of(&[], None);
        assert_eq!(said(&table, &[1, 0]), Err(Malformed));
    }

    #[test]
    fn a_time_and_a_level_stand_before_the_message() {
        let entries = [(1, Some(Level::Warn), "hot"), (2, None, "plain")];
        let table = Table::of(&entries, Some("{=u8:ms}"));
        assert_eq!(said(&table, &[1, 0, 9]).unwrap(), "0.009 WARN hot");
        assert_eq!(said(&table, &[2, 0, 9]).unwrap(), "0.009 plain");
    }

    #[test]
    fn frames_are_found_however_the_stream_is_cut() {
        let table = Table::of(&[(1, None, "one {=u8}")], None);
        let bytes = [stuffed(&[1, 0, 1]), vec![9, 0], stuffed(&[1, 0, 2])].concat();
        for cut in 0..bytes.len() {
            let mut stream = Stream::new(&table);
            let mut lines = stream.take(&bytes[..cut]);
            lines.extend(stream.take(&bytes[cut..]));
            let lines: Vec<String> = lines
                .into_iter()
                .map(|line| line.map_or("-".to_owned(), |line| line.text))
                .collect();
            assert_eq!(lines, ["one 1", "-", "one 2"], "cut at {cut}");
        }
        let mut stream = Stream::new(&table);
        assert!(stream.take(&vec![7; FRAME_BYTES + 9]).is_empty());
        assert_eq!(stream.take(&[0]), [Err(Malformed)]);
        assert_eq!(stream.take(&stuffed(&[1, 0, 3])).len(), 1);
    }

    #[test]
    fn nothing_that_a_device_says_is_more_than_a_line() {
        let table = Table::of(
            &[
                (1, Some(Level::Info), "{} {=[?]} {=str}"),
                (5, Some(Level::Info), "{} {=[u8]:x} {=u64:tms}"),
                (6, None, "{=?}"),
                (2, None, "A|B({=?})|C({=[?]}, {=bool})"),
                (3, None, "{=__internal_FormatSequence}"),
                (4, None, "{0=0..7} {0=70..90} {1=i128:b}"),
            ],
            Some("{=u8:us}"),
        );
        let mut random = 0x5EED_u64;
        let mut next = || {
            random = random.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
            (random >> 33) as usize
        };
        let mut read = 0;
        for _ in 0..20_000 {
            let frame: Vec<u8> = (0..next() % 60)
                .map(|_| [0, 0, 0, 1, 2, 3, 4, 6][next() % 8])
                .collect();
            let message = [1, 5][next() % 2];
            read += usize::from(line_of(&table, &[&[message, 0][..], &frame].concat()).is_ok());
            let bytes: Vec<u8> = (0..next() % 300).map(|_| next() as u8).collect();
            Stream::new(&table).take(&bytes);
        }
        assert!(read > 10, "{read}");
    }
}
