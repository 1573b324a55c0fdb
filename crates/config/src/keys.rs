//! Every key of the configuration: its form, its default and one sentence of what it does.
//!
//! This is the only place where a key, a default or its documentation is written. The defaults are those of the
//! published semantics; three are derived from a neighbour instead of fixed, and say so.

mod identity;

pub(crate) use self::identity::{API_KEY, API_KEYS, AUTHENTICATE, IDENTITY, JWT, JWT_KEYS, USERS, USERS_FILE};
use crate::table::{
    Absent::{self, Is, Means, Required},
    Field, Form,
    Kind::{self, Bool, Duration, Int, List, Map, OneOrMany, OrFalse, Share, Size, Word},
    Table,
};
use crate::values;

const fn field(name: &'static str, kind: Kind, absent: Absent, doc: &'static str) -> Field {
    Field { name, aliases: &[], kind, absent, doc }
}

const fn aliased(
    name: &'static str,
    alias: &'static [&'static str],
    kind: Kind,
    absent: Absent,
    doc: &'static str,
) -> Field {
    Field { name, aliases: alias, kind, absent, doc }
}

const fn table(
    name: &'static str,
    doc: &'static str,
    short: Option<&'static str>,
    fields: &'static [&'static [Field]],
) -> Table {
    Table { name, doc, short, fields, secret: false }
}

macro_rules! form {
    ($name:ident, $parse:ident, $numbers:literal, $expect:literal) => {
        static $name: Form = Form { expect: $expect, numbers: $numbers, check: |text| values::$parse(text).map(drop) };
    };
}

form!(ADDRESS, address, false, "an address such as `127.0.0.1:4780` or `unix:/run/attache/proxy.sock`");
form!(SOCKET, socket, false, "an address such as `0.0.0.0:4782`");
form!(RESOLVE, resolve, false, "an IP address, with or without a port");
form!(NAME, name, false, "a host name");
form!(NET, net, false, "a network such as `10.0.0.0/8`");
form!(DESTINATION, destination, false, "a network, an address or a host");
form!(HOST, host, false, "a host such as `api.example.com` or `*.example.com`");
form!(HASH_ON, hash_on, false, "`peer`, `header:x-user` or `cookie:session`");
form!(URL, url, false, "a URL such as `https://api.example.com`");
form!(PARENT_URL, parent, false, "a URL such as `http://corp-proxy:3128`");
form!(TO, to, false, "a URL such as `https://api.example.com`, or `upstream:name`");
form!(LABEL, label, false, "a name");
form!(PATH, path, false, "a path that begins with `/`");
form!(PATH_MATCH, path_match, false, "a path such as `/v1`, `/v1/` or `~/v[0-9]+/.*`");
form!(VALUE_MATCH, value_match, true, "a value, `*` for any, or `~regex`");
form!(METHOD, method, false, "a method such as `GET`");
form!(STATUSES, statuses, true, "a status such as `429`, `5xx` or `500-504`");
form!(PORTS, ports, true, "a port such as `443`, or a range such as `\"8000-8999\"`");
form!(RATE, rate, false, "a rate such as `100/s`, `1000/m` or `5000/h`");
form!(PER, per, false, "`route`, `client`, `identity`, `destination` or `header:<name>`");
form!(HEDGE_AFTER, hedge_after, false, "a time such as `50ms`, or a percentile such as `p95`");
form!(GRPC, grpc, true, "a gRPC status such as `unavailable`");
form!(HEADER, header_name, false, "a header name");
form!(EDITED, edited_header, false, "a header name");
form!(HEADER_VALUE, header_value, true, "a header value");
form!(ORIGIN, origin, false, "an origin such as `https://app.example.com`, or `*`");
form!(LOCATION, location, false, "a URL or a path that begins with `/`");
form!(NEW_HOST, rewritten_host, false, "a host such as `api.example.com`");
form!(FILE, file, false, "the path of a file");
form!(VARIABLE, variable, false, "the name of an environment variable");
form!(USER, user, false, "a user name");
form!(MEDIA, media, false, "a media type such as `text/*` or `application/json`");
form!(ON, on, true, "a failure such as `connect_refused`, or a status such as `503` or `5xx`");
form!(TEXT, text, true, "text");
form!(CALLER, caller, false, "`anyone_local`, `authenticated`, `anyone`, or such as `user:alice`");
form!(USER_OF, user_of, true, "a user's name or number");
form!(MODE, mode, true, "rights such as `\"0660\"`");
form!(GROUP, group, true, "a group's name or number");
form!(UNIT, unit, false, "a systemd unit such as `backup.service`");
form!(CGROUP, cgroup, false, "a control group such as `/system.slice/*`");
form!(CONTAINER, container, false, "a container's identifier, or its first 12 digits");
form!(SPIFFE, spiffe, false, "a SPIFFE id such as `spiffe://example.org/ns/prod/sa/web`");
form!(DNS, dns, false, "a host name such as `app.example.com` or `*.example.com`");
form!(SHOWN, shown, false, "a token's subject, a key's name or a user; `*` for any");
form!(LINE, line, true, "text on one line");
form!(ENDPOINT_URL, endpoint, false, "a URL such as `https://issuer.example.com/oauth/token`");
form!(PLACEHOLDER_WORD, placeholder, false, "a word such as `ATTACHE_API_TOKEN`");
form!(SCOPE, scope, false, "a name such as `eu-central-1`");
form!(CREDENTIAL, credential, false, "the name of a systemd credential");

