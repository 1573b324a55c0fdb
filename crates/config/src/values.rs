//! Scalars with a form of their own.
//!
//! Each parser is used twice, by the reader to report and by `check` to convert, so what is accepted and what is built
//! cannot differ. Addresses and hosts are in `net`, parts of requests in `http`, rates in `limit`.

use std::path::PathBuf;

mod detour;
mod http;
mod identity;
mod limit;
mod net;
mod who;

pub(crate) use detour::on;
pub(crate) use http::{
    edited_header, grpc, hash_on, header_name, header_value, location, media, method, path, path_match, statuses,
    value_match,
};
pub(crate) use identity::{claim, keys_url, sha256};
pub(crate) use limit::{hedge_after, per, rate};
pub(crate) use net::{
    To, address, destination, endpoint, host, name, net, origin, parent, resolve, rewritten_host, socket, to, url,
};

pub(crate) use who::{caller, cgroup, container, dns, group, mode, shown, spiffe, unit, user_of};

/// Why a text is not of a form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Flaw {
    pub(crate) message: String,
    pub(crate) help: String,
    /// The text holds a secret and must not be shown.
    pub(crate) secret: bool,
}

fn flaw<T>(message: impl Into<String>, help: impl Into<String>) -> Result<T, Flaw> {
    Err(Flaw { message: message.into(), help: help.into(), secret: false })
}

/// `443` or `8000-8999`, as an inclusive range.
pub(crate) fn ports(text: &str) -> Result<(u16, u16), Flaw> {
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    match (low.trim().parse::<u16>(), high.trim().parse::<u16>()) {
        (Ok(low), Ok(high)) if low != 0 && low <= high => Ok((low, high)),
        _ => flaw(format!("`{text}` is no port"), "write `443` or `\"8000-8999\"`"),
    }
}

/// The name of a route or upstream: safe in a URL path and as a metric label.
pub(crate) fn label(text: &str) -> Result<String, Flaw> {
    let fine = |b: u8| b.is_ascii_alphanumeric() || b"._-*:".contains(&b);
    if text.is_empty() || text.len() > 128 || text.starts_with('_') || !text.bytes().all(fine) {
        let help = "use up to 128 letters, digits, `.`, `-` and `_`, not beginning with `_`";
        return flaw(format!("`{text}` cannot be a name"), help);
    }
    Ok(text.to_owned())
}

/// A path of the file system.
pub(crate) fn file(text: &str) -> Result<PathBuf, Flaw> {
    if text.is_empty() || text.contains('\0') {
        return flaw("an empty path", "write the path of a file");
    }
    Ok(PathBuf::from(text))
}

/// The name of an environment variable.
pub(crate) fn variable(text: &str) -> Result<String, Flaw> {
    let fine = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    if text.is_empty() || text.as_bytes()[0].is_ascii_digit() || !text.bytes().all(fine) {
        let message = "not the name of an environment variable".to_owned();
        return Err(Flaw { message, help: "write the name only, without `$`: `API_TOKEN`".to_owned(), secret: true });
    }
    Ok(text.to_owned())
}

/// The user of basic authentication.
pub(crate) fn user(text: &str) -> Result<String, Flaw> {
    if text.contains(':') || text.chars().any(char::is_control) {
        let message = "a user name cannot hold `:` or control characters".to_owned();
        return Err(Flaw {
            message,
            help: "write the user only; the password has its own key".to_owned(),
            secret: true,
        });
    }
    Ok(text.to_owned())
}

/// The name of a systemd credential: a file name.
pub(crate) fn credential(text: &str) -> Result<String, Flaw> {
    let fine = |c: char| !c.is_control() && c != '/';
    if text.is_empty() || text == "." || text == ".." || !text.chars().all(fine) {
        return flaw("not the name of a credential", "write the name that `LoadCredential=` gives it");
    }
    Ok(text.to_owned())
}

/// A part of a signature's scope: a region, a service, the name of a key.
pub(crate) fn scope(text: &str) -> Result<String, Flaw> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) {
        return flaw("not of letters, digits, `-`, `_` and `.`", "write it as AWS does, such as `eu-central-1`");
    }
    Ok(text.to_owned())
}

/// A word that stands for a secret: long enough to be nothing else.
pub(crate) fn placeholder(text: &str) -> Result<String, Flaw> {
    if text.len() < 8 || !text.bytes().all(|b| b.is_ascii_graphic()) {
        return flaw(
            "not a word of at least 8 characters",
            "write one that is nothing else, such as `ATTACHE_API_TOKEN`",
        );
    }
    Ok(text.to_owned())
}

/// Some text on one line.
pub(crate) fn line(text: &str) -> Result<String, Flaw> {
    if text.is_empty() || text.chars().any(char::is_control) {
        return flaw("an empty text, or one of several lines", "write it on one line");
    }
    Ok(text.to_owned())
}

/// Any text.
pub(crate) fn text(text: &str) -> Result<String, Flaw> {
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_single_or_a_range() {
        assert_eq!(ports("8000-8999"), Ok((8000, 8999)));
        assert!(ports("0").is_err());
        assert_eq!(ports("443"), Ok((443, 443)));
        assert!(ports("9-8").is_err());
    }
}
