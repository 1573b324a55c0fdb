//! AWS access keys: each where it is, or all in one document.

use std::sync::Arc;
use std::time::Duration;

use config::model::{AccessKey, AwsKeys};
use http::HeaderValue;
use middleware::credentials::sigv4::Keys;
use serde_json::Value;
use zeroize::Zeroizing;

use super::{Failure, Fresh, answer, text};
use crate::secrets::source;

/// How often files are looked at: as those of other secrets.
const LOOK: Duration = Duration::from_secs(1);

/// Reads or fetches them.
///
/// # Errors
/// What is missing, without what is there.
pub async fn fetch(from: &AwsKeys) -> Result<Fresh<Arc<Keys>>, Failure> {
    match from {
        AwsKeys::Together(secret) => {
            let document = text(secret).await?;
            let (keys, lifetime) = read(&document.value)
                .map_err(|why| Failure::settled(format!("the document from {}: {why}", source(secret))))?;
            Ok(Fresh { value: Arc::new(keys), lifetime, every: document.every.or(Some(LOOK)) })
        }
        AwsKeys::Apart { id, secret, session } => {
            let mut every = LOOK;
            let id = match id {
                AccessKey::Id(id) => id.clone(),
                AccessKey::In(secret) => line(&text(secret).await?.value).to_owned(),
            };
            let key = text(secret).await?;
            every = every.max(key.every.unwrap_or_default());
            let session = match session {
                Some(session) => {
                    let session = text(session).await?;
                    every = every.max(session.every.unwrap_or_default());
                    Some(token(line(&session.value)).map_err(Failure::settled)?)
                }
                None => None,
            };
            let secret = Zeroizing::new(line(&key.value).to_owned());
            whole(&id, &secret).map_err(Failure::settled)?;
            Ok(Fresh { value: Arc::new(Keys { id, secret, session }), lifetime: None, every: Some(every) })
        }
    }
}

/// Where they are, for people.
pub fn shown(of: &AwsKeys) -> String {
    match of {
        AwsKeys::Together(secret) => source(secret),
        AwsKeys::Apart { id: AccessKey::Id(id), secret, .. } => format!("key {id}, secret from {}", source(secret)),
        AwsKeys::Apart { id: AccessKey::In(id), secret, .. } => {
            format!("key from {}, secret from {}", source(id), source(secret))
        }
    }
}

/// As `credential_process` prints them, or a metadata service answers.
fn read(text: &str) -> Result<(Keys, Option<Duration>), String> {
    let value: Value = serde_json::from_str(text).map_err(|_| "not valid JSON")?;
    let part = |name: &str| value.get(name).and_then(Value::as_str);
    let id = part("AccessKeyId").ok_or("JSON without an `AccessKeyId`")?.to_owned();
    let secret = Zeroizing::new(part("SecretAccessKey").ok_or("JSON without a `SecretAccessKey`")?.to_owned());
    whole(&id, &secret)?;
    let session = part("SessionToken").or_else(|| part("Token")).filter(|token| !token.is_empty());
    let session = session.map(token).transpose()?;
    Ok((Keys { id, secret, session }, answer::lifetime(&value)?))
}

fn whole(id: &str, secret: &str) -> Result<(), String> {
    let fine = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    match (fine, secret.is_empty()) {
        (false, _) => Err("the name of the access key is none".into()),
        (_, true) => Err("the secret access key is empty".into()),
        _ => Ok(()),
    }
}

fn token(text: &str) -> Result<HeaderValue, String> {
    let mut value =
        HeaderValue::from_str(text).map_err(|_| "the session token has a character that no header may have")?;
    value.set_sensitive(true);
    Ok(value)
}

/// As a file ends.
fn line(text: &str) -> &str {
    text.trim_end_matches(['\r', '\n'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_read_as_credential_process_prints_it() {
        let text = r#"{"Version": 1, "AccessKeyId": "AKID", "SecretAccessKey": "s", "SessionToken": "t",
            "Expiration": "2999-01-01T00:00:00Z"}"#;
        let (keys, lifetime) = read(text).expect("good");

        assert_eq!((keys.id.as_str(), keys.secret.as_str()), ("AKID", "s"));
        assert!(keys.session.is_some_and(|token| token == "t" && token.is_sensitive()));
        assert!(lifetime.is_some());
        assert!(
            read(r#"{"AccessKeyId": "AKID", "SecretAccessKey": "s"}"#).is_ok_and(|(keys, _)| keys.session.is_none())
        );
    }

    #[test]
    fn what_is_missing_is_said_without_what_is_there() {
        for text in [
            "hunter2",
            r#"{"SecretAccessKey": "hunter2"}"#,
            r#"{"AccessKeyId": "AKID"}"#,
            r#"{"AccessKeyId": "hunter 2", "SecretAccessKey": "hunter2"}"#,
            r#"{"AccessKeyId": "AKID", "SecretAccessKey": ""}"#,
            r#"{"AccessKeyId": "AKID", "SecretAccessKey": "hunter2", "SessionToken": "a\nb"}"#,
            r#"{"AccessKeyId": "AKID", "SecretAccessKey": "hunter2", "Expiration": "1999-01-01T00:00:00Z"}"#,
        ] {
            let why = read(text).map(drop).expect_err(text);
            assert!(!why.contains("hunter"), "{why}");
        }
    }
}
