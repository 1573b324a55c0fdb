//! Callers, and what they may do.

use super::Check;
use crate::effective::carries_secret;
use crate::fields::Fields;
use crate::keys::{DEFAULT, ROUTE, RULE, WHO};
use crate::model::{Authorize, HostMatch, Identity, Rule, Who};
use crate::raw::{Node, Value};
use crate::table::nearest;
use crate::values;

/// What only a request says of its sender.
const OF_REQUESTS: [&str; 3] = ["identity", "name", "claims"];

impl Check<'_> {
    /// The rules of `allow`; none: everyone may.
    pub(super) fn allow(&mut self, fields: &Fields<'_>) -> Vec<Rule> {
        let items = fields.list("allow");
        if items.is_empty() && fields.node("allow").is_some() {
            let help = "write who may, such as `anyone_local` or `user:alice`";
            self.report.error("bad-value", fields.place("allow"), "`allow` without a rule is nobody", help);
        }
        items.iter().map(|item| self.rule(&Fields::of(item, &RULE), item)).collect()
    }

    fn rule(&mut self, fields: &Fields<'_>, item: &Node) -> Rule {
        let mut hosts = fields.all("hosts", values::host);
        if hosts.contains(&HostMatch::Any) {
            hosts.clear();
        }
        Rule {
            who: self.caller(fields, item.sound()),
            hosts,
            methods: fields.all("methods", values::method),
            paths: fields.all("paths", values::path_match),
        }
    }

    /// Who else decides.
    pub(super) fn authorize(&mut self, fields: &Fields<'_>) -> Option<Authorize> {
        let headers = fields.all("headers", values::header_name);
        for node in
            fields.list("headers").iter().filter(|node| node.scalar().is_some_and(|name| carries_secret(&name.text)))
        {
            let name = node.scalar().map_or("", |name| &name.text);
            let message = format!("`{name}` usually carries a secret, which is nothing to decide by");
            self.report.error("bad-value", node.at, message, "remove it: who calls is told as `identity` and `client`");
        }
        let sets = fields.parse("sets", values::edited_header);
        if let Some(prefix) = sets.as_deref().filter(|prefix| !prefix.ends_with('-') || carries_secret(prefix)) {
            let message = format!("`{prefix}` may be the beginning of a header that means something");
            self.report.error(
                "bad-value",
                fields.place("sets"),
                message,
                "write a prefix of its own, such as `x-authz-`",
            );
        }
        Some(Authorize {
            url: fields.parse("url", values::url)?,
            timeout: fields.duration("timeout"),
            fail_open: fields.text("fail") == Some("open"),
            cache: fields.duration("cache"),
            headers,
            sets,
            concurrency: fields.int("concurrency"),
        })
    }

    /// A caller that a connection alone shows.
    pub(super) fn peer(&mut self, fields: &Fields<'_>) -> Option<Who> {
        let node = fields.node("who")?;
        let inner = Fields::of(node, &WHO);
        for key in OF_REQUESTS.into_iter().filter(|key| inner.written(key)) {
            let message = format!("`{key}` is known after a route was found, and cannot find one");
            self.report.error("misplaced-key", inner.key(key), message, "move it to `allow`");
        }
        let who = self.caller(&inner, node.sound());
        let short = who.authenticated || who.identity.is_some() || who.name.is_some();
        if short && inner.written("is") {
            let message = "who a request shows itself to be is known after a route was found, and cannot find one";
            self.report.error("misplaced-key", inner.place("is"), message, "move it to `allow`");
        }
        if who.anyone {
            self.report.error("bad-value", inner.place("is"), "`anyone` leaves nobody out", "remove it");
        }
        Some(who)
    }

    /// Rules that nobody could fit: of identities that there are not, or of a route that does not ask who one is.
    pub(super) fn shown(&mut self, root: &Fields<'_>, identities: &[Identity]) {
        let routes = root.list("routes").iter().map(|item| Fields::of(item, &ROUTE));
        for route in routes.chain([root.section("default", &DEFAULT)]) {
            let asks = route.written("authenticate");
            for rule in route.list("allow").iter().map(|item| Fields::of(item, &RULE)) {
                let short = rule.parse("is", values::caller).unwrap_or_default();
                let name = rule.parse("identity", values::label).or(short.identity);
                if let Some(name) = name.as_ref().filter(|name| !identities.iter().any(|one| one.name == **name)) {
                    let message = format!("no identity is named `{name}`");
                    let near = nearest(name, identities.iter().map(|one| one.name.as_str()));
                    let help =
                        near.map_or("add it to `identities`".to_owned(), |near| format!("did you mean `{near}`?"));
                    self.report.error("unknown-identity", rule.at, message, help);
                }
                let keys = OF_REQUESTS.iter().any(|key| rule.written(key));
                if !asks && (keys || name.is_some() || short.authenticated || short.name.is_some()) {
                    let message = "this rule fits nobody: the route does not ask callers who they are";
                    self.report.warning("no-effect", rule.at, message, "add `authenticate` to the route");
                }
            }
        }
    }

    /// Whoever the fields of a table name that has those of `WHO`.
    pub(super) fn caller(&mut self, fields: &Fields<'_>, sound: bool) -> Who {
        let mut who = fields.parse("is", values::caller).unwrap_or_default();
        let short = who.clone();
        let twice = [
            ("user", short.user.is_some()),
            ("unit", short.unit.is_some()),
            ("cgroup", short.cgroup.is_some()),
            ("container", short.container.is_some()),
            ("spiffe", short.spiffe.is_some()),
            ("dns", short.dns.is_some()),
            ("identity", short.identity.is_some()),
            ("name", short.name.is_some()),
        ];
        for (key, _) in twice.into_iter().filter(|(key, given)| *given && fields.written(key)) {
            let message = format!("`is` and `{key}` say the same thing");
            self.report.error("exclusive-keys", fields.key(key), message, "keep one of the two");
        }
        who.user = fields.parse("user", values::user_of).or(who.user);
        who.unit = fields.parse("unit", values::unit).or(who.unit);
        who.cgroup = fields.parse("cgroup", values::cgroup).or(who.cgroup);
        who.container = fields.parse("container", values::container).or(who.container);
        who.spiffe = fields.parse("spiffe", values::spiffe).or(who.spiffe);
        who.dns = fields.parse("dns", values::dns).or(who.dns);
        who.identity = fields.parse("identity", values::label).or(who.identity);
        who.name = fields.parse("name", values::shown).or(who.name);
        who.claims = claims(fields);
        for (claim, _) in who.claims.iter().filter(|(_, values)| values.is_empty()) {
            let message = format!("no value for claim `{claim}`");
            self.report.error(
                "bad-value",
                fields.place("claims"),
                message,
                "write the values of which it must have one",
            );
        }
        if who == Who::default() && sound && fields.at.written() {
            let help = "write who, such as `user: alice` or `is: anyone_local`; everybody is `is: anyone`";
            self.report.error("missing-key", fields.at, "this names nobody", help);
        }
        who
    }
}

fn claims(fields: &Fields<'_>) -> Vec<(String, Vec<String>)> {
    let texts = |value: &Value| match value {
        Value::List(items) => items.iter().filter_map(|item| Some(item.scalar()?.text.clone())).collect(),
        _ => Vec::new(),
    };
    fields.map("claims").iter().map(|entry| (entry.key.clone(), texts(&entry.value.value))).collect()
}