static WORD_KIND: Kind = Kind::Form(&TEXT);
static LINE_KIND: Kind = Kind::Form(&LINE);
static ADMIN_KIND: Kind = Kind::Table(&ADMIN);
static USER_OF_KIND: Kind = Kind::Form(&USER_OF);
static ENDPOINT_KIND: Kind = Kind::Table(&ENDPOINT);
static NET_KIND: Kind = Kind::Form(&NET);
static DESTINATION_KIND: Kind = Kind::Form(&DESTINATION);
static RESOLVE_KIND: Kind = Kind::Form(&RESOLVE);
static VALUE_MATCH_KIND: Kind = Kind::Form(&VALUE_MATCH);
static ON_KIND: Kind = Kind::Form(&ON);
static FALLBACK_KIND: Kind = Kind::Table(&FALLBACK);
static METHOD_KIND: Kind = Kind::Form(&METHOD);
static STATUSES_KIND: Kind = Kind::Form(&STATUSES);
static PORTS_KIND: Kind = Kind::Form(&PORTS);
static GRPC_KIND: Kind = Kind::Form(&GRPC);
static EDITED_KIND: Kind = Kind::Form(&EDITED);
static HEADER_VALUE_KIND: Kind = Kind::Form(&HEADER_VALUE);
static HEADER_VALUES_KIND: Kind = OneOrMany(&HEADER_VALUE_KIND);
static MEDIA_KIND: Kind = Kind::Form(&MEDIA);
static ALGORITHM_KIND: Kind = Word(&["gzip", "br", "zstd"]);
static ORIGIN_KIND: Kind = Kind::Form(&ORIGIN);
static DURATION_KIND: Kind = Duration(1);
static LISTENER_KIND: Kind = Kind::Table(&LISTENER);
static CERTIFICATE_KIND: Kind = Kind::Table(&CERTIFICATE);
pub(crate) static ROOT_KIND: Kind = Kind::Table(&ROOT);
pub(crate) static DEFAULT_KIND: Kind = Kind::Table(&DEFAULT);
pub(crate) static ROUTE_KIND: Kind = Kind::Table(&ROUTE);
static UPSTREAM_KIND: Kind = Kind::Table(&UPSTREAM);
static HEADER_KIND: Kind = Kind::Form(&HEADER);
static RATE_FOR_KIND: Kind = Kind::Table(&RATE_FOR);
static RULE_KIND: Kind = Kind::Table(&RULE);
static HOST_KIND: Kind = Kind::Form(&HOST);
static PATH_MATCH_KIND: Kind = Kind::Form(&PATH_MATCH);
static TEXT_KIND: Kind = Kind::Form(&TEXT);
static TEXTS_KIND: Kind = OneOrMany(&TEXT_KIND);
static TARGET_KIND: Kind = Kind::Table(&TARGET);
static RETRY_KIND: Kind = Kind::Table(&RETRY);
static HEDGE_KIND: Kind = Kind::Table(&HEDGE);
static BREAKER_KIND: Kind = Kind::Table(&BREAKER);
static OUTLIER_KIND: Kind = Kind::Table(&OUTLIER);
static PARENT_KIND: Kind = Kind::Table(&PARENT);
static ACCESS_KIND: Kind = Kind::Table(&ACCESS);
static CONDITION_KIND: Kind =
    Word(&["connect-failure", "reset", "refused-stream", "timeout", "5xx", "gateway-error", "retriable-4xx"]);

pub(crate) static ROOT: Table = table(
    "config",
    "A configuration of attache.",
    None,
    &[&[
        field("listen", OneOrMany(&LISTENER_KIND), Is("[127.0.0.1:4780]"), "Where clients connect."),
        field("admin", OrFalse(&ADMIN_KIND), Is("127.0.0.1:4781"), "Control and status, for this machine only."),
        field(
            "tenancy",
            Word(&["own", "shared"]),
            Means("shared, if `mode` or `group` opens a unix socket to others, else own"),
            "Whose proxy it is: one user's, or that of several users of a machine.",
        ),
        field(
            "metrics",
            Kind::Table(&METRICS),
            Is("{}"),
            "Numbers for Prometheus, besides what /metrics of admin shows anyway.",
        ),
        field("workers", Int(1, 1024), Means("the cores within the quota, at most 4"), "Threads that carry requests."),
        field("resolve", Map(&NAME, &RESOLVE_KIND), Is("{}"), "Addresses of names, instead of DNS."),
        field("default", Kind::Table(&DEFAULT), Is("{}"), "What happens to hosts that no route names."),
        field("upstreams", List(&UPSTREAM_KIND), Is("[]"), "Named sets of endpoints, shared by routes."),
        field("identities", List(&identity::IDENTITY_KIND), Is("[]"), "Ways for callers to prove who they are."),
        field("routes", List(&ROUTE_KIND), Is("[]"), "What to do with which requests; the first match wins."),
        field("server", Kind::Table(&SERVER), Is("{}"), "Limits on the side of the clients."),
        field("destinations", Kind::Table(&DESTINATIONS), Is("{}"), "Where requests may go."),
        field(
            "ca",
            Kind::Table(&CA),
            Means("the files of `attache ca init`"),
            "The authority that signs for hosts with `intercept`; clients must trust it.",
        ),
        field(
            "parent",
            OneOrMany(&PARENT_KIND),
            Is("[]"),
            "Proxies that requests leave through; the first that a destination may take is its own.",
        ),
        field("drain", Duration(0), Is("30s"), "Time for requests in flight to end when the process is told to stop."),
        field("log", Kind::Table(&LOG), Is("{}"), "Messages and the access log."),
    ]],
);

pub(crate) static LISTENER: Table = table(
    "listener",
    "A socket to listen on.",
    Some("address"),
    &[&[
        field("address", Kind::Form(&ADDRESS), Required, "An address and port, or unix:/path."),
        field("clients", OneOrMany(&NET_KIND), Is("[]"), "Networks that may connect; required beyond loopback."),
        field(
            "mode",
            Kind::Form(&MODE),
            Means("what the process's umask leaves"),
            "The rights of a unix socket's file.",
        ),
        field("group", Kind::Form(&GROUP), Means("the process's own"), "The group of a unix socket's file."),
        field("tls", Kind::Table(&LISTENER_TLS), Means("plain"), "TLS towards the clients."),
    ]],
);

pub(crate) static ADMIN: Table = table(
    "admin",
    "Control and status.",
    Some("address"),
    &[&[
        field("address", Kind::Form(&ADDRESS), Required, "An address and port of loopback, or unix:/path."),
        field("mode", Kind::Form(&MODE), Means("0660"), "The rights of a unix socket's file."),
        field("group", Kind::Form(&GROUP), Means("the process's own"), "The group of a unix socket's file."),
        field(
            "users",
            OneOrMany(&USER_OF_KIND),
            Is("[]"),
            "Who may change things and see everything over a unix socket, besides root and the process's own user.",
        ),
    ]],
);

pub(crate) static METRICS: Table = table(
    "metrics",
    "Numbers for Prometheus.",
    Some("address"),
    &[&[
        field(
            "address",
            Kind::Form(&SOCKET),
            Means("on the admin address only"),
            "Read-only /metrics, /livez and /readyz for scraping from elsewhere.",
        ),
        field(
            "identities",
            Int(0, 1_000),
            Is("0"),
            "How many callers `attache_identity_requests_total` counts by their names; all others are `_other`.",
        ),
    ]],
);

