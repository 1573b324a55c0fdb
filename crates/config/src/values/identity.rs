//! What callers are known by.

use super::{Flaw, flaw, url};
use crate::model::{KeysUrl, Scheme};

/// Where a set of keys is published: as any URL, and with a query if need be.
pub(crate) fn keys_url(text: &str) -> Result<KeysUrl, Flaw> {
    let (whole, query) = text.split_once('?').map_or((text, None), |(whole, query)| (whole, Some(query)));
    let help = "write it as the issuer's metadata has it, in `jwks_uri`";
    let read =
        url(whole).map_err(|flaw| Flaw { help: if flaw.help.is_empty() { help.into() } else { flaw.help }, ..flaw })?;
    if read.scheme == Scheme::H2c {
        return flaw("keys are not fetched by `h2c://`", "use `https://`");
    }
    if query.is_some_and(|query| query.contains('#') || !query.bytes().all(|byte| byte.is_ascii_graphic())) {
        return flaw("a query with a fragment, a blank or a character outside of ASCII", help);
    }
    let path = whole.split_once("://").and_then(|(_, rest)| rest.find('/').map(|at| &rest[at..])).unwrap_or("/");
    let target = query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
    Ok(KeysUrl { scheme: read.scheme, host: read.host, port: read.port, target, ca: None })
}

/// 64 hexadecimal digits, lower-case; anything else may be the key itself.
pub(crate) fn sha256(text: &str) -> Result<String, Flaw> {
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let message = "not a SHA-256".to_owned();
        let help = "write its 64 hexadecimal digits; `attache keys new NAME` makes a key and shows them".to_owned();
        return Err(Flaw { message, help, secret: true });
    }
    Ok(text.to_ascii_lowercase())
}

/// Text that a token must have.
pub(crate) fn claim(text: &str) -> Result<String, Flaw> {
    if text.is_empty() { flaw("an empty text", "write what the token has") } else { Ok(text.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_target_of_a_keys_url_is_as_written() {
        let target = |text: &str| keys_url(text).map(|url| (url.host, url.port, url.target));

        assert_eq!(target("https://a.test"), Ok(("a.test".into(), 443, "/".into())));
        assert_eq!(target("http://a.test:81/b/?c=d/e"), Ok(("a.test".into(), 81, "/b/?c=d/e".into())));
        for wrong in ["h2c://a", "a.test", "https://u@a.test", "https://a/?b#c", "https://a/?b c", "https://a/#b"] {
            assert!(target(wrong).is_err(), "{wrong}");
        }
    }
}
