//! Maintenance windows: when a device may be disturbed, in its own local time.
//!
//! Time zones come from data compiled in (the IANA database), never from the machine.

use std::fmt;
use std::str::FromStr;

use jiff::civil::Date;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{Timestamp, ToSpan as _};
use lightship_core::time::UnixTime;
use serde::{Deserialize, Serialize};

const DAY_MINUTES: u16 = 24 * 60;
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// A time zone by its IANA name, such as `Europe/Berlin`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Zone(TimeZone);

/// There is no time zone of this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no such time zone: expected a name such as Europe/Berlin, or UTC")]
pub struct BadZone;

impl Default for Zone {
    fn default() -> Self {
        Self(TimeZone::UTC)
    }
}

impl FromStr for Zone {
    type Err = BadZone;

    fn from_str(name: &str) -> Result<Self, BadZone> {
        if name == "UTC" {
            return Ok(Self::default());
        }
        let zone = TimeZoneDatabase::bundled().get(name);
        zone.map(Self).map_err(|_| BadZone)
    }
}

impl TryFrom<String> for Zone {
    type Error = BadZone;

    fn try_from(name: String) -> Result<Self, BadZone> {
        name.parse()
    }
}

impl From<Zone> for String {
    fn from(zone: Zone) -> Self {
        zone.to_string()
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.iana_name().unwrap_or("UTC"))
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Some hours of some days of the week: `mon-fri 22:00-04:00`, `daily 02:00-05:00`.
///
/// A window belongs to the day on which it begins and may go on into the next.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Window {
    /// Bit 0 is Monday.
    days: u8,
    from_minute: u16,
    minutes: u16,
}

/// The text is not a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected days and hours, such as `mon-fri 22:00-04:00`, `sat,sun 00:00-24:00` or `daily 02:00-05:00`"
)]
pub struct BadWindow;

impl Window {
    /// When the window that begins on `date` opens and closes.
    fn on(self, date: Date, zone: &Zone) -> Option<(UnixTime, UnixTime)> {
        let day = date.weekday().to_monday_zero_offset();
        if self.days & 1 << day == 0 {
            return None;
        }
        let (hour, minute) = (self.from_minute / 60, self.from_minute % 60);
        let local = date.at(i8::try_from(hour).ok()?, i8::try_from(minute).ok()?, 0, 0);
        let opens = local.to_zoned(zone.0.clone()).ok()?.timestamp();
        let closes = opens.checked_add(i64::from(self.minutes).minutes()).ok()?;
        Some((unix(opens)?, unix(closes)?))
    }
}

fn unix(at: Timestamp) -> Option<UnixTime> {
    u64::try_from(at.as_second()).ok().map(UnixTime)
}

/// Whether a device may be disturbed, and when that changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opening {
    /// At any time.
    Always,
    /// Now, until then.
    Until(UnixTime),
    /// Not now, but then.
    From(UnixTime),
    /// The windows never open, or the time is beyond what a calendar holds.
    Never,
}

/// Looks at all windows; overlapping ones count as one as soon as the first closes.
pub(crate) fn opening(windows: &[Window], zone: &Zone, now: UnixTime) -> Opening {
    if windows.is_empty() {
        return Opening::Always;
    }
    let spans = || spans(windows, zone, now);
    if let Some(closes) = spans()
        .filter(|s| s.0 <= now && now < s.1)
        .map(|s| s.1)
        .max()
    {
        return Opening::Until(closes);
    }
    let next = spans().filter(|span| span.0 > now).map(|span| span.0).min();
    next.map_or(Opening::Never, Opening::From)
}

/// The windows that begin between yesterday and a week from now: every one that matters.
fn spans<'a>(
    windows: &'a [Window],
    zone: &'a Zone,
    now: UnixTime,
) -> impl Iterator<Item = (UnixTime, UnixTime)> + 'a {
    let second = i64::try_from(now.0).unwrap_or(i64::MAX);
    let today = Timestamp::from_second(second).ok();
    let today = today.map(|at| at.to_zoned(zone.0.clone()).date());
    let dates = today
        .into_iter()
        .flat_map(|today| (-1..=8).filter_map(move |day: i32| today.checked_add(day.days()).ok()));
    dates.flat_map(move |date| {
        windows
            .iter()
            .filter_map(move |window| window.on(date, zone))
    })
}

impl FromStr for Window {
    type Err = BadWindow;

    fn from_str(text: &str) -> Result<Self, BadWindow> {
        let (days, hours) = text.split_once(' ').ok_or(BadWindow)?;
        let (from, to) = hours.split_once('-').ok_or(BadWindow)?;
        let (from_minute, to) = (minute(from)?, minute(to)?);
        if from_minute == DAY_MINUTES || from_minute == to {
            return Err(BadWindow);
        }
        let minutes = if to > from_minute {
            to - from_minute
        } else {
            DAY_MINUTES - from_minute + to
        };
        Ok(Self {
            days: parse_days(days)?,
            from_minute,
            minutes,
        })
    }
}

