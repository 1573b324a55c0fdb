//! A request as AWS Signature Version 4 sees it, and the signature over that.
//!
//! Both ends make the same text of a request and compare what they sign. Paths are encoded once more than they are on the
//! wire, `.` and `..` resolved, but for S3, where a path is a key and stays what it is.

use aws_lc_rs::{digest, hmac};

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// What is signed of a request.
pub(super) struct Subject<'a> {
    pub method: &'a str,
    /// As on the wire.
    pub path: &'a str,
    /// As on the wire, without the `?`.
    pub query: &'a str,
    /// Lower-case names, and values in their order; any order of names.
    pub fields: Vec<(&'a str, String)>,
    /// The hexadecimal hash of the body, or a word that stands for it.
    pub payload: &'a str,
    /// The path is a key of S3.
    pub key: bool,
    /// `.`, `..` and empty segments of the path are resolved.
    pub normal: bool,
}

/// Whose signature, for what, and when.
pub(super) struct Scope<'a> {
    pub id: &'a str,
    pub secret: &'a str,
    pub region: &'a str,
    pub service: &'a str,
    /// `20150830T123600Z`
    pub stamp: &'a str,
}

impl Scope<'_> {
    /// The value of `Authorization`.
    pub(super) fn authorization(&self, subject: Subject<'_>) -> String {
        let (canonical, names) = subject.canonical();
        let Self { id, region, service, stamp, .. } = self;
        let day = &stamp[..8];
        let scope = format!("{day}/{region}/{service}/aws4_request");
        let text = format!("{ALGORITHM}\n{stamp}\n{scope}\n{}", hash(canonical.as_bytes()));
        let mut key = hmac::sign(&key(format!("AWS4{}", self.secret).as_bytes()), day.as_bytes());
        for part in [region, service, "aws4_request"] {
            key = hmac::sign(&self::key(key.as_ref()), part.as_bytes());
        }
        let signature = hex(hmac::sign(&self::key(key.as_ref()), text.as_bytes()).as_ref());
        format!("{ALGORITHM} Credential={id}/{scope}, SignedHeaders={names}, Signature={signature}")
    }
}

fn key(bytes: &[u8]) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, bytes)
}

/// SHA-256 in hexadecimal.
pub(super) fn hash(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Subject<'_> {
    /// The canonical request, and the names of the fields in it.
    pub(super) fn canonical(mut self) -> (String, String) {
        self.fields.sort_by(|one, other| one.0.cmp(other.0));
        let mut lines: Vec<(&str, String)> = Vec::new();
        for (name, value) in &self.fields {
            let value = trimmed(value);
            match lines.last_mut().filter(|(last, _)| last == name) {
                Some((_, values)) => *values = format!("{values},{value}"),
                None => lines.push((name, value)),
            }
        }
        let names = lines.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
        let fields: String = lines.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        let (method, payload) = (self.method, self.payload);
        let text = format!("{method}\n{}\n{}\n{fields}\n{names}\n{payload}", self.path(), self.query());
        (text, names)
    }

    fn path(&self) -> String {
        if self.key {
            return encoded(&decoded(self.path), true);
        }
        let path = if self.normal { resolved(self.path) } else { self.path.to_owned() };
        encoded(path.as_bytes(), true)
    }

    fn query(&self) -> String {
        let pairs = self.query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (encoded(&decoded(name), false), encoded(&decoded(value), false))
        });
        let mut pairs: Vec<_> = pairs.collect();
        pairs.sort();
        pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
    }
}

/// Without blanks at its ends, and with one where there are several.
fn trimmed(value: &str) -> String {
    value.split([' ', '\t']).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// RFC 3986 section 5.2.4, and without empty segments; a `/` at the end stays.
fn resolved(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(kept.pop()),
            other => kept.push(other),
        }
    }
    let open = kept.is_empty() || path.ends_with('/') || path.ends_with("/.") || path.ends_with("/..");
    match (kept.is_empty(), open) {
        (true, _) => "/".into(),
        (false, true) => format!("/{}/", kept.join("/")),
        (false, false) => format!("/{}", kept.join("/")),
    }
}

