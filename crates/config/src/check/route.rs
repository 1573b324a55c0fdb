//! Routes: what they match, where they lead, what they are called.

use std::collections::{BTreeMap, BTreeSet};

use super::{Check, detour, policy, shadow};
use crate::fields::Fields;
use crate::keys::{AUTH, HEDGE, MATCH, MIRROR, REDIRECT, RESPOND, REWRITE, ROUTE, TARGET, UPSTREAM};
use crate::model::{Action, HostMatch, Match, PathMatch, Route, Scheme, Target, Upstream, Url};
use crate::raw::Node;
use crate::table::nearest;
use crate::values::{self, To};

impl Check<'_> {
    pub(super) fn routes(&mut self, root: &Fields<'_>, upstreams: &[Upstream]) -> Vec<Route> {
        let all: Vec<_> = root.list("routes").iter().map(|item| Fields::of(item, &ROUTE)).collect();
        let mut names = Names::default();
        let explicit: Vec<_> = all.iter().map(|fields| fields.parse("name", values::label)).collect();
        for (fields, name) in all.iter().zip(&explicit) {
            if let Some(name) = name {
                self.unique(&mut names.taken, name, fields.place("name"), "route");
            }
        }
        let mut routes: Vec<Route> = Vec::new();
        let mut sound: Vec<bool> = Vec::new();
        for (fields, name) in all.iter().zip(explicit) {
            let matcher = self.matcher(&fields.section("match", &MATCH));
            let readable = fields.node("match").is_some_and(Node::sound);
            if readable {
                self.shadowed(routes.iter().zip(&sound).filter_map(|(r, ok)| ok.then_some(r)), &matcher, fields);
            }
            sound.push(readable);
            let action = self.action(fields, upstreams);
            let name = name.unwrap_or_else(|| free(&mut names, &matcher.host));
            self.fitting(fields, &matcher, &action, upstreams);
            let mut policy = self.policy(fields, policy::Kind::Route);
            policy.fallback = self.fallbacks(fields, upstreams);
            policy.mirror = fields.table("mirror", &MIRROR).and_then(|mirror| self.mirror(&mirror, upstreams));
            routes.push(Route { name, origin: self.sources.origin(fields.at), matcher, action, policy });
        }
        self.unused(root, upstreams, &routes);
        routes
    }

    fn matcher(&mut self, fields: &Fields<'_>) -> Match {
        Match {
            host: fields.parse("host", values::host).unwrap_or_default(),
            path: fields.parse("path", values::path_match).unwrap_or_default(),
            methods: fields.all("method", values::method),
            headers: fields.pairs("headers", values::header_name, values::value_match),
            query: fields.pairs("query", values::text, values::value_match),
            who: self.peer(fields),
        }
    }

    fn shadowed<'r>(&mut self, mut before: impl Iterator<Item = &'r Route>, matcher: &Match, fields: &Fields<'_>) {
        if let Some(first) = before.find(|route| shadow::covers(&route.matcher, matcher)) {
            let message = format!("this route is never used: `{}` ({}) matches first", first.name, first.origin);
            self.report.warning("shadowed-route", fields.place("match"), message, "move it up, or remove it");
        }
    }

    fn action(&mut self, fields: &Fields<'_>, upstreams: &[Upstream]) -> Action {
        let actions: Vec<_> = ["to", "redirect", "respond"].into_iter().filter(|n| fields.written(n)).collect();
        if let [_, second, ..] = actions.as_slice() {
            let message = "only one of `to`, `redirect` and `respond`";
            self.report.error("exclusive-keys", fields.key(second), message, "keep one of them");
        }
        if let Some(redirect) = fields.table("redirect", &REDIRECT) {
            let status = redirect.int("status");
            if !matches!(status, 0 | 301 | 302 | 303 | 307 | 308) {
                let message = format!("`{status}` is no redirect with a location");
                self.report.error("bad-value", redirect.place("status"), message, "write 301, 302, 303, 307 or 308");
            }
            return Action::Redirect { status, location: redirect.text("location").unwrap_or_default().to_owned() };
        }
        if let Some(respond) = fields.table("respond", &RESPOND) {
            return Action::Respond {
                status: respond.int("status"),
                headers: respond.pairs("headers", values::edited_header, values::header_value),
                body: respond.text("body").unwrap_or_default().to_owned(),
            };
        }
        if fields.written("to") { self.targets(fields, upstreams) } else { Action::Same }
    }

    fn targets(&mut self, route: &Fields<'_>, upstreams: &[Upstream]) -> Action {
        let items = route.list("to");
        let mut targets = Vec::new();
        for item in items {
            let fields = Fields::of(item, &TARGET);
            let to = fields.parse("url", values::to);
            let to = to.or_else(|| fields.parse("upstream", values::label).map(To::Upstream));
            if fields.written("url") == fields.written("upstream") && fields.at.written() {
                let message =
                    if fields.written("url") { "both `url` and `upstream`" } else { "neither `url` nor `upstream`" };
                self.report.error("exclusive-keys", fields.at, message, "write one of the two");
            }
            match to {
                Some(To::Url(url)) => {
                    let weight = fields.maybe_int("weight").and_then(|w| u32::try_from(w).ok());
                    targets.push(Target { url, weight });
                }
                Some(To::Upstream(name)) => {
                    self.upstream(&fields, &name, upstreams, items.len());
                    return Action::Upstream(name);
                }
                None => {}
            }
        }
        if items.is_empty() && route.node("to").is_some() {
            self.report.error("bad-value", route.place("to"), "`to` has no target", "write at least one URL");
        }
        if targets.iter().any(|t| t.weight.is_some()) {
            targets.iter_mut().for_each(|t| t.weight = t.weight.or(Some(1)));
            if targets.iter().all(|t| t.weight == Some(0)) {
                let help = "give one of them a weight above 0";
                self.report.error("out-of-range", route.place("to"), "all weights are 0", help);
            }
        }
        Action::Targets(targets)
    }

    fn upstream(&mut self, fields: &Fields<'_>, name: &str, upstreams: &[Upstream], targets: usize) {
        let key = if fields.written("upstream") { "upstream" } else { "url" };
        if targets > 1 || fields.written("weight") {
            let help = "list the endpoints in the upstream";
            self.report.error("exclusive-keys", fields.key(key), "a named upstream stands alone in `to`", help);
        }
        if !upstreams.iter().any(|u| u.name == name) {
            let near = nearest(name, upstreams.iter().map(|u| u.name.as_str()));
            let help = near.map_or_else(|| "add it to `upstreams`".to_owned(), |n| format!("did you mean `{n}`?"));
            self.report.error("unknown-upstream", fields.place(key), format!("no upstream is named `{name}`"), help);
        }
    }

    /// Settings that this action or this match cannot carry out.
    fn fitting(&mut self, fields: &Fields<'_>, matcher: &Match, action: &Action, upstreams: &[Upstream]) {
        match action {
            Action::Redirect { .. } | Action::Respond { .. } => {
                self.misplaced(fields, &["timeout", "hedge"], "this route sends nothing on");
            }
            Action::Upstream(name) => {
                for key in ["balance", "tls"].into_iter().filter(|key| fields.written(key)) {
                    let message = format!("`{key}` belongs to the upstream that several routes share");
                    let help = format!("move it to `{name}` in `upstreams`");
                    self.report.error("misplaced-key", fields.key(key), message, help);
                }
                if let Some(auth) = fields.table("auth", &AUTH).filter(|auth| auth.written("mtls")) {
                    let message = "a certificate belongs to the upstream that several routes share";
                    let help = format!("write `tls: {{cert: ..., key: ...}}` in `{name}` in `upstreams`");
                    self.report.error("misplaced-key", auth.key("mtls"), message, help);
                }
                let endpoints = upstreams.iter().find(|u| u.name == *name).map(|u| u.endpoints.as_slice());
                self.encrypted(fields, endpoints.unwrap_or_default().iter());
            }
            Action::Targets(targets) => self.encrypted(fields, targets.iter().map(|t| &t.url)),
            Action::Same if matcher.host == HostMatch::Any && fields.written("auth") => self.unbounded(fields),
            Action::Same if fields.written("auth") => {
                let message = "without `to`, a credential follows the client's scheme: in the clear for `http://`";
                self.report.warning("plaintext-auth", fields.key("auth"), message, "add `to: https://...`");
            }
            Action::Same => {}
        }
        self.idle(fields, action);
        self.alone(fields, action, upstreams);
        let rewrite = fields.section("rewrite", &REWRITE);
        if rewrite.written("prefix") && !matches!(matcher.path, PathMatch::Prefix(_)) {
            let help = "match a prefix: `path: /v1/`";
            let message = "`prefix` replaces a matched prefix, and this route matches none";
            self.report.error("misplaced-key", rewrite.key("prefix"), message, help);
        }
    }

    /// Settings for a choice that this route does not have.
    fn idle(&mut self, fields: &Fields<'_>, action: &Action) {
        let why = match action {
            Action::Same => Some("there is one target"),
            Action::Targets(targets) if targets.len() == 1 => Some("there is one target"),
            Action::Targets(targets) if targets.iter().any(|t| t.weight.is_some()) => Some("the weights decide"),
            _ => None,
        };
        let sound = fields.node("balance").is_some_and(Node::sound);
        if let Some(why) = why.filter(|_| sound && fields.written("balance")) {
            self.no_effect(fields, "balance", why);
        }
        let plain = |targets: &[Target]| targets.iter().all(|t| t.url.scheme != Scheme::Https);
        if fields.written("tls") && matches!(action, Action::Targets(targets) if plain(targets)) {
            self.no_effect(fields, "tls", "no target is `https://`");
        }
    }

    /// A second try goes elsewhere, or nowhere.
    fn alone(&mut self, fields: &Fields<'_>, action: &Action, upstreams: &[Upstream]) {
        let alone = match action {
            Action::Same => true,
            Action::Targets(targets) => targets.len() == 1,
            Action::Upstream(name) => upstreams.iter().any(|u| u.name == *name && u.endpoints.len() == 1),
            Action::Redirect { .. } | Action::Respond { .. } => false,
        };
        let sound = fields.node("hedge").is_some_and(Node::sound);
        if alone && sound && fields.table("hedge", &HEDGE).is_some() {
            self.no_effect(fields, "hedge", "there is one endpoint, and a second try goes to another");
        }
    }

    /// A credential should not travel in the clear.
    fn encrypted<'u>(&mut self, fields: &Fields<'_>, mut urls: impl Iterator<Item = &'u Url>) {
        if let (Some(url), true) = (urls.find(|u| u.scheme != Scheme::Https), fields.written("auth")) {
            let message = format!("the credential goes to `{}` without encryption", url.host);
            self.report.warning("plaintext-auth", fields.place("to"), message, "use `https://`");
        }
    }

    fn unused(&mut self, root: &Fields<'_>, upstreams: &[Upstream], routes: &[Route]) {
        let unknown = |n: &String| !upstreams.iter().any(|u| u.name == *n);
        if routes.iter().any(|r| matches!(&r.action, Action::Upstream(n) if unknown(n))) {
            return;
        }
        let used = |name: &str| routes.iter().any(|r| detour::leads_to(&r.action, &r.policy, name));
        for item in root.list("upstreams") {
            let fields = Fields::of(item, &UPSTREAM);
            let Some(name) = fields.parse("name", values::label) else { continue };
            if upstreams.iter().any(|u| u.name == name) && !used(&name) {
                let at = fields.place("name");
                let message = format!("no route leads to upstream `{name}`");
                self.report.warning("unused-upstream", at, message, format!("write `to: upstream:{name}` in a route"));
            }
        }
    }
}

/// Names in use, and the number to try next for each host.
#[derive(Default)]
struct Names {
    taken: BTreeSet<String>,
    next: BTreeMap<String, u32>,
}

/// The host as a name, with `-2`, `-3` when it is taken.
fn free(names: &mut Names, host: &HostMatch) -> String {
    let port = |port: &Option<u16>| port.map(|p| format!(":{p}")).unwrap_or_default();
    let base = match host {
        HostMatch::Any => "any".to_owned(),
        HostMatch::Exact { host, port: p } => format!("{host}{}", port(p)),
        HostMatch::Suffix { suffix, port: p } => format!("*.{suffix}{}", port(p)),
    };
    let number = names.next.entry(base.clone()).or_insert(1);
    loop {
        let name = if *number == 1 { base.clone() } else { format!("{base}-{number}") };
        *number += 1;
        if names.taken.insert(name.clone()) {
            return name;
        }
    }
}
