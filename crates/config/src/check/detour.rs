//! What a route does beside sending a request to its upstream: fallbacks, faults, mirrors.

use std::time::Duration;

use super::Check;
use crate::fields::Fields;
use crate::keys::{ABORT, AUTH, DELAY, FALLBACK, RESET, RESPOND, STALE};
use crate::model::{
    Abort, Action, Aside, AsideTo, Auth, Fallback, FallbackWith, Fault, Mirror, On, Scheme, Stale, Upstream,
};
use crate::table::nearest;
use crate::values::{self, To};

/// Of an injected wait.
const MOST_DELAY: Duration = Duration::from_secs(600);

impl Check<'_> {
    pub(super) fn fallbacks(&mut self, route: &Fields<'_>, upstreams: &[Upstream]) -> Vec<Fallback> {
        let items = route.list("fallback").iter().map(|item| Fields::of(item, &FALLBACK));
        if let Some(second) = items.clone().filter(|fields| fields.written("stale")).nth(1) {
            let help = "write all of its `on` in one rule";
            self.report.error(
                "exclusive-keys",
                second.key("stale"),
                "a second `stale`: a route keeps answers once",
                help,
            );
        }
        items.filter_map(|fields| self.fallback(&fields, upstreams)).collect()
    }

    fn fallback(&mut self, fields: &Fields<'_>, upstreams: &[Upstream]) -> Option<Fallback> {
        self.one_of(fields, &["to", "respond", "stale"]);
        let on = fields.all("on", values::on);
        if on.is_empty() && fields.list("on").is_empty() && fields.node("on").is_some() {
            let help = "write what it stands in for: `on: [connect_refused, 5xx]`";
            self.report.error("bad-value", fields.place("on"), "a fallback for nothing", help);
        }
        if fields.written("auth") && !fields.written("to") {
            let message = "`auth` has no effect without `to`";
            self.report.error("misplaced-key", fields.key("auth"), message, "remove it");
        }
        if fields.written("to") && on.contains(&On::Reason("deadline")) {
            let message = "after `deadline` there is no time left to ask another upstream";
            self.report.error("bad-value", fields.place("on"), message, "use `respond` for it");
        }
        if let Some(respond) = fields.table("respond", &RESPOND) {
            let with = FallbackWith::Respond {
                status: respond.int("status"),
                headers: respond.pairs("headers", values::edited_header, values::header_value),
                body: respond.text("body").unwrap_or_default().to_owned(),
            };
            return Some(Fallback { on, with });
        }
        if let Some(stale) = fields.table("stale", &STALE) {
            return Some(Fallback { on, with: FallbackWith::Stale(self.stale(&stale)) });
        }
        Some(Fallback { on, with: FallbackWith::Upstream(self.aside(fields, upstreams)?) })
    }

    fn stale(&mut self, fields: &Fields<'_>) -> Stale {
        let (max_size, max_body) = (fields.size("max_size"), fields.size("max_body"));
        if max_body > max_size {
            let help = "raise `max_size`, or lower `max_body`";
            self.report.error("out-of-range", fields.place("max_body"), "`max_body` is above `max_size`", help);
        }
        Stale { max_stale: fields.duration("max_stale"), max_entries: fields.int("max_entries"), max_size, max_body }
    }

    pub(super) fn mirror(&mut self, fields: &Fields<'_>, upstreams: &[Upstream]) -> Option<Mirror> {
        Some(Mirror {
            to: self.aside(fields, upstreams)?,
            share: fields.share("share"),
            body_limit: fields.size("body_limit"),
            timeout: fields.duration("timeout"),
            concurrency: fields.int("concurrency"),
        })
    }

    pub(super) fn fault(&mut self, fields: &Fields<'_>) -> Fault {
        if !["delay", "abort", "reset"].iter().any(|key| fields.written(key)) {
            let message = "a fault that breaks nothing";
            self.report.error("missing-key", fields.at, message, "add `delay`, `abort` or `reset`");
        }
        let delay = fields.table("delay", &DELAY);
        if let Some(delay) = delay.filter(|delay| delay.duration("time") > MOST_DELAY) {
            let message = format!("nobody waits longer than {} s for a fault", MOST_DELAY.as_secs());
            self.report.error("out-of-range", delay.place("time"), message, "write a shorter `time`");
        }
        let abort = fields.table("abort", &ABORT);
        if let Some(abort) = abort.filter(|abort| !abort.written("status") && !abort.written("grpc")) {
            self.report.error("missing-key", abort.at, "neither `status` nor `grpc`", "write one of them, or both");
        }
        let status = |abort: &Fields<'_>| abort.maybe_int("status").and_then(|status| u16::try_from(status).ok());
        Fault {
            delay: delay.map(|delay| (delay.duration("time"), delay.share("share"))),
            abort: abort.map(|abort| Abort {
                status: status(&abort),
                grpc: abort.parse("grpc", values::grpc),
                share: abort.share("share"),
            }),
            reset: fields.table("reset", &RESET).map(|reset| reset.share("share")),
            headers: fields.pairs("headers", values::header_name, values::value_match),
        }
    }

    /// `to` and `auth` of a target beside the route's own.
    fn aside(&mut self, fields: &Fields<'_>, upstreams: &[Upstream]) -> Option<Aside> {
        let auth = fields.table("auth", &AUTH).and_then(|auth| self.auth(&auth));
        if let Some(Auth::Placeholder { .. } | Auth::Mtls { .. }) = auth {
            let message = "a placeholder or a certificate is for the route's own target";
            let help = "remove it; a named upstream has `tls` of its own";
            self.report.error("misplaced-key", fields.key("auth"), message, help);
        }
        let to = match fields.parse("to", values::to)? {
            To::Url(url) => AsideTo::Url(url),
            To::Upstream(name) => AsideTo::Upstream(name),
        };
        let first = match &to {
            AsideTo::Url(url) => Some(url),
            AsideTo::Upstream(name) => {
                let named = upstreams.iter().find(|upstream| upstream.name == *name);
                if named.is_none() {
                    let near = nearest(name, upstreams.iter().map(|upstream| upstream.name.as_str()));
                    let help =
                        near.map_or_else(|| "add it to `upstreams`".to_owned(), |n| format!("did you mean `{n}`?"));
                    let message = format!("no upstream is named `{name}`");
                    self.report.error("unknown-upstream", fields.place("to"), message, help);
                }
                named.and_then(|upstream| upstream.endpoints.first())
            }
        };
        if let (Some(url), true) = (first.filter(|url| url.scheme != Scheme::Https), auth.is_some()) {
            let message = format!("the credential goes to `{}` without encryption", url.host);
            self.report.warning("plaintext-auth", fields.place("to"), message, "use `https://`");
        }
        Some(Aside { to, auth })
    }
}

/// Whether a route leads to the upstream of that name, with its requests or beside them.
pub(super) fn leads_to(action: &Action, policy: &crate::model::Policy, name: &str) -> bool {
    matches!(action, Action::Upstream(own) if own == name)
        || policy.asides().any(|aside| matches!(&aside.to, AsideTo::Upstream(other) if other == name))
}
