//! What a route and the default share: timeouts, retries, breaker, credentials, headers, TLS.

use std::time::Duration;

use super::Check;
use crate::diag::Report;
use crate::effective::carries_secret;
use crate::fields::Fields;
use crate::keys::{
    AUTH, AUTHORIZE, BALANCE, BREAKER, BUDGET, COMPRESS, DEADLINE, DECOMPRESS, DEFAULT, DEFAULT_KIND, DEFAULT_TIMEOUT,
    EDIT, FAULT, HEADERS, HEDGE, LIMIT, QUEUE, RATE_FOR, RETRY, REWRITE, ROUTE, ROUTE_KIND, SLOW, TIMEOUT, TLS, WHO,
};
use crate::model::{
    Algorithms, Auth, Balance, Breaker, Budget, Compress, Conditions, Deadline, Decompress, HeaderEdit, Headers, Hedge,
    Limit, Per, Policy, Queue, Rate, RateFor, Retry, Rewrite, Slow, Timeout, Tls, TlsVersion,
};
use crate::raw::text::Sources;
use crate::raw::{Entry, Node, Value, overlay};
use crate::shape::shape;
use crate::values;

/// The keys that only matter when a request is sent on.
pub(super) const KEYS: &[&str] = &[
    "rewrite",
    "deadline",
    "retry",
    "breaker",
    "limit",
    "balance",
    "auth",
    "browser_origins",
    "headers",
    "fault",
    "mirror",
    "fallback",
    "compress",
    "decompress",
    "tls",
    "rewrite_location",
];

/// Whose policy it is; only the timeouts differ.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Route,
    Default,
}

/// The policy of a route, or of the default, that sets nothing.
pub(crate) fn unset(kind: Kind) -> Policy {
    let (table, text) = match kind {
        Kind::Route => (&ROUTE_KIND, "{match: '*'}"),
        Kind::Default => (&DEFAULT_KIND, "{}"),
    };
    let mut report = Report::default();
    let tree = shape(overlay::fragment(text, 0, &mut report), table, &mut report);
    let fields = Fields::of(&tree, if kind == Kind::Route { &ROUTE } else { &DEFAULT });
    let sources = Sources::new();
    Check { sources: &sources, report: &mut report }.policy(&fields, kind)
}

