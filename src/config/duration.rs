//! Durations in Go's notation, as `metav1.Duration` and pflag have them: `30s`, `1m30s`, `24h0m0s`.
//!
//! `kube::core::Duration` reads the empty text as well, loses nanoseconds to floating point, and does not print as Go
//! does.

use std::{fmt, str::FromStr};

/// Units and their nanoseconds, longest first. Both letters that are written for micro are units.
const UNITS: [(&str, i64); 8] = [
    ("h", 3_600_000_000_000),
    ("ms", 1_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ns", 1),
];

/// A length of time in nanoseconds, possibly negative (Go's `time.Duration`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duration(i64);

impl Duration {
    /// A number of seconds.
    pub const fn from_secs(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1_000_000_000))
    }

    /// Whether it is zero.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// The same without a sign; `None` if it is negative.
    pub fn unsigned(self) -> Option<std::time::Duration> {
        u64::try_from(self.0).ok().map(std::time::Duration::from_nanos)
    }
}

impl FromStr for Duration {
    type Err = String;

    /// `time.ParseDuration`: a sign, then numbers with units; a bare `0` needs none.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || format!("{text:?} is not a duration such as 30s or 1m30s");
        let (negative, mut rest) = match text.strip_prefix(['-', '+']) {
            Some(rest) => (text.starts_with('-'), rest),
            None => (false, text),
        };
        if rest == "0" {
            return Ok(Self(0));
        }
        if rest.is_empty() {
            return Err(error());
        }
        let mut total: i64 = 0;
        while !rest.is_empty() {
            let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(error)?;
            let (number, tail) = rest.split_at_checked(end).ok_or_else(error)?;
            let known = UNITS.iter().find(|(unit, _)| tail.starts_with(unit)).ok_or_else(error)?;
            let part = nanoseconds(number, known.1).ok_or_else(error)?;
            total = total.checked_add(part).ok_or_else(error)?;
            rest = tail.get(known.0.len()..).ok_or_else(error)?;
        }
        Ok(Self(if negative { -total } else { total }))
    }
}

/// A decimal number of units.
fn nanoseconds(number: &str, unit: i64) -> Option<i64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut total = whole.checked_mul(unit)?;
    let mut scale = unit;
    for digit in fraction.bytes() {
        // Digits below a nanosecond add nothing.
        scale /= 10;
        total = total.checked_add(i64::from(digit - b'0').checked_mul(scale)?)?;
    }
    Some(total)
}

impl fmt::Display for Duration {
    /// As Go prints it: `24h0m0s`, `1m30s`, `1.5s`, `250ms`, `0s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let all = self.0.unsigned_abs();
        let decimal = |value: u64, unit: u64| {
            let (whole, fraction) = (value / unit, value % unit);
            let digits = unit.ilog10() as usize;
            let fraction = format!("{fraction:0digits$}");
            match fraction.trim_end_matches('0') {
                "" => whole.to_string(),
                fraction => format!("{whole}.{fraction}"),
            }
        };
        match all {
            0 => write!(f, "0s"),
            1..1_000 => write!(f, "{sign}{all}ns"),
            1_000..1_000_000 => write!(f, "{sign}{}\u{b5}s", decimal(all, 1_000)),
            1_000_000..1_000_000_000 => write!(f, "{sign}{}ms", decimal(all, 1_000_000)),
            _ => {
                let minutes = all / 60_000_000_000;
                let seconds = decimal(all % 60_000_000_000, 1_000_000_000);
                match (minutes / 60, minutes % 60) {
                    (0, 0) => write!(f, "{sign}{seconds}s"),
                    (0, minutes) => write!(f, "{sign}{minutes}m{seconds}s"),
                    (hours, minutes) => write!(f, "{sign}{hours}h{minutes}m{seconds}s"),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_s_notation_is_read_and_written() {
        for (text, nanoseconds, written) in [
            ("0", 0, "0s"),
            ("0s", 0, "0s"),
            ("30s", 30_000_000_000, "30s"),
            ("90s", 90_000_000_000, "1m30s"),
            ("1m30s", 90_000_000_000, "1m30s"),
            ("24h0m0s", 86_400_000_000_000, "24h0m0s"),
            ("24h", 86_400_000_000_000, "24h0m0s"),
            ("1.5h", 5_400_000_000_000, "1h30m0s"),
            (".5s", 500_000_000, "500ms"),
            ("1.25s", 1_250_000_000, "1.25s"),
            ("250us", 250_000, "250\u{b5}s"),
            ("7ns", 7, "7ns"),
            ("-1m", -60_000_000_000, "-1m0s"),
        ] {
            let duration: Duration = text.parse().unwrap();
            assert_eq!(duration, Duration(nanoseconds), "{text}");
            assert_eq!(duration.to_string(), written, "{text}");
            assert_eq!(written.parse::<Duration>().unwrap(), duration, "{written}");
        }
    }

    #[test]
    fn what_is_no_duration_is_named() {
        for text in ["", "-", "5", "s", "5x", "1.2.3s", ".s", "1m 30s", "thirty", "300000000h", "\u{1f600}s"]
        {
            let error = text.parse::<Duration>().unwrap_err();
            assert_eq!(error, format!("{text:?} is not a duration such as 30s or 1m30s"));
        }
    }

    proptest::proptest! {
        #[test]
        fn any_duration_is_read_as_it_was_written(nanoseconds in -i64::MAX..) {
            let duration = Duration(nanoseconds);
            proptest::prop_assert_eq!(duration.to_string().parse::<Duration>().unwrap(), duration);
        }

        #[test]
        fn no_text_brings_the_reader_down(text in "[-+0-9.hmsun\u{b5}]{0,12}") {
            let _ = text.parse::<Duration>();
        }
    }
}
