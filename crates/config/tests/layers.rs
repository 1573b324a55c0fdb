//! Flag over environment over file over default, and the origin of every value.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::PathBuf;
use std::time::Duration;

use config::model::{Address, Level};
use config::{Format, Loaded, Override, Source, SourceName};

struct Place {
    _dir: tempfile::TempDir,
    path: PathBuf,
}

fn place(text: &str) -> Place {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("attache.yaml");
    std::fs::write(&path, text).unwrap();
    Place { _dir: dir, path }
}

fn load(place: &Place, env: &[(&str, &str)], flags: &[(&str, &str)]) -> Loaded {
    let env = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let flag = |(path, value): &(&str, &str)| Override {
        origin: format!("flag --{path}"),
        path: (*path).to_owned(),
        value: (*value).to_owned(),
    };
    let overrides = flags.iter().map(flag).collect();
    config::load(&Source { path: Some(place.path.clone()), env, overrides }).unwrap()
}

#[test]
fn a_flag_beats_the_environment_which_beats_the_file_which_beats_the_default() {
    let place = place("drain: 1s\nworkers: 1\nlisten: 127.0.0.1:1\n");

    let loaded = load(&place, &[("ATTACHE_DRAIN", "2s"), ("ATTACHE_WORKERS", "2")], &[("drain", "3s")]);

    let file = place.path.display();
    assert_eq!(loaded.model.drain, Duration::from_secs(3));
    assert_eq!(loaded.model.workers, Some(2));
    assert_eq!(loaded.model.listen[0].address, Address::Tcp("127.0.0.1:1".parse().unwrap()));
    assert_eq!(loaded.origins.of("drain").unwrap(), "flag --drain");
    assert_eq!(loaded.origins.of("workers").unwrap(), "env ATTACHE_WORKERS");
    assert_eq!(loaded.origins.of("listen[0].address").unwrap(), format!("{file}:3"));
    assert_eq!(loaded.origins.of("server.idle").unwrap(), "default");
    assert_eq!(loaded.source, SourceName::Path(place.path.clone()));
}

#[test]
fn every_variable_sets_its_key() {
    let env = [
        ("ATTACHE_LISTEN", "unix:/run/a.sock"),
        ("ATTACHE_ADMIN", "false"),
        ("ATTACHE_METRICS", "0.0.0.0:9"),
        ("ATTACHE_WORKERS", "3"),
        ("ATTACHE_DEFAULT", "deny"),
        ("ATTACHE_DRAIN", "0s"),
        ("ATTACHE_LOG", "debug"),
        ("ATTACHE_CONFIG", "elsewhere"),
        ("ATTACHE_ADMIN_SOCKET", "/x"),
        ("ATTACHE_PROXY", "x"),
    ];

    let loaded = load(&place("default: {action: pass, timeout: 2s}\nlog: {format: json}\n"), &env, &[]);

    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let model = loaded.model;
    assert_eq!(model.listen[0].address, Address::Unix("/run/a.sock".into()));
    assert_eq!(model.admin, None);
    assert_eq!(model.metrics.address, Some("0.0.0.0:9".parse().unwrap()));
    assert_eq!(model.workers, Some(3));
    assert!(!model.default.pass);
    assert_eq!(model.drain, Duration::ZERO);
    assert_eq!((model.log.level, model.log.json), (Level::Debug, true));
}

#[test]
fn where_metrics_are_read_is_set_in_either_form_and_keeps_the_rest() {
    let nine = "0.0.0.0:9".parse().unwrap();
    for (text, identities) in [
        ("metrics: 127.0.0.1:1\n", 0),
        ("metrics: { address: 127.0.0.1:1, identities: 50 }\n", 50),
        ("metrics: { identities: 50 }\n", 50),
        ("drain: 1s\n", 0),
    ] {
        let place = place(text);
        let by_env = load(&place, &[("ATTACHE_METRICS", "0.0.0.0:9")], &[]);
        let by_flag = load(&place, &[], &[("metrics", "0.0.0.0:9"), ("metrics.identities", "7")]);

        assert_eq!((by_env.model.metrics.address, by_env.model.metrics.identities), (Some(nine), identities), "{text}");
        assert_eq!((by_flag.model.metrics.address, by_flag.model.metrics.identities), (Some(nine), 7), "{text}");
        assert_eq!(by_env.origins.of("metrics.address").unwrap(), "env ATTACHE_METRICS");
    }
    let alone = load(&place("metrics: { identities: 50 }\n"), &[], &[]).model;
    assert_eq!((alone.metrics.address, alone.metrics.identities), (None, 50));
}

