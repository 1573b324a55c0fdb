//! Numbers, durations, sizes and shares.
//!
//! A number without a unit is refused: half of the field reads `timeout: 30` as seconds, the other half as
//! milliseconds.

use std::time::Duration;

/// Longest duration that is accepted: 30 days.
pub(crate) const LONGEST: Duration = Duration::from_secs(30 * 86_400);

/// `250ms`, `1.5s`, `1m30s`; units `us ms s m h d`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err("an empty duration".to_owned());
    }
    let mut nanos = 0_f64;
    while !rest.is_empty() {
        let (number, unit, tail) = part(rest)?;
        let scale = match unit {
            "us" | "µs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" | "min" => 60e9,
            "h" => 3_600e9,
            "d" => 86_400e9,
            "" => return Err(format!("`{text}` has no unit")),
            _ => return Err(format!("`{unit}` is no unit of time")),
        };
        nanos += number * scale;
        rest = tail;
    }
    let secs = nanos / 1e9;
    if secs > LONGEST.as_secs_f64() {
        return Err(format!("`{text}` is longer than 30d"));
    }
    // Whole microseconds: a binary fraction such as 0.1 must not leave a stray nanosecond behind.
    Ok(Duration::from_micros((nanos / 1e3).round() as u64))
}

/// A duration as [`duration`] reads it, in its largest whole unit.
pub(crate) fn show(time: Duration) -> String {
    let micros = time.as_micros();
    let units = [("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000), ("ms", 1_000)];
    let whole = units.into_iter().find(|(_, size)| micros >= *size && micros.is_multiple_of(*size));
    whole.map_or_else(|| format!("{micros}us"), |(unit, size)| format!("{}{unit}", micros / size))
}

/// `64KiB`, `1MB`; units `B KB KiB MB MiB GB GiB`.
pub(crate) fn size(text: &str) -> Result<usize, String> {
    let (number, unit, tail) = part(text.trim())?;
    if !tail.is_empty() {
        return Err(format!("`{text}` is no size"));
    }
    let scale = match unit {
        "B" => 1.0,
        "KB" | "kB" => 1e3,
        "KiB" => 1024.0,
        "MB" => 1e6,
        "MiB" => 1_048_576.0,
        "GB" => 1e9,
        "GiB" => 1_073_741_824.0,
        "" => return Err(format!("`{text}` has no unit")),
        _ => return Err(format!("`{unit}` is no unit of size")),
    };
    let bytes = number * scale;
    if bytes.fract() != 0.0 || bytes > 1e15 {
        return Err(format!("`{text}` is no whole number of bytes below 1 PB"));
    }
    Ok(bytes as usize)
}

/// `20%` as 0.2.
pub(crate) fn share(text: &str) -> Result<f64, String> {
    let (number, unit, tail) = part(text.trim())?;
    match unit {
        _ if !tail.is_empty() => Err(format!("`{text}` is no share")),
        "%" if number <= 100.0 => Ok(number / 100.0),
        "%" => Err(format!("`{text}` is more than the whole")),
        _ => Err(format!("`{text}` has no `%`")),
    }
}

/// A whole number in the notations of YAML.
pub(crate) fn int(text: &str) -> Option<u64> {
    match text.get(..2) {
        Some("0x") => u64::from_str_radix(&text[2..], 16).ok(),
        Some("0o") => u64::from_str_radix(&text[2..], 8).ok(),
        _ => text.parse().ok(),
    }
}

/// Splits a number and its unit off the front.
fn part(text: &str) -> Result<(f64, &str, &str), String> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, rest) = text.split_at(digits);
    let number = number.parse::<f64>().map_err(|_| format!("`{text}` does not begin with a number"))?;
    let unit = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
    let (unit, tail) = rest.split_at(unit);
    Ok((number, unit, tail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit_and_may_be_compound() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("0.1s"), Ok(Duration::from_millis(100)));
        assert_eq!(duration("5"), Err("`5` has no unit".to_owned()));
        assert_eq!(duration("5 parsecs"), Err("` parsecs` is no unit of time".to_owned()));
        assert_eq!(duration("-1s"), Err("`-1s` does not begin with a number".to_owned()));
        assert_eq!(duration("30d"), Ok(LONGEST));
        assert!(duration("31d").is_err());
        assert!(duration("").is_err());
    }

    #[test]
    fn durations_are_shown_as_they_are_read() {
        for text in ["250ms", "90s", "1h", "5m", "15us", "1001ms"] {
            assert_eq!(show(duration(text).unwrap()), text);
        }
        assert_eq!(show(Duration::from_secs(60)), "1m");
    }

    #[test]
    fn sizes_need_a_unit_and_are_whole_bytes() {
        assert_eq!(size("64KiB"), Ok(65_536));
        assert_eq!(size("1.5KB"), Ok(1_500));
        assert!(size("0.5B").is_err());
        assert!(size("64").is_err());
        assert!(size("64KiB1").is_err());
    }

    #[test]
    fn shares_are_percentages_up_to_the_whole() {
        assert_eq!(share("20%"), Ok(0.2));
        assert_eq!(share("100%"), Ok(1.0));
        assert!(share("101%").is_err());
        assert_eq!(share("0.2"), Err("`0.2` has no `%`".to_owned()));
    }
}
