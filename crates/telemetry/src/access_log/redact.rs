//! A path as it may be written down: the values of token-like query keys are replaced.
//!
//! Keys are compared after percent-decoding, in lower case and without punctuation, so that `X-Amz-Signature`,
//! `access%5Ftoken` and `user[password]` are found. It would rather hide a page token than show an access token.

/// Longer paths are cut.
const LONGEST: usize = 4096;

/// What stands for a value.
const REDACTED: &str = "REDACTED";

/// Keys that are secrets by themselves.
const KEYS: [&str; 15] = [
    "assertion",
    "auth",
    "code",
    "jwt",
    "key",
    "pass",
    "passcode",
    "passwd",
    "pin",
    "pwd",
    "session",
    "sessionid",
    "sid",
    "sig",
    "ticket",
];

/// Ends of keys that are secrets.
const ENDS: [&str; 14] = [
    "accesskey",
    "apikey",
    "authorization",
    "credential",
    "credentials",
    "passphrase",
    "password",
    "privatekey",
    "secret",
    "secretkey",
    "securitykey",
    "signature",
    "subscriptionkey",
    "token",
];

/// Calls `each` with the parts of what may be written.
pub(super) fn pieces(path: &str, mut each: impl FnMut(&str)) {
    let mut left = LONGEST;
    all(path, |piece| {
        let fits = piece.floor_char_boundary(left);
        if fits > 0 {
            each(&piece[..fits]);
        }
        if fits < piece.len() && left > 0 {
            each("...");
            left = 0;
        }
        left = left.saturating_sub(fits);
    });
}

fn all(path: &str, mut each: impl FnMut(&str)) {
    let Some(mark) = path.find('?') else { return each(path) };
    each(&path[..=mark]);
    for pair in path[mark + 1..].split_inclusive('&') {
        match secret(pair) {
            None => each(pair),
            Some(value) => {
                each(&pair[..value]);
                each(REDACTED);
                if pair.ends_with('&') {
                    each("&");
                }
            }
        }
    }
}

/// Where in `key=value` a secret value begins. Some servers also part pairs at `;`, others do not: a key after one
/// is a key, but a secret goes on to the `&`.
fn secret(pair: &str) -> Option<usize> {
    let mut start = 0;
    for part in pair.split_inclusive(';') {
        if let Some(equals) = part.find('=')
            && is_secret(&part[..equals])
        {
            return Some(start + equals + 1);
        }
        start += part.len();
    }
    None
}

fn is_secret(key: &str) -> bool {
    let mut plain = [0; 64];
    let mut length = 0;
    let mut bytes = key.bytes();
    while let Some(byte) = bytes.next() {
        let byte = if byte == b'%' { unescaped(&mut bytes) } else { byte };
        if byte.is_ascii_alphanumeric() {
            if length == plain.len() {
                return true;
            }
            plain[length] = byte.to_ascii_lowercase();
            length += 1;
        }
    }
    let plain = &plain[..length];
    KEYS.iter().any(|known| known.as_bytes() == plain) || ENDS.iter().any(|end| plain.ends_with(end.as_bytes()))
}

fn unescaped(bytes: &mut std::str::Bytes<'_>) -> u8 {
    let mut digit = || bytes.next().and_then(|byte| char::from(byte).to_digit(16)).unwrap_or_default();
    (digit() * 16 + digit()) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redacted(path: &str) -> String {
        let mut text = String::new();
        pieces(path, |piece| text.push_str(piece));
        text
    }

    #[test]
    fn values_of_token_like_keys_are_replaced() {
        for (path, expected) in [
            ("/a?token=x", "/a?token=REDACTED"),
            ("/a?b=1&Access_Token=x&c=2", "/a?b=1&Access_Token=REDACTED&c=2"),
            ("/a?api_key=x", "/a?api_key=REDACTED"),
            ("/a?apikey=x", "/a?apikey=REDACTED"),
            ("/a?key=x&key=y", "/a?key=REDACTED&key=REDACTED"),
            ("/a?X-Amz-Signature=x", "/a?X-Amz-Signature=REDACTED"),
            ("/a?X-Amz-Security-Token=x", "/a?X-Amz-Security-Token=REDACTED"),
            ("/a?access%5Ftoken=x", "/a?access%5Ftoken=REDACTED"),
            ("/a?%74oken=x", "/a?%74oken=REDACTED"),
            ("/a?user[password]=x", "/a?user[password]=REDACTED"),
            ("/a?client_secret=a=b==", "/a?client_secret=REDACTED"),
            ("/a?token=a;b&c=1", "/a?token=REDACTED&c=1"),
            ("/a?b=1;sig=x;y=2&c=1", "/a?b=1;sig=REDACTED&c=1"),
            ("/a?code=", "/a?code=REDACTED"),
        ] {
            assert_eq!(redacted(path), expected);
        }
    }

    #[test]
    fn everything_else_stays() {
        for path in
            ["/", "/token=x", "/a?", "/a?&&", "/a?token", "/a?keyword=x&page=2&codec=h", "/a?q=%", "/a?%7=1", "*"]
        {
            assert_eq!(redacted(path), path);
        }
    }

    #[test]
    fn a_key_too_long_to_compare_is_taken_for_a_secret() {
        let (short, long) = ("k".repeat(64), "k".repeat(65));

        assert_eq!(redacted(&format!("/?{short}=x")), format!("/?{short}=x"));
        assert_eq!(redacted(&format!("/?{long}=x")), format!("/?{long}=REDACTED"));
    }

    #[test]
    fn long_paths_are_cut_between_characters() {
        let (fits, over) = ("a".repeat(LONGEST), "a".repeat(LONGEST + 1));
        assert_eq!(redacted(&fits), fits);
        assert_eq!(redacted(&over), format!("{fits}..."));

        let wide = redacted(&format!("{}\u{e9}?token=x&token=y", &fits[1..]));

        assert_eq!(wide, format!("{}...", &fits[1..]));
    }
}
