//! What a program prints: the secret as text, or JSON that says how long it is good.
//!
//! JSON is what begins with `{`: `{"token": "...", "expires_in": 3600}`, with `access_token` for `token`, or `expiration`
//! (RFC 3339) for `expires_in`. So a token that begins with `{` can only be given as JSON.

use std::time::Duration;

use exchange::clock;
use serde_json::Value;
use zeroize::Zeroizing;

use super::Fresh;

/// Seconds of a lifetime that is believed; a longer one is as good as none.
const MOST: f64 = 1e9;

/// The token in some output.
///
/// # Errors
/// What is wrong with it, without showing it.
pub fn token(text: &str) -> Result<Fresh<Zeroizing<String>>, String> {
    if !text.trim_start().starts_with('{') {
        return Ok(Fresh { value: Zeroizing::new(text.to_owned()), lifetime: None, every: None });
    }
    // Its error would quote nothing, but say where, and so how long.
    let value: Value = serde_json::from_str(text).map_err(|_| "not valid JSON")?;
    let token = ["token", "access_token"].iter().find_map(|key| value.get(*key)?.as_str());
    let token = token.ok_or("JSON without a `token`")?;
    Ok(Fresh { value: Zeroizing::new(token.to_owned()), lifetime: lifetime(&value)?, every: None })
}

/// How long something is good, by `expires_in` or by `expiration` (or `Expiration`, as AWS writes it).
///
/// # Errors
/// Which of them cannot be understood, or that it is over.
pub fn lifetime(value: &Value) -> Result<Option<Duration>, String> {
    if let Some(seconds) = value.get("expires_in").filter(|seconds| !seconds.is_null()) {
        return seconds_of(seconds).map(Some).ok_or_else(|| "`expires_in` is no number of seconds".into());
    }
    let Some(at) = ["expiration", "Expiration"].iter().find_map(|key| value.get(*key)?.as_str()) else {
        return Ok(None);
    };
    let at: jiff::Timestamp = at.parse().map_err(|_| "`expiration` is no time as in RFC 3339")?;
    let now = clock::wall(clock::now());
    let left = u64::try_from(at.as_second()).unwrap_or_default().saturating_sub(now.as_secs());
    if left == 0 { Err("it has expired already".into()) } else { Ok(Some(Duration::from_secs(left))) }
}

/// A number of seconds; some write it as text.
fn seconds_of(value: &Value) -> Option<Duration> {
    let seconds = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok())?;
    (seconds > 0.0).then(|| Duration::from_secs_f64(seconds.min(MOST)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<(String, Option<u64>), String> {
        token(text).map(|fresh| (fresh.value.to_string(), fresh.lifetime.map(|time| time.as_secs())))
    }

    #[test]
    fn text_is_the_secret_and_json_may_say_how_long() {
        assert_eq!(read("t0ken\n"), Ok(("t0ken\n".into(), None)));
        assert_eq!(read(r#"{"token": "t", "expires_in": 3600}"#), Ok(("t".into(), Some(3600))));
        assert_eq!(read(r#" {"access_token": "t", "expires_in": "60"}"#), Ok(("t".into(), Some(60))));
        assert_eq!(read(r#"{"token": "t", "expires_in": null}"#), Ok(("t".into(), None)));
        assert_eq!(read(r#"{"token": "t", "expires_in": 1e300}"#), Ok(("t".into(), Some(1_000_000_000))));

        let wall = clock::wall(clock::now()).as_secs();
        let at = jiff::Timestamp::from_second(wall as i64 + 100).expect("a time");
        let (_, left) = read(&format!(r#"{{"token": "t", "expiration": "{at}"}}"#)).expect("good");
        assert!(left.is_some_and(|left| (98..=100).contains(&left)), "{left:?}");
    }

    #[test]
    fn what_is_wrong_is_said_without_the_secret() {
        for text in [
            r#"{"token": "hunter2""#,
            r#"{"tokens": "hunter2"}"#,
            r#"{"token": 7, "x": "hunter2"}"#,
            r#"{"token": "hunter2", "expires_in": "hunter2"}"#,
            r#"{"token": "hunter2", "expires_in": -1}"#,
            r#"{"token": "hunter2", "expires_in": 0}"#,
            r#"{"token": "hunter2", "expiration": "hunter2"}"#,
            r#"{"token": "hunter2", "expiration": "1999-01-01T00:00:00Z"}"#,
        ] {
            let why = read(text).expect_err(text);
            assert!(!why.contains("hunter2"), "{why}");
        }
    }
}