pub(crate) static LISTENER_TLS: Table = table(
    "listener_tls",
    "TLS towards the clients; files are read again when they change.",
    None,
    &[&[
        field("cert", Kind::Form(&FILE), Means("none"), "The certificate and its chain, as PEM."),
        field("key", Kind::Form(&FILE), Means("none"), "Its private key, as PEM."),
        field(
            "certificates",
            List(&CERTIFICATE_KIND),
            Is("[]"),
            "Several instead, chosen by the name that the client asks for; the first serves all other names.",
        ),
        field("client_ca", Kind::Form(&FILE), Means("none"), "A PEM bundle that signs the clients' certificates."),
        field(
            "client_auth",
            Word(&["off", "optional", "required"]),
            Means("required with `client_ca`, else off"),
            "Whether clients show a certificate.",
        ),
        field("min", Word(&["1.2", "1.3"]), Is("1.2"), "The oldest version."),
    ]],
);

pub(crate) static CERTIFICATE: Table = table(
    "certificate",
    "A certificate and its key.",
    None,
    &[&[
        field("cert", Kind::Form(&FILE), Required, "The certificate and its chain, as PEM."),
        field("key", Kind::Form(&FILE), Required, "Its private key, as PEM."),
    ]],
);

pub(crate) static CA: Table = table(
    "ca",
    "The authority that signs for hosts with `intercept`.",
    None,
    &[&[
        field("cert", Kind::Form(&FILE), Required, "Its certificate, as PEM."),
        field("key", Kind::Form(&FILE), Required, "Its private key, as PEM, which nobody else may read (mode 0600)."),
    ]],
);

pub(crate) static UPSTREAM: Table = table(
    "upstream",
    "A named set of endpoints.",
    None,
    &[&[
        field("name", Kind::Form(&LABEL), Required, "How routes refer to it."),
        field("endpoints", OneOrMany(&ENDPOINT_KIND), Required, "URLs, all of one scheme."),
        field("balance", Kind::Table(&UPSTREAM_BALANCE), Is("{}"), "How an endpoint is picked."),
        field(
            "slow_start",
            Duration(1),
            Means("at once"),
            "The time over which an endpoint that comes back grows into its share; not for `ring`.",
        ),
        field("health", Kind::Table(&HEALTH), Means("off"), "Asks the endpoints themselves whether they are well."),
        field("outlier", OrFalse(&OUTLIER_KIND), Is("{}"), "Leaves out an endpoint that fails more than the others."),
        field(
            "max_ejected",
            Share,
            Is("50%"),
            "Share of the endpoints that may be left out; beyond it requests go to all of them.",
        ),
        field("tls", Kind::Table(&TLS), Is("{}"), "TLS towards the endpoints."),
    ]],
);

pub(crate) static ENDPOINT: Table = table(
    "endpoint",
    "One copy of the service.",
    Some("url"),
    &[&[
        field("url", Kind::Form(&URL), Required, "Its URL."),
        field("priority", Int(0, 100), Is("0"), "Those of the lowest number that are well enough take the requests."),
    ]],
);

pub(crate) static UPSTREAM_BALANCE: Table = table(
    "upstream_balance",
    "How an endpoint is picked.",
    Some("policy"),
    &[&[
        field(
            "policy",
            Word(&["p2c", "least_request", "round_robin", "random", "ring"]),
            Is("p2c"),
            "The better of two random ones by default; `ring` keeps equal requests together.",
        ),
        field("hash_on", Kind::Form(&HASH_ON), Means("none"), "What makes requests equal for `ring`."),
    ]],
);

pub(crate) static HEALTH: Table = table(
    "health",
    "Asks the endpoints themselves whether they are well.",
    Some("http"),
    &[&[
        field("http", Kind::Form(&PATH), Means("none"), "A path to GET."),
        field("tcp", Bool, Means("none"), "`true`: to be connected is enough, TLS included."),
        field("grpc", Kind::Form(&TEXT), Means("none"), "A service for grpc.health.v1; '' is the server as a whole."),
        field("host", Kind::Form(&NEW_HOST), Means("the endpoint's own"), "The host that `http` asks for."),
        field("expect", OneOrMany(&STATUSES_KIND), Is("[2xx]"), "Statuses that are good for `http`."),
        field("every", Duration(100), Is("5s"), "Between two checks."),
        field("timeout", Duration(1), Is("1s"), "For one check."),
        field("healthy", Int(1, 1_000), Is("2"), "Good checks in a row that bring an endpoint back."),
        field("unhealthy", Int(1, 1_000), Is("3"), "Failed checks in a row that leave an endpoint out."),
    ]],
);

pub(crate) static OUTLIER: Table = table(
    "outlier",
    "Leaves out an endpoint that fails more than the others.",
    Some("margin"),
    &[&[
        field("margin", Share, Is("25%"), "By how much its share of failures lies above that of the others."),
        field(
            "min_requests",
            Int(1, 1_000_000),
            Is("20"),
            "Requests in ten seconds, its own and the others', below which shares say nothing.",
        ),
    ]],
);

pub(crate) static BALANCE: Table = table(
    "balance",
    "How an endpoint is picked.",
    Some("policy"),
    &[&[field(
        "policy",
        Word(&["p2c", "least_request", "round_robin", "random"]),
        Is("p2c"),
        "The better of two random ones by default.",
    )]],
);

static POLICY: [Field; 18] = [
    field("authenticate", Kind::Table(&AUTHENTICATE), Means("nobody is asked"), "Asks callers who they are."),
    field(
        "allow",
        OneOrMany(&RULE_KIND),
        Means("everyone who can reach the listener"),
        "Who may use it; everybody else is refused.",
    ),
    field("authorize", Kind::Table(&AUTHORIZE), Means("off"), "Asks somebody else whether a request may be made."),
    field("rewrite", Kind::Table(&REWRITE), Is("{}"), "Changes to the target on its way out."),
    field("deadline", Kind::Table(&DEADLINE), Means("grpc-timeout only"), "How long the client itself waits."),
    field("retry", OrFalse(&RETRY_KIND), Is("{}"), "Repeats what is safe to repeat."),
    field("breaker", OrFalse(&BREAKER_KIND), Is("{}"), "Stops calling what keeps failing."),
    field("limit", Kind::Table(&LIMIT), Is("{}"), "How much is sent at once."),
    field("balance", Kind::Table(&BALANCE), Is("{}"), "How one of several targets is picked."),
    field("auth", Kind::Table(&AUTH), Means("none"), "The credential that is sent to the upstream."),
    field(
        "browser_origins",
        OneOrMany(&ORIGIN_KIND),
        Is("[]"),
        "Web pages that may use a route with `auth`; `*`: all of them, and programs that call themselves a browser.",
    ),
    field("headers", Kind::Table(&HEADERS), Is("{}"), "Header changes, both ways."),
    field("fault", Kind::Table(&FAULT), Means("off"), "Breaks a share of the requests on purpose."),
    field("compress", Kind::Table(&COMPRESS), Means("off"), "Compresses responses for clients that accept it."),
    field(
        "decompress",
        Kind::Table(&DECOMPRESS),
        Means("off"),
        "Asks the upstream for compressed responses, and decodes them for clients that did not ask.",
    ),
    field("tls", Kind::Table(&TLS), Is("{}"), "TLS towards the upstream."),
    field(
        "rewrite_location",
        Bool,
        Is("true"),
        "Rewrites `Location: https://...` of this host back to http for plain http clients.",
    ),
    field(
        "intercept",
        Bool,
        Means("as the default has it; there: off"),
        "Opens the tunnels of https clients to this host with a certificate of `ca`, so that all of this applies.",
    ),
];

