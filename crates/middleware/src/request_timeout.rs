//! A deadline in a header of the operator's choice: how long the client still waits for the whole answer.
//!
//! There is no standard for it, so both common forms are read: a whole number of milliseconds (`1500`), and a number with
//! a unit (`1500ms`, `1.5s`, `2m`). What goes on is milliseconds in the form that came, rounded down, so that a receiver
//! never waits longer than we do.

use std::time::Duration;

use http::HeaderValue;
use http::header::{HeaderMap, HeaderName};

/// Whoever asks for more gets this.
const LONGEST: Duration = Duration::from_secs(30 * 86_400);

/// What a client asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Given {
    /// From the request's head on.
    pub(crate) time: Duration,
    /// It was written with a unit.
    unit: bool,
}

/// The field is there, and says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Reads the field; said twice, it says nothing.
pub(crate) fn given(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Given>, Malformed> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().ok().and_then(parse).map(Some).ok_or(Malformed),
        (Some(_), Some(_)) => Err(Malformed),
    }
}

fn parse(text: &str) -> Option<Given> {
    let text = text.trim_ascii();
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len()));
    let scale = match unit {
        "" | "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        _ => return None,
    };
    // At most fifteen digits: a float holds them all.
    let plain = number.starts_with(|c: char| c.is_ascii_digit()) && !number.ends_with('.') && number.len() <= 15;
    if !plain || (unit.is_empty() && number.contains('.')) {
        return None;
    }
    let seconds = number.parse::<f64>().ok()? * scale;
    let time = Duration::try_from_secs_f64(seconds).unwrap_or(LONGEST).min(LONGEST);
    Some(Given { time, unit: !unit.is_empty() })
}

impl Given {
    /// What is left of it after `gone`.
    pub(crate) fn left(self, gone: Duration) -> HeaderValue {
        let millis = u64::try_from(self.time.saturating_sub(gone).as_millis()).unwrap_or(u64::MAX);
        if !self.unit {
            return HeaderValue::from(millis);
        }
        HeaderValue::try_from(format!("{millis}ms")).unwrap_or_else(|_| HeaderValue::from(millis))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn millis(text: &str) -> Option<u128> {
        parse(text).map(|given| given.time.as_millis())
    }

    #[test]
    fn milliseconds_and_numbers_with_a_unit_are_read() {
        for (text, expected) in [
            ("0", 0),
            ("1500", 1500),
            (" 20 ", 20),
            ("250ms", 250),
            ("1.5s", 1500),
            ("2m", 120_000),
            ("999999999999999", 30 * 86_400_000),
        ] {
            assert_eq!(millis(text), Some(expected), "{text}");
        }
        for wrong in
            ["", "s", "-1", "+1", "1.5", "1 s", "1S", "1h", ".5s", "5.s", "1.2.3s", "1e3", "inf", "soon", "1;2"]
        {
            assert_eq!(millis(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn said_twice_it_says_nothing() {
        let name = HeaderName::from_static("x-timeout");
        let mut headers = HeaderMap::new();
        assert_eq!(given(&headers, &name), Ok(None));
        headers.append(&name, HeaderValue::from_static("5s"));
        assert!(given(&headers, &name).is_ok_and(|given| given.is_some()));

        headers.append(&name, HeaderValue::from_static("5s"));

        assert_eq!(given(&headers, &name), Err(Malformed));
    }

    #[test]
    fn what_is_left_is_written_as_it_was_read() {
        let left = |text, gone| parse(text).expect("well-formed").left(Duration::from_micros(gone));

        assert_eq!(left("1500", 300_100), "1199");
        assert_eq!(left("1.5s", 300_000), "1200ms");
        assert_eq!(left("1s", 2_000_000), "0ms");
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic_and_passed_on_as_no_longer(text in ".{0,20}|[0-9]{1,16}(\\.[0-9]{1,4})?(ms|s|m)?") {
            if let Some(given) = parse(&text) {
                prop_assert!(given.time <= LONGEST);
                let left = given.left(Duration::ZERO);
                let again = parse(left.to_str().expect("text")).expect("well-formed");
                prop_assert!(again.time <= given.time + Duration::from_nanos(1));
            }
        }
    }
}
