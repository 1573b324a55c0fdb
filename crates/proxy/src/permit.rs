//! Who may do what, compiled: the rules of `allow`, and who may make a tunnel.
//!
//! A request meets the rules of its route in its route's stack. A tunnel takes no route's way, so it is asked here, of the
//! routes that name its host and are for this caller: where the requests inside are seen, one of them must let it in; where
//! they are not, all must, since any of them may be what is asked for. What asks for paths counts only where
//! the requests inside are seen; what asks for methods counts there, or if it names CONNECT itself. A host that no route
//! names has the rules of `default`.
//!
//! A path is compared as it was sent. One that an upstream might read as another (with `..`, an encoded slash or a
//! backslash in it) is none of a rule's paths, since it may lead out of them.

use std::sync::Arc;

use config::Model;
use config::model::{self, HostMatch};
use exchange::detour::Denied;
use exchange::identity::who::User;
use exchange::identity::{Caller, Who};
use exchange::{Error, ErrorKind, Exchange, Head, Host};
use http::Method;
use middleware::allow;

use crate::route::matcher::Path;
use crate::snapshot::Plan;
use crate::stack::Site;

/// A rule of `allow`.
pub struct Rule {
    who: Who,
    hosts: Vec<HostMatch>,
    methods: Vec<Method>,
    paths: Vec<Path>,
}

/// Compiles the rules of a route; the error names what does not compile.
pub fn rules(from: &[model::Rule]) -> Result<Arc<[Arc<Rule>]>, String> {
    from.iter().map(|rule| Rule::new(rule).map(Arc::new).map_err(|error| format!("allow: {error}"))).collect()
}

impl Rule {
    fn new(from: &model::Rule) -> Result<Self, String> {
        let method =
            |text: &String| Method::from_bytes(text.as_bytes()).map_err(|_| format!("`{text}` is not a method"));
        Ok(Self {
            who: who(&from.who),
            hosts: from.hosts.clone(),
            methods: from.methods.iter().map(method).collect::<Result<_, _>>()?,
            paths: from.paths.iter().map(Path::new).collect::<Result<_, _>>()?,
        })
    }

    /// As its layer wants it.
    pub fn layered(self: &Arc<Self>) -> allow::Rule {
        let open = self.hosts.is_empty() && self.methods.is_empty() && self.paths.is_empty();
        let rule = Arc::clone(self);
        let asks = (!open).then(|| allow::Asks(Arc::new(move |head: &Head| rule.asks(head))));
        allow::Rule { who: self.who.clone(), asks }
    }

    /// The first key that does not fit the request.
    fn asks(&self, head: &Head) -> Option<&'static str> {
        self.asks_host(head)
            .or_else(|| self.asks_method(head))
            .or_else(|| (!self.paths.is_empty() && !self.leads_to(head.path.path())).then_some("path"))
    }

    fn asks_host(&self, head: &Head) -> Option<&'static str> {
        let port = head.authority.port_or(if head.tls { 443 } else { 80 });
        let fits = |host: &HostMatch| is_host(host, head.authority.host(), port);
        (!self.hosts.is_empty() && !self.hosts.iter().any(fits)).then_some("host")
    }

    fn asks_method(&self, head: &Head) -> Option<&'static str> {
        (!self.methods.is_empty() && !self.methods.contains(&head.method)).then_some("method")
    }

    fn leads_to(&self, path: &str) -> bool {
        is_plain(path) && self.paths.iter().any(|wanted| wanted.holds(path))
    }

    /// What a tunnel misses; `opaque`: what is inside is not seen.
    fn unmet(&self, caller: &Caller<'_>, head: &Head, opaque: bool) -> Option<&'static str> {
        self.who.unmet(caller).or_else(|| self.asks_host(head)).or_else(|| {
            if !opaque {
                return None;
            }
            self.asks_method(head).or_else(|| (!self.paths.is_empty()).then_some("path"))
        })
    }
}

/// Whether whoever sent this request may use this route, as its layer decides it.
pub fn request(plan: &Plan, exchange: &Exchange) -> Result<(), Error> {
    let caller = Caller::of(exchange);
    let unmet = || plan.allow.iter().map(|rule| rule.who.unmet(&caller).or_else(|| rule.asks(&exchange.head)));
    if plan.allow.is_empty() || unmet().any(|key| key.is_none()) {
        return Ok(());
    }
    Err(allow::refusal(&caller, unmet().flatten()))
}

/// Whether whoever sent this CONNECT may have the tunnel; `opaque`: what is inside is not seen.
pub fn tunnel(site: &Site, exchange: &Exchange, opaque: bool) -> Result<(), Error> {
    asked(site, exchange, opaque).map_err(|(by, error)| {
        exchange.detour.deny(by);
        error
    })
}

fn asked(site: &Site, exchange: &Exchange, opaque: bool) -> Result<(), (Denied, Error)> {
    let (head, caller) = (&exchange.head, Caller::of(exchange));
    let plans = &site.snapshot().routes;
    let mut named = site.table().to(&head.authority).peekable();
    if named.peek().is_none() {
        return among(&site.snapshot().default, exchange, opaque).map_err(|error| (Denied::Rule, error));
    }
    let (mut refused, mut admitted) = (None, false);
    for index in named.filter(|index| site.table().is_for(*index, &caller)) {
        match among(&plans[index], exchange, opaque) {
            Ok(()) if !opaque => return Ok(()),
            Ok(()) if plans[index].decider.is_none() => admitted = true,
            Ok(()) => refused = refused.or_else(|| Some((Denied::Decision, undecided()))),
            Err(error) => refused = refused.or(Some((Denied::Rule, error))),
        }
    }
    if admitted && refused.is_none() {
        return Ok(());
    }
    Err(refused.unwrap_or_else(|| (Denied::Route, nobody(head))))
}