pub(crate) static ROUTE: Table = table(
    "route",
    "What to do with which requests.",
    None,
    &[
        &[
            field("name", Kind::Form(&LABEL), Means("its host"), "The metric label and /r/<name>/."),
            field("match", Kind::Table(&MATCH), Required, "What a request must look like; all parts must hold."),
            field(
                "to",
                OneOrMany(&TARGET_KIND),
                Means("the same host and scheme"),
                "Where requests go: URLs, or a named upstream.",
            ),
            field("redirect", Kind::Table(&REDIRECT), Means("none"), "Answers with a redirect."),
            field("respond", Kind::Table(&RESPOND), Means("none"), "Answers at once."),
            field("timeout", Kind::Table(&TIMEOUT), Is("{}"), "How long things may take."),
            field("hedge", OrFalse(&HEDGE_KIND), Means("off"), "A second try elsewhere while the first is late."),
            field("mirror", Kind::Table(&MIRROR), Means("off"), "Copies a share of the requests to another upstream."),
            field("fallback", List(&FALLBACK_KIND), Is("[]"), "Who answers when the upstream does not, or not well."),
        ],
        &POLICY,
    ],
);

pub(crate) static DEFAULT: Table = table(
    "default",
    "What happens to hosts that no route names.",
    Some("action"),
    &[
        &[
            field("action", Word(&["pass", "deny"]), Is("pass"), "Send them on, or refuse them."),
            field("timeout", Kind::Table(&DEFAULT_TIMEOUT), Is("{}"), "How long things may take."),
        ],
        &POLICY,
    ],
);

pub(crate) static MATCH: Table = table(
    "match",
    "What a request must look like.",
    Some("host"),
    &[&[
        field("host", Kind::Form(&HOST), Is("'*'"), "A host, *.suffix, or * for all; with a port only that port."),
        field("path", Kind::Form(&PATH_MATCH), Means("any path"), "/exact, /prefix/ or ~regex of the whole path."),
        aliased("method", &["methods"], OneOrMany(&METHOD_KIND), Is("[]"), "Methods; none means all."),
        field("headers", Map(&HEADER, &VALUE_MATCH_KIND), Is("{}"), "Header values: exact, * for present, ~regex."),
        field("query", Map(&TEXT, &VALUE_MATCH_KIND), Is("{}"), "Query parameters: exact, * for present, ~regex."),
        field("who", Kind::Table(&WHO), Means("anyone"), "Who calls, by what its connection proves."),
    ]],
);

/// Callers, wherever they are named.
static CALLERS: [Field; 10] = [
    field(
        "is",
        Kind::Form(&CALLER),
        Means("whoever the rest says"),
        "A word for many, or one of the keys as `key:value`.",
    ),
    field("user", Kind::Form(&USER_OF), Means("any"), "The user its process runs as, by name or number."),
    field("unit", Kind::Form(&UNIT), Means("any"), "The systemd unit of its process."),
    field("cgroup", Kind::Form(&CGROUP), Means("any"), "The control group of its process; with /* all below."),
    field("container", Kind::Form(&CONTAINER), Means("any"), "The container of its process."),
    field(
        "spiffe",
        Kind::Form(&SPIFFE),
        Means("any"),
        "The SPIFFE id in its certificate; * is one segment, a last /* all below.",
    ),
    field("dns", Kind::Form(&DNS), Means("any"), "A host name in its certificate; a first * is one label."),
    field("identity", Kind::Form(&LABEL), Means("any"), "What accepted its token, key or password."),
    field("name", Kind::Form(&SHOWN), Means("any"), "The subject, key or user that it showed; * for any."),
    field("claims", Map(&TEXT, &TEXTS_KIND), Is("{}"), "What its token says: paths such as org.id, and values."),
];

pub(crate) static AUTHORIZE: Table = table(
    "authorize",
    "Asks somebody else whether a request may be made, in the shape of OPA's data API.",
    Some("url"),
    &[&[
        field("url", Kind::Form(&URL), Required, "Where, with its path."),
        field("timeout", Duration(1), Is("200ms"), "For an answer."),
        field("fail", Word(&["closed", "open"]), Is("closed"), "Without an answer: refuse, or let pass."),
        field("cache", Duration(0), Is("0s"), "How long an answer stands for the same question."),
        field("headers", OneOrMany(&HEADER_KIND), Is("[]"), "Request headers that are told; never credentials."),
        field(
            "sets",
            Kind::Form(&EDITED),
            Means("nothing"),
            "How headers begin that an answer sets, such as x-authz-.",
        ),
        field("concurrency", Int(1, 100_000), Is("64"), "Questions under way; beyond them there is no answer."),
    ]],
);

pub(crate) static WHO: Table =
    table("who", "A caller; all parts must hold, and what is not known never does.", Some("is"), &[&CALLERS]);

pub(crate) static RULE: Table = table(
    "rule",
    "Who may, and what.",
    Some("is"),
    &[
        &CALLERS,
        &[
            field("hosts", OneOrMany(&HOST_KIND), Is("[]"), "Hosts; none means all."),
            aliased("methods", &["method"], OneOrMany(&METHOD_KIND), Is("[]"), "Methods; none means all."),
            aliased(
                "paths",
                &["path"],
                OneOrMany(&PATH_MATCH_KIND),
                Is("[]"),
                "Paths as in a match; none means all. One with .. in it is none of them.",
            ),
        ],
    ],
);

pub(crate) static TARGET: Table = table(
    "target",
    "Where requests go.",
    Some("url"),
    &[&[
        field("url", Kind::Form(&TO), Means("none"), "A URL, or upstream:name."),
        field("upstream", Kind::Form(&LABEL), Means("none"), "The name of an upstream, instead of a URL."),
        field("weight", Int(0, 1_000_000), Means("1 when another target has a weight"), "Its share of the requests."),
    ]],
);

pub(crate) static REDIRECT: Table = table(
    "redirect",
    "Answers with a redirect.",
    Some("location"),
    &[&[
        field("status", Int(300, 308), Is("302"), "301, 302, 303, 307 or 308."),
        field("location", Kind::Form(&LOCATION), Required, "A URL or a path."),
    ]],
);

