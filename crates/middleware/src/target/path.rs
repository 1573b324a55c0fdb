//! The path that a target is asked for.

use bytes::Bytes;
use exchange::{Error, ErrorKind};
use http::HeaderValue;
use http::uri::PathAndQuery;

/// A route's changes to what is asked for; by default none.
#[derive(Clone, Debug, Default)]
pub struct Rewrite {
    /// Sent as `Host` instead of the target's authority.
    pub host: Option<HeaderValue>,
    /// The whole path; the query stays.
    pub path: Option<String>,
    /// Another beginning; the rest stays.
    pub prefix: Option<Prefix>,
}

/// A path prefix and what takes its place, both in whole segments.
#[derive(Clone, Debug)]
pub struct Prefix {
    /// What the route matched.
    pub matched: String,
    /// What is sent instead.
    pub replacement: String,
}

impl Prefix {
    /// What stands for the prefix, and what follows it; `None` if `path` is not below it.
    fn split<'a>(&'a self, path: &'a str) -> Option<(&'a str, &'a str)> {
        let rest = path.strip_prefix(self.matched.trim_end_matches('/'))?;
        (rest.is_empty() || rest.starts_with('/')).then(|| (self.replacement.trim_end_matches('/'), rest))
    }
}

impl Rewrite {
    /// `asked` behind `base`, rewritten. Shares its bytes if nothing changes.
    pub(super) fn path(&self, base: &str, asked: &PathAndQuery) -> Result<PathAndQuery, Error> {
        let text = asked.as_str();
        let unchanged = base.is_empty() && self.path.is_none() && self.prefix.is_none();
        if text == "*" || (unchanged && text.starts_with('/')) {
            return Ok(asked.clone());
        }
        let (path, query) = text.split_at(text.find('?').unwrap_or(text.len()));
        let (start, rest) = match (&self.path, &self.prefix) {
            (Some(whole), _) => ("", whole.as_str()),
            (None, Some(prefix)) => prefix.split(path).unwrap_or(("", path)),
            (None, None) => ("", path),
        };
        let slash = if start.is_empty() && rest.is_empty() { "/" } else { "" };
        PathAndQuery::from_maybe_shared(Bytes::from([base, start, rest, slash, query].concat()))
            .map_err(|cause| Error::new(ErrorKind::UriTooLong).with_source(cause))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn path(rewrite: &Rewrite, base: &str, asked: &str) -> String {
        let asked = asked.parse().expect("a path");
        rewrite.path(base, &asked).expect("a path").to_string()
    }

    fn prefix(matched: &str, replacement: &str) -> Rewrite {
        let prefix = Prefix { matched: matched.into(), replacement: replacement.into() };
        Rewrite { prefix: Some(prefix), ..Rewrite::default() }
    }

    #[test]
    fn base_comes_before_the_path_as_it_is() {
        let none = Rewrite::default();

        assert_eq!(path(&none, "", "/a/../b//c%2F?x=%20&y?"), "/a/../b//c%2F?x=%20&y?");
        assert_eq!(path(&none, "/base", "/a/../b?"), "/base/a/../b?");
        assert_eq!(path(&none, "/base", "/"), "/base/");
        assert_eq!(path(&none, "/base", "*"), "*");
        assert_eq!(path(&none, "", "?q"), "/?q");
        assert_eq!(path(&none, "/base", "?q"), "/base/?q");
    }

    #[test]
    fn a_rewritten_path_keeps_the_query() {
        let rewrite = Rewrite { path: Some("/fixed".into()), ..Rewrite::default() };

        assert_eq!(path(&rewrite, "", "/a/b?q=1"), "/fixed?q=1");
        assert_eq!(path(&rewrite, "/base", "/a?"), "/base/fixed?");
    }

    #[test]
    fn a_prefix_is_replaced_in_whole_segments() {
        for matched in ["/v1", "/v1/"] {
            assert_eq!(path(&prefix(matched, "/"), "", "/v1/a?q"), "/a?q");
            assert_eq!(path(&prefix(matched, "/"), "", "/v1?q"), "/?q");
            assert_eq!(path(&prefix(matched, "/v2"), "", "/v1/a"), "/v2/a");
            assert_eq!(path(&prefix(matched, "/v2/"), "/base", "/v1"), "/base/v2");
            assert_eq!(path(&prefix(matched, "/v2/"), "", "/v1/"), "/v2/");
            assert_eq!(path(&prefix(matched, "/v2"), "", "/v10/a"), "/v10/a");
        }
        assert_eq!(path(&prefix("/", "/all"), "", "/a"), "/all/a");
    }

    #[test]
    fn what_a_target_cannot_hold_is_refused() {
        let asked: PathAndQuery = format!("/{}", "a".repeat(60_000)).parse().expect("a path");

        let outcome = Rewrite::default().path(&format!("/{}", "b".repeat(10_000)), &asked);

        assert_eq!(outcome.expect_err("too long").kind, ErrorKind::UriTooLong);
    }

    proptest! {
        #[test]
        fn bytes_of_path_and_query_survive(asked in "/[!-~&&[^#<>\"`{}\\\\^|]]{0,40}", base in "(/[a-z]{1,4}){0,2}") {
            let parsed: PathAndQuery = asked.parse().expect("a path");

            let sent = Rewrite::default().path(&base, &parsed).expect("a path");

            prop_assert_eq!(sent.as_str(), format!("{base}{asked}"));
        }
    }
}
