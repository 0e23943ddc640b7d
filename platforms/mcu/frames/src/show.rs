//! Values as text, as the hints of a format say; a hint holds for everything inside, unless that has its own.

use std::fmt::{self, Write};

use defmt_parser::{DisplayHint, Fragment, TimePrecision, Type};

use crate::decode::{Part, Value};

/// A part as text.
pub(crate) fn part(part: &Part<'_>) -> String {
    let mut out = String::new();
    // A text takes whatever is written.
    let _ = write_part(&mut out, part, None);
    out
}

fn write_part(out: &mut String, part: &Part<'_>, outer: Option<&DisplayHint>) -> fmt::Result {
    for fragment in &part.fragments {
        match fragment {
            Fragment::Literal(text) => out.push_str(text),
            Fragment::Parameter(parameter) => {
                let hint = parameter.hint.as_ref().or(outer);
                let found = part
                    .values
                    .iter()
                    .find(|(index, _)| *index == parameter.index);
                match (found, &parameter.ty) {
                    (Some((_, Value::Unsigned(whole))), Type::BitField(range)) => {
                        let width = u32::from(range.end - range.start);
                        let mask = u128::MAX.checked_shr(128 - width).unwrap_or(0);
                        write_unsigned(out, (whole >> range.start) & mask, hint)?;
                    }
                    (Some((_, value)), _) => write_value(out, value, hint)?,
                    (None, _) => out.push('?'),
                }
            }
        }
    }
    Ok(())
}

fn write_value(out: &mut String, value: &Value<'_>, hint: Option<&DisplayHint>) -> fmt::Result {
    match value {
        Value::Signed(value) => match (hint, u128::try_from(*value)) {
            (Some(_), Ok(value)) => write_unsigned(out, value, hint),
            (Some(DisplayHint::Hexadecimal { .. } | DisplayHint::Binary { .. }), Err(_)) => {
                out.push('-');
                write_unsigned(out, value.unsigned_abs(), hint)
            }
            _ => write!(out, "{value}"),
        },
        Value::Unsigned(value) => write_unsigned(out, *value, hint),
        Value::Float(value) => write!(out, "{value}"),
        Value::Bool(value) => write!(out, "{value}"),
        Value::Char(value) => write!(out, "{value}"),
        Value::Text(text) => match hint {
            Some(DisplayHint::Debug) => write!(out, "{text:?}"),
            _ => out.write_str(text),
        },
        Value::Bytes(bytes) => write_bytes(out, bytes, hint),
        Value::Part(part) => write_part(out, part, hint),
        Value::List(parts) => {
            out.push('[');
            for (number, part) in parts.iter().enumerate() {
                out.push_str(if number == 0 { "" } else { ", " });
                write_part(out, part, hint)?;
            }
            out.push(']');
            Ok(())
        }
        Value::Sequence(parts) => parts
            .iter()
            .try_for_each(|part| write_part(out, part, hint)),
    }
}

fn write_bytes(out: &mut String, bytes: &[u8], hint: Option<&DisplayHint>) -> fmt::Result {
    if let Some(DisplayHint::Ascii) = hint {
        return write!(out, "b\"{}\"", bytes.escape_ascii());
    }
    out.push('[');
    for (number, byte) in bytes.iter().enumerate() {
        out.push_str(if number == 0 { "" } else { ", " });
        write_unsigned(out, (*byte).into(), hint)?;
    }
    out.push(']');
    Ok(())
}

fn write_unsigned(out: &mut String, value: u128, hint: Option<&DisplayHint>) -> fmt::Result {
    match hint {
        Some(DisplayHint::NoHint { zero_pad }) => {
            write!(out, "{value:0zero_pad$}", zero_pad = width(*zero_pad))
        }
        Some(DisplayHint::Hexadecimal {
            alternate,
            uppercase,
            zero_pad,
        }) => {
            let pad = width(*zero_pad);
            match (alternate, uppercase) {
                (false, false) => write!(out, "{value:0pad$x}"),
                (false, true) => write!(out, "{value:0pad$X}"),
                (true, false) => write!(out, "{value:#0pad$x}"),
                (true, true) => write!(out, "{value:#0pad$X}"),
            }
        }
        Some(DisplayHint::Octal {
            alternate,
            zero_pad,
        }) => {
            let pad = width(*zero_pad);
            match alternate {
                false => write!(out, "{value:0pad$o}"),
                true => write!(out, "{value:#0pad$o}"),
            }
        }
        Some(DisplayHint::Binary {
            alternate,
            zero_pad,
        }) => {
            let pad = width(*zero_pad);
            match alternate {
                false => write!(out, "{value:0pad$b}"),
                true => write!(out, "{value:#0pad$b}"),
            }
        }
        Some(DisplayHint::Seconds(precision)) => write_seconds(out, value, precision),
        Some(DisplayHint::Time(precision)) => {
            let minute = 60 * per_second(precision);
            let (hours, minutes) = (value / minute / 60, value / minute % 60);
            write!(out, "{hours:02}:{minutes:02}:")?;
            let rest = value % minute;
            out.push_str(if rest / per_second(precision) < 10 {
                "0"
            } else {
                ""
            });
            write_seconds(out, rest, precision)
        }
        // What no number has, or what is not known here.
        Some(_) | None => write!(out, "{value}"),
    }
}

/// A format may ask for any width; no number is wider.
fn width(asked: usize) -> usize {
    asked.min(128)
}

fn per_second(precision: &TimePrecision) -> u128 {
    match precision {
        TimePrecision::Micros => 1_000_000,
        TimePrecision::Millis => 1_000,
        TimePrecision::Seconds => 1,
    }
}

fn write_seconds(out: &mut String, value: u128, precision: &TimePrecision) -> fmt::Result {
    let unit = per_second(precision);
    let (whole, rest) = (value / unit, value % unit);
    match precision {
        TimePrecision::Micros => write!(out, "{whole}.{rest:06}"),
        TimePrecision::Millis => write!(out, "{whole}.{rest:03}"),
        TimePrecision::Seconds => write!(out, "{whole}"),
    }
}
