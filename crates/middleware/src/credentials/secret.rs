//! A credential as it goes on the wire.
//!
//! Every value is marked sensitive: hyper never indexes it for header compression and `Debug` does not show it.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;

use super::cell::Cell;

/// A shared cell for a credential that is a header's value.
pub type Secret = Cell<HeaderValue>;

impl Secret {
    /// Replaces the value; `None` makes every request that needs it fail.
    pub fn set(&self, value: Option<HeaderValue>) {
        match value {
            Some(mut value) => {
                value.set_sensitive(true);
                self.put(value, None);
            }
            None => self.clear(),
        }
    }
}

/// Why a text is no credential; says nothing of the text itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invalid {
    /// Nothing, or nothing but a line end.
    Empty,
    /// A control character (a second line, for instance) or one outside of ASCII where only that is allowed.
    Character,
    /// Blanks at an end or within a token.
    Blank,
    /// A `:` in a user name (RFC 7617 section 2).
    Colon,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "the secret is empty",
            Self::Character => "the secret has a character that no header may have",
            Self::Blank => "the secret has a blank at an end or inside a token",
            Self::Colon => "the user name has a colon",
        })
    }
}

impl std::error::Error for Invalid {}

/// `Bearer <token>` from the text of a file or variable; one line end is trimmed.
pub fn bearer(token: &str) -> Result<HeaderValue, Invalid> {
    let token = line(token)?;
    if token.contains(' ') {
        return Err(Invalid::Blank);
    }
    value(format!("Bearer {token}"))
}

/// `Basic <base64 of user:password>` (RFC 7617, in UTF-8); one line end of the password is trimmed.
pub fn basic(user: &str, password: &str) -> Result<HeaderValue, Invalid> {
    let password = line(password)?;
    if user.contains(':') {
        return Err(Invalid::Colon);
    }
    if user.chars().any(char::is_control) {
        return Err(Invalid::Character);
    }
    value(format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))))
}

/// `prefix` as it is, then the text; one line end is trimmed.
pub fn prefixed(prefix: &str, text: &str) -> Result<HeaderValue, Invalid> {
    let text = line(text)?;
    if text.starts_with(' ') || text.ends_with(' ') {
        return Err(Invalid::Blank);
    }
    value(format!("{prefix}{text}"))
}

/// Text files end in a line end; everything else in them is meant.
fn line(text: &str) -> Result<&str, Invalid> {
    let text = text.strip_suffix('\n').map_or(text, |text| text.strip_suffix('\r').unwrap_or(text));
    if text.is_empty() {
        return Err(Invalid::Empty);
    }
    if text.chars().any(char::is_control) {
        return Err(Invalid::Character);
    }
    Ok(text)
}

fn value(text: String) -> Result<HeaderValue, Invalid> {
    if !text.is_ascii() || text.chars().any(char::is_control) {
        return Err(Invalid::Character);
    }
    let mut value = HeaderValue::try_from(text).map_err(|_| Invalid::Character)?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_line_end_is_trimmed_and_no_more() {
        assert_eq!(bearer("t0ken").expect("valid"), "Bearer t0ken");
        assert_eq!(bearer("t0ken\n").expect("valid"), "Bearer t0ken");
        assert_eq!(bearer("t0ken\r\n").expect("valid"), "Bearer t0ken");
        assert_eq!(bearer("t0ken\n\n"), Err(Invalid::Character));
        assert_eq!(bearer("t0ken\r"), Err(Invalid::Character));
        assert_eq!(bearer("\n"), Err(Invalid::Empty));
        assert_eq!(bearer("two words"), Err(Invalid::Blank));
        assert_eq!(bearer("tökén"), Err(Invalid::Character));
    }

    #[test]
    fn basic_is_the_example_of_its_rfc() {
        let value = basic("Aladdin", "open sesame\n").expect("valid");

        assert_eq!(value, "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert_eq!(basic("test", "123£").expect("valid"), "Basic dGVzdDoxMjPCow==");
        assert_eq!(basic("a:b", "c"), Err(Invalid::Colon));
        assert_eq!(basic("a\n", "c"), Err(Invalid::Character));
        assert_eq!(basic("a", ""), Err(Invalid::Empty));
    }

    #[test]
    fn a_prefix_is_taken_as_it_is() {
        assert_eq!(prefixed("", "k\n").expect("valid"), "k");
        assert_eq!(prefixed("Token ", "a b").expect("valid"), "Token a b");
        assert_eq!(prefixed("", " k"), Err(Invalid::Blank));
        assert_eq!(prefixed("a\r\nb: ", "k"), Err(Invalid::Character));
    }

    #[test]
    fn nothing_prints_it() {
        let secret = Secret::default();
        assert_eq!(format!("{secret:?}"), "Secret(missing)");

        secret.set(Some(HeaderValue::from_static("hunter2")));

        let shown = format!("{secret:?} {:?} {:?}", secret.get(exchange::clock::now), bearer("hunter2"));
        assert!(!shown.contains("hunter2"), "{shown}");
    }

    proptest! {
        #[test]
        fn any_text_becomes_one_clean_line_or_is_refused(text in any::<String>(), user in any::<String>()) {
            for value in [bearer(&text), basic(&user, &text), prefixed(&user, &text)].into_iter().flatten() {
                prop_assert!(value.is_sensitive());
                prop_assert!(value.as_bytes().iter().all(|byte| (b' '..=b'~').contains(byte)));
            }
        }
    }
}
