//! `Retry-After` (RFC 9110 section 10.2.3): seconds, or a date in any of HTTP's three forms.

use std::time::{Duration, UNIX_EPOCH};

use exchange::{Body, clock};
use http::header::{HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use policy::Tick;

/// Whoever asks for more gets this.
const LONGEST: Duration = Duration::from_secs(300);

/// How long a 429 or 503 asks to wait, at most five minutes; nothing if it does not or is malformed.
pub(super) fn asked(response: &Response<Body>, now: Tick) -> Option<Duration> {
    if !matches!(response.status(), StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        return None;
    }
    response.headers().get(RETRY_AFTER).and_then(|value| read(value, clock::wall(now)))
}

/// Reads a value at `wall` since the Unix epoch. A date in the past is no wait.
fn read(value: &HeaderValue, wall: Duration) -> Option<Duration> {
    let text = value.to_str().ok()?.trim_ascii();
    if text.is_empty() {
        return None;
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        // All digits and no number: too large to be one.
        return Some(text.parse().map_or(LONGEST, Duration::from_secs).min(LONGEST));
    }
    let at = httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some(at.saturating_sub(wall).min(LONGEST))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Sun, 06 Nov 1994 08:49:37 GMT.
    const DATE: Duration = Duration::from_secs(784_111_777);

    fn at(text: &str, wall: Duration) -> Option<u64> {
        read(&HeaderValue::from_str(text).expect("a value"), wall).map(|after| after.as_secs())
    }

    #[test]
    fn seconds_are_capped_at_five_minutes() {
        for (text, expected) in [("0", 0), ("120", 120), ("300", 300), ("301", 300), ("99999999999999999999999", 300)] {
            assert_eq!(at(text, DATE), Some(expected), "{text}");
        }
        for wrong in ["", "-1", "+1", "1.5", "1s", "soon", "1, 2"] {
            assert_eq!(at(wrong, DATE), None, "{wrong}");
        }
    }

    #[test]
    fn all_three_date_forms_are_read() {
        let wall = DATE - Duration::from_secs(20);
        for text in ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"] {
            assert_eq!(at(text, wall), Some(20), "{text}");
            assert_eq!(at(text, DATE + Duration::from_secs(1)), Some(0), "{text}");
            assert_eq!(at(text, Duration::ZERO), Some(300), "{text}");
        }
    }

    #[test]
    fn only_the_statuses_that_mean_it_are_asked() {
        for (status, expected) in [(429, true), (503, true), (500, false), (301, false)] {
            let mut response = crate::testing::response(status);
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));

            assert_eq!(asked(&response, clock::now()).is_some(), expected);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40), wall: u64) {
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                prop_assert!(read(&value, Duration::from_secs(wall)).is_none_or(|after| after <= LONGEST));
            }
        }

        #[test]
        fn anything_like_a_date_is_read_without_a_panic(
            text in "(Sun|Sunday|Mon), ?[0-9]{2}[ -](Nov|Feb|Xxx)[ -][0-9]{2,4} [0-9]{2}:[0-9]{2}:[0-9]{2} (GMT)?"
        ) {
            prop_assert!(read(&HeaderValue::try_from(text).expect("a value"), DATE).is_none_or(|after| after <= LONGEST));
        }
    }
}
