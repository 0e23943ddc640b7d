//! Times in the API: RFC 3339, UTC, to the millisecond.

use ::time::OffsetDateTime;
use ::time::format_description::well_known::Rfc3339;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A point in time: milliseconds since 1970 inside, RFC 3339 outside.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, format = DateTime, example = "2026-11-22T17:46:11.000Z")]
pub struct Timestamp(i64);

/// The text is not RFC 3339, or is outside of the years 1970 to 9999.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadTimestamp;

/// The last millisecond of the year 9999, the last that RFC 3339 can write.
const LAST_MS: i64 = 253_402_300_799_999;

impl Timestamp {
    /// From milliseconds since 1970; what lies outside of 1970 to 9999 is moved to the nearer end.
    #[must_use]
    pub fn from_millis(millis: i64) -> Self {
        Self(millis.clamp(0, LAST_MS))
    }

    /// Milliseconds since 1970.
    #[must_use]
    pub fn as_millis(self) -> i64 {
        self.0
    }
}

impl TryFrom<String> for Timestamp {
    type Error = BadTimestamp;

    fn try_from(text: String) -> Result<Self, BadTimestamp> {
        let parsed = OffsetDateTime::parse(&text, &Rfc3339).map_err(|_| BadTimestamp)?;
        let millis =
            i64::try_from(parsed.unix_timestamp_nanos() / 1_000_000).map_err(|_| BadTimestamp)?;
        if (0..=LAST_MS).contains(&millis) {
            Ok(Self(millis))
        } else {
            Err(BadTimestamp)
        }
    }
}

impl From<Timestamp> for String {
    fn from(at: Timestamp) -> Self {
        at.to_string()
    }
}

impl std::fmt::Display for Timestamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000_000)
            .expect("the range was checked when this was made");
        let (date, clock) = (at.date(), at.time());
        write!(
            f,
            "{:04}-{:02}-{:02}T",
            date.year(),
            u8::from(date.month()),
            date.day()
        )?;
        let (hour, minute, second, milli) = clock.as_hms_milli();
        write!(f, "{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
    }
}

impl std::fmt::Display for BadTimestamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a time is RFC 3339, such as 2026-11-22T17:46:11Z, between 1970 and 9999")
    }
}

impl std::error::Error for BadTimestamp {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_survives_the_way_out_and_back() {
        for millis in [0, 1, 1_795_369_571_042, LAST_MS] {
            let at = Timestamp::from_millis(millis);
            assert_eq!(Timestamp::try_from(at.to_string()), Ok(at));
        }
        let offset = Timestamp::try_from("2026-11-22T18:46:11+01:00".to_owned()).unwrap();
        assert_eq!(offset.to_string(), "2026-11-22T17:46:11.000Z");
    }

    #[test]
    fn what_is_not_rfc_3339_is_refused() {
        for bad in [
            "",
            "2026-11-22",
            "1969-12-31T23:59:59Z",
            "yesterday",
            "2026-13-01T00:00:00Z",
        ] {
            assert_eq!(
                Timestamp::try_from(bad.to_owned()),
                Err(BadTimestamp),
                "{bad}"
            );
        }
    }
}