pub(crate) static RESPOND: Table = table(
    "respond",
    "Answers at once.",
    Some("status"),
    &[&[
        field("status", Int(200, 599), Is("200"), "The status."),
        field("headers", Map(&EDITED, &HEADER_VALUE_KIND), Is("{}"), "Its headers."),
        field("body", Kind::Form(&TEXT), Is("''"), "Its body."),
    ]],
);

pub(crate) static FALLBACK: Table = table(
    "fallback",
    "Who answers when the upstream does not, or not well; the first that applies and can answer does.",
    None,
    &[&[
        field("on", OneOrMany(&ON_KIND), Required, "Failures of this proxy's table, and statuses of the upstream."),
        field(
            "to",
            Kind::Form(&TO),
            Means("none"),
            "A URL or upstream:name; asked only if that is as safe as a retry, so never for a POST that was sent.",
        ),
        field("auth", Kind::Table(&AUTH), Means("none"), "The credential for `to`, which never gets the route's own."),
        field("respond", Kind::Table(&RESPOND), Means("none"), "Answers at once."),
        field(
            "stale",
            Kind::Table(&STALE),
            Means("none"),
            "Answers a GET with the last good answer, if there is one that may be kept (RFC 9111, RFC 5861).",
        ),
    ]],
);

pub(crate) static STALE: Table = table(
    "stale",
    "Keeps answers for a time when there are none; every request is still sent on first.",
    Some("max_stale"),
    &[&[
        field(
            "max_stale",
            Duration(1),
            Required,
            "After it stopped being fresh; the origin's `stale-if-error` shortens it.",
        ),
        field("max_entries", Int(1, 100_000), Is("1000"), "Answers kept; the least recently used go first."),
        field("max_size", Size(1 << 10, 1 << 30), Is("16MiB"), "All of them together."),
        field("max_body", Size(0, 1 << 30), Is("1MiB"), "The body of one; larger ones are not kept."),
    ]],
);

pub(crate) static MIRROR: Table = table(
    "mirror",
    "Copies requests to another upstream, whose answers nobody gets.",
    Some("to"),
    &[&[
        field("to", Kind::Form(&TO), Required, "A URL or upstream:name."),
        field("auth", Kind::Table(&AUTH), Means("none"), "The credential for `to`, which never gets the route's own."),
        field("share", Share, Is("100%"), "Of the requests."),
        field("body_limit", Size(0, 16 << 20), Is("64KiB"), "Requests with larger bodies are not copied."),
        field("timeout", Duration(1), Is("5s"), "For a copy and its answer."),
        field("concurrency", Int(1, 10_000), Is("64"), "Copies under way; what is more is not copied."),
    ]],
);

pub(crate) static FAULT: Table = table(
    "fault",
    "Breaks requests on purpose, to see what clients make of it.",
    None,
    &[&[
        field("delay", Kind::Table(&DELAY), Means("none"), "Waits before it goes on, within the deadline."),
        field("abort", Kind::Table(&ABORT), Means("none"), "Answers instead of the upstream."),
        field("reset", Kind::Table(&RESET), Means("none"), "Resets the client's connection, or its stream of HTTP/2."),
        field(
            "headers",
            Map(&HEADER, &VALUE_MATCH_KIND),
            Is("{}"),
            "Only requests with these: exact, * for present, ~regex.",
        ),
    ]],
);

pub(crate) static DELAY: Table = table(
    "delay",
    "Waits before a request goes on.",
    Some("time"),
    &[&[
        field("time", Duration(1), Required, "How long; 10 minutes at most."),
        field("share", Share, Is("100%"), "Of the requests."),
    ]],
);

pub(crate) static ABORT: Table = table(
    "abort",
    "Answers instead of the upstream.",
    Some("status"),
    &[&[
        field("status", Int(200, 599), Means("503"), "The status."),
        field("grpc", Kind::Form(&GRPC), Means("unavailable"), "The status for clients that speak gRPC."),
        field("share", Share, Is("100%"), "Of the requests."),
    ]],
);

pub(crate) static RESET: Table = table(
    "reset",
    "Resets the client's connection, or its stream of HTTP/2.",
    Some("share"),
    &[&[field("share", Share, Required, "Of the requests.")]],
);

pub(crate) static REWRITE: Table = table(
    "rewrite",
    "Changes to the target.",
    None,
    &[&[
        field("host", Kind::Form(&NEW_HOST), Means("unchanged"), "The host that the upstream sees."),
        field("path", Kind::Form(&PATH), Means("unchanged"), "The whole path; the query stays."),
        field("prefix", Kind::Form(&PATH), Means("unchanged"), "Replaces the matched prefix."),
    ]],
);

static TIMEOUT_ENDS: [Field; 3] = [
    field("connect", Duration(1), Is("3s"), "DNS, TCP and TLS of one attempt."),
    field("idle", Duration(1), Is("5m"), "Without a byte in either direction of a body."),
    field("tunnel_idle", Duration(1), Is("1h"), "The same for tunnels and upgraded connections."),
];

pub(crate) static TIMEOUT: Table = table(
    "timeout",
    "How long things may take.",
    Some("attempt"),
    &[
        &TIMEOUT_ENDS,
        &[
            aliased(
                "attempt",
                &["backendRequest"],
                OrFalse(&DURATION_KIND),
                Is("15s"),
                "One attempt, to its response head.",
            ),
            aliased(
                "total",
                &["request"],
                OrFalse(&DURATION_KIND),
                Means("30s, or twice `attempt` when that is longer"),
                "All attempts and waits, to the response head.",
            ),
        ],
    ],
);

pub(crate) static DEFAULT_TIMEOUT: Table = table(
    "default_timeout",
    "How long things may take.",
    Some("attempt"),
    &[
        &TIMEOUT_ENDS,
        &[
            aliased(
                "attempt",
                &["backendRequest"],
                OrFalse(&DURATION_KIND),
                Is("false"),
                "One attempt, to its response head.",
            ),
            aliased(
                "total",
                &["request"],
                OrFalse(&DURATION_KIND),
                Is("false"),
                "All attempts and waits, to the response head.",
            ),
        ],
    ],
);

pub(crate) static DEADLINE: Table = table(
    "deadline",
    "How long the client itself waits for a whole answer; shortens `timeout: total`, and each attempt sends what is left.",
    Some("header"),
    &[&[
        field("header", Kind::Form(&EDITED), Required, "The header that says so, in milliseconds or with a unit."),
        field(
            "out",
            OrFalse(&EDITED_KIND),
            Means("the same header"),
            "The header with what is left; `false` for none.",
        ),
    ]],
);

