//! The secret in the place of a word that the app sends for it.
//!
//! So an app may write its requests as its API wants them, with a header of any form, and still hold nothing worth stealing.
//! The word is replaced wherever it stands in one of the named headers, and of `Authorization: Basic` in what is encoded.
//! Without the word nothing is added: whoever does not know of it gets no credential.
//!
//! To any other route the word is refused (`guard`) rather than let through: it is no secret, but a request that takes it
//! elsewhere is a mistake, or an attempt to find out where it would work, and in either case better seen. Bodies and queries
//! are not looked at. What an upstream answers is not changed: one that returns what it was sent returns the secret.
//!
//! Cost: a look-up for each named header; where the word stands, a copy of the value.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use exchange::{ArcService, Body, Error, ErrorKind, Exchange, ResponseFuture};
use http::Request;
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use tower::Layer;
use zeroize::Zeroizing;

use super::{Secret, waited};

/// Which word, and where it is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Params {
    pub word: String,
    pub headers: Vec<HeaderName>,
}

/// Puts what `secret` holds in the place of the word.
pub fn layer(params: Params, secret: Secret) -> impl Layer<ArcService, Service = ArcService> {
    tower::layer::layer_fn(move |inner| {
        ArcService::new(Placeholder { inner, params: params.clone(), secret: secret.clone() })
    })
}

/// Refuses the words of other routes.
pub fn guard(others: Vec<Params>) -> impl Layer<ArcService, Service = ArcService> {
    tower::layer::layer_fn(move |inner| ArcService::new(Guard { inner, others: others.clone() }))
}

struct Placeholder {
    inner: ArcService,
    params: Params,
    secret: Secret,
}

impl Placeholder {
    fn handle(&self, mut request: Request<Body>) -> ResponseFuture {
        if !self.params.is_in(request.headers()) {
            return self.inner.call(request);
        }
        let exchange = Exchange::of(&request);
        if let Some((value, number)) = self.secret.get(|| exchange.now()) {
            exchange.carried.set(number);
            return match self.params.replace(request.headers_mut(), &value) {
                Ok(()) => self.inner.call(request),
                Err(error) => ResponseFuture::refuse(error),
            };
        }
        if !self.secret.is_fetched() {
            let error =
                Error::new(ErrorKind::Credential).with_detail("the secret behind the placeholder is not loaded");
            return ResponseFuture::refuse(error);
        }
        let (inner, params, secret) = (self.inner.clone(), self.params.clone(), self.secret.clone());
        ResponseFuture::new(async move {
            let (value, number) = waited(&secret).await.map_err(|why| {
                Error::new(ErrorKind::Credential).with_detail(format!("no secret behind the placeholder: {why}"))
            })?;
            let exchange = Exchange::of(&request);
            exchange.wait();
            exchange.carried.set(number);
            params.replace(request.headers_mut(), &value)?;
            inner.call(request).await
        })
    }
}

exchange::by_reference!(Placeholder);

struct Guard {
    inner: ArcService,
    others: Vec<Params>,
}

impl Guard {
    fn handle(&self, request: Request<Body>) -> ResponseFuture {
        if self.others.iter().any(|other| other.is_in(request.headers())) {
            let detail = "the placeholder of another route's secret: it is replaced only there";
            return ResponseFuture::refuse(Error::new(ErrorKind::Forbidden).with_detail(detail));
        }
        self.inner.call(request)
    }
}

exchange::by_reference!(Guard);

impl Params {
    fn is_in(&self, headers: &HeaderMap) -> bool {
        let word = self.word.as_bytes();
        self.headers.iter().any(|name| {
            let has = |value: &HeaderValue| contains(value.as_bytes(), word);
            headers
                .get_all(name)
                .iter()
                .any(|value| has(value) || basic(name, value).is_some_and(|text| contains(&text, word)))
        })
    }

    fn replace(&self, headers: &mut HeaderMap, with: &HeaderValue) -> Result<(), Error> {
        for name in &self.headers {
            let http::header::Entry::Occupied(mut values) = headers.entry(name) else { continue };
            for value in values.iter_mut() {
                let (word, with) = (self.word.as_bytes(), with.as_bytes());
                let text = match basic(name, value) {
                    Some(text) if contains(&text, word) => {
                        Zeroizing::new(format!("Basic {}", STANDARD.encode(&*replaced(&text, word, with))).into_bytes())
                    }
                    _ if contains(value.as_bytes(), word) => replaced(value.as_bytes(), word, with),
                    _ => continue,
                };
                let mut new = HeaderValue::from_bytes(&text).map_err(|_| ErrorKind::Credential)?;
                new.set_sensitive(true);
                *value = new;
            }
        }
        Ok(())
    }
}