/// Everything but RFC 3986's unreserved characters, and `/` where it parts segments, as `%XX`.
fn encoded(bytes: &[u8], slash: bool) -> String {
    let mut out = String::with_capacity(bytes.len());
    for &byte in bytes {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            b'/' if slash => out.push('/'),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

/// Without `%XX`; what is none stays.
fn decoded(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let digits = bytes.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        let value = digits.and_then(|two| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok());
        out.push(value.unwrap_or(bytes[at]));
        at += if value.is_some() { 3 } else { 1 };
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// Those of AWS's own signers (`aws-c-auth`, tests/aws-signing-test-suite/v4, Apache-2.0): `header-*` of each case.
    const VECTORS: &str = include_str!("vectors.json");
    const STAMP: &str = "20150830T123600Z";

    struct Case<'a> {
        vector: &'a Value,
        request: &'a str,
        payload: String,
    }

    impl<'a> Case<'a> {
        fn new(vector: &'a Value) -> Self {
            let request = vector["request"].as_str().expect("a request");
            let body = request.split_once("\n\n").map_or("", |(_, body)| body);
            Self { vector, request, payload: hash(body.as_bytes()) }
        }

        fn name(&self) -> &str {
            self.vector["name"].as_str().expect("a name")
        }

        fn subject(&self) -> Subject<'_> {
            let head = self.request.split("\n\n").next().unwrap_or_default();
            let (line, fields) = head.split_once('\n').expect("fields");
            let target = line.strip_suffix(" HTTP/1.1").expect("a version");
            let (method, target) = target.split_once(' ').expect("a method");
            let (path, query) = target.split_once('?').unwrap_or((target, ""));
            let mut all = vec![("x-amz-date", STAMP.to_owned())];
            for field in fields.lines().filter(|line| !line.is_empty()) {
                let (name, value) = field.split_once(':').expect("a field");
                let name: &'static str = name.to_ascii_lowercase().leak();
                all.push((name, value.to_owned()));
            }
            if let (Some(token), false) = (self.vector["token"].as_str(), self.vector["omit"] == true) {
                all.push(("x-amz-security-token", token.to_owned()));
            }
            if self.vector["sign_body"] == true {
                all.push(("x-amz-content-sha256", self.payload.clone()));
            }
            let normal = self.vector["normalize"] == true;
            Subject { method, path, query, fields: all, payload: &self.payload, key: false, normal }
        }
    }

    #[test]
    fn the_published_vectors_are_signed_as_aws_signs_them() {
        let vectors: Vec<Value> = serde_json::from_str(VECTORS).expect("JSON");
        // An obsolete folded line: nobody gets that through hyper.
        let cases: Vec<_> =
            vectors.iter().map(Case::new).filter(|case| case.name() != "get-header-value-multiline").collect();
        assert_eq!(cases.len(), 37);
        let scope = Scope {
            id: "AKIDEXAMPLE",
            secret: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
            region: "us-east-1",
            service: "service",
            stamp: STAMP,
        };

        for case in &cases {
            assert_eq!(case.subject().canonical().0, case.vector["canonical"], "{}", case.name());
            let value = scope.authorization(case.subject());
            let signature = value.rsplit_once("Signature=").map(|(_, signature)| signature);
            assert_eq!(signature, case.vector["signature"].as_str(), "{}", case.name());
        }
    }

    #[test]
    fn a_key_of_s3_stays_what_it_is() {
        let path = |path, key| {
            let fields = Vec::new();
            Subject { method: "GET", path, query: "", fields, payload: "", key, normal: true }.path()
        };

        assert_eq!(path("/a/../b//c/.", true), "/a/../b//c/.");
        assert_eq!(path("/a/../b//c/.", false), "/b/c/");
        assert_eq!(path("/a%20b%7e", true), "/a%20b~", "encoded once");
        assert_eq!(path("/a%20b", false), "/a%2520b", "encoded twice");
        assert_eq!(path("/100%", true), "/100%25");
    }
}