pub(crate) static HEDGE: Table = table(
    "hedge",
    "A second try at another endpoint while the first is late; GET, HEAD and OPTIONS only.",
    Some("after"),
    &[&[
        field(
            "after",
            Kind::Form(&HEDGE_AFTER),
            Is("p95"),
            "How late: a time, or longer than this share of answers took.",
        ),
        field("budget", Share, Is("5%"), "Second tries at most, as a share of the requests."),
    ]],
);

pub(crate) static RETRY: Table = table(
    "retry",
    "Repeats what is safe to repeat.",
    Some("attempts"),
    &[&[
        field("attempts", Int(1, 100), Is("3"), "Tries, the first included."),
        aliased(
            "statuses",
            &["codes"],
            OneOrMany(&STATUSES_KIND),
            Is("[429, 502, 503, 504]"),
            "Statuses to retry; 429 only with Retry-After.",
        ),
        field(
            "conditions",
            OneOrMany(&CONDITION_KIND),
            Is("[connect-failure, reset, refused-stream, timeout]"),
            "Failures to retry; Envoy's names add their statuses.",
        ),
        field(
            "methods",
            OneOrMany(&METHOD_KIND),
            Is("[GET, HEAD, OPTIONS, PUT, DELETE, TRACE]"),
            "Methods that may be repeated once a byte was sent.",
        ),
        field("grpc", OneOrMany(&GRPC_KIND), Is("[]"), "gRPC statuses to retry."),
        field(
            "headers",
            Map(&HEADER, &VALUE_MATCH_KIND),
            Is("{}"),
            "Response headers that ask for a retry, whatever the status: exact, * for present, ~regex.",
        ),
        field(
            "attempts_header",
            Kind::Form(&EDITED),
            Means("a client has no say"),
            "The header by which a client sets `attempts` for its request.",
        ),
        field("backoff", Duration(1), Is("25ms"), "The first wait, at most; it doubles, with full jitter."),
        field("max_backoff", Duration(1), Means("ten times `backoff`"), "The longest wait."),
        field("budget", Kind::Table(&BUDGET), Is("{}"), "Retries allowed, so that they cannot become a storm."),
        field("body_limit", Size(0, 64 << 20), Is("64KiB"), "Bytes of a request body kept for a repeat."),
    ]],
);

pub(crate) static BUDGET: Table = table(
    "budget",
    "Retries allowed, over ten seconds.",
    Some("ratio"),
    &[&[
        field("ratio", Share, Is("20%"), "Share of requests."),
        field("per_second", Int(0, 1_000_000), Is("10"), "And this many a second."),
    ]],
);

pub(crate) static BREAKER: Table = table(
    "breaker",
    "Stops calling what keeps failing.",
    Some("failures"),
    &[&[
        field(
            "failures",
            Int(1, 1_000_000),
            Means("5, of connections only"),
            "Failures of any kind in a row that open it.",
        ),
        field("rate", Share, Is("50%"), "Share of failures that opens it."),
        field(
            "min_requests",
            Int(1, 1_000_000),
            Is("20"),
            "Requests in ten seconds below which the share says nothing.",
        ),
        field("slow", Kind::Table(&SLOW), Means("off"), "Opens it on slow answers."),
        field("open", Duration(1), Is("5s"), "How long it stays open; doubles each time."),
        field("max_open", Duration(1), Means("60s, or `open` when that is longer"), "The longest time it stays open."),
        field("probes", Int(1, 1_000), Is("3"), "Successes in a row that close it again."),
    ]],
);

pub(crate) static SLOW: Table = table(
    "slow",
    "Opens the breaker on slow answers.",
    Some("over"),
    &[&[
        field("over", Duration(1), Required, "An answer that takes longer is slow."),
        field("rate", Share, Is("50%"), "Share of slow answers that opens the breaker."),
    ]],
);

pub(crate) static LIMIT: Table = table(
    "limit",
    "How much is sent at once.",
    Some("concurrency"),
    &[&[
        field(
            "concurrency",
            Int(1, 1_000_000),
            Means("1024 to each endpoint"),
            "Requests in flight on this route; of a route without `to`, for each host.",
        ),
        field(
            "adaptive",
            Bool,
            Is("false"),
            "Finds out how much the destination bears; `concurrency` is the most then.",
        ),
        field("queue", Kind::Table(&QUEUE), Means("none"), "Where those wait that find no place."),
        field("rate", Kind::Form(&RATE), Means("none"), "Requests in a time; more get 429 with Retry-After."),
        field("burst", Int(1, 1_000_000), Means("the number in `rate`"), "Requests at once, after a pause."),
        field("per", Kind::Form(&PER), Is("route"), "What has a rate of its own."),
        field(
            "for",
            List(&RATE_FOR_KIND),
            Is("[]"),
            "Other rates for some callers, with `per: identity`; the first fits.",
        ),
        field("pacing", Bool, Is("false"), "Waits until a limit that the upstream announced is renewed."),
    ]],
);

pub(crate) static RATE_FOR: Table = table(
    "rate_for",
    "Another rate for some callers.",
    None,
    &[&[
        field("who", Kind::Table(&WHO), Required, "Who."),
        field("rate", Kind::Form(&RATE), Required, "Requests in a time, for each of them."),
        field("burst", Int(1, 1_000_000), Means("the number in `rate`"), "Requests at once, after a pause."),
    ]],
);

pub(crate) static QUEUE: Table = table(
    "queue",
    "Where requests wait for a place, first come, first served.",
    Some("size"),
    &[&[
        field("size", Int(1, 100_000), Required, "Requests that may wait."),
        field("timeout", Duration(1), Is("1s"), "How long one waits at most."),
    ]],
);

pub(crate) static AUTH: Table = Table {
    secret: true,
    ..table(
        "auth",
        "The credential that is sent to the upstream, and nowhere else.",
        None,
        &[&[
            field("bearer", Kind::Table(&SECRET), Means("none"), "`Authorization: Bearer ...`."),
            field("basic", Kind::Table(&BASIC), Means("none"), "`Authorization: Basic ...`."),
            field("header", Kind::Table(&SECRET_HEADER), Means("none"), "A header of its own."),
            field("oauth2", Kind::Table(&OAUTH2), Means("none"), "A bearer token from an issuer."),
            field("jwt", Kind::Table(&MINTED), Means("none"), "A token that we sign ourselves."),
            field("sigv4", Kind::Table(&SIGV4), Means("none"), "A signature as AWS wants it."),
            field(
                "mtls",
                Kind::Table(&CERTIFICATE),
                Means("none"),
                "A client certificate; the same as `tls: {cert, key}`.",
            ),
            field(
                "placeholder",
                Kind::Table(&PLACEHOLDER),
                Means("the credential is always sent"),
                "The app sends a word where the secret belongs; without it nothing is added.",
            ),
        ]],
    )
};