#[test]
fn an_override_inside_a_short_form_keeps_the_rest_of_it() {
    let place = place("routes:\n  - {name: api, match: a.com, timeout: 1s, retry: false}\n");

    let flags = [
        ("routes[0].timeout.total", "9s"),
        ("routes[api].retry.attempts", "5"),
        ("routes[api].match.path", "/v1/"),
        ("routes[1]", "{match: b.com}"),
        ("resolve[api.test]", "127.0.0.1"),
        ("listen[1].address", "127.0.0.1:9"),
        ("listen[0]", "127.0.0.1:8"),
    ];
    let model = load(&place, &[], &flags[..5]).model;

    assert_eq!(model.routes[0].policy.timeout.attempt, Some(Duration::from_secs(1)));
    assert_eq!(model.routes[0].policy.timeout.total, Some(Duration::from_secs(9)));
    assert_eq!(model.routes[0].policy.retry.as_ref().unwrap().attempts, 5);
    assert_eq!(model.routes[1].name, "b.com");
    assert!(model.resolve.contains_key("api.test"));
    assert_eq!(load(&place, &[], &[flags[6], flags[5]]).model.listen.len(), 2);
}

#[test]
fn the_embedded_default_applies_without_a_file() {
    let loaded = config::parse(config::EMBEDDED, "embedded", Format::Yaml).unwrap();

    assert_eq!(loaded.model, config::Model::default());
    assert!(loaded.model.default.pass && loaded.model.routes.is_empty());
    assert_eq!(loaded.model.default.policy, config::model::Policy::pass());
    assert_eq!(loaded.model.default.policy.timeout.total, None);
    assert_eq!(config::model::Policy::default().timeout.total, Some(Duration::from_secs(30)));
    assert_eq!(SourceName::Embedded.to_string(), "embedded default");
}

#[test]
fn effective_prints_every_value_with_its_origin_and_no_secret() {
    let text = "default: deny\nroutes:\n  - match: api.example.com\n    timeout: { attempt: 2s }\n    \
                auth: { bearer: { file: /run/secrets/t } }\n    \
                headers: { request: { set: { x-api-key: hunter2, accept: a/b } } }\n";
    let loaded = config::parse(text, "attache.yaml", Format::Yaml).unwrap();

    let yaml = loaded.origins.yaml();
    assert!(!yaml.contains("hunter2") && !loaded.origins.json().to_string().contains("hunter2"));
    assert_eq!(loaded.origins.json()["routes"][0]["timeout"]["attempt"]["value"], "2s");
    assert_eq!(loaded.origins.json()["routes"][0]["timeout"]["attempt"]["origin"], "attache.yaml:4");
    insta::assert_snapshot!(yaml);
}

#[test]
fn what_effective_prints_is_yaml_with_the_same_values() {
    use saphyr::LoadableYamlNode;

    let text = include_str!("../../../config/full.yaml");
    let origins = config::parse(text, "x", Format::Yaml).unwrap().origins;

    let printed = saphyr::Yaml::load_from_str(&origins.yaml()).unwrap();
    let (yaml, json) = (&printed[0], origins.json());
    assert_eq!(yaml["listen"][2]["clients"][0].as_str(), json["listen"][2]["clients"][0]["value"].as_str());
    assert_eq!(yaml["routes"][0]["retry"]["budget"]["ratio"].as_str(), Some("20%"));
    assert_eq!(yaml["routes"][2]["auth"]["header"]["prefix"].as_str(), Some("Token "));
    assert_eq!(yaml["routes"].as_sequence().unwrap().len(), json["routes"].as_array().unwrap().len());
    assert_eq!(yaml.as_mapping().unwrap().len(), json.as_object().unwrap().len());
}

#[test]
fn names_of_routes_are_their_hosts_and_unique() {
    let text = "routes:\n  - {match: {host: a.com, path: /1}}\n  - {match: {host: a.com, path: /2}}\n  \
                - {match: {host: '*.a.com', path: /3}}\n  - {name: a.com-2, match: x.com}\n  - {match: {path: /x}}\n";

    let names: Vec<_> =
        config::parse(text, "x", Format::Yaml).unwrap().model.routes.into_iter().map(|r| r.name).collect();

    assert_eq!(names, ["a.com", "a.com-3", "*.a.com", "a.com-2", "any"]);
}

#[test]
fn envoy_and_gateway_names_mean_ours() {
    let text = "routes:\n  - match: a.com\n    timeout: {request: 9s, backendRequest: 4s}\n    \
                retry: {codes: [503], conditions: [gateway-error, retriable-4xx]}\n  - match: b.com\n    \
                retry: {conditions: [connect-failure], backoff: 1s}\n    timeout: {attempt: 40s}\n";

    let routes = config::parse(text, "x", Format::Yaml).unwrap().model.routes;

    let (timeout, retry) = (&routes[0].policy.timeout, routes[0].policy.retry.as_ref().unwrap());
    assert_eq!((timeout.total, timeout.attempt), (Some(Duration::from_secs(9)), Some(Duration::from_secs(4))));
    assert_eq!(retry.statuses, [(503, 503), (502, 504), (409, 409)]);
    assert!(retry.conditions.reset && retry.conditions.timeout);
    let retry = routes[1].policy.retry.as_ref().unwrap();
    assert!(retry.conditions.connect_failure && !retry.conditions.reset && !retry.conditions.timeout);
    assert_eq!(retry.max_backoff, Duration::from_secs(10));
    assert_eq!(routes[1].policy.timeout.total, Some(Duration::from_secs(80)));
}
