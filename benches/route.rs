//! Finding a request's route among 1, 100 and 1,000: by its host, by a wildcard, and not at all.

use std::fmt::Write;

use config::Format;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use exchange::{Authority, Client, Door, Head, clock};
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Version};
use proxy::route::Table;

/// `count` routes by host and one by wildcard, each with a path.
fn table(count: usize) -> Table {
    let mut yaml = String::from("routes:\n");
    let hosts = (0..count).map(|index| format!("h{index}.test")).chain(["*.wild.test".to_owned()]);
    for (index, host) in hosts.enumerate() {
        let route =
            format!("  - {{ name: r{index}, match: {{ host: \"{host}\", path: /v1/ }}, to: http://127.0.0.1:4790 }}");
        writeln!(yaml, "{route}").expect("a string takes it");
    }
    let loaded = config::parse(&yaml, "route.yaml", Format::Yaml).expect("the configuration is valid");
    Table::new(&loaded.model.routes).map_err(|(_, error)| error).expect("the routes compile")
}

fn head(host: &str) -> Head {
    Head {
        id: 0,
        started: clock::now(),
        door: Door::Forward,
        client: Client { addr: None, local: true, peer: None },
        version: Version::HTTP_11,
        method: Method::GET,
        tls: false,
        authority: Authority::parse(host).expect("a host"),
        path: PathAndQuery::from_static("/v1/items/42"),
        upgrade: false,
        grpc: false,
    }
}

fn route(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("route");
    let headers = HeaderMap::new();
    for count in [1, 100, 1000] {
        let table = table(count);
        let last = format!("h{}.test", count - 1);
        for (name, host, found) in [
            ("exact", last.as_str(), Some(count - 1)),
            ("wildcard", "a.b.wild.test", Some(count)),
            ("default", "api.nobody.test", None),
        ] {
            let head = head(host);
            assert_eq!(table.find(&head, &headers), found, "{name}");
            group.bench_function(BenchmarkId::new(name, count), |bencher| {
                bencher.iter(|| table.find(&head, &headers));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, route);
criterion_main!(benches);