/// Whoever else decides is asked about requests, and those of this tunnel are not seen.
fn undecided() -> Error {
    let detail = "`authorize` decides about each request, and what is inside a tunnel is not seen";
    Error::new(ErrorKind::Forbidden).with_detail(detail)
}

fn among(plan: &Plan, exchange: &Exchange, opaque: bool) -> Result<(), Error> {
    let caller = Caller::of(exchange);
    let unmet = || plan.allow.iter().map(|rule| rule.unmet(&caller, &exchange.head, opaque));
    if plan.allow.is_empty() || unmet().any(|key| key.is_none()) {
        return Ok(());
    }
    Err(allow::refusal(&caller, unmet().flatten()))
}

/// The error where routes name a host, and none is for this caller.
pub fn nobody(head: &Head) -> Error {
    let detail = format!("no route of {} is for this caller (`match: who`)", head.authority);
    Error::new(ErrorKind::Forbidden).with_detail(detail)
}

fn is_host(wanted: &HostMatch, host: &Host, port: u16) -> bool {
    let is_port = |wanted: &Option<u16>| wanted.is_none_or(|wanted| wanted == port);
    match wanted {
        HostMatch::Any => true,
        HostMatch::Exact { host: name, port } => is_port(port) && is_name(host, |own| own == name),
        HostMatch::Suffix { suffix, port } => {
            let below =
                |own: &str| own.strip_suffix(suffix.as_str()).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'));
            is_port(port) && host.name().is_some_and(below)
        }
    }
}

fn is_name(host: &Host, is: impl Fn(&str) -> bool) -> bool {
    match host {
        Host::Name(name) => is(name),
        Host::Ip(ip) => is(&ip.to_string()),
    }
}

/// Whether everybody reads the path alike.
fn is_plain(path: &str) -> bool {
    let lower = path.to_ascii_lowercase();
    let odd = ["%2f", "%5c", "\\", "%00"].iter().any(|sign| lower.contains(sign));
    let climbs = |segment: &str| {
        // Some servers cut parameters off a segment first.
        let name = segment.split(';').next().unwrap_or_default();
        let name = name.split("%3b").next().unwrap_or_default();
        matches!(name.replace("%2e", ".").as_str(), "." | "..")
    };
    !odd && !lower.split('/').any(climbs)
}

/// Whether some rule asks for more of a process than the kernel says of its socket.
pub fn is_deep(model: &Model) -> bool {
    let policies = model.routes.iter().map(|route| &route.policy).chain([&model.default.policy]);
    let rules = policies.flat_map(|policy| &policy.allow).map(|rule| &rule.who);
    rules
        .chain(model.routes.iter().filter_map(|route| route.matcher.who.as_ref()))
        .any(|from| who(from).asks_for_process())
}

/// A caller as the configuration names it.
pub fn who(from: &model::Who) -> Who {
    let text = |text: &Option<String>| text.as_deref().map(Arc::from);
    Who {
        anyone: from.anyone,
        anyone_local: from.anyone_local,
        authenticated: from.authenticated,
        user: from.user.as_ref().map(|user| match user {
            model::User::Name(name) => User::Name(name.as_str().into()),
            model::User::Uid(uid) => User::Uid(*uid),
        }),
        unit: text(&from.unit),
        cgroup: text(&from.cgroup),
        container: text(&from.container),
        spiffe: text(&from.spiffe),
        dns: text(&from.dns),
        identity: text(&from.identity),
        name: text(&from.name),
        claims: from
            .claims
            .iter()
            .map(|(path, values)| (path.as_str().into(), values.iter().map(|value| value.as_str().into()).collect()))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_may_lead_elsewhere_is_none_of_a_rules_paths() {
        let rule = model::Rule { paths: vec![model::PathMatch::Prefix("/v1/".into())], ..model::Rule::default() };
        let rule = Rule::new(&rule).expect("compiled");

        for path in ["/v1/", "/v1", "/v1/a", "/v1/..a", "/v1/a..", "/v1/%41", "/v1//a"] {
            assert!(rule.leads_to(path), "{path}");
        }
        for path in [
            "/v2/",
            "/v1/../v2",
            "/v1/%2e%2E/v2",
            "/v1/.%2e/v2",
            "/v1/..;x=1/v2",
            "/v1/..%3Bx/v2",
            "/v1/a%2F..%2f..%2fv2",
            "/v1/..\\v2",
            "/v1/%5c..",
            "/v1/./a",
            "/v1/a%00",
        ] {
            assert!(!rule.leads_to(path), "{path}");
        }
    }

    #[test]
    fn hosts_of_a_rule_are_those_of_a_match() {
        let is = |wanted: &HostMatch, host, port| is_host(wanted, &Host::parse(host).expect("a host"), port);
        let exact = HostMatch::Exact { host: "a.test".into(), port: Some(81) };
        let below = HostMatch::Suffix { suffix: "a.test".into(), port: None };
        let address = HostMatch::Exact { host: "::1".into(), port: None };

        assert!(is(&exact, "a.test", 81) && !is(&exact, "a.test", 80) && !is(&exact, "b.test", 81));
        assert!(is(&below, "x.a.test", 1) && !is(&below, "a.test", 1) && !is(&below, "xa.test", 1));
        assert!(is(&address, "[::1]", 1) && !is(&address, "[::2]", 1));
    }
}
