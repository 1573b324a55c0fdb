//! Named upstreams.

use std::collections::BTreeSet;

use super::{Check, policy};
use crate::fields::Fields;
use crate::keys::{BALANCE, OUTLIER, TLS, UPSTREAM};
use crate::model::{Outlier, Upstream};
use crate::values;

impl Check<'_> {
    pub(super) fn upstreams(&mut self, root: &Fields<'_>) -> Vec<Upstream> {
        let mut names = BTreeSet::new();
        let mut upstreams = Vec::new();
        for item in root.list("upstreams") {
            let fields = Fields::of(item, &UPSTREAM);
            let Some(name) = fields.parse("name", values::label) else { continue };
            self.unique(&mut names, &name, fields.place("name"), "upstream");
            let endpoints = fields.all("endpoints", values::url);
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
                balance: policy::balance(&fields.section("balance", &BALANCE)),
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
}
