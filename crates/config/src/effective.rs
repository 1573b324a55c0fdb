//! The configuration that really applies: every value, and where it came from.
//!
//! It is printed from the shaped tree that the model was made of, not from the model, so that the origin of a value is
//! the place of its node and cannot be wrong. Secrets are references there; literal headers that usually carry one are
//! masked all the same.

use std::fmt::Write;
use std::time::Duration;

use serde_json::{Map, Value as Json, json};

use crate::diag::{Diagnostic, Report};
use crate::model::{Model, Policy};
use crate::raw::text::{At, Sources};
use crate::raw::{Node, Scalar, Type, Value};
use crate::units;

/// Where every value of a loaded configuration came from.
#[derive(Clone, Debug)]
pub struct Origins {
    pub(crate) tree: Node,
    pub(crate) sources: Sources,
    /// What no snippet shows.
    pub(crate) masks: Vec<At>,
}

impl Origins {
    /// The origin of a value by its path in long form, such as `routes[0].timeout.attempt`: `file:line`, `env NAME`,
    /// `flag --name` or `default`.
    pub fn of(&self, path: &str) -> Option<String> {
        Some(self.sources.origin(self.node(path)?.at))
    }

    /// An error with a value that only who uses it can find, in the value's place; `None` if there is no such value.
    pub fn error(&self, path: &str, id: &'static str, message: &str, help: &str) -> Option<Diagnostic> {
        let at = self.node(path)?.at;
        let mut report = Report::default();
        self.masks.iter().for_each(|mask| report.mask(*mask));
        report.error(id, at, message, help);
        report.finish(&self.sources).pop()
    }

    fn node(&self, path: &str) -> Option<&Node> {
        let mut node = &self.tree;
        for step in path.split(['.', '[', ']']).filter(|s| !s.is_empty()) {
            node = match &node.value {
                Value::Map(entries) => &entries.iter().find(|e| e.key == step)?.value,
                Value::List(items) => items.get(step.parse::<usize>().ok()?)?,
                _ => return None,
            };
        }
        Some(node).filter(|node| !matches!(node.value, Value::Absent(_)))
    }

    /// Puts in what `check` derived from other values, so that no rule has to be applied in the reader's head.
    pub(crate) fn settle(&mut self, model: &Model) {
        for (index, route) in model.routes.iter().enumerate() {
            let at = index.to_string();
            fill(&mut self.tree, &["routes", &at, "name"], Some(route.name.clone()));
            derived(&mut self.tree, &["routes", &at], &route.policy);
        }
        derived(&mut self.tree, &["default"], &model.default.policy);
    }

    /// Every value with its origin as a comment, in YAML.
    pub fn yaml(&self) -> String {
        let mut out = String::new();
        self.write(&mut out, &self.tree, 0, Show::All);
        out
    }

    /// Every value as `{value, origin}`, in the structure of the configuration.
    pub fn json(&self) -> Json {
        self.located(&self.tree, Show::All)
    }

    fn write(&self, out: &mut String, node: &Node, depth: usize, show: Show) {
        let indent = "  ".repeat(depth);
        match &node.value {
            Value::Map(entries) => {
                for entry in entries {
                    let show = show.below(&entry.key);
                    let key = quoted(&entry.key);
                    match &entry.value.value {
                        Value::Map(inner) if !inner.is_empty() => {
                            let _ = writeln!(out, "{indent}{key}:");
                            self.write(out, &entry.value, depth + 1, show);
                        }
                        Value::List(items) if items.iter().any(|i| !matches!(i.value, Value::Scalar(_))) => {
                            let _ = writeln!(out, "{indent}{key}:");
                            for item in items {
                                let mut inner = String::new();
                                self.write(&mut inner, item, depth + 2, show);
                                let body = inner.trim_start();
                                let _ = writeln!(out, "{indent}  - {}", body.trim_end());
                            }
                        }
                        _ => {
                            let origin = self.sources.origin(entry.value.at);
                            let (text, note) = inline(&entry.value, show);
                            let _ = writeln!(out, "{indent}{key}: {text}  # {origin}{note}");
                        }
                    }
                }
            }
            _ => {
                let (text, _) = inline(node, show);
                let _ = writeln!(out, "{indent}{text}  # {}", self.sources.origin(node.at));
            }
        }
    }

    fn located(&self, node: &Node, show: Show) -> Json {
        match &node.value {
            Value::Map(entries) => {
                let pair = |e: &crate::raw::Entry| (e.key.clone(), self.located(&e.value, show.below(&e.key)));
                Json::Object(entries.iter().map(pair).collect::<Map<_, _>>())
            }
            Value::List(items) if !items.is_empty() => items.iter().map(|i| self.located(i, show)).collect(),
            Value::Absent(means) => json!({"value": null, "origin": self.sources.origin(node.at), "means": means}),
            _ => json!({"value": bare(node, show), "origin": self.sources.origin(node.at)}),
        }
    }
}

