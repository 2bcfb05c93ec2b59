//! Spans of time as operators write and read them: `90s`, `15m`, `1h30m`, `7d`.

use std::time::Duration;

const UNITS: [(char, u64); 5] = [('w', 604_800), ('d', 86_400), ('h', 3600), ('m', 60), ('s', 1)];

/// A text that is no span of time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("duration \"{0}\" is not understood; write it like 90s, 15m, 1h30m or 7d")]
pub struct InvalidDuration(String);

/// Reads a span: one or more whole numbers, each with its unit.
pub fn parse(text: &str) -> Result<Duration, InvalidDuration> {
    let invalid = || InvalidDuration(text.chars().take(40).collect());
    let mut seconds = 0_u64;
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(invalid)?;
        let number: u64 = rest[..end].parse().map_err(|_| invalid())?;
        let unit = rest[end..].chars().next().ok_or_else(invalid)?;
        let (_, factor) = UNITS.into_iter().find(|(name, _)| *name == unit).ok_or_else(invalid)?;
        let part = number.checked_mul(factor).ok_or_else(invalid)?;
        seconds = seconds.checked_add(part).ok_or_else(invalid)?;
        rest = &rest[end + unit.len_utf8()..];
    }
    if text.is_empty() { Err(invalid()) } else { Ok(Duration::from_secs(seconds)) }
}

/// Reads a span within limits; `otherwise` is what to do where they are too narrow.
pub fn between(
    text: &str,
    (least, most): (Duration, Duration),
    otherwise: &str,
) -> Result<Duration, String> {
    let span = parse(text).map_err(|error| error.to_string())?;
    if (least..=most).contains(&span) {
        return Ok(span);
    }
    let size = if span < least { "short" } else { "long" };
    // The limits are whole minutes and days.
    let limits = format!("{}m to {}d", least.as_secs() / 60, most.as_secs() / 86_400);
    Err(format!("\"{text}\" is too {size}; give {limits}: {otherwise}"))
}

/// Writes a span in its largest unit that fits, as a reader wants it: `3s`, `2m`, `5h`, `12d`.
pub fn short(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// How long ago something was: `3s ago`.
pub fn ago(seconds: u64) -> String {
    format!("{} ago", short(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_in_every_unit() {
        for (text, seconds) in [
            ("0s", 0),
            ("90s", 90),
            ("15m", 900),
            ("1h", 3600),
            ("1h30m", 5400),
            ("7d", 604_800),
            ("2w", 1_209_600),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for bad in
            ["", "7", "h", "-1h", "1.5h", "1H", "1 h", "1y", "18446744073709551615w", "1hé", "9é"]
        {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_span_outside_of_its_limits_is_told_with_them() {
        let limits = (Duration::from_secs(60), Duration::from_secs(30 * 86_400));
        let read = |text| between(text, limits, "make another one");
        assert_eq!(read("30d"), Ok(limits.1));
        assert!(read("31d").expect_err("long").contains("\"31d\" is too long; give 1m to 30d"));
        assert!(read("59s").expect_err("short").contains("\"59s\" is too short; give 1m to 30d"));
        assert!(read("soon").expect_err("no span").contains("\"soon\" is not understood"));
    }

    #[test]
    fn ages_are_short() {
        for (seconds, text) in [
            (3, "3s ago"),
            (119, "119s ago"),
            (120, "2m ago"),
            (7199, "119m ago"),
            (7200, "2h ago"),
            (86_400 * 2, "2d ago"),
        ] {
            assert_eq!(ago(seconds), text);
        }
    }
}
