//! Durations in Go's notation, read as `time.ParseDuration` reads them, and printed.
//!
//! kube's `Duration` is not used: it panics if a duration is too long, rounds in floating point, accepts the empty text
//! and several signs, and prints in Rust's notation.

use std::time::Duration;

use jiff::fmt::friendly::{Designator, Spacing, SpanPrinter};

/// The nanoseconds of a unit.
fn unit(name: &str) -> Option<u64> {
    match name {
        "ns" => Some(1),
        // The micro sign, and the Greek letter.
        "us" | "\u{b5}s" | "\u{3bc}s" => Some(1_000),
        "ms" => Some(1_000_000),
        "s" => Some(1_000_000_000),
        "m" => Some(60_000_000_000),
        "h" => Some(3_600_000_000_000),
        _ => None,
    }
}

/// Returns the number at the beginning of a text, and the rest of the text; `None` if the number does not fit into Go's
/// 63 bits.
fn whole(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    let number = if digits.is_empty() { Some(0) } else { digits.parse().ok() };
    number.filter(|number| *number <= 1 << 63).map(|number| (number, rest))
}

/// Returns the digits of a fraction at the beginning of a text, as a number and its divisor, and the rest of the text.
/// Digits beyond Go's precision are ignored.
fn fraction(text: &str) -> (u64, f64, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    let (mut number, mut scale) = (0_u64, 1.0);
    for digit in digits.bytes().map(|byte| u64::from(byte - b'0')) {
        if number > i64::MAX as u64 / 10 || number * 10 + digit > 1 << 63 {
            break;
        }
        number = number * 10 + digit;
        scale *= 10.0;
    }
    (number, scale, rest)
}

/// Reads a duration that is not negative, such as `1h15m30.5s`: numbers, each with an optional fraction and a unit, in
/// any order.
///
/// The code follows `time.ParseDuration` step by step, so that rounding and the longest duration are the same.
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "Go computes fractions in the same way"
)]
pub fn parse(text: &str) -> Option<Duration> {
    let is_negative = text.starts_with('-');
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total = 0_u64;
    while !rest.is_empty() {
        let (number, after) = whole(rest)?;
        let mut digits = rest.len() - after.len();
        let (mut part, mut scale) = (0, 1.0);
        rest = after;
        if let Some(after) = rest.strip_prefix('.') {
            (part, scale, rest) = fraction(after);
            digits += after.len() - rest.len();
        }
        if digits == 0 {
            return None;
        }
        let end = rest.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        let unit = unit(name)?;
        rest = after;
        let mut nanoseconds = number.checked_mul(unit)?;
        if part > 0 {
            nanoseconds = nanoseconds.checked_add((part as f64 * (unit as f64 / scale)) as u64)?;
        }
        total = total.checked_add(nanoseconds).filter(|total| *total <= 1 << 63)?;
    }
    let is_valid = if is_negative { total == 0 } else { i64::try_from(total).is_ok() };
    is_valid.then(|| Duration::from_nanos(total))
}

