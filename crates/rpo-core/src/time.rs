//! Times: what the wall clock says, what the steady clock says, durations and sizes as people write them, and the
//! hybrid clock that commits are stamped with.

mod hybrid;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use hybrid::HybridClock;

/// A moment, in microseconds UTC since 1970. Shown and read as RFC 3339; a text without a zone is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// 1970-01-01T00:00:00Z.
    pub const EPOCH: Timestamp = Timestamp(0);

    /// The moment `micros` microseconds after 1970 began, UTC.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since 1970 began, UTC.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Time from `earlier` to here; zero if `earlier` is not earlier.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(i128::from(self.0) - i128::from(earlier.0)).unwrap_or(0))
    }

    /// The moment `duration` later, at most the last one there is.
    pub fn saturating_add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)))
    }

    /// The moment `duration` earlier, at least the first one there is.
    pub fn saturating_sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(time) => f.pad(&format!("{time:.6}")),
            Err(_) => f.pad(&format!("{}us", self.0)), // outside the calendar: still shown exactly
        }
    }
}

impl FromStr for Timestamp {
    type Err = TimeError;

    fn from_str(text: &str) -> Result<Self, TimeError> {
        text.parse::<jiff::Timestamp>().map(|time| Self(time.as_microsecond())).map_err(|_| TimeError {
            what: "a time",
            text: text.to_owned(),
            hint: "RFC 3339 with a zone, such as 2026-03-01T14:06:23Z",
        })
    }
}

/// As text where people read it; in binary formats the number, which is shorter and holds every value.
impl Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            return i64::deserialize(deserializer).map(Self);
        }
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A reading of a steady clock that never steps: only differences mean anything, and only within one boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Monotonic(Duration);

impl Monotonic {
    /// The reading `since_origin` after the clock's own origin.
    pub const fn new(since_origin: Duration) -> Self {
        Self(since_origin)
    }

    /// Time since the clock's own origin.
    pub const fn since_origin(self) -> Duration {
        self.0
    }

    /// Time from `earlier` to here; zero if `earlier` is not earlier.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// The reading `duration` later.
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }
}

/// A text that is no time, duration or size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {what}: expected {hint}")]
pub struct TimeError {
    what: &'static str,
    text: String,
    hint: &'static str,
}

/// A duration as people write it: `"200ms"`, `"5s"`, `"1h30m"`, `"7d"`. Shown exactly to the microsecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct HumanDuration(Duration);

impl HumanDuration {
    /// No time at all.
    pub const ZERO: HumanDuration = HumanDuration(Duration::ZERO);

    /// This many milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }

    /// This many seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// As the standard library has it.
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl From<Duration> for HumanDuration {
    fn from(duration: Duration) -> Self {
        Self(duration)
    }
}

impl fmt::Display for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0.as_micros();
        let text = match micros {
            0 => "0s".to_owned(),
            1..1_000 => format!("{micros}us"),
            1_000..1_000_000 => decimal(micros, 1_000, "ms"),
            1_000_000..60_000_000 => decimal(micros, 1_000_000, "s"),
            _ => {
                let parts = [
                    ("d", 86_400_000_000),
                    ("h", 3_600_000_000),
                    ("m", 60_000_000),
                    ("s", 1_000_000),
                    ("ms", 1_000),
                ];
                let mut rest = micros;
                let mut text = String::new();
                for (unit, length) in parts {
                    if rest >= length {
                        text.push_str(&format!("{}{unit}", rest / length));
                        rest %= length;
                    }
                }
                if rest > 0 {
                    text.push_str(&format!("{rest}us"))
                }
                text
            }
        };
        f.pad(&text)
    }
}

/// `micros / unit` with all its decimals, without trailing zeros.
fn decimal(micros: u128, unit: u128, name: &str) -> String {
    let text = format!("{}.{:06}", micros / unit, micros % unit * 1_000_000 / unit);
    format!("{}{name}", text.trim_end_matches('0').trim_end_matches('.'))
}

impl FromStr for HumanDuration {
    type Err = TimeError;

    fn from_str(text: &str) -> Result<Self, TimeError> {
        let bad = || TimeError {
            what: "a duration",
            text: text.to_owned(),
            hint: "such as 200ms, 5s, 1h30m or 7d",
        };
        let span: jiff::Span = text.parse().map_err(|_| bad())?;
        if span.get_years() != 0 || span.get_months() != 0 || span.is_negative() {
            return Err(bad()); // months differ in length: 30d says it exactly
        }
        let exact = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).map_err(|_| bad())?;
        Duration::try_from(exact).map(Self).map_err(|_| bad())
    }
}