pub(crate) static SECRET: Table = Table {
    secret: true,
    ..table(
        "secret",
        "Where a secret is read from.",
        None,
        &[&[
            field("file", Kind::Form(&FILE), Means("none"), "A file, read again when it changes."),
            field("env", Kind::Form(&VARIABLE), Means("none"), "An environment variable."),
            field(
                "exec",
                List(&WORD_KIND),
                Means("none"),
                "A program and its arguments; what it prints is the secret, or JSON with a `token`.",
            ),
            field("every", Duration(1_000), Is("5m"), "How often the program is run, at least."),
            field(
                "credential",
                Kind::Form(&CREDENTIAL),
                Means("none"),
                "A credential of the systemd unit, by its name.",
            ),
        ]],
    )
};

pub(crate) static PLACEHOLDER: Table = table(
    "placeholder",
    "A word that stands for the secret, in the app's own requests; to any other route it is refused.",
    Some("word"),
    &[&[
        field("word", Kind::Form(&PLACEHOLDER_WORD), Required, "The word, replaced wherever it stands in the header."),
        field(
            "in",
            OneOrMany(&EDITED_KIND),
            Means("the header of the credential"),
            "Headers in which it is looked for; of `Authorization: Basic` in what is encoded.",
        ),
    ]],
);

pub(crate) static MINTED: Table = Table {
    secret: true,
    ..table(
        "minted",
        "A token that we sign ourselves (RFC 7519), used until most of its lifetime is over.",
        None,
        &[&[
            field(
                "key",
                Kind::Table(&SECRET),
                Required,
                "Where the private key is read from: PEM, for ES256 and EdDSA in PKCS#8.",
            ),
            field(
                "algorithm",
                Word(&["RS256", "PS256", "ES256", "EdDSA", "HS256"]),
                Required,
                "How it is signed; for HS256 the key is a shared secret.",
            ),
            field("kid", Kind::Form(&LINE), Means("none"), "The name of the key, in the token's head."),
            field("issuer", Kind::Form(&LINE), Means("none"), "Who signs (iss)."),
            field("subject", Kind::Form(&LINE), Means("none"), "Whom it is about (sub)."),
            field("audience", OneOrMany(&LINE_KIND), Is("[]"), "Whom it is for (aud)."),
            field("lifetime", Duration(1_000), Is("5m"), "How long it is good (exp)."),
            field("claims", Map(&TEXT, &WORD_KIND), Is("{}"), "What it says besides: text, numbers or booleans."),
            field("header", Kind::Form(&EDITED), Is("authorization"), "The header it goes in."),
            field("prefix", Kind::Form(&TEXT), Is("'Bearer '"), "Text before it."),
        ]],
    )
};

pub(crate) static SIGV4: Table = Table {
    secret: true,
    ..table(
        "sigv4",
        "AWS Signature Version 4, over each attempt as it is sent.",
        None,
        &[&[
            field("region", Kind::Form(&SCOPE), Required, "The region, such as eu-central-1."),
            field("service", Kind::Form(&SCOPE), Required, "The service, such as s3 or execute-api."),
            field("access_key_id", Kind::Table(&ACCESS_KEY), Means("none"), "The name of the key."),
            field("secret_access_key", Kind::Table(&SECRET), Means("none"), "Where the key is read from."),
            field(
                "session_token",
                Kind::Table(&SECRET),
                Means("none"),
                "Where the token of a temporary key is read from.",
            ),
            field(
                "credentials",
                Kind::Table(&SECRET),
                Means("none"),
                "All of them instead, as JSON with AccessKeyId, SecretAccessKey, SessionToken and Expiration.",
            ),
            field(
                "body_limit",
                Size(0, 64 << 20),
                Is("1MiB"),
                "Bytes of a body that is read to be signed; one for S3 over TLS goes unread.",
            ),
        ]],
    )
};

pub(crate) static ACCESS_KEY: Table = Table {
    secret: true,
    ..table(
        "access_key",
        "The name of an access key.",
        Some("id"),
        &[&[
            field("id", Kind::Form(&SCOPE), Means("none"), "The name itself: it is no secret."),
            field("file", Kind::Form(&FILE), Means("none"), "A file, read again when it changes."),
            field("env", Kind::Form(&VARIABLE), Means("none"), "An environment variable."),
            field(
                "credential",
                Kind::Form(&CREDENTIAL),
                Means("none"),
                "A credential of the systemd unit, by its name.",
            ),
        ]],
    )
};

pub(crate) static OAUTH2: Table = Table {
    secret: true,
    ..table(
        "oauth2",
        "A token from an issuer, for a client's own credentials (RFC 6749 section 4.4); fetched before it is needed.",
        None,
        &[&[
            field("token_url", Kind::Form(&ENDPOINT_URL), Required, "The issuer's token endpoint."),
            field("client_id", Kind::Form(&LINE), Required, "The client."),
            field("client_secret", Kind::Table(&SECRET), Required, "Where its secret is read from."),
            field(
                "style",
                Word(&["basic", "post"]),
                Is("basic"),
                "Whether id and secret go in `Authorization: Basic` or in the body.",
            ),
            field("scope", OneOrMany(&LINE_KIND), Is("[]"), "What the token is for."),
            field("audience", Kind::Form(&LINE), Means("none"), "Whom the token is for, as some issuers want it."),
            field("resource", OneOrMany(&LINE_KIND), Is("[]"), "Whom the token is for (RFC 8707)."),
            field("expires_in", Duration(1_000), Is("5m"), "How long a token is good whose answer does not say."),
            field("timeout", Duration(1), Is("10s"), "For one request to the issuer."),
            field("insecure", Bool, Is("false"), "`true`: the issuer may be asked over plain http."),
            field("tls", Kind::Table(&TLS), Is("{}"), "TLS towards the issuer."),
        ]],
    )
};

pub(crate) static BASIC: Table = Table {
    secret: true,
    ..table(
        "basic",
        "User and password.",
        None,
        &[&[
            field("user", Kind::Form(&USER), Required, "The user."),
            field("password", Kind::Table(&SECRET), Required, "Where the password is read from."),
        ]],
    )
};

pub(crate) static SECRET_HEADER: Table = Table {
    secret: true,
    ..table(
        "secret_header",
        "A header with a secret.",
        None,
        &[&[
            field("name", Kind::Form(&EDITED), Required, "The header, such as X-Api-Key."),
            field("prefix", Kind::Form(&TEXT), Is("''"), "Text before the secret, such as `Token `."),
            field("value", Kind::Table(&SECRET), Required, "Where the secret is read from."),
        ]],
    )
};