/// What `Authorization: Basic` encodes (RFC 7617).
fn basic(name: &HeaderName, value: &HeaderValue) -> Option<Zeroizing<Vec<u8>>> {
    let (scheme, text) = value.as_bytes().split_at_checked("Basic ".len()).filter(|_| *name == AUTHORIZATION)?;
    scheme.eq_ignore_ascii_case(b"Basic ").then(|| STANDARD.decode(text.trim_ascii()).ok())?.map(Zeroizing::new)
}

fn contains(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|part| part == word)
}

fn replaced(text: &[u8], word: &[u8], with: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut out = Zeroizing::new(Vec::with_capacity(text.len() + with.len()));
    let mut at = 0;
    while at < text.len() {
        if text[at..].starts_with(word) {
            out.extend_from_slice(with);
            at += word.len();
        } else {
            out.push(text[at]);
            at += 1;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Bottom, get, record, status};

    const WORD: &str = "ATTACHE_TOKEN";

    fn params() -> Params {
        Params { word: WORD.into(), headers: vec![AUTHORIZATION, HeaderName::from_static("x-api-key")] }
    }

    fn with(name: &'static str, value: &str) -> Request<Body> {
        let mut request = get("https://a.test/");
        request.headers_mut().insert(name, HeaderValue::from_str(value).expect("a value"));
        request
    }

    fn setting() -> (Bottom, ArcService, Secret) {
        let (bottom, secret) = (Bottom::default(), Secret::default());
        secret.set(Some(HeaderValue::from_static("s3cr/t")));
        let service = bottom.under(layer(params(), secret.clone()));
        (bottom, service, secret)
    }

    #[tokio::test]
    async fn the_word_is_replaced_wherever_it_stands_in_its_headers() {
        let pair = STANDARD.encode(format!("ali:{WORD}"));
        for (name, sent, got) in [
            ("authorization", format!("Bearer {WORD}"), "Bearer s3cr/t".to_owned()),
            (
                "authorization",
                format!("Token token=\"{WORD}\", again={WORD}"),
                "Token token=\"s3cr/t\", again=s3cr/t".into(),
            ),
            ("authorization", format!("basic {pair}"), format!("Basic {}", STANDARD.encode("ali:s3cr/t"))),
            ("x-api-key", WORD.to_owned(), "s3cr/t".into()),
        ] {
            let (bottom, service, _) = setting();
            let request = with(name, &sent);
            let record = record(&request);

            assert_eq!(status(service.call(request)).await, 200);

            let value = &bottom.seen()[0].headers[name];
            assert_eq!(value, got.as_str());
            assert!(value.is_sensitive());
            assert_eq!(record.carried.get(), Some(1));
        }
    }

    #[tokio::test]
    async fn without_the_word_nothing_is_added_and_nothing_changed() {
        let (bottom, service, _) = setting();
        for (name, sent) in [("authorization", "Bearer mine"), ("x-other", WORD), ("authorization", "Basic %%%")] {
            let request = with(name, sent);
            let record = record(&request);

            assert_eq!(status(service.call(request)).await, 200);

            assert_eq!(bottom.seen()[0].headers[name], sent);
            assert_eq!(record.carried.get(), None, "a 401 has nothing to do with us");
        }
    }

    #[tokio::test]
    async fn without_the_secret_the_word_goes_nowhere() {
        let (bottom, service, secret) = setting();
        secret.set(None);

        let error = service.call(with("x-api-key", WORD)).await.expect_err("refused");

        assert_eq!((error.kind, bottom.calls()), (ErrorKind::Credential, 0));
        assert_eq!(status(service.call(get("https://a.test/"))).await, 200);
    }

    #[tokio::test]
    async fn elsewhere_the_word_is_refused() {
        let bottom = Bottom::default();
        let service = bottom.under(guard(vec![params()]));

        for (name, sent) in
            [("x-api-key", WORD.to_owned()), ("authorization", format!("Basic {}", STANDARD.encode(WORD)))]
        {
            let error = service.call(with(name, &sent)).await.expect_err("refused");
            assert_eq!((error.kind, bottom.calls()), (ErrorKind::Forbidden, 0));
        }

        assert_eq!(status(service.call(with("authorization", "Bearer mine"))).await, 200);
    }
}
