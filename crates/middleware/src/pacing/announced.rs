//! What an upstream says about its limit, in each of the forms in use.
//!
//! `RateLimit` of draft-ietf-httpapi-ratelimit-headers-10 (`"name";r=0;t=30`), of the drafts before 08
//! (`limit=10, remaining=0, reset=30`, or `RateLimit-Remaining` and `RateLimit-Reset`), their `X-` forms, in which the
//! time is seconds or a point in Unix time, and what `retry_after` reads. Of several, the longest wait holds. What is
//! malformed says nothing.

use std::time::Duration;

use http::header::HeaderMap;
use http::{HeaderValue, StatusCode};

use crate::retry_after::{self, LONGEST};

/// A larger `X-RateLimit-Reset` is a point in time: 2001 and later.
const EPOCH: f64 = 1e9;

/// How long nothing more should be sent; `wall` is the Unix time. `None`: now is fine.
pub(super) fn wait(status: StatusCode, headers: &HeaderMap, wall: Duration) -> Option<Duration> {
    let asked = retry_after::of(status, headers, wall);
    let listed = headers.get_all("ratelimit").iter().filter_map(ratelimit).max();
    let plain = pair(headers, "ratelimit-remaining", "ratelimit-reset", wall);
    let x = pair(headers, "x-ratelimit-remaining", "x-ratelimit-reset", wall);
    [asked, listed, plain, x].into_iter().flatten().max().map(|wait| wait.min(LONGEST)).filter(|wait| !wait.is_zero())
}

/// The longest wait of a list of used-up quotas.
fn ratelimit(value: &HeaderValue) -> Option<Duration> {
    let text = value.to_str().ok()?;
    if !text.contains(';') {
        let of = |name: &str| {
            let mut members = text.split(',').filter_map(|member| member.split_once('='));
            members.find(|(key, _)| key.trim_ascii().eq_ignore_ascii_case(name)).and_then(|(_, value)| digits(value))
        };
        return (of("remaining")? == 0.0).then(|| of("reset")).flatten().map(seconds);
    }
    let of = |item: &str, name: &str| {
        let mut parameters = item.split(';').skip(1).filter_map(|parameter| parameter.split_once('='));
        parameters.find(|(key, _)| key.trim_ascii() == name).and_then(|(_, value)| digits(value))
    };
    let waits = text.split(',').filter(|item| of(item, "r") == Some(0.0)).filter_map(|item| of(item, "t"));
    waits.map(seconds).max()
}

fn pair(headers: &HeaderMap, remaining: &str, reset: &str, wall: Duration) -> Option<Duration> {
    if number(headers.get(remaining)?)? > 0.0 {
        return None;
    }
    let reset = number(headers.get(reset)?)?;
    Some(if reset >= EPOCH { seconds(reset).saturating_sub(wall) } else { seconds(reset) })
}

fn number(value: &HeaderValue) -> Option<f64> {
    digits(value.to_str().ok()?)
}

/// A plain decimal number: no sign, no exponent, no words.
fn digits(text: &str) -> Option<f64> {
    let text = text.trim_ascii();
    let plain = text.starts_with(|c: char| c.is_ascii_digit()) && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    plain.then(|| text.parse().ok()).flatten()
}

/// Never a panic, however large.
fn seconds(of: f64) -> Duration {
    Duration::try_from_secs_f64(of).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use http::HeaderName;
    use proptest::prelude::*;

    use super::*;

    /// Sun, 17 Mar 2030 17:46:40 GMT.
    const WALL: Duration = Duration::from_secs(1_900_000_000);

    fn of(status: u16, fields: &[(&'static str, &str)]) -> Option<u128> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).expect("a value"));
        }
        wait(StatusCode::from_u16(status).expect("a status"), &headers, WALL).map(|wait| wait.as_millis())
    }

    #[test]
    fn retry_after_counts_on_the_statuses_that_mean_it() {
        assert_eq!(of(429, &[("retry-after", "7")]), Some(7000));
        assert_eq!(of(503, &[("retry-after", "7")]), Some(7000));
        assert_eq!(of(200, &[("retry-after", "7")]), None);
        assert_eq!(of(429, &[("retry-after", "Fri, 17 Mar 2030 17:46:50 GMT")]), None, "the wrong weekday");
        assert_eq!(of(429, &[("retry-after", "Sun, 17 Mar 2030 17:46:50 GMT")]), Some(10_000));
        assert_eq!(of(429, &[("retry-after", "7"), ("retry-after-ms", "250")]), Some(250));
        assert_eq!(of(429, &[("retry-after", "99999")]), Some(300_000));
        assert_eq!(of(429, &[("retry-after", "0")]), None);
        assert_eq!(of(429, &[]), None);
    }

    #[test]
    fn ratelimit_counts_when_nothing_is_left_whatever_the_status() {
        for (value, expected) in [
            ("\"default\";r=0;t=30", Some(30_000)),
            ("\"default\";r=1;t=30", None),
            ("\"default\"; r=0; t=30", Some(30_000)),
            ("\"a\";r=5;t=90, \"b\";r=0;t=4", Some(4000)),
            ("\"a\";r=0;t=9, \"b\";r=0;t=4", Some(9000)),
            ("\"default\";r=0", None),
            ("limit=10, remaining=0, reset=12", Some(12_000)),
            ("limit=10, remaining=2, reset=12", None),
            ("nonsense", None),
        ] {
            assert_eq!(of(200, &[("ratelimit", value)]), expected, "{value}");
        }
    }

    #[test]
    fn pairs_count_as_seconds_or_as_a_point_in_time() {
        for (prefix, names) in [
            ("plain", ["ratelimit-remaining", "ratelimit-reset"]),
            ("x", ["x-ratelimit-remaining", "x-ratelimit-reset"]),
        ] {
            for (remaining, reset, expected) in [
                ("0", "20", Some(20_000)),
                ("0", "0.5", Some(500)),
                ("1", "20", None),
                ("0", "1900000025", Some(25_000)),
                ("0", "1899999999", None),
                ("0", "soon", None),
                ("-1", "20", None),
                ("0", "1e3", None),
            ] {
                assert_eq!(
                    of(200, &[(names[0], remaining), (names[1], reset)]),
                    expected,
                    "{prefix} {remaining} {reset}"
                );
            }
        }
        assert_eq!(of(200, &[("x-ratelimit-remaining", "0")]), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                for name in ["ratelimit", "x-ratelimit-reset", "ratelimit-reset", "retry-after", "retry-after-ms"] {
                    let mut headers = HeaderMap::new();
                    headers.insert("x-ratelimit-remaining", HeaderValue::from_static("0"));
                    headers.insert("ratelimit-remaining", HeaderValue::from_static("0"));
                    headers.insert(name, value.clone());
                    prop_assert!(wait(StatusCode::TOO_MANY_REQUESTS, &headers, WALL).is_none_or(|wait| wait <= LONGEST));
                }
            }
        }

        #[test]
        fn anything_like_the_field_is_read_without_a_panic(text in "(\"[a-z]{0,3}\"(;[rtq]=[0-9.]{0,30}){0,3},? ?){0,3}") {
            if let Ok(value) = HeaderValue::from_str(&text) {
                prop_assert!(ratelimit(&value).is_none_or(|wait| wait <= Duration::MAX));
            }
        }
    }
}
