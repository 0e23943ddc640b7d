//! The small notations of Compose: durations, sizes, CPUs, permission bits, words of a command line.

use std::time::Duration;

pub(crate) const DURATION: &str = "a duration such as 90s or 1m30s";
pub(crate) const BYTES: &str = "a size such as 64m or 1g";
pub(crate) const CPUS: &str = "a number of CPUs such as 0.5, at most 1000";
pub(crate) const MODE: &str = "octal permission bits such as 0440";

/// `1h2m3.5s`, `250ms`, `10us`; whole milliseconds, rounded up. A bare number means seconds.
pub fn duration_ms(text: &str) -> Option<u64> {
    if let Ok(seconds) = text.parse::<u32>() {
        return Some(u64::from(seconds) * 1000);
    }
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(digits);
        let letters = after
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        total = total.checked_add(part(number, unit)?)?;
        rest = after;
    }
    const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);
    if text.is_empty() || total > LONGEST {
        return None;
    }
    u64::try_from(total.as_nanos().div_ceil(1_000_000)).ok()
}

fn part(number: &str, unit: &str) -> Option<Duration> {
    let seconds = match unit {
        "us" | "µs" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return None,
    };
    let number: f64 = number.parse().ok()?;
    // Rounded to microseconds, so that 0.1s is not 100.000001 ms.
    Duration::try_from_secs_f64((number * seconds * 1e6).round() / 1e6).ok()
}

/// `512`, `64k`, `1.5g`, `2GB`, `3MiB`: powers of 1024, as Docker has it.
pub(crate) fn bytes(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let letters = text
        .find(|c: char| c.is_ascii_alphabetic())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(letters);
    let shift = match unit {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return None,
    };
    let number = number.trim_end();
    let scale = 1_u64 << shift;
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(scale);
    }
    let plain = number.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let value = number.parse::<f64>().ok().filter(|_| plain)? * scale as f64;
    (value < 1e18).then_some(value as u64)
}

/// Thousandths of one CPU.
pub(crate) fn cpu_millis(text: &str) -> Option<u32> {
    let plain = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let cpus: f64 = text.parse().ok().filter(|_| plain)?;
    let millis = (cpus * 1000.0).round();
    (1.0..=1e6).contains(&millis).then_some(millis as u32)
}

/// Octal with its leading zero: `440` alone might mean either.
pub(crate) fn mode(text: &str) -> Option<u32> {
    let digits = text.strip_prefix("0o").or_else(|| text.strip_prefix('0'))?;
    let mode = u32::from_str_radix(if digits.is_empty() { "0" } else { digits }, 8).ok()?;
    (mode <= 0o7777).then_some(mode)
}

/// Splits a command line into words as a shell would, without expanding anything.
pub(crate) fn words(line: &str) -> Result<Vec<String>, &'static str> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' | '\n' | '\r' => words.extend(word.take()),
            '\'' => quoted(&mut chars, word.get_or_insert_default(), '\'')?,
            '"' => quoted(&mut chars, word.get_or_insert_default(), '"')?,
            '\\' => match chars.next() {
                Some('\n') => {}
                Some(c) => word.get_or_insert_default().push(c),
                None => return Err("ends with a backslash"),
            },
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

fn quoted(
    chars: &mut std::str::Chars<'_>,
    word: &mut String,
    quote: char,
) -> Result<(), &'static str> {
    while let Some(c) = chars.next() {
        match c {
            c if c == quote => return Ok(()),
            '\\' if quote == '"' => match chars.next() {
                Some('\n') => {}
                Some(c @ ('"' | '\\' | '$' | '`')) => word.push(c),
                Some(c) => word.extend(['\\', c]),
                None => return Err("has a quote that is never closed"),
            },
            c => word.push(c),
        }
    }
    Err("has a quote that is never closed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_compose_writes_them() {
        assert_eq!(duration_ms("1h2m3.5s"), Some(3_723_500));
        assert_eq!(duration_ms("250ms"), Some(250));
        assert_eq!(duration_ms("10us"), Some(1));
        assert_eq!(duration_ms("0.1s"), Some(100));
        assert_eq!(duration_ms("30"), Some(30_000));
        for wrong in ["", "s", "1x", "-1s", "1s 2m", "999999999h", "1e9s", "infs"] {
            assert_eq!(duration_ms(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn sizes_are_powers_of_1024() {
        assert_eq!(bytes("64m"), Some(64 << 20));
        assert_eq!(bytes("1.5GB"), Some(3 << 29));
        assert_eq!(bytes("512"), Some(512));
        for wrong in ["", "m", "1x", "-1", "99999999999999t", "nan", "1e3"] {
            assert_eq!(bytes(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn cpus_and_modes_are_read_in_their_bounds() {
        assert_eq!(cpu_millis("0.25"), Some(250));
        assert_eq!(cpu_millis("0"), None);
        assert_eq!(cpu_millis("nan"), None);
        assert_eq!(mode("0440"), Some(0o440));
        assert_eq!(mode("0o755"), Some(0o755));
        assert_eq!(mode("440"), None);
        assert_eq!(mode("0999"), None);
    }

    #[test]
    fn a_command_line_is_split_as_a_shell_splits_it() {
        let split = |line| words(line).unwrap();
        assert_eq!(
            split(r#"sh -c "echo \"hi\" $X" 'a b'"#),
            ["sh", "-c", "echo \"hi\" $X", "a b"]
        );
        assert_eq!(split(r"a\ b ''"), ["a b", ""]);
        assert_eq!(split("  "), Vec::<String>::new());
        assert!(words("echo 'a").is_err());
        assert!(words("a\\").is_err());
    }
}
