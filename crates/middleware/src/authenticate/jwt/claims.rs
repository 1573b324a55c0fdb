//! What a token must say, and when it is over.

use serde_json::{Map, Value};

/// The end of the year 9999: whatever is later was not meant for a time.
const LATEST: u64 = 253_402_300_799;

/// What must hold; times in seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The issuer, letter by letter.
    pub issuer: String,
    /// One of these must be meant.
    pub audience: Vec<String>,
    /// By how much clocks may differ.
    pub leeway: u64,
    /// Claims that must be there.
    pub require: Vec<String>,
    /// Since it was issued, at most.
    pub max_age: Option<u64>,
}

/// What follows from claims that hold.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fits {
    /// They hold before this second.
    pub until: u64,
    pub subject: Option<String>,
}

impl Terms {
    /// # Errors
    /// What does not hold.
    pub(super) fn hold(&self, claims: &Map<String, Value>, now: u64) -> Result<Fits, &'static str> {
        match claims.get("iss") {
            Some(Value::String(issuer)) if *issuer == self.issuer => {}
            Some(_) => return Err("the token is from another issuer"),
            None => return Err("the token names no issuer"),
        }
        self.is_meant(claims.get("aud"))?;
        let expires = time(claims, "exp", "the token's `exp` is not a time")?.ok_or("the token never expires")?;
        let mut until = expires.saturating_add(self.leeway);
        if now >= until {
            return Err("the token has expired");
        }
        if let Some(begins) = time(claims, "nbf", "the token's `nbf` is not a time")?
            && now.saturating_add(self.leeway) < begins
        {
            return Err("the token is not valid yet");
        }
        let issued = time(claims, "iat", "the token's `iat` is not a time")?;
        if issued.is_some_and(|issued| now.saturating_add(self.leeway) < issued) {
            return Err("the token was issued in the future");
        }
        if let Some(age) = self.max_age {
            let issued = issued.ok_or("the token does not say when it was issued")?;
            let over = issued.saturating_add(age).saturating_add(self.leeway).saturating_add(1);
            if now >= over {
                return Err("the token is too old");
            }
            until = until.min(over);
        }
        if self.require.iter().any(|name| claims.get(name).is_none_or(Value::is_null)) {
            return Err("the token lacks a claim that is required");
        }
        let subject = match claims.get("sub") {
            None => None,
            Some(Value::String(subject)) => Some(subject.clone()),
            Some(_) => return Err("the token's `sub` is not text"),
        };
        Ok(Fits { until, subject })
    }

    /// RFC 7519 section 4.1.3: text, or a list of texts.
    fn is_meant(&self, audience: Option<&Value>) -> Result<(), &'static str> {
        let is_ours = |one: &str| self.audience.iter().any(|ours| ours == one);
        let meant = match audience {
            None => return Err("the token names no audience"),
            Some(Value::String(one)) => is_ours(one),
            Some(Value::Array(all)) if all.iter().all(Value::is_string) => {
                all.iter().filter_map(Value::as_str).any(is_ours)
            }
            Some(_) => return Err("the token's `aud` is neither text nor a list of texts"),
        };
        if meant { Ok(()) } else { Err("the token is meant for another audience") }
    }
}

/// A whole number of seconds that could be a time.
fn time(claims: &Map<String, Value>, name: &str, wrong: &'static str) -> Result<Option<u64>, &'static str> {
    match claims.get(name) {
        None => Ok(None),
        Some(value) => value.as_u64().filter(|time| *time <= LATEST).map(Some).ok_or(wrong),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn terms() -> Terms {
        Terms { issuer: "i".into(), audience: vec!["a".into(), "b".into()], leeway: 30, require: vec![], max_age: None }
    }

    fn held(terms: &Terms, claims: Value) -> Result<Fits, &'static str> {
        let mut all = json!({ "iss": "i", "aud": "a", "exp": NOW + 60 });
        let (all, claims) = (all.as_object_mut().expect("an object"), claims.as_object().expect("an object").clone());
        all.extend(claims);
        terms.hold(all, NOW)
    }

    #[test]
    fn times_are_held_against_the_leeway_to_the_second() {
        let terms = terms();

        assert_eq!(held(&terms, json!({ "exp": NOW - 29 })).map(|fits| fits.until), Ok(NOW + 1));
        assert_eq!(held(&terms, json!({ "exp": NOW - 30 })), Err("the token has expired"));
        assert!(held(&terms, json!({ "nbf": NOW + 30, "iat": NOW + 30 })).is_ok());
        assert!(held(&terms, json!({ "nbf": NOW + 31 })).is_err());
        assert!(held(&terms, json!({ "iat": NOW + 31 })).is_err());
        let young = Terms { max_age: Some(10), ..terms };
        assert_eq!(held(&young, json!({ "iat": NOW - 40 })).map(|fits| fits.until), Ok(NOW + 1));
        assert!(held(&young, json!({ "iat": NOW - 41 })).is_err());
        assert!(held(&young, json!({})).is_err());
    }

    #[test]
    fn what_is_no_whole_number_of_seconds_is_no_time() {
        for wrong in
            [json!("1800000060"), json!(-1), json!(1.8e9), json!(1e300), json!(u64::MAX), json!(null), json!([NOW])]
        {
            for name in ["exp", "nbf", "iat"] {
                assert!(held(&terms(), json!({ name: wrong.clone() })).is_err(), "{name}: {wrong}");
            }
        }
    }

    #[test]
    fn issuer_and_audience_are_exact() {
        assert!(
            held(&terms(), json!({ "aud": ["x", "b"], "sub": "s" }))
                .is_ok_and(|fits| fits.subject.as_deref() == Some("s"))
        );
        for claims in [
            json!({ "iss": "i/" }),
            json!({ "iss": "I" }),
            json!({ "iss": ["i"] }),
            json!({ "iss": null }),
            json!({ "aud": "A" }),
            json!({ "aud": [] }),
            json!({ "aud": ["a", 1] }),
            json!({ "aud": { "a": "a" } }),
            json!({ "aud": "a b" }),
            json!({ "sub": 7 }),
        ] {
            assert!(held(&terms(), claims.clone()).is_err(), "{claims}");
        }
        let strict = Terms { require: vec!["scope".into()], ..terms() };
        assert!(held(&strict, json!({ "scope": null })).is_err() && held(&strict, json!({ "scope": "" })).is_ok());
    }
}