/// Prints a duration in a notation in which equal durations look the same. [`parse`] reads this notation.
pub fn print(duration: Duration) -> String {
    let printer = SpanPrinter::new().designator(Designator::Compact).spacing(Spacing::None);
    printer.unsigned_duration_to_string(&duration)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: u64 = 60_000_000_000;
    const HOUR: u64 = 60 * MINUTE;

    /// The examples of Go's documentation and tests, except the negative ones.
    #[test]
    fn durations_are_read_as_go_reads_them() {
        for (text, nanoseconds) in [
            ("0", 0),
            ("-0", 0),
            ("+0", 0),
            ("-0s", 0),
            ("5s", 5_000_000_000),
            ("30s", 30_000_000_000),
            ("1478s", 1_478_000_000_000),
            ("+5s", 5_000_000_000),
            ("+0", 0),
            ("5.0s", 5_000_000_000),
            ("5.6s", 5_600_000_000),
            ("5.s", 5_000_000_000),
            (".5s", 500_000_000),
            ("1.0s", 1_000_000_000),
            ("1.00s", 1_000_000_000),
            ("1.004s", 1_004_000_000),
            ("1.0040s", 1_004_000_000),
            ("100.00100s", 100_001_000_000),
            ("10ns", 10),
            ("11us", 11_000),
            ("12\u{b5}s", 12_000),
            ("12\u{3bc}s", 12_000),
            ("13ms", 13_000_000),
            ("14s", 14_000_000_000),
            ("15m", 15 * MINUTE),
            ("16h", 16 * HOUR),
            ("3h30m", 3 * HOUR + 30 * MINUTE),
            ("10.5s4m", 4 * MINUTE + 10_500_000_000),
            ("1.5h30m", 2 * HOUR),
            ("1h1m1.5s", HOUR + MINUTE + 1_500_000_000),
            ("1s1s", 2_000_000_000),
            ("1h15m30.918s", HOUR + 15 * MINUTE + 30_918_000_000),
            ("1h2m3s4ms5us6ns", HOUR + 2 * MINUTE + 3_004_005_006),
            ("39h9m14.425s", 39 * HOUR + 9 * MINUTE + 14_425_000_000),
            ("52763797000ns", 52_763_797_000),
            ("0.3333333333333333333h", 20 * MINUTE),
            ("9007199254740993ns", 9_007_199_254_740_993),
            ("9223372036854775807ns", i64::MAX as u64),
            ("9223372036854775.807us", i64::MAX as u64),
            ("9223372036s854ms775us807ns", i64::MAX as u64),
            ("0.100000000000000000000h", 6 * MINUTE),
            ("0.830103483285477580700h", 49 * MINUTE + 48_372_539_827),
        ] {
            assert_eq!(parse(text), Some(Duration::from_nanos(nanoseconds)), "{text}");
        }
    }

    #[test]
    fn what_go_refuses_and_what_is_negative_is_no_duration() {
        for text in [
            "",
            "3",
            "-",
            "+",
            "s",
            ".",
            "-.",
            ".s",
            "+.s",
            "1d",
            "-5s",
            "-1ns",
            "5x",
            "1.2.3s",
            "1m 30s",
            " 1s",
            "1s ",
            "1 s",
            "PT5S",
            "thirty",
            "1S",
            "1H",
            "1e3s",
            "++1s",
            "+-1s",
            "0x5s",
            "1h1",
            "٣s",
            "9223372036854775808ns",
            "9223372036854775.808us",
            "9223372036854ms775us808ns",
            "3000000h",
            "99999999999999999999h",
            "\u{0}",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_duration_is_read_as_it_was_written(nanoseconds in 0..=i64::MAX as u64) {
            let given = Duration::from_nanos(nanoseconds);
            prop_assert_eq!(parse(&print(given)), Some(given));
        }

        /// Go's grammar: `[-+]?([0-9]*(\.[0-9]*)?[a-z]+)+`, with a digit in each part.
        #[test]
        fn parts_add_up_in_any_order(
            sign in "\\+?",
            parts in prop::collection::vec((0_u64..100_000, 0_usize..6), 1..6),
        ) {
            let units = ["ns", "us", "ms", "s", "m", "h"];
            let texts: Vec<String> = parts.iter().map(|(number, at)| format!("{number}{}", units[*at])).collect();
            let text = texts.concat();
            let total: u64 = parts.iter().map(|(number, at)| number * unit(units[*at]).unwrap()).sum();
            prop_assert_eq!(parse(&format!("{sign}{text}")), Some(Duration::from_nanos(total)));
        }

        #[test]
        fn any_text_of_the_grammar_is_a_duration(
            text in "\\+?([0-9]{1,4}(\\.[0-9]{0,3})?(ns|us|\u{b5}s|ms|s|m|h)|\\.[0-9]{1,3}(ms|s|m|h)){1,4}",
        ) {
            prop_assert!(parse(&text).is_some(), "{}", text);
        }

        #[test]
        fn no_text_brings_the_reader_down(text in "[-+0-9.hmsun\u{b5}]{0,24}") {
            let _ = parse(&text);
        }
    }
}
