//! The bytes of a frame to values, as the message's format string says.

use defmt_parser::{Fragment, Parameter, ParserMode, Type};

use crate::stream::Malformed;
use crate::table::Table;

/// Values in one frame: a device may say that a list of nothing is endless.
const MOST_VALUES: usize = 4096;
/// Formats inside formats.
const MOST_DEPTH: usize = 32;

/// A value, as it was sent.
#[derive(Clone, Debug)]
pub(crate) enum Value<'t> {
    Signed(i128),
    Unsigned(u128),
    Float(f64),
    Bool(bool),
    Char(char),
    Text(String),
    Bytes(Vec<u8>),
    /// Something with a format of its own.
    Part(Part<'t>),
    /// Several of them, in brackets.
    List(Vec<Part<'t>>),
    /// Several of them, one behind the other.
    Sequence(Vec<Part<'t>>),
}

/// A format and the values in it.
#[derive(Clone, Debug)]
pub(crate) struct Part<'t> {
    pub(crate) fragments: Vec<Fragment<'t>>,
    /// Values by their number in the format.
    pub(crate) values: Vec<(usize, Value<'t>)>,
}

/// What is left of a frame.
pub(crate) struct Reader<'t, 'b> {
    table: &'t Table,
    bytes: &'b [u8],
    values: usize,
    depth: usize,
}

impl<'t, 'b> Reader<'t, 'b> {
    pub(crate) fn new(table: &'t Table, bytes: &'b [u8]) -> Self {
        Self {
            table,
            bytes,
            values: 0,
            depth: 0,
        }
    }

    pub(crate) fn number<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (number, rest) = self.bytes.split_first_chunk().ok_or(Malformed)?;
        self.bytes = rest;
        Ok(*number)
    }

    pub(crate) fn index(&mut self) -> Result<u16, Malformed> {
        Ok(u16::from_le_bytes(self.number()?))
    }

    fn length(&mut self) -> Result<usize, Malformed> {
        usize::try_from(u32::from_le_bytes(self.number()?)).map_err(|_| Malformed)
    }

    fn take(&mut self, len: usize) -> Result<&'b [u8], Malformed> {
        let (taken, rest) = self.bytes.split_at_checked(len).ok_or(Malformed)?;
        self.bytes = rest;
        Ok(taken)
    }

    /// Reads what a format wants.
    pub(crate) fn part(&mut self, format: &'t str) -> Result<Part<'t>, Malformed> {
        self.depth += 1;
        if self.depth > MOST_DEPTH {
            return Err(Malformed);
        }
        let fragments = defmt_parser::parse(format, ParserMode::ForwardsCompatible);
        let fragments = fragments.map_err(|_| Malformed)?;
        let mut values = Vec::new();
        for (index, ty) in wanted(&fragments) {
            values.push((index, self.value(&ty)?));
        }
        self.depth -= 1;
        Ok(Part { fragments, values })
    }

    fn value(&mut self, ty: &Type) -> Result<Value<'t>, Malformed> {
        self.values += 1;
        if self.values > MOST_VALUES {
            return Err(Malformed);
        }
        let signed = |value: i128| Ok(Value::Signed(value));
        let unsigned = |value: u128| Ok(Value::Unsigned(value));
        match ty {
            Type::I8 => signed(i8::from_le_bytes(self.number()?).into()),
            Type::I16 => signed(i16::from_le_bytes(self.number()?).into()),
            // A device's own size is 32 bits.
            Type::I32 | Type::Isize => signed(i32::from_le_bytes(self.number()?).into()),
            Type::I64 => signed(i64::from_le_bytes(self.number()?).into()),
            Type::I128 => signed(i128::from_le_bytes(self.number()?)),
            Type::U8 => unsigned(u8::from_le_bytes(self.number()?).into()),
            Type::U16 => unsigned(u16::from_le_bytes(self.number()?).into()),
            Type::U32 | Type::Usize => unsigned(u32::from_le_bytes(self.number()?).into()),
            Type::U64 => unsigned(u64::from_le_bytes(self.number()?).into()),
            Type::U128 => unsigned(u128::from_le_bytes(self.number()?)),
            Type::F32 => Ok(Value::Float(f32::from_le_bytes(self.number()?).into())),
            Type::F64 => Ok(Value::Float(f64::from_le_bytes(self.number()?))),
            Type::Bool => match self.number()? {
                [0] => Ok(Value::Bool(false)),
                [1] => Ok(Value::Bool(true)),
                _ => Err(Malformed),
            },
            Type::Char => {
                let letter = char::from_u32(u32::from_le_bytes(self.number()?));
                letter.map(Value::Char).ok_or(Malformed)
            }
            Type::Str => {
                let len = self.length()?;
                text(self.take(len)?)
            }
            Type::IStr => {
                let index = self.index()?;
                let text = self.table.part(index).ok_or(Malformed)?;
                Ok(Value::Text(text.to_owned()))
            }
            Type::Debug | Type::Display => {
                // Text that ends with what no text has.
                let end = self.bytes.iter().position(|byte| *byte == 0xFF);
                let written = self.take(end.ok_or(Malformed)?)?;
                self.take(1)?;
                text(written)
            }
            Type::U8Slice => {
                let len = self.length()?;
                Ok(Value::Bytes(self.take(len)?.to_vec()))
            }
            Type::U8Array(len) => Ok(Value::Bytes(self.take(*len)?.to_vec())),
            Type::BitField(range) => self.bits(range.start, range.end),
            Type::Format => self.named().map(Value::Part),
            Type::FormatSlice => {
                let len = self.length()?;
                self.list(len)
            }
            Type::FormatArray(len) => self.list(*len),
            Type::FormatSequence => self.sequence(),
        }
    }

    /// The bytes that hold these bits, at the places where the whole number has them.
    fn bits(&mut self, start: u8, end: u8) -> Result<Value<'t>, Malformed> {
        let first = start / 8;
        let len = match (end - 1) / 8 - first + 1 {
            len @ (1 | 2) => len,
            3..=4 => 4,
            5..=8 => 8,
            _ => 16,
        };
        let mut whole = [0; 16];
        whole[..usize::from(len)].copy_from_slice(self.take(len.into())?);
        let bits = u128::from_le_bytes(whole).checked_shl(u32::from(first) * 8);
        bits.map(Value::Unsigned).ok_or(Malformed)
    }

    /// A part whose format is named in front of it.
    fn named(&mut self) -> Result<Part<'t>, Malformed> {
        let index = self.index()?;
        let format = self.table.part(index).ok_or(Malformed)?;
        self.of(format)
    }

    /// A part of a format; of several formats, if it is an enumeration's.
    fn of(&mut self, format: &'t str) -> Result<Part<'t>, Malformed> {
        let bars = format.matches('|').count();
        if bars == 0 {
            return self.part(format);
        }
        let variant = match bars {
            ..=0xFF => usize::from(self.number::<1>()?[0]),
            _ => usize::from(self.index()?),
        };
        self.part(format.split('|').nth(variant).ok_or(Malformed)?)
    }

    fn list(&mut self, len: usize) -> Result<Value<'t>, Malformed> {
        let index = self.index()?;
        let format = self.table.part(index).ok_or(Malformed)?;
        let mut parts = Vec::new();
        for _ in 0..len {
            self.values += 1;
            if self.values > MOST_VALUES {
                return Err(Malformed);
            }
            parts.push(self.of(format)?);
        }
        Ok(Value::List(parts))
    }

    fn sequence(&mut self) -> Result<Value<'t>, Malformed> {
        let mut parts = Vec::new();
        loop {
            match self.index()? {
                0 => return Ok(Value::Sequence(parts)),
                index => {
                    let format = self.table.part(index).ok_or(Malformed)?;
                    parts.push(self.part(format)?);
                }
            }
        }
    }
}

fn text<'t>(bytes: &[u8]) -> Result<Value<'t>, Malformed> {
    let text = str::from_utf8(bytes).map_err(|_| Malformed)?;
    Ok(Value::Text(text.to_owned()))
}

/// Which values a format wants, in the order of their numbers; bits of one number are sent together.
fn wanted(fragments: &[Fragment<'_>]) -> Vec<(usize, Type)> {
    let mut all: Vec<(usize, Type)> = Vec::new();
    for fragment in fragments {
        let Fragment::Parameter(Parameter { index, ty, .. }) = fragment else {
            continue;
        };
        let known = all.iter_mut().find(|(known, _)| known == index);
        match (known, ty) {
            (Some((_, Type::BitField(all))), Type::BitField(bits)) => {
                *all = all.start.min(bits.start)..all.end.max(bits.end);
            }
            (Some(_), _) => (),
            (None, ty) => all.push((*index, ty.clone())),
        }
    }
    all.sort_by_key(|(index, _)| *index);
    all
}
