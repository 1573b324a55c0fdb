//! Named upstreams.

use std::collections::BTreeSet;

use super::{Check, policy};
use crate::fields::Fields;
use crate::keys::{ENDPOINT, HEALTH, OUTLIER, TLS, UPSTREAM, UPSTREAM_BALANCE};
use crate::model::{HashOn, Health, HealthAsk, Outlier, Upstream};
use crate::values;

impl Check<'_> {
    pub(super) fn upstreams(&mut self, root: &Fields<'_>) -> Vec<Upstream> {
        let mut names = BTreeSet::new();
        let mut upstreams = Vec::new();
        for item in root.list("upstreams") {
            let fields = Fields::of(item, &UPSTREAM);
            let Some(name) = fields.parse("name", values::label) else { continue };
            self.unique(&mut names, &name, fields.place("name"), "upstream");
            let items = fields.list("endpoints").iter().map(|item| Fields::of(item, &ENDPOINT));
            let (endpoints, priorities): (Vec<_>, Vec<_>) =
                items.filter_map(|item| Some((item.parse("url", values::url)?, item.int::<u32>("priority")))).unzip();
            let balance = fields.section("balance", &UPSTREAM_BALANCE);
            let hash_on = self.hash_on(&balance);
            if fields.list("endpoints").is_empty() && fields.node("endpoints").is_some() {
                let at = fields.place("endpoints");
                self.report.error(
                    "bad-value",
                    at,
                    format!("upstream `{name}` has no endpoint"),
                    "write at least one URL",
                );
            }
            if endpoints.iter().any(|e| e.scheme != endpoints[0].scheme) {
                let message = format!("the endpoints of `{name}` differ in their scheme");
                let help = "use one scheme, or one upstream for each";
                self.report.error("mixed-schemes", fields.place("endpoints"), message, help);
            }
            if endpoints.iter().any(|e| e.base != endpoints[0].base) {
                let message = format!("the endpoints of `{name}` differ in their base path");
                let help = "use one base path, or one upstream for each";
                self.report.error("bad-value", fields.place("endpoints"), message, help);
            }
            upstreams.push(Upstream {
                name,
                origin: self.sources.origin(item.at),
                endpoints,
                priorities,
                balance: policy::balance(&balance),
                hash_on,
                slow_start: fields.maybe_duration("slow_start"),
                health: fields.table("health", &HEALTH).and_then(|health| self.health(&health)),
                outlier: fields.table("outlier", &OUTLIER).map(|outlier| Outlier {
                    margin: outlier.share("margin"),
                    min_requests: outlier.int("min_requests"),
                }),
                max_ejected: fields.share("max_ejected"),
                tls: self.tls(&fields.section("tls", &TLS)),
            });
        }
        upstreams
    }

    /// A ring needs to know what it goes by, and nothing else does.
    fn hash_on(&mut self, balance: &Fields<'_>) -> Option<HashOn> {
        let hash_on = balance.parse("hash_on", values::hash_on);
        match (balance.text("policy") == Some("ring"), balance.written("hash_on")) {
            (true, false) => {
                let help = "write `balance: { policy: ring, hash_on: header:x-user }`";
                self.report.error("missing-key", balance.at, "a ring without `hash_on`", help);
            }
            (false, true) => {
                let message = "`hash_on` has no effect without `policy: ring`";
                self.report.warning("no-effect", balance.key("hash_on"), message, "remove it, or use a ring");
            }
            _ => {}
        }
        hash_on
    }

    fn health(&mut self, fields: &Fields<'_>) -> Option<Health> {
        self.one_of(fields, &["http", "tcp", "grpc"]);
        let (path, grpc) = (fields.parse("http", values::path), fields.parse("grpc", values::text));
        let (host, expect) = (fields.parse("host", values::rewritten_host), fields.all("expect", values::statuses));
        let tcp = fields.flag("tcp");
        if path.is_none() {
            for name in ["host", "expect"].into_iter().filter(|name| fields.written(name)) {
                let message = format!("`{name}` has no effect without `http`");
                self.report.warning("no-effect", fields.key(name), message, "remove it, or ask by `http`");
            }
        }
        let ask = match (path, grpc) {
            (Some(path), _) => HealthAsk::Http { path, host, expect },
            (None, Some(service)) => HealthAsk::Grpc(service),
            (None, None) if tcp => HealthAsk::Tcp,
            (None, None) => {
                if fields.written("tcp") {
                    let help = "write `tcp: true`, or remove `health`";
                    self.report.error("bad-value", fields.place("tcp"), "`tcp: false` asks nothing", help);
                }
                return None;
            }
        };
        Some(Health {
            ask,
            every: fields.duration("every"),
            timeout: fields.duration("timeout"),
            healthy: fields.int("healthy"),
            unhealthy: fields.int("unhealthy"),
        })
    }
}
