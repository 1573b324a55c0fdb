//! From the shaped tree to the model, with the rules that no single value can break alone.
//!
//! Everything is converted even when something was refused before, so that one run reports all there is; the caller
//! throws the model away if anything was an error.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::diag::Report;
use crate::fields::Fields;
use crate::keys::{ACCESS, ADMIN, CA, DEFAULT, DESTINATIONS, LISTENER, LOG, METRICS, ROOT, SERVER};
use crate::model::{
    Access, AccessFormat, AccessSink, Address, DefaultRoute, Destinations, Level, Log, Metrics, Model, Server,
};
use crate::raw::Node;
use crate::raw::text::{At, Sources};
use crate::values;

mod auth;
mod detour;
mod identity;
mod intercept;
mod listener;
mod parent;
mod policy;
mod route;
mod shadow;
mod tenancy;
mod upstream;
mod who;

pub(crate) use policy::{Kind as PolicyKind, unset};

/// What the checks of one configuration share.
struct Check<'c> {
    sources: &'c Sources,
    report: &'c mut Report,
}

/// The model of a shaped tree; junk if `report` has errors afterwards.
pub(crate) fn check(tree: &Node, sources: &Sources, report: &mut Report) -> Model {
    let root = Fields::of(tree, &ROOT);
    let mut check = Check { sources, report };
    let listen = check.listeners(&root);
    let limits = root.section("server", &SERVER);
    let admin = check.admin(&root);
    let metrics = check.metrics(&root.section("metrics", &METRICS), admin.address.is_some());
    check.collisions(&root);
    let upstreams = check.upstreams(&root);
    let identities = check.identities(&root);
    check.shown(&root, &identities);
    let routes = check.routes(&root, &upstreams);
    let default = check.default(&root.section("default", &DEFAULT));
    let opens = check.interception(&root, &routes, &default);
    check.handshake(&limits, &listen, opens);
    let parents = check.parents(&root);
    Model {
        listen,
        admin: admin.address,
        admin_rights: admin.rights,
        admin_users: admin.users,
        shared: check.tenancy(&root),
        metrics,
        workers: root.maybe_int("workers").and_then(|n| usize::try_from(n).ok()),
        resolve: root.pairs("resolve", values::name, values::resolve).into_iter().collect::<BTreeMap<_, _>>(),
        default,
        identities,
        routes,
        upstreams,
        server: server(&limits),
        destinations: destinations(&root.section("destinations", &DESTINATIONS)),
        ca: root.table("ca", &CA).and_then(|ca| listener::pair(&ca)),
        parents,
        drain: root.duration("drain"),
        log: log(&root.section("log", &LOG)),
    }
}

impl Check<'_> {
    /// Two sockets on one address cannot both open.
    fn collisions(&mut self, root: &Fields<'_>) {
        let address = |text: &str| values::address(text).ok();
        let mut sockets: Vec<(&str, At, Address)> = Vec::new();
        for item in root.list("listen") {
            let found = Fields::of(item, &LISTENER).text("address").and_then(address);
            sockets.extend(found.map(|a| ("listen", item.at, a)));
        }
        let admin = root.table("admin", &ADMIN).map(|fields| (fields.place("address"), fields.text("address")));
        let metrics = root.table("metrics", &METRICS).map(|fields| (fields.place("address"), fields.text("address")));
        for (key, found) in [("admin", admin), ("metrics", metrics)] {
            sockets.extend(found.and_then(|(at, text)| Some((key, at, address(text?)?))));
        }
        for (index, (key, at, socket)) in sockets.iter().enumerate() {
            if let Some((other, before, _)) = sockets[..index].iter().find(|(_, _, a)| clash(a, socket)) {
                let at = if at.written() { *at } else { *before };
                let message = format!("{} is used by `{other}` and `{key}`", describe(socket));
                self.report.error("duplicate-address", at, message, "give each its own port");
            }
        }
    }

    fn metrics(&mut self, fields: &Fields<'_>, admin: bool) -> Metrics {
        let metrics =
            Metrics { address: fields.parse("address", values::socket), identities: fields.int("identities") };
        if metrics.identities > 0 && !admin && !fields.written("address") {
            self.no_effect(fields, "identities", "there is neither `admin` nor an `address` to read it at");
        }
        metrics
    }

    fn default(&mut self, fields: &Fields<'_>) -> DefaultRoute {
        let pass = fields.text("action") != Some("deny");
        let overridden = self.sources.overridden(fields.place("action"));
        if !pass && !overridden {
            self.misplaced(fields, &["timeout", "allow", "authorize"], "`default: deny` sends nothing on");
        }
        if fields.section("rewrite", &crate::keys::REWRITE).written("prefix") {
            let at = fields.section("rewrite", &crate::keys::REWRITE).key("prefix");
            self.report.error(
                "misplaced-key",
                at,
                "the default matches no prefix that could be replaced",
                "use `path`",
            );
        }
        if !pass && !overridden && fields.written("authenticate") {
            self.no_effect(fields, "authenticate", "`default: deny` refuses everybody");
        }
        if pass && fields.written("auth") {
            self.unbounded(fields);
        }
        if pass && fields.written("balance") {
            self.no_effect(fields, "balance", "a host that no route names is one target");
        }
        DefaultRoute { pass, policy: self.policy(fields, policy::Kind::Default) }
    }

    /// Refuses a credential that any host a client names would be given.
    fn unbounded(&mut self, fields: &Fields<'_>) {
        let message = "the credential would be sent to every host that a client names";
        let help = "move `auth` to a route with a host, or add `to`";
        self.report.error("unbounded-auth", fields.key("auth"), message, help);
    }

    /// Refuses policy keys where nothing would ever read them.
    fn misplaced(&mut self, fields: &Fields<'_>, also: &[&'static str], why: &str) {
        for name in policy::KEYS.iter().chain(also).filter(|name| fields.written(name)) {
            let at = fields.key(name);
            self.report.error("misplaced-key", at, format!("`{name}` has no effect here: {why}"), "remove it");
        }
    }

    /// Warns of a key that nothing reads here.
    fn no_effect(&mut self, fields: &Fields<'_>, name: &'static str, why: &str) {
        let message = format!("`{name}` has no effect: {why}");
        self.report.warning("no-effect", fields.key(name), message, "remove it");
    }

    /// Refuses the second of two equal names.
    fn unique(&mut self, seen: &mut BTreeSet<String>, name: &str, at: At, what: &str) -> bool {
        let fresh = seen.insert(name.to_owned());
        if !fresh {
            self.report.error("duplicate-name", at, format!("a second {what} named `{name}`"), "give it another name");
        }
        fresh
    }
}

