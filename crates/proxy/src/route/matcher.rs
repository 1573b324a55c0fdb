//! What one route asks of a request, the host aside.

use config::model::{Match, PathMatch, ValueMatch};
use exchange::Head;
use exchange::identity::{Caller, Who};
use http::{HeaderMap, HeaderName, Method};
use regex_automata::meta::Regex;

use crate::permit;

/// A compiled match.
pub struct Matcher {
    port: Option<u16>,
    path: Path,
    methods: Vec<Method>,
    headers: Vec<Field>,
    query: Vec<(String, Value)>,
    /// Whoever calls, by what the connection proves.
    who: Option<Who>,
}

/// A compiled path.
pub enum Path {
    Any,
    Exact(String),
    Prefix(String),
    Regex(Box<Regex>),
}

enum Value {
    Present,
    Exact(String),
    Regex(Box<Regex>),
}

impl Matcher {
    /// Compiles a checked match; the error names the part that does not compile.
    pub fn new(from: &Match, port: Option<u16>) -> Result<Self, String> {
        let path = Path::new(&from.path)?;
        let methods = from
            .methods
            .iter()
            .map(|method| Method::from_bytes(method.as_bytes()).map_err(|_| format!("`{method}` is not a method")))
            .collect::<Result<_, _>>()?;
        let headers =
            from.headers.iter().map(|(name, value)| Field::new(name, value)).collect::<Result<_, String>>()?;
        let query = from
            .query
            .iter()
            .map(|(name, value)| Ok((name.clone(), Value::new(value)?)))
            .collect::<Result<_, String>>()?;
        let who = from.who.as_ref().map(permit::who);
        Ok(Self { port, path, methods, headers, query, who })
    }

    /// The port it is for; all if there is none.
    pub const fn port(&self) -> Option<u16> {
        self.port
    }

    /// It is for some callers only.
    pub const fn is_choosy(&self) -> bool {
        self.who.is_some()
    }

    /// Whether it is for this caller.
    pub fn is_for(&self, caller: &Caller<'_>) -> bool {
        self.who.as_ref().is_none_or(|who| who.holds(caller))
    }

    /// Whether all of it holds. A request below `/r/<name>/` has named its route, so its port says nothing.
    pub fn holds(&self, head: &Head, headers: &HeaderMap, named: bool) -> bool {
        let port = head.authority.port_or(if head.tls { 443 } else { 80 });
        self.who.as_ref().is_none_or(|who| who.holds(&Caller::at(&head.client)))
            && (named || self.port.is_none_or(|wanted| wanted == port))
            && self.path.holds(head.path.path())
            && (self.methods.is_empty() || self.methods.contains(&head.method))
            && self.headers.iter().all(|field| field.is_in(headers))
            && self.query.iter().all(|(name, value)| value.holds_any(parameters(head.path.query(), name)))
    }
}

/// A header field and what it must hold.
pub struct Field(HeaderName, Value);

impl Field {
    /// Compiles a checked one; the error names the part that does not compile.
    pub fn new(name: &str, value: &ValueMatch) -> Result<Self, String> {
        let name = name.parse().map_err(|_| format!("`{name}` is not a header name"))?;
        Ok(Self(name, Value::new(value)?))
    }

    /// Whether one of its values is as wanted.
    pub fn is_in(&self, headers: &HeaderMap) -> bool {
        self.1.holds_any(headers.get_all(&self.0).iter().map(|value| value.as_bytes()))
    }
}

impl Path {
    /// Compiles a checked one; the error names the part that does not compile.
    pub fn new(from: &PathMatch) -> Result<Self, String> {
        Ok(match from {
            PathMatch::Any => Self::Any,
            PathMatch::Exact(path) => Self::Exact(path.clone()),
            PathMatch::Prefix(path) => Self::Prefix(path.clone()),
            PathMatch::Regex(pattern) => Self::Regex(regex(pattern)?),
        })
    }

    /// Whether it is this path.
    #[inline(always)]
    pub fn holds(&self, path: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(wanted) => path == wanted,
            Self::Prefix(prefix) => path.starts_with(prefix.as_str()) || path == prefix.trim_end_matches('/'),
            Self::Regex(regex) => regex.is_match(path),
        }
    }
}

impl Value {
    fn new(from: &ValueMatch) -> Result<Self, String> {
        Ok(match from {
            ValueMatch::Present => Self::Present,
            ValueMatch::Exact(value) => Self::Exact(value.clone()),
            ValueMatch::Regex(pattern) => Self::Regex(regex(pattern)?),
        })
    }

    fn holds_any<'a>(&self, mut values: impl Iterator<Item = &'a [u8]>) -> bool {
        values.any(|value| match self {
            Self::Present => true,
            Self::Exact(wanted) => value == wanted.as_bytes(),
            Self::Regex(regex) => regex.is_match(value),
        })
    }
}

/// The raw values of a query parameter; nothing is decoded, as nothing is decoded on the way.
fn parameters<'a>(query: Option<&'a str>, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    query.unwrap_or_default().split('&').filter_map(move |pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key == name && !pair.is_empty()).then_some(value.as_bytes())
    })
}

fn regex(pattern: &str) -> Result<Box<Regex>, String> {
    Regex::new(&format!("^(?:{pattern})$")).map(Box::new).map_err(|error| format!("`{pattern}`: {error}"))
}