pub(crate) static HEADERS: Table = table(
    "headers",
    "Header changes.",
    None,
    &[&[
        field("request", Kind::Table(&EDIT), Is("{}"), "Towards the upstream."),
        field("response", Kind::Table(&EDIT), Is("{}"), "Towards the client."),
    ]],
);

pub(crate) static EDIT: Table = table(
    "header_edit",
    "Changes in the order remove, set, add.",
    None,
    &[&[
        field("set", Map(&EDITED, &HEADER_VALUE_KIND), Is("{}"), "Replaces all values of a name."),
        field("add", Map(&EDITED, &HEADER_VALUES_KIND), Is("{}"), "Appends values."),
        field("remove", OneOrMany(&EDITED_KIND), Is("[]"), "Removes all values of a name."),
    ]],
);

pub(crate) static COMPRESS: Table = table(
    "compress",
    "Compresses responses for clients that accept it; never with `Cache-Control: no-transform`, a digest or a part.",
    Some("enabled"),
    &[&[
        field("enabled", Bool, Is("true"), "Whether it is done."),
        field("algorithms", OneOrMany(&ALGORITHM_KIND), Is("[gzip, br, zstd]"), "Codings that may be used."),
        field("min_size", Size(0, 1 << 30), Is("1KiB"), "Smaller contents are left alone, if their size is known."),
        field(
            "types",
            OneOrMany(&MEDIA_KIND),
            Is(concat!(
                "[text/*, application/json, application/*+json, application/x-ndjson, application/javascript, ",
                "application/xml, application/*+xml, application/wasm, image/svg+xml]"
            )),
            "Media types, with one `*` at most; events, gRPC and other images never are.",
        ),
    ]],
);

pub(crate) static DECOMPRESS: Table = table(
    "decompress",
    "Asks the upstream for compressed responses, and decodes them for clients that did not ask.",
    Some("enabled"),
    &[&[
        field("enabled", Bool, Is("true"), "Whether it is done."),
        field("algorithms", OneOrMany(&ALGORITHM_KIND), Is("[gzip, br, zstd]"), "Codings that are asked for."),
        field("max_size", Size(1, 1 << 40), Is("64MiB"), "Decoded bytes of one response; past it the response is cut."),
    ]],
);

pub(crate) static TLS: Table = table(
    "tls",
    "TLS towards an upstream.",
    None,
    &[&[
        field("ca", Kind::Form(&FILE), Means("the system's roots"), "A PEM bundle to trust instead."),
        field(
            "cert",
            Kind::Form(&FILE),
            Means("none"),
            "Our certificate, as PEM; all these files are followed as they change.",
        ),
        field("key", Kind::Form(&FILE), Means("none"), "Its private key, as PEM."),
        field("sni", Kind::Form(&NAME), Means("the host of the URL"), "The name to ask for and to verify."),
        field("min", Word(&["1.2", "1.3"]), Is("1.2"), "The oldest version."),
    ]],
);

pub(crate) static SERVER: Table = table(
    "server",
    "Limits on the side of the clients.",
    None,
    &[&[
        field("first_byte", Duration(1), Is("10s"), "From the connection to its first byte."),
        field("header", Duration(1), Is("10s"), "From the first byte of a request to the end of its head."),
        field("idle", Duration(1), Is("75s"), "Between requests of a connection."),
        field("tls_handshake", Duration(1), Is("10s"), "From the connection to the end of the TLS handshake."),
        field("body_idle", Duration(1), Is("60s"), "Without a byte of a request body that is expected."),
        field("max_header_bytes", Size(8 << 10, 16 << 20), Is("64KiB"), "Size of a request head."),
        field("max_headers", Int(1, 10_000), Is("100"), "Header lines of a request."),
        field("max_connections", Int(1, 1_000_000), Is("16384"), "Connections of clients at once."),
    ]],
);

pub(crate) static DESTINATIONS: Table = table(
    "destinations",
    "Where requests may go.",
    None,
    &[&[
        field(
            "deny",
            OneOrMany(&DESTINATION_KIND),
            Is("[]"),
            "Networks and hosts that are refused, besides the egress guard's.",
        ),
        field("allow", OneOrMany(&DESTINATION_KIND), Is("[]"), "Exceptions to `deny` and to the egress guard."),
        field("connect_ports", OneOrMany(&PORTS_KIND), Is("[443, 80]"), "Ports that CONNECT may reach."),
    ]],
);

pub(crate) static PARENT: Table = table(
    "parent",
    "A proxy that requests leave through.",
    Some("url"),
    &[&[
        field("url", Kind::Form(&PARENT_URL), Required, "Where it is: `http://` or `https://`, host and port."),
        field(
            "auth",
            Kind::Table(&PARENT_AUTH),
            Means("none"),
            "The credential that the parent gets, and nobody else.",
        ),
        field(
            "for",
            OneOrMany(&DESTINATION_KIND),
            Means("all but this machine"),
            "Only these: hosts, and networks for addresses in URLs; names are not resolved here.",
        ),
        field("not_for", OneOrMany(&DESTINATION_KIND), Is("[]"), "None of these."),
        field("tls", Kind::Table(&TLS), Is("{}"), "TLS towards a parent with `https://`."),
    ]],
);

pub(crate) static PARENT_AUTH: Table = Table {
    secret: true,
    ..table(
        "parent_auth",
        "The credential that a parent proxy gets.",
        None,
        &[&[
            field("basic", Kind::Table(&BASIC), Means("none"), "`Proxy-Authorization: Basic ...`."),
            field("bearer", Kind::Table(&SECRET), Means("none"), "`Proxy-Authorization: Bearer ...`."),
        ]],
    )
};

pub(crate) static LOG: Table = table(
    "log",
    "Messages and the access log.",
    Some("level"),
    &[&[
        field(
            "level",
            Word(&["error", "warn", "info", "debug", "trace"]),
            Is("info"),
            "The least important message shown.",
        ),
        field("format", Word(&["text", "json"]), Is("text"), "Of messages, on stderr."),
        field("access", OrFalse(&ACCESS_KIND), Is("{}"), "The access log."),
    ]],
);

pub(crate) static ACCESS: Table = table(
    "access",
    "The access log.",
    Some("path"),
    &[&[
        field("path", Kind::Form(&FILE), Is("stdout"), "`stdout`, or a file."),
        field("format", Word(&["auto", "json", "text"]), Is("auto"), "`auto` is text on a terminal, else JSON lines."),
        field("sample", Share, Is("100%"), "Share of successes that is logged; failures always are."),
    ]],
);