fn parse_days(text: &str) -> Result<u8, BadWindow> {
    if text == "daily" {
        return Ok(0x7f);
    }
    let mut days = 0;
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (mut day, last) = (weekday(first)?, weekday(last)?);
        days |= 1 << day;
        while day != last {
            day = (day + 1) % 7;
            days |= 1 << day;
        }
    }
    Ok(days)
}

fn weekday(text: &str) -> Result<usize, BadWindow> {
    DAYS.iter().position(|day| *day == text).ok_or(BadWindow)
}

fn minute(text: &str) -> Result<u16, BadWindow> {
    let (hour, minute) = text.split_once(':').ok_or(BadWindow)?;
    let two_digits = |text: &str| text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
    if !two_digits(hour) || !two_digits(minute) {
        return Err(BadWindow);
    }
    let (hour, minute): (u16, u16) = (
        hour.parse().map_err(|_| BadWindow)?,
        minute.parse().map_err(|_| BadWindow)?,
    );
    let total = hour * 60 + minute;
    if minute < 60 && total <= DAY_MINUTES {
        Ok(total)
    } else {
        Err(BadWindow)
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.days == 0x7f {
            f.write_str("daily")?;
        } else {
            let days = DAYS.iter().enumerate();
            let days = days.filter(|(day, _)| self.days & 1 << day != 0);
            let days: Vec<&str> = days.map(|(_, day)| *day).collect();
            f.write_str(&days.join(","))?;
        }
        let (from, to) = (self.from_minute, self.from_minute + self.minutes);
        let to = if to > DAY_MINUTES {
            to - DAY_MINUTES
        } else {
            to
        };
        write!(
            f,
            " {:02}:{:02}-{:02}:{:02}",
            from / 60,
            from % 60,
            to / 60,
            to % 60
        )
    }
}

impl fmt::Debug for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl TryFrom<String> for Window {
    type Error = BadWindow;

    fn try_from(text: String) -> Result<Self, BadWindow> {
        text.parse()
    }
}

impl From<Window> for String {
    fn from(window: Window) -> Self {
        window.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> UnixTime {
        unix(text.parse().unwrap()).unwrap()
    }

    fn see(windows: &[&str], zone: &str, now: &str) -> Opening {
        let windows: Vec<Window> = windows.iter().map(|text| text.parse().unwrap()).collect();
        opening(&windows, &zone.parse().unwrap(), at(now))
    }

    #[test]
    fn a_window_opens_at_the_devices_local_time() {
        let window = ["daily 02:00-05:00"];
        assert_eq!(
            see(&window, "Europe/Berlin", "2026-11-22T00:59:59Z"),
            Opening::From(at("2026-11-22T01:00:00Z"))
        );
        assert_eq!(
            see(&window, "Europe/Berlin", "2026-07-22T00:00:00Z"),
            Opening::Until(at("2026-07-22T03:00:00Z"))
        );
        assert_eq!(
            see(&window, "Asia/Kolkata", "2026-11-22T00:00:00Z"),
            Opening::From(at("2026-11-22T20:30:00Z"))
        );
    }

    #[test]
    fn a_window_goes_on_past_midnight_into_a_day_that_is_not_its_own() {
        let window = ["fri 22:00-04:00"];
        let saturday = see(&window, "UTC", "2026-11-21T03:59:59Z");
        assert_eq!(saturday, Opening::Until(at("2026-11-21T04:00:00Z")));
        let closed = see(&window, "UTC", "2026-11-21T04:00:00Z");
        assert_eq!(closed, Opening::From(at("2026-11-27T22:00:00Z")));
    }

    #[test]
    fn a_time_that_the_clocks_skip_opens_when_they_have_skipped_it() {
        let skipped = see(
            &["daily 02:30-03:30"],
            "Europe/Berlin",
            "2026-03-29T00:00:00Z",
        );
        assert_eq!(skipped, Opening::From(at("2026-03-29T01:30:00Z")));
    }

    #[test]
    fn no_window_means_always() {
        assert_eq!(see(&[], "UTC", "2026-11-21T03:59:59Z"), Opening::Always);
    }

    #[test]
    fn windows_read_back_as_they_are_written() {
        for text in [
            "daily 02:00-05:00",
            "mon,sat,sun 22:30-04:00",
            "tue 00:00-24:00",
        ] {
            assert_eq!(text.parse::<Window>().unwrap().to_string(), text);
        }
        assert_eq!(
            "sat-mon 01:00-02:00".parse::<Window>().unwrap().to_string(),
            "mon,sat,sun 01:00-02:00"
        );
        for bad in [
            "",
            "daily",
            "daily 2:00-3:00",
            "mon 24:00-01:00",
            "mon 01:00-01:00",
            "xyz 01:00-02:00",
            "mon 01:60-02:00",
            "mon 25:00-26:00",
            "daily 99:99-00:00",
        ] {
            assert_eq!(bad.parse::<Window>(), Err(BadWindow), "{bad}");
        }
        assert_eq!("Nowhere/Atall".parse::<Zone>(), Err(BadZone));
    }
}
