//! The `grpc-timeout` field: up to eight digits and a unit (gRPC over HTTP/2, "Timeout").

use std::time::Duration;

use http::HeaderValue;
use http::header::HeaderName;

pub(crate) const NAME: HeaderName = HeaderName::from_static("grpc-timeout");

/// What can be written with eight digits.
const LARGEST: u128 = 99_999_999;

/// Reads it; a malformed one has no meaning and is `None`.
pub(crate) fn parse(value: &HeaderValue) -> Option<Duration> {
    let (unit, digits) = value.as_bytes().split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let amount = digits.iter().fold(0u64, |sum, digit| sum * 10 + u64::from(digit - b'0'));
    Some(match unit {
        b'H' => Duration::from_secs(amount * 3600),
        b'M' => Duration::from_secs(amount * 60),
        b'S' => Duration::from_secs(amount),
        b'm' => Duration::from_millis(amount),
        b'u' => Duration::from_micros(amount),
        b'n' => Duration::from_nanos(amount),
        _ => return None,
    })
}

/// Writes it in the finest unit that fits, rounded down, so that a receiver never waits longer than we do.
pub(crate) fn format(left: Duration) -> HeaderValue {
    let nanos = left.as_nanos();
    let units = [(1, 'n'), (1_000, 'u'), (1_000_000, 'm'), (1_000_000_000, 'S'), (60_000_000_000, 'M')];
    let (amount, unit) = units
        .into_iter()
        .map(|(size, unit)| (nanos / size, unit))
        .find(|(amount, _)| *amount <= LARGEST)
        .unwrap_or(((nanos / 3_600_000_000_000).min(LARGEST), 'H'));
    HeaderValue::try_from(format!("{amount}{unit}")).unwrap_or_else(|_| HeaderValue::from_static("0n"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Option<Duration> {
        parse(&HeaderValue::from_str(text).expect("a value"))
    }

    #[test]
    fn one_to_eight_digits_and_a_unit() {
        assert_eq!(read("1H"), Some(Duration::from_secs(3600)));
        assert_eq!(read("2M"), Some(Duration::from_secs(120)));
        assert_eq!(read("99999999S"), Some(Duration::from_secs(99_999_999)));
        assert_eq!(read("100m"), Some(Duration::from_millis(100)));
        assert_eq!(read("0n"), Some(Duration::ZERO));
        for wrong in ["", "1", "S", "100000000S", "-1S", "1s", "1 S", "1.5S", "+1S"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_finest_unit_that_fits_is_written() {
        assert_eq!(format(Duration::from_nanos(99_999_999)), "99999999n");
        assert_eq!(format(Duration::from_nanos(100_000_000)), "100000u");
        assert_eq!(format(Duration::from_secs(3600)), "3600000m");
        assert_eq!(format(Duration::MAX), "99999999H");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..16)) {
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                let read = parse(&value);
                prop_assert_eq!(read.is_some(), matches!(bytes.split_last(), Some((b'H' | b'M' | b'S' | b'm' | b'u' | b'n', d))
                    if (1..=8).contains(&d.len()) && d.iter().all(u8::is_ascii_digit)));
            }
        }

        #[test]
        fn what_is_written_is_read_as_no_longer(secs in 0u64..359_999_996_400, nanos in 0u32..1_000_000_000) {
            let left = Duration::new(secs, nanos);

            let read = parse(&format(left)).expect("well-formed");

            prop_assert!(read <= left);
            prop_assert!(left - read < Duration::from_secs(3600));
        }
    }
}
