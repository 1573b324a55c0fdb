//! Who may make this request: whom one of the route's rules fits.
//!
//! Deny by default: once there is a rule, everybody whom none fits is refused, and a caller of whom something is not
//! known does not have it. A refusal says to a client on this machine what each rule missed first, by the name of the
//! key and without its value: whom else a rule is for is nobody's business. CONNECT is not decided here: a tunnel takes no
//! route's way, so whoever makes it asks the rules of all routes it could lead to.
//!
//! Cost: the rules in order until one fits, in place; nothing where there is no rule.

use std::fmt::Write;
use std::sync::Arc;

use exchange::detour::Denied;
use exchange::identity::{Caller, Who};
use exchange::{ArcService, Body, Door, Error, ErrorKind, Exchange, Head, ResponseFuture};
use http::Request;
use tower::Layer;

/// Rules that a refusal names; there may be more.
const SHOWN: usize = 8;

/// Who may do what.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Who.
    pub who: Who,
    /// Which requests; `None`: all.
    pub asks: Option<Asks>,
}

/// What a rule asks of a request: the key that does not fit, if one does not.
#[derive(Clone)]
pub struct Asks(pub Arc<Ask>);

type Ask = dyn Fn(&Head) -> Option<&'static str> + Send + Sync;

impl std::fmt::Debug for Asks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Asks")
    }
}

impl Rule {
    /// The first key that does not hold.
    pub fn unmet(&self, caller: &Caller<'_>, head: &Head) -> Option<&'static str> {
        self.who.unmet(caller).or_else(|| self.asks.as_ref().and_then(|asks| (asks.0)(head)))
    }
}

/// The rules of a route; at least one.
#[derive(Clone, Debug)]
pub struct Params {
    /// In the order of the configuration.
    pub rules: Arc<[Rule]>,
}

/// Refuses whom no rule fits.
pub fn layer(params: Params) -> impl Layer<ArcService, Service = ArcService> {
    let Params { rules } = params;
    tower::layer::layer_fn(move |inner| ArcService::new(Allow { inner, rules: Arc::clone(&rules) }))
}

struct Allow {
    inner: ArcService,
    rules: Arc<[Rule]>,
}

impl Allow {
    fn handle(&self, request: Request<Body>) -> ResponseFuture {
        let exchange = Exchange::of(&request);
        let caller = Caller::of(exchange);
        let fits = |rule: &Rule| rule.unmet(&caller, &exchange.head).is_none();
        if exchange.head.door == Door::Connect || self.rules.iter().any(fits) {
            return self.inner.call(request);
        }
        exchange.detour.deny(Denied::Rule);
        let unmet = self.rules.iter().filter_map(|rule| rule.unmet(&caller, &exchange.head));
        ResponseFuture::refuse(refusal(&caller, unmet))
    }
}

exchange::by_reference!(Allow);

/// The error for a caller whom no rule fits; `unmet`: the key that each rule missed first.
pub fn refusal(caller: &Caller<'_>, unmet: impl Iterator<Item = &'static str>) -> Error {
    let mut detail = format!("no rule of `allow` fits {}:", shown(caller));
    let mut all = 0;
    for (index, key) in unmet.enumerate() {
        if index < SHOWN {
            let comma = if index == 0 { "" } else { "," };
            let _ = write!(detail, "{comma} rule {} fails at `{key}`", index + 1);
        }
        all = index + 1;
    }
    if all > SHOWN {
        let _ = write!(detail, ", and {} more", all - SHOWN);
    }
    Error::new(ErrorKind::Forbidden).with_detail(detail)
}

/// What is known of a caller, for itself.
fn shown(caller: &Caller<'_>) -> String {
    let mut text = String::from("this caller (");
    let process = caller.peer.and_then(|peer| peer.process.as_ref());
    match process {
        Some(process) => {
            let _ = match &process.user {
                Some(user) => write!(text, "user {user}"),
                None => write!(text, "uid {}", process.uid),
            };
            if let Some(unit) = &process.unit {
                let _ = write!(text, ", unit {unit}");
            }
        }
        None => text.push_str("user unknown"),
    }
    if let Some(id) = caller.peer.and_then(|peer| peer.certificate.as_ref()?.spiffe()) {
        let _ = write!(text, ", {id}");
    }
    match caller.principal {
        Some(principal) => {
            let name = if principal.name.is_empty() { "nameless" } else { &principal.name };
            let _ = write!(text, ", {name} by {})", principal.by);
        }
        None => text.push_str(", not authenticated)"),
    }
    text
}

#[cfg(test)]
mod tests {
    use exchange::Peer;
    use exchange::identity::Process;
    use exchange::identity::who::User;
    use http::Method;

    use super::*;
    use crate::testing::{Bottom, record, request_with, status};

    fn user(uid: u32) -> Who {
        Who { user: Some(User::Uid(uid)), ..Who::default() }
    }

    fn only_gets() -> Asks {
        Asks(Arc::new(|head| (head.method != Method::GET).then_some("method")))
    }

    fn from(uid: Option<u32>, method: Method, door: Door) -> Request<Body> {
        let process = uid.map(|uid| Process { uid, user: None, pid: None, unit: None, cgroup: None, container: None });
        request_with(method, "http://a.test/", |head| {
            head.client.peer = Some(Arc::new(Peer { process, ..Peer::default() }));
            head.door = door;
        })
    }

    fn service(bottom: &Bottom) -> ArcService {
        let rules = [Rule { who: user(1), asks: None }, Rule { who: user(2), asks: Some(only_gets()) }];
        bottom.under(layer(Params { rules: rules.into() }))
    }

    #[tokio::test]
    async fn whom_a_rule_fits_passes_and_nobody_else() {
        for (uid, method, expected) in [
            (Some(1), Method::POST, true),
            (Some(2), Method::GET, true),
            (Some(2), Method::POST, false),
            (Some(3), Method::GET, false),
            (None, Method::GET, false),
        ] {
            let bottom = Bottom::default();
            let request = from(uid, method.clone(), Door::Forward);
            let exchange = record(&request);

            let outcome = service(&bottom).call(request).await;

            assert_eq!((outcome.is_ok(), bottom.calls()), (expected, usize::from(expected)), "{uid:?} {method}");
            assert_eq!(exchange.detour.denied(), (!expected).then_some(Denied::Rule));
        }
    }

    #[tokio::test]
    async fn a_refusal_names_keys_and_no_values() {
        let error = service(&Bottom::default()).call(from(Some(2), Method::POST, Door::Forward)).await.expect_err("no");

        assert_eq!(error.kind, ErrorKind::Forbidden);
        assert_eq!(
            error.detail().as_deref(),
            Some(
                "no rule of `allow` fits this caller (uid 2, not authenticated): rule 1 fails at `user`, rule 2 fails at \
                 `method`"
            )
        );
    }

    #[tokio::test]
    async fn a_tunnel_is_decided_by_whoever_makes_it() {
        assert_eq!(status(service(&Bottom::default()).call(from(None, Method::CONNECT, Door::Connect))).await, 200);
    }
}
