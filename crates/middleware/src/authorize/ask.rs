//! The question and the answer, in the shape of OPA's data API: `{"input": ..}` and `{"result": ..}`.
//!
//! An answer without a result, or with one that neither is a boolean nor has `allow`, says no: a rule that is not there
//! decides nothing. Only what is no JSON at all is no answer.

use bytes::Bytes;
use exchange::identity::Proof;
use exchange::{Authority, Client, Door, Exchange, Head, Host};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version};
use policy::Tick;
use serde_json::{Map, Value, json};

/// Fields that an answer sets, at most.
const MOST_FIELDS: usize = 16;

/// What was decided.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Answer {
    pub(super) allow: bool,
    pub(super) reason: Option<String>,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
}

/// What is asked of a request.
pub(super) fn question(exchange: &Exchange, headers: &HeaderMap, told: &[HeaderName]) -> Bytes {
    let head = &exchange.head;
    let path = head.path.path();
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let fields = told.iter().filter_map(|name| {
        let values: Vec<_> =
            headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
        (!values.is_empty()).then(|| (name.as_str().to_owned(), Value::from(values.join(", "))))
    });
    let input = json!({
        "method": head.method.as_str(),
        "scheme": if head.door == Door::Connect { Value::Null } else { Value::from(if head.tls { "https" } else { "http" }) },
        "host": host(&head.authority),
        "port": head.authority.port_or(if head.tls || head.door == Door::Connect { 443 } else { 80 }),
        "path": path,
        "parsed_path": parts,
        "query": head.path.query(),
        "headers": fields.collect::<Map<_, _>>(),
        "client": client(&head.client),
        "identity": identity(exchange),
    });
    json!({ "input": input }).to_string().into()
}

fn host(authority: &Authority) -> String {
    match authority.host() {
        Host::Name(name) => name.to_string(),
        Host::Ip(ip) => ip.to_string(),
    }
}

/// Without its port, which says nothing and is another one each time.
fn client(client: &Client) -> Value {
    let process = client.peer.as_ref().and_then(|peer| peer.process.as_ref());
    let certificate = client.peer.as_ref().and_then(|peer| peer.certificate.as_ref());
    json!({
        "address": client.addr.map(|addr| addr.ip().to_string()),
        "local": client.local,
        "uid": process.map(|process| process.uid),
        "user": process.and_then(|process| process.user.as_deref()),
        "unit": process.and_then(|process| process.unit.as_deref()),
        "cgroup": process.and_then(|process| process.cgroup.as_deref()),
        "container": process.and_then(|process| process.container.as_deref()),
        "spiffe": certificate.and_then(|certificate| certificate.spiffe()).map(|id| &**id),
        "dns": certificate.map(|certificate| certificate.dns.iter().map(|name| &**name).collect::<Vec<_>>()),
    })
}

fn identity(exchange: &Exchange) -> Value {
    exchange.principal().map_or(Value::Null, |principal| {
        let proof = match principal.proof {
            Proof::Jwt => "jwt",
            Proof::Key => "key",
            Proof::Basic => "basic",
        };
        json!({ "proof": proof, "by": &*principal.by, "name": &*principal.name, "claims": principal.claims })
    })
}

/// The record of a question.
pub(super) fn head(url: &Uri, started: Tick) -> Head {
    let nowhere = || Authority::new(Host::Name("localhost".into()), None);
    let authority = url.authority().and_then(|authority| Authority::parse(authority.as_str()).ok());
    Head {
        id: 0,
        started,
        door: Door::Forward,
        client: Client { addr: None, local: true, peer: None },
        version: Version::HTTP_11,
        method: Method::POST,
        tls: url.scheme_str() == Some("https"),
        authority: authority.unwrap_or_else(nowhere),
        path: url.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/")),
        upgrade: false,
        grpc: false,
    }
}

/// What an answer says; `None`: it is none. `sets`: with what the names of the fields begin that it may set.
pub(super) fn answer(text: &[u8], sets: Option<&str>) -> Option<Answer> {
    let document: Map<String, Value> = serde_json::from_slice(text).ok()?;
    let result = match document.get("result") {
        Some(Value::Bool(allow)) => return Some(Answer { allow: *allow, ..Answer::default() }),
        Some(Value::Object(result)) => result,
        Some(_) => return Some(no("its result is neither a boolean nor an object")),
        None => return Some(no("its result is undefined")),
    };
    let allow = match result.get("allow") {
        Some(Value::Bool(allow)) => *allow,
        _ => return Some(no("its result has no `allow`")),
    };
    let reason = result.get("reason").and_then(Value::as_str).map(str::to_owned);
    let fields = result.get("headers").and_then(Value::as_object).into_iter().flatten();
    let fields = fields.filter_map(|(name, value)| {
        let name = HeaderName::from_bytes(name.as_bytes()).ok().filter(|name| may_set(name, sets))?;
        Some((name, HeaderValue::from_str(value.as_str()?).ok()?))
    });
    Some(Answer { allow, reason, headers: fields.take(MOST_FIELDS).collect() })
}

fn may_set(name: &HeaderName, sets: Option<&str>) -> bool {
    sets.is_some_and(|prefix| name.as_str().starts_with(prefix))
}

fn no(why: &str) -> Answer {
    Answer { reason: Some(why.to_owned()), ..Answer::default() }
}
