//! How long an upstream that refused asks to be left alone: `Retry-After` (RFC 9110 section 10.2.3) in seconds or as a
//! date in any of HTTP's three forms, or `retry-after-ms`, which is the more exact one where both are there.
//!
//! Retries and pacing read it here, so that they never wait for different moments. What is malformed says nothing.

use std::time::{Duration, UNIX_EPOCH};

use http::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};

/// Whoever asks for more gets this.
pub(crate) const LONGEST: Duration = Duration::from_secs(300);

const MILLIS: HeaderName = HeaderName::from_static("retry-after-ms");

/// What a 429 or 503 asks for, at most five minutes; `wall` is the Unix time. A date in the past is no wait.
pub(crate) fn asked<B>(response: &Response<B>, wall: Duration) -> Option<Duration> {
    of(response.status(), response.headers(), wall)
}

/// The same of a head in parts.
pub(crate) fn of(status: StatusCode, headers: &HeaderMap, wall: Duration) -> Option<Duration> {
    if !matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        return None;
    }
    let millis = headers.get(MILLIS).and_then(whole).map(Duration::from_millis);
    let after = millis.or_else(|| headers.get(RETRY_AFTER).and_then(|value| read(value, wall)));
    after.map(|after| after.min(LONGEST))
}

fn read(value: &HeaderValue, wall: Duration) -> Option<Duration> {
    if let Some(seconds) = whole(value) {
        return Some(Duration::from_secs(seconds));
    }
    let at = httpdate::parse_http_date(value.to_str().ok()?.trim_ascii()).ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some(at.saturating_sub(wall))
}

/// Digits alone; more of them than a number holds are the largest one.
fn whole(value: &HeaderValue) -> Option<u64> {
    let text = value.to_str().ok()?.trim_ascii();
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_plain.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Sun, 06 Nov 1994 08:49:37 GMT.
    const DATE: Duration = Duration::from_secs(784_111_777);

    fn told(status: u16, fields: &[(&'static str, &str)], wall: Duration) -> Option<u128> {
        let mut response = crate::testing::response(status);
        for (name, value) in fields {
            response.headers_mut().insert(*name, HeaderValue::from_str(value).expect("a value"));
        }
        asked(&response, wall).map(|after| after.as_millis())
    }

    fn at(text: &str, wall: Duration) -> Option<u128> {
        told(503, &[("retry-after", text)], wall).map(|millis| millis / 1000)
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
        assert_eq!(at("Mon, 06 Nov 1994 08:49:37 GMT", wall), None, "the wrong weekday");
    }

    #[test]
    fn milliseconds_are_the_more_exact_ones() {
        assert_eq!(told(429, &[("retry-after", "7"), ("retry-after-ms", "250")], DATE), Some(250));
        assert_eq!(told(429, &[("retry-after-ms", "999999999")], DATE), Some(300_000));
        assert_eq!(told(429, &[("retry-after", "7"), ("retry-after-ms", "soon")], DATE), Some(7000));
    }

    #[test]
    fn only_the_statuses_that_mean_it_are_asked() {
        for (status, expected) in [(429, true), (503, true), (500, false), (301, false), (200, false)] {
            assert_eq!(told(status, &[("retry-after", "1")], DATE).is_some(), expected, "{status}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40), wall: u64) {
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                for name in ["retry-after", "retry-after-ms"] {
                    let mut response = crate::testing::response(429);
                    response.headers_mut().insert(name, value.clone());
                    prop_assert!(asked(&response, Duration::from_secs(wall)).is_none_or(|after| after <= LONGEST));
                }
            }
        }

        #[test]
        fn anything_like_a_date_is_read_without_a_panic(
            text in "(Sun|Sunday|Mon), ?[0-9]{2}[ -](Nov|Feb|Xxx)[ -][0-9]{2,4} [0-9]{2}:[0-9]{2}:[0-9]{2} (GMT)?"
        ) {
            prop_assert!(at(&text, DATE).is_none_or(|after| after <= 300));
        }
    }
}