impl Check<'_> {
    pub(super) fn policy(&mut self, fields: &Fields<'_>, kind: Kind) -> Policy {
        let auth = fields.table("auth", &AUTH).and_then(|auth| self.auth(&auth));
        let browser_origins = fields.all("browser_origins", values::origin);
        let mut tls = self.tls(&fields.section("tls", &TLS));
        if let Some(Auth::Mtls { cert, key }) = &auth {
            if tls.cert.is_some() || tls.key.is_some() {
                let message = "`auth: mtls` and `tls: cert` both say which certificate we show";
                self.report.error("exclusive-keys", fields.key("auth"), message, "keep one");
            }
            (tls.cert, tls.key) = (Some(cert.clone()), Some(key.clone()));
        }
        if !browser_origins.is_empty() && !fields.written("auth") {
            let message = "`browser_origins` has no effect without `auth`";
            self.report.warning("no-effect", fields.key("browser_origins"), message, "remove it, or add `auth`");
        }
        Policy {
            allow: self.allow(fields),
            authenticate: super::identity::authenticate(fields),
            authorize: fields.table("authorize", &AUTHORIZE).and_then(|from| self.authorize(&from)),
            rewrite: self.rewrite(&fields.section("rewrite", &REWRITE)),
            timeout: self.timeout(fields, kind),
            deadline: fields.table("deadline", &DEADLINE).and_then(|deadline| self.deadline(&deadline)),
            retry: fields.table("retry", &RETRY).map(|retry| self.retry(&retry)),
            hedge: (kind == Kind::Route).then(|| fields.table("hedge", &HEDGE)).flatten().and_then(|from| hedge(&from)),
            breaker: fields.table("breaker", &BREAKER).map(|breaker| self.breaker(&breaker)),
            limit: self.limit(&fields.section("limit", &LIMIT)),
            balance: balance(&fields.section("balance", &BALANCE)),
            auth,
            browser_origins,
            headers: self.headers(&fields.section("headers", &HEADERS)),
            compress: fields.table("compress", &COMPRESS).and_then(|compress| self.compress(&compress)),
            decompress: fields.table("decompress", &DECOMPRESS).and_then(|decompress| self.decompress(&decompress)),
            fault: fields.table("fault", &FAULT).map(|fault| self.fault(&fault)),
            fallback: Vec::new(),
            mirror: None,
            tls,
            rewrite_location: fields.flag("rewrite_location"),
            intercept: fields.node("intercept").map(|_| fields.flag("intercept")),
        }
    }

    fn rewrite(&mut self, fields: &Fields<'_>) -> Rewrite {
        if fields.written("path") && fields.written("prefix") {
            let help = "keep `path` for the whole path, or `prefix` for its beginning";
            self.report.error("exclusive-keys", fields.key("prefix"), "`path` and `prefix` exclude each other", help);
        }
        Rewrite {
            host: fields.parse("host", values::rewritten_host),
            path: fields.parse("path", values::path),
            prefix: fields.parse("prefix", values::path),
        }
    }

    fn timeout(&mut self, fields: &Fields<'_>, kind: Kind) -> Timeout {
        let table = if kind == Kind::Route { &TIMEOUT } else { &DEFAULT_TIMEOUT };
        let fields = fields.section("timeout", table);
        let attempt = fields.maybe_duration("attempt");
        let total = match fields.node("total") {
            Some(_) => fields.maybe_duration("total"),
            None => Some(attempt.map_or(Duration::ZERO, |a| a * 2).max(Duration::from_secs(30))),
        };
        if let (Some(one), Some(all)) = (attempt, total)
            && one > all
            && fields.written("attempt")
        {
            let help = "raise `total`, or lower `attempt`";
            let message = "one attempt may take longer than all of them: `total` ends it first";
            self.report.warning("attempt-exceeds-total", fields.place("attempt"), message, help);
        }
        Timeout {
            connect: fields.duration("connect"),
            attempt,
            total,
            idle: fields.duration("idle"),
            tunnel_idle: fields.duration("tunnel_idle"),
        }
    }

    fn deadline(&mut self, fields: &Fields<'_>) -> Option<Deadline> {
        let header = fields.parse("header", values::edited_header)?;
        if header == "grpc-timeout" {
            let help = "name a header of your own";
            let message = "`grpc-timeout` is read without being named, in a form of its own";
            self.report.error("bad-value", fields.place("header"), message, help);
        }
        let out = match fields.node("out") {
            Some(node) if node.is_false() => None,
            Some(_) => fields.parse("out", values::edited_header),
            None => Some(header.clone()),
        };
        Some(Deadline { header, out })
    }

    fn retry(&mut self, fields: &Fields<'_>) -> Retry {
        let mut statuses = fields.all("statuses", values::statuses);
        let mut on = Conditions { connect_failure: false, reset: false, refused_stream: false, timeout: false };
        for word in fields.list("conditions").iter().filter_map(Node::scalar) {
            match word.text.as_str() {
                "connect-failure" => on.connect_failure = true,
                "reset" => on.reset = true,
                "refused-stream" => on.refused_stream = true,
                "timeout" => on.timeout = true,
                "retriable-4xx" => statuses.push((409, 409)),
                // Envoy's two bundles also cover an upstream that does not answer at all.
                class => {
                    statuses.push(if class == "5xx" { (500, 599) } else { (502, 504) });
                    on = Conditions { connect_failure: true, reset: true, refused_stream: true, timeout: true };
                }
            }
        }
        if let (Some(attempts), true) = (fields.maybe_int("attempts"), fields.aliased("statuses"))
            && fields.written("attempts")
        {
            let message = format!("`attempts: {attempts}` counts the first try too, unlike the Gateway API's");
            let help = format!("write {} if you mean {attempts} retries; write `statuses` if not", attempts + 1);
            self.report.warning("gateway-attempts", fields.place("attempts"), message, help);
        }
        let backoff = fields.duration("backoff");
        let max_backoff = fields.maybe_duration("max_backoff").unwrap_or(backoff * 10);
        if backoff > max_backoff {
            let help = "raise `max_backoff`, or lower `backoff`";
            self.report.error("out-of-range", fields.place("max_backoff"), "`max_backoff` is below `backoff`", help);
        }
        let budget = fields.section("budget", &BUDGET);
        Retry {
            attempts: fields.int("attempts"),
            statuses,
            conditions: on,
            methods: fields.all("methods", values::method),
            grpc: fields.all("grpc", values::grpc),
            headers: fields.pairs("headers", values::header_name, values::value_match),
            attempts_header: fields.parse("attempts_header", values::edited_header),
            backoff,
            max_backoff,
            budget: Budget { ratio: budget.share("ratio"), per_second: budget.int("per_second") },
            body_limit: fields.size("body_limit"),
        }
    }

    fn breaker(&mut self, fields: &Fields<'_>) -> Breaker {
        let open = fields.duration("open");
        let max_open = fields.maybe_duration("max_open");
        if max_open.is_some_and(|max| max < open) {
            let help = "raise `max_open`, or lower `open`";
            self.report.error("out-of-range", fields.place("max_open"), "`max_open` is below `open`", help);
        }
        let slow = fields.table("slow", &SLOW);
        Breaker {
            failures: fields.maybe_int("failures").and_then(|n| u32::try_from(n).ok()),
            rate: fields.share("rate"),
            min_requests: fields.int("min_requests"),
            slow: slow.map(|slow| Slow { over: slow.duration("over"), rate: slow.share("rate") }),
            open,
            max_open: max_open.unwrap_or(Duration::from_secs(60).max(open)),
            probes: fields.int("probes"),
        }
    }

    fn limit(&mut self, fields: &Fields<'_>) -> Limit {
        let concurrency = fields.maybe_int("concurrency").and_then(|n| u32::try_from(n).ok());
        let queue = fields.table("queue", &QUEUE);
        let adaptive = fields.flag("adaptive");
        if queue.is_some() && concurrency.is_none() && !adaptive {
            let message = "`queue` without `concurrency` or `adaptive`: there is nothing to wait for";
            self.report.error("missing-key", fields.key("queue"), message, "add `concurrency`");
        }
        let queue = queue.map(|queue| Queue { size: queue.int("size"), timeout: queue.duration("timeout") });
        let rate = fields.parse("rate", values::rate);
        for key in ["burst", "per", "for"].into_iter().filter(|key| rate.is_none() && fields.written(key)) {
            let message = format!("`{key}` without `rate`: there is nothing to count");
            self.report.error("missing-key", fields.key(key), message, "add `rate`");
        }
        let (burst, per) = (fields.maybe_int("burst"), fields.parse("per", values::per));
        if fields.written("for") && per.as_ref().is_some_and(|per| *per != Per::Identity) {
            let message = "`for` gives callers a rate of their own, and here they have none";
            self.report.error("misplaced-key", fields.key("for"), message, "add `per: identity`");
        }
        let special: Vec<_> = fields.list("for").iter().filter_map(|item| self.rate_for(item)).collect();
        let rate = rate.zip(per).map(|((count, period), per)| {
            let burst = burst.and_then(|n| u32::try_from(n).ok()).unwrap_or(count);
            Rate { count, period, burst, per, special }
        });
        Limit { concurrency, adaptive, queue, rate, pacing: fields.flag("pacing") }
    }

    fn rate_for(&mut self, item: &Node) -> Option<RateFor> {
        let fields = Fields::of(item, &RATE_FOR);
        let node = fields.node("who")?;
        let who = self.caller(&Fields::of(node, &WHO), node.sound());
        let (count, period) = fields.parse("rate", values::rate)?;
        let burst = fields.maybe_int("burst").and_then(|n| u32::try_from(n).ok()).unwrap_or(count);
        Some(RateFor { who, count, period, burst })
    }

    /// Exactly one of these keys must be written.
    pub(super) fn one_of(&mut self, fields: &Fields<'_>, names: &[&'static str]) {
        let written: Vec<_> = names.iter().filter(|n| fields.written(n)).collect();
        let all = names.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ");
        match written.as_slice() {
            [_] => {}
            [] if fields.at.written() => {
                self.report.error("missing-key", fields.at, format!("none of {all}"), "write one of them")
            }
            [] => {}
            [_, second, ..] => {
                self.report.error("exclusive-keys", fields.key(second), format!("more than one of {all}"), "keep one");
            }
        }
    }

    fn headers(&mut self, fields: &Fields<'_>) -> Headers {
        let mut edit = |name: &'static str, request: bool| {
            let fields = fields.section(name, &EDIT);
            let mut add = Vec::new();
            for entry in fields.map("add") {
                if let (Ok(name), Value::List(values)) = (values::edited_header(&entry.key), &entry.value.value) {
                    let values = values.iter().filter_map(|v| values::header_value(&v.scalar()?.text).ok());
                    add.extend(values.map(|value| (name.clone(), value)));
                }
            }
            for entry in fields.map("set").iter().chain(fields.map("add")).filter(|_| request) {
                self.literal(entry);
            }
            let set = fields.pairs("set", values::edited_header, values::header_value);
            HeaderEdit { set, add, remove: fields.all("remove", values::edited_header) }
        };
        Headers { request: edit("request", true), response: edit("response", false) }
    }

    /// A header that carries credentials, written with its value.
    fn literal(&mut self, entry: &Entry) {
        if carries_secret(&entry.key) {
            self.report.mask(entry.value.at);
            let message = format!("`{}` usually carries a secret, and this one is in the configuration", entry.key);
            let help = "use `auth: {header: {name: ..., value: {file: ...}}}`";
            self.report.warning("literal-credential", entry.at, message, help);
        }
    }

    fn compress(&mut self, fields: &Fields<'_>) -> Option<Compress> {
        let algorithms = self.algorithms(fields);
        let min_size = fields.size("min_size");
        let types = fields.all("types", values::media);
        fields.flag("enabled").then_some(Compress { algorithms, min_size, types })
    }

    fn decompress(&mut self, fields: &Fields<'_>) -> Option<Decompress> {
        let algorithms = self.algorithms(fields);
        let max_size = fields.size("max_size");
        fields.flag("enabled").then_some(Decompress { algorithms, max_size })
    }

    fn algorithms(&mut self, fields: &Fields<'_>) -> Algorithms {
        let items = fields.list("algorithms");
        if items.is_empty() && fields.node("algorithms").is_some() {
            let help = "write at least one, or `enabled: false`";
            self.report.error("bad-value", fields.place("algorithms"), "no algorithm", help);
        }
        let has = |name| items.iter().filter_map(Node::scalar).any(|item| item.text == name);
        Algorithms { gzip: has("gzip"), br: has("br"), zstd: has("zstd") }
    }

    pub(super) fn tls(&mut self, fields: &Fields<'_>) -> Tls {
        let tls = Tls {
            ca: fields.parse("ca", values::file),
            cert: fields.parse("cert", values::file),
            key: fields.parse("key", values::file),
            sni: fields.parse("sni", values::name),
            min: if fields.text("min") == Some("1.3") { TlsVersion::V13 } else { TlsVersion::V12 },
        };
        let missing = match (fields.written("cert"), fields.written("key")) {
            (true, false) => Some(("cert", "key")),
            (false, true) => Some(("key", "cert")),
            _ => None,
        };
        if let Some((given, missing)) = missing {
            self.half(fields, given, missing);
        }
        tls
    }
}

fn hedge(fields: &Fields<'_>) -> Option<Hedge> {
    Some(Hedge { after: fields.parse("after", values::hedge_after)?, budget: fields.share("budget") })
}

pub(super) fn balance(fields: &Fields<'_>) -> Balance {
    match fields.text("policy") {
        Some("least_request") => Balance::LeastRequest,
        Some("round_robin") => Balance::RoundRobin,
        Some("random") => Balance::Random,
        Some("ring") => Balance::Ring,
        _ => Balance::P2c,
    }
}
