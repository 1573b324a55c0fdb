use exchange::ErrorKind;
use exchange::identity::{Peer, Principal, Proof};
use http::header::{AUTHORIZATION, HeaderValue};
use http::{HeaderMap, Method};

use super::*;
use crate::testing::{Bottom, request_with};

fn identity(name: &str, header: &'static str, key: &str) -> Arc<Identity> {
    let keys = keys::Keys::new(name.into());
    keys.set(&[("build".into(), keys::of(key))]);
    let header = HeaderName::from_static(header);
    Arc::new(Identity { name: name.into(), header, forward: false, way: Way::Keys(keys) })
}

fn gate(required: bool) -> Arc<Gate> {
    let identities = vec![identity("one", "x-one", "first"), identity("two", "x-two", "second")];
    Arc::new(Gate::new(Params { identities, required }))
}

/// A request by this door; of a proxy's client with what it shows.
fn request(door: Door, fields: &[(&'static str, &'static str)], shown: Option<&'static str>) -> Request<Body> {
    let mut request = request_with(Method::GET, "http://api.test/", |head| head.door = door);
    for (name, value) in fields {
        request.headers_mut().append(*name, HeaderValue::from_static(value));
    }
    if let Some(shown) = shown {
        Exchange::of(&request).set_credential(Box::new(HeaderValue::from_static(shown)));
    }
    request
}

async fn outcome(request: Request<Body>) -> (Result<u16, ErrorKind>, Option<String>, Option<HeaderMap>) {
    let bottom = Bottom::default();
    let service = bottom.under(layer(gate(true)));
    let exchange = Arc::clone(Exchange::of(&request));

    let result = service.call(request).await;

    let by = exchange.principal().map(|principal| principal.by.to_string());
    assert_eq!(result.is_ok(), bottom.calls() == 1);
    let seen = bottom.seen().into_iter().next().map(|seen| seen.headers);
    (result.map(|response| response.status().as_u16()).map_err(|error| error.kind), by, seen)
}

const REFUSED: Result<u16, ErrorKind> = Err(ErrorKind::Unauthenticated);

#[tokio::test]
async fn the_first_field_that_is_there_is_the_credential_and_it_alone_is_taken_off() {
    let (result, by, seen) =
        outcome(request(Door::Reverse, &[("x-two", "second"), ("authorization", "a")], None)).await;
    assert_eq!((result, by.as_deref()), (Ok(200), Some("two")));
    let seen = seen.expect("seen");
    assert_eq!((seen.get("x-two"), seen.get(AUTHORIZATION)), (None, Some(&HeaderValue::from_static("a"))));

    let both = request(Door::Prefix, &[("x-two", "second"), ("x-one", "wrong")], None);
    assert_eq!(outcome(both).await.0, REFUSED, "not the one that happens to be good");
    assert_eq!(outcome(request(Door::Reverse, &[("x-one", "second")], None)).await.0, REFUSED);
    assert_eq!(outcome(request(Door::Reverse, &[("x-one", "first"), ("x-one", "first")], None)).await.0, REFUSED);
    assert_eq!(outcome(request(Door::Reverse, &[], Some("Bearer first"))).await.0, REFUSED, "we are no proxy here");
}

#[tokio::test]
async fn a_client_of_a_proxy_shows_what_any_of_the_identities_may_accept() {
    for door in [Door::Forward, Door::Tunnel] {
        let (result, by, _) = outcome(request(door, &[("x-one", "first")], Some("Bearer second"))).await;
        assert_eq!((result, by.as_deref()), (Ok(200), Some("two")));
        for bad in ["Bearer third", "", "second", "Negotiate abc", "Basic"] {
            assert_eq!(outcome(request(door, &[], Some(bad))).await.0, REFUSED, "{bad}");
        }
        assert_eq!(outcome(request(door, &[("x-one", "first")], None)).await.0, REFUSED, "that is for the origin");
    }
}

#[tokio::test]
async fn what_a_connect_showed_holds_in_its_tunnel_where_it_is_asked_for() {
    for (by, expected) in [("two", Ok(200)), ("three", REFUSED)] {
        let inside = request_with(Method::GET, "http://api.test/", |head| {
            let principal =
                Principal { proof: Proof::Key, by: by.into(), name: "build".into(), claims: Default::default() };
            head.door = Door::Tunnel;
            head.client.peer = Some(Arc::new(Peer { principal: Some(Arc::new(principal)), ..Peer::default() }));
        });

        assert_eq!(outcome(inside).await.0, expected, "{by}");
    }
    assert_eq!(outcome(request(Door::Connect, &[], None)).await.0, Ok(200), "the edge has asked");
}

#[test]
fn a_refusal_says_what_would_be_accepted() {
    let request = request(Door::Reverse, &[], None);
    let Checked::Refused(error) = gate(true).check(Exchange::of(&request), request.headers()) else {
        panic!("refused")
    };

    assert_eq!(error.detail().as_deref(), Some("nothing was shown that one or two could accept"));
    let challenges = error.challenges.expect("challenges");
    let expected = ["one", "two"].map(|name| format!("ApiKey realm=\"attache\", header=\"x-{name}\""));
    assert_eq!(challenges.iter().collect::<Vec<_>>(), expected.iter().collect::<Vec<_>>());
}
