//! The files in `config/`: each loads without a warning that its reader would have to explain away, and each is
//! accepted by the published schema.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::PathBuf;
use std::time::Duration;

use config::model::{Action, Auth, Balance, HostMatch, Secret};
use config::{Format, Loaded};
use serde_json::Value;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../config")
}

fn examples() -> Vec<PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|e| e == "yaml" || e == "toml"));
    files.sort();
    files
}

fn load(path: PathBuf) -> Loaded {
    let source = config::Source { path: Some(path), ..config::Source::default() };
    config::load(&source).unwrap_or_else(|found| {
        panic!("{}", found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n\n"));
    })
}

#[test]
fn every_example_loads() {
    let all = examples();

    assert!(all.len() >= 8, "only {all:?}");
    for path in all {
        let loaded = load(path.clone());
        let warnings: Vec<_> = loaded.warnings.iter().map(ToString::to_string).collect();
        assert!(warnings.is_empty(), "{}: {}", path.display(), warnings.join("\n"));
    }
}

#[test]
fn the_seven_lines_mean_what_they_say() {
    let model = load(folder().join("seven-lines.yaml")).model;

    let [route] = model.routes.as_slice() else { panic!("{:?}", model.routes) };
    assert_eq!(route.name, "api.example.com");
    assert_eq!(route.matcher.host, HostMatch::Exact { host: "api.example.com".to_owned(), port: None });
    let Action::Targets(targets) = &route.action else { panic!("{:?}", route.action) };
    assert_eq!((targets[0].url.host.as_str(), targets[0].url.port), ("api.example.com", 443));
    assert_eq!(route.policy.timeout.attempt, Some(Duration::from_secs(2)));
    assert_eq!(route.policy.timeout.total, Some(Duration::from_secs(10)));
    let retry = route.policy.retry.as_ref().unwrap();
    assert_eq!((retry.attempts, retry.statuses.as_slice()), (3, [(429, 429), (500, 599)].as_slice()));
    assert_eq!((retry.backoff, retry.max_backoff), (Duration::from_millis(100), Duration::from_secs(1)));
    assert_eq!(route.policy.breaker.as_ref().unwrap().open, Duration::from_secs(10));
    assert_eq!(route.policy.auth, Some(Auth::Bearer(Secret::File("/run/secrets/api_token".into()))));
}

#[test]
fn yaml_toml_and_json_make_equal_models() {
    let yaml = r#"
listen: ["127.0.0.1:4780", "unix:/run/attache/proxy.sock"]
workers: 2
default: pass
resolve: {api.test: "127.0.0.1:9001"}
log: {level: debug, access: {path: /var/log/attache/access.log, format: json, sample: 10%}}
upstreams:
  - {name: inventory, endpoints: ["http://10.1.0.11:8080", "http://10.1.0.12:8080"], balance: least_request}
routes:
  - match: inventory
    to: upstream:inventory
    timeout: 1s
  - match: {host: api.example.com, path: /v1/, method: [GET, POST]}
    to: https://api.example.com
    timeout: {attempt: 2s, total: 10s}
    retry: {attempts: 3, statuses: [429, 5xx], backoff: 100ms, budget: 20%}
    breaker: {open: 10s}
    auth: {bearer: {file: /run/secrets/api_token}}
"#;
    let toml = std::fs::read_to_string(folder().join("full.toml")).unwrap();
    let value: Value = {
        let table: toml::Table = toml.parse().unwrap();
        serde_json::to_value(table).unwrap()
    };
    let json = serde_json::to_string_pretty(&value).unwrap();
    let plain = |text: &str, format| {
        let mut model = config::parse(text, "x", format).unwrap().model;
        model.routes.iter_mut().for_each(|r| r.origin.clear());
        model.upstreams.iter_mut().for_each(|u| u.origin.clear());
        model
    };

    let from_yaml = plain(yaml, Format::Yaml);
    assert_eq!(from_yaml.upstreams[0].balance, Balance::LeastRequest);
    assert_eq!(from_yaml, plain(&toml, Format::Toml));
    assert_eq!(from_yaml, plain(&json, Format::Yaml));
}

#[test]
fn the_schema_accepts_the_examples_and_refuses_a_slip() {
    let schema = config::schema();
    for path in examples() {
        let text = std::fs::read_to_string(&path).unwrap();
        let value = if path.extension().is_some_and(|e| e == "toml") {
            serde_json::to_value(text.parse::<toml::Table>().unwrap()).unwrap()
        } else {
            json(&saphyr::LoadableYamlNode::load_from_str(&text).unwrap()[0])
        };
        assert_eq!(schema_error(&schema, &schema, &value, "$"), None, "{}", path.display());
    }

    let refused = [
        r#"{"lisen": "127.0.0.1:4780"}"#,
        r#"{"workers": "2"}"#,
        r#"{"workers": 0}"#,
        r#"{"drain": "30"}"#,
        r#"{"default": "permit"}"#,
        r#"{"routes": [{"to": "https://a"}]}"#,
        r#"{"routes": [{"match": "a", "auth": {"bearer": "abc"}}]}"#,
        r#"{"routes": [{"match": "a", "retry": true}]}"#,
    ];
    for text in refused {
        let value: Value = serde_json::from_str(text).unwrap();
        assert!(schema_error(&schema, &schema, &value, "$").is_some(), "{text}");
        assert!(config::parse(text, "x", Format::Yaml).is_err(), "{text}");
    }
}

fn json(node: &saphyr::Yaml<'_>) -> Value {
    use saphyr::{Scalar, Yaml};
    match node {
        Yaml::Value(Scalar::Null) => Value::Null,
        Yaml::Value(Scalar::Boolean(b)) => (*b).into(),
        Yaml::Value(Scalar::Integer(i)) => (*i).into(),
        Yaml::Value(Scalar::FloatingPoint(f)) => f.into_inner().into(),
        Yaml::Value(Scalar::String(s)) => s.as_ref().into(),
        Yaml::Sequence(items) => items.iter().map(json).collect(),
        Yaml::Mapping(map) => {
            Value::Object(map.iter().map(|(k, v)| (k.as_str().unwrap().to_owned(), json(v))).collect())
        }
        other => panic!("{other:?}"),
    }
}

/// The part of JSON Schema that ours uses.
fn schema_error(root: &Value, schema: &Value, value: &Value, at: &str) -> Option<String> {
    let known = ["$schema", "$defs", "title", "description", "default"];
    for (keyword, rule) in schema.as_object().unwrap() {
        let fine = match keyword.as_str() {
            "$ref" => {
                let target = root.pointer(rule.as_str().unwrap().trim_start_matches('#')).unwrap();
                match schema_error(root, target, value, at) {
                    Some(error) => return Some(error),
                    None => true,
                }
            }
            "anyOf" => rule.as_array().unwrap().iter().any(|s| schema_error(root, s, value, at).is_none()),
            "type" => match rule {
                Value::Array(types) => types.iter().any(|t| is(value, t.as_str().unwrap())),
                one => is(value, one.as_str().unwrap()),
            },
            "enum" => rule.as_array().unwrap().contains(value),
            "const" => rule == value,
            "minimum" => value.as_f64().is_none_or(|n| n >= rule.as_f64().unwrap()),
            "maximum" => value.as_f64().is_none_or(|n| n <= rule.as_f64().unwrap()),
            "pattern" => value
                .as_str()
                .is_none_or(|text| regex_automata::meta::Regex::new(rule.as_str().unwrap()).unwrap().is_match(text)),
            "required" => value
                .as_object()
                .is_none_or(|map| rule.as_array().unwrap().iter().all(|k| map.contains_key(k.as_str().unwrap()))),
            "items" => {
                for (i, item) in value.as_array().into_iter().flatten().enumerate() {
                    if let Some(error) = schema_error(root, rule, item, &format!("{at}[{i}]")) {
                        return Some(error);
                    }
                }
                true
            }
            "properties" => {
                for (key, inner) in rule.as_object().unwrap() {
                    if let Some(found) = value.get(key)
                        && let Some(error) = schema_error(root, inner, found, &format!("{at}.{key}"))
                    {
                        return Some(error);
                    }
                }
                true
            }
            "additionalProperties" => {
                let named = schema.get("properties").and_then(Value::as_object);
                for (key, found) in value.as_object().into_iter().flatten() {
                    if named.is_some_and(|n| n.contains_key(key)) {
                        continue;
                    }
                    if rule == &Value::Bool(false) {
                        return Some(format!("{at}: unknown `{key}`"));
                    }
                    if let Some(error) = schema_error(root, rule, found, &format!("{at}.{key}")) {
                        return Some(error);
                    }
                }
                true
            }
            other => {
                assert!(known.contains(&other), "this test does not know `{other}`");
                true
            }
        };
        if !fine {
            return Some(format!("{at}: {keyword} {rule} refuses {value}"));
        }
    }
    None
}

fn is(value: &Value, ty: &str) -> bool {
    match ty {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        other => panic!("{other}"),
    }
}