fn derived(tree: &mut Node, route: &[&str], policy: &Policy) {
    let mut put = |section: &str, key: &str, time: Option<Duration>| {
        fill(tree, &[route, &[section, key]].concat(), time.map(units::show));
    };
    put("timeout", "total", policy.timeout.total);
    put("retry", "max_backoff", policy.retry.as_ref().map(|r| r.max_backoff));
    put("breaker", "max_open", policy.breaker.as_ref().map(|b| b.max_open));
    let burst = policy.limit.rate.as_ref().map(|rate| rate.burst.to_string());
    fill(tree, &[route, &["limit", "burst"]].concat(), burst);
}

/// Replaces what is absent at `path` by `text`.
fn fill(mut node: &mut Node, path: &[&str], text: Option<String>) {
    for step in path {
        let next = match &mut node.value {
            Value::Map(entries) => entries.iter_mut().find(|e| e.key == *step).map(|e| &mut e.value),
            Value::List(items) => step.parse::<usize>().ok().and_then(|index| items.get_mut(index)),
            _ => None,
        };
        let Some(next) = next else { return };
        node = next;
    }
    if let (Value::Absent(_), Some(text)) = (&node.value, text) {
        node.value = Value::Scalar(Scalar { text, ty: Type::Text });
    }
}

/// One line for a scalar, a list of scalars, something empty or something absent, and a remark on it.
fn inline(node: &Node, show: Show) -> (String, String) {
    match &node.value {
        Value::Scalar(_) => (bare(node, show).to_string_plain(), String::new()),
        Value::List(items) => {
            let items: Vec<_> = items.iter().map(|i| bare(i, show).to_string_plain()).collect();
            (format!("[{}]", items.join(", ")), String::new())
        }
        Value::Map(_) => ("{}".to_owned(), String::new()),
        Value::Absent(means) => ("~".to_owned(), format!(": {means}")),
        Value::Bad => ("~".to_owned(), String::new()),
    }
}

/// A value without origins, in JSON.
fn bare(node: &Node, show: Show) -> Json {
    match &node.value {
        Value::Scalar(_) if show == Show::Nothing => json!("(redacted)"),
        Value::Scalar(Scalar { text, ty }) => match ty {
            Type::Bool => json!(text.eq_ignore_ascii_case("true")),
            Type::Int => text.parse::<i64>().map_or_else(|_| json!(text), |n| json!(n)),
            Type::Null => Json::Null,
            Type::Float | Type::Text => json!(text),
        },
        Value::List(items) => items.iter().map(|i| bare(i, show)).collect(),
        Value::Map(entries) => {
            Json::Object(entries.iter().map(|e| (e.key.clone(), bare(&e.value, show.below(&e.key)))).collect())
        }
        Value::Bad | Value::Absent(_) => Json::Null,
    }
}

/// The JSON of a default as the tables write it.
pub(crate) fn plain(text: &str) -> Option<Json> {
    let mut report = Report::default();
    let node = crate::raw::overlay::fragment(text, 0, &mut report);
    (!report.failed()).then(|| bare(&node, Show::All))
}

trait Plain {
    fn to_string_plain(&self) -> String;
}

impl Plain for Json {
    fn to_string_plain(&self) -> String {
        match self {
            Self::String(text) => quoted(text),
            other => other.to_string(),
        }
    }
}

/// A YAML scalar that reads back as this text.
fn quoted(text: &str) -> String {
    let safe = |c: char| c.is_ascii_alphanumeric() || "._/-%".contains(c);
    let plain = text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '/' || c == '.')
        && text.chars().all(|c| safe(c) || c == ':')
        && !text.ends_with(':')
        && matches!(saphyr::Scalar::parse_from_cow(text.into()), saphyr::Scalar::String(_));
    if plain { text.to_owned() } else { json!(text).to_string() }
}

/// What of the values below a key may be printed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Show {
    All,
    /// Below keys that hold headers or parameters: by their names.
    ByName,
    Nothing,
}

impl Show {
    fn below(self, key: &str) -> Self {
        match self {
            Self::All if matches!(key, "headers" | "query") => Self::ByName,
            Self::ByName if carries_secret(key) => Self::Nothing,
            other => other,
        }
    }
}

/// Whether a header or parameter of this name usually carries a credential.
pub fn carries_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["authorization", "cookie", "token", "secret", "password", "api-key", "api_key", "apikey", "x-auth-", "signature"]
        .iter()
        .any(|word| name.contains(word))
}