/// As text where people read it; in binary formats as seconds and nanoseconds.
impl Serialize for HumanDuration {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for HumanDuration {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            return Duration::deserialize(deserializer).map(Self);
        }
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A size in bytes as people write it: `"512KiB"`, `"16MiB"`, `"1GiB"`, `"4096"`. Powers of 1,000 are `KB`, `MB`, `GB`, `TB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ByteSize(u64);

const UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("B", 1),
];

impl ByteSize {
    /// This many bytes.
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    /// This many mebibytes.
    pub const fn mib(mib: u64) -> Self {
        Self(mib << 20)
    }

    /// Bytes.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, unit) in &UNITS[..4] {
            if self.0 >= *unit {
                let hundredths = (u128::from(self.0) * 100 / u128::from(*unit)) as u64;
                let text = format!("{}.{:02}", hundredths / 100, hundredths % 100);
                return f.pad(&format!("{}{name}", text.trim_end_matches('0').trim_end_matches('.')));
            }
        }
        f.pad(&format!("{}B", self.0))
    }
}

impl FromStr for ByteSize {
    type Err = TimeError;

    fn from_str(text: &str) -> Result<Self, TimeError> {
        let bad =
            || TimeError { what: "a size", text: text.to_owned(), hint: "such as 512KiB, 16MiB or 1GiB" };
        let trimmed = text.trim();
        let found = UNITS.iter().find_map(|(name, unit)| Some((trimmed.strip_suffix(name)?, *unit)));
        let (number, unit) = found.unwrap_or((trimmed, 1));
        let number: u64 = number.trim().parse().map_err(|_| bad())?;
        number.checked_mul(unit).map(Self).ok_or_else(bad)
    }
}

/// As text where people read it; in binary formats the number of bytes.
impl Serialize for ByteSize {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !serializer.is_human_readable() {
            return self.0.serialize(serializer);
        }
        // Exact, so that what is written is what is read: display rounds.
        match UNITS[..4].iter().find(|(_, unit)| self.0 >= *unit && self.0.is_multiple_of(*unit)) {
            Some((name, unit)) => serializer.collect_str(&format_args!("{}{name}", self.0 / unit)),
            None => serializer.collect_str(&format_args!("{}B", self.0)),
        }
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            return u64::deserialize(deserializer).map(Self);
        }
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A wall clock that moved otherwise than the steady clock beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockAnomaly {
    /// What the wall clock was expected to say.
    pub expected: Timestamp,
    /// What it said.
    pub found: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_without_a_zone_is_refused() {
        assert!("2026-03-01T14:06:23Z".parse::<Timestamp>().is_ok());
        assert!("2026-03-01T14:06:23".parse::<Timestamp>().is_err());
    }

    #[test]
    fn durations_are_written_as_people_do() {
        for (text, millis) in [("200ms", 200), ("5s", 5_000), ("1h30m", 5_400_000), ("7d", 604_800_000)] {
            let parsed: HumanDuration = text.parse().unwrap();
            assert_eq!(parsed.get().as_millis(), millis);
            assert_eq!(parsed.to_string().parse::<HumanDuration>().unwrap(), parsed, "{parsed}");
        }
        for micros in
            [1, 999, 1_001, 999_999, 1_000_001, 59_999_999, 60_000_001, 86_400_000_000, 90_061_001_001]
        {
            let exact = HumanDuration::from(Duration::from_micros(micros));
            assert_eq!(exact.to_string().parse::<HumanDuration>().unwrap(), exact, "{exact}");
        }
        assert!("1mo".parse::<HumanDuration>().is_err());
        assert!("-1s".parse::<HumanDuration>().is_err());
    }

    #[test]
    fn sizes_read_back_as_written() {
        for size in [0, 1, 1023, 1024, 4096, 16 << 20, (16 << 20) + 1, u64::MAX] {
            let text = serde_json::to_string(&ByteSize::new(size)).unwrap();
            assert_eq!(serde_json::from_str::<ByteSize>(&text).unwrap().get(), size, "{text}");
        }
        assert!("99999999TiB".parse::<ByteSize>().is_err());
    }
}