/// Whether both cannot be bound; port 0 is a new port each time.
fn clash(a: &Address, b: &Address) -> bool {
    match (a, b) {
        (Address::Tcp(a), Address::Tcp(b)) => {
            let any = |ip: IpAddr| ip.is_unspecified();
            a.port() == b.port()
                && a.port() != 0
                && (a.ip() == b.ip() || (a.is_ipv4() == b.is_ipv4() && (any(a.ip()) || any(b.ip()))))
        }
        (a, b) => a == b,
    }
}

fn describe(address: &Address) -> String {
    match address {
        Address::Tcp(socket) => format!("`{socket}`"),
        Address::Unix(path) => format!("`unix:{}`", path.display()),
    }
}

fn server(fields: &Fields<'_>) -> Server {
    Server {
        first_byte: fields.duration("first_byte"),
        header: fields.duration("header"),
        idle: fields.duration("idle"),
        tls_handshake: fields.duration("tls_handshake"),
        body_idle: fields.duration("body_idle"),
        max_header_bytes: fields.size("max_header_bytes"),
        max_headers: fields.int("max_headers"),
        max_connections: fields.int("max_connections"),
    }
}

fn destinations(fields: &Fields<'_>) -> Destinations {
    Destinations {
        deny: fields.all("deny", values::destination),
        allow: fields.all("allow", values::destination),
        connect_ports: fields.all("connect_ports", values::ports),
    }
}

fn log(fields: &Fields<'_>) -> Log {
    let level = match fields.text("level") {
        Some("error") => Level::Error,
        Some("warn") => Level::Warn,
        Some("debug") => Level::Debug,
        Some("trace") => Level::Trace,
        _ => Level::Info,
    };
    let access = match fields.table("access", &ACCESS) {
        Some(access) => access_log(&access),
        None => Access { sink: AccessSink::Off, format: AccessFormat::Auto, sample: 1.0 },
    };
    Log { level, json: fields.text("format") == Some("json"), access }
}

fn access_log(fields: &Fields<'_>) -> Access {
    let sink = match fields.parse("path", values::file) {
        Some(path) if path.as_os_str() != "stdout" => AccessSink::File(path),
        _ => AccessSink::Stdout,
    };
    let format = match fields.text("format") {
        Some("json") => AccessFormat::Json,
        Some("text") => AccessFormat::Text,
        _ => AccessFormat::Auto,
    };
    Access { sink, format, sample: fields.share("sample") }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::fields::tests::READ;
    use crate::keys::ROOT;
    use crate::table::{Kind, Table};

    fn walk(table: &'static Table, all: &mut BTreeSet<(&'static str, &'static str)>) {
        for field in table.fields() {
            if all.insert((table.name, field.name)) {
                descend(&field.kind, all);
            }
        }
    }

    fn descend(kind: &'static Kind, all: &mut BTreeSet<(&'static str, &'static str)>) {
        match kind {
            Kind::Table(table) => walk(table, all),
            Kind::List(inner) | Kind::OneOrMany(inner) | Kind::OrFalse(inner) | Kind::Map(_, inner) => {
                descend(inner, all);
            }
            _ => {}
        }
    }

    #[test]
    fn every_key_is_read_and_shown_in_the_full_example() {
        let text = include_str!("../../../config/full.yaml");
        let mut all = BTreeSet::new();
        walk(&ROOT, &mut all);

        crate::parse(text, "full.yaml", crate::Format::Yaml).unwrap();

        let read = READ.with_borrow(Clone::clone);
        let ignored: Vec<_> = all.difference(&read).collect();
        assert!(ignored.is_empty(), "parsed and ignored: {ignored:?}");
        let unshown: Vec<_> = all.iter().filter(|(_, key)| !text.contains(&format!("{key}:"))).collect();
        assert!(unshown.is_empty(), "not in full.yaml: {unshown:?}");
    }
}
