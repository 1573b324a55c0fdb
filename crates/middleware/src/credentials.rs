//! Puts the upstream's credential on an attempt.
//!
//! The value is read from the cell per attempt, so a rotated secret applies to the next one. What the client
//! sent under the same name is replaced: it was meant for us or is stale. Without a value nothing is sent at
//! all: an upstream's 401 would hide that the secret is what is missing. One that is fetched is waited for.
//!
//! Which value an attempt carried is noted in the record, for whoever hears that it was refused.
//!
//! Cost: one shared read and one header insertion; no box, but for a request that waits.

pub mod cell;
pub mod placeholder;
pub mod secret;
pub mod sigv4;

use exchange::{ArcService, Body, Error, ErrorKind, Exchange, ResponseFuture};
use http::Request;
use http::header::HeaderName;
use tower::Layer;

pub use self::cell::{Cell, Trouble};
pub use self::secret::Secret;

/// Where the credential goes.
#[derive(Clone, Debug)]
pub struct Params {
    /// `authorization`, or the name the upstream wants.
    pub header: HeaderName,
}

/// Adds what `secret` holds to every request, or refuses it with `credential`.
pub fn layer(params: Params, secret: Secret) -> impl Layer<ArcService, Service = ArcService> {
    tower::layer::layer_fn(move |inner| {
        ArcService::new(Credentials { inner, header: params.header.clone(), secret: secret.clone() })
    })
}

struct Credentials {
    inner: ArcService,
    header: HeaderName,
    secret: Secret,
}

impl Credentials {
    fn handle(&self, mut request: Request<Body>) -> ResponseFuture {
        let exchange = Exchange::of(&request);
        if let Some((value, number)) = self.secret.get(|| exchange.now()) {
            exchange.carried.set(number);
            request.headers_mut().insert(self.header.clone(), value);
            return self.inner.call(request);
        }
        if !self.secret.is_fetched() {
            let detail = format!("the secret for the header {} is not loaded", self.header);
            return ResponseFuture::refuse(Error::new(ErrorKind::Credential).with_detail(detail));
        }
        let (inner, header, secret) = (self.inner.clone(), self.header.clone(), self.secret.clone());
        ResponseFuture::new(async move {
            let (value, number) = waited(&secret).await.map_err(|why| missing(&header, &why))?;
            let exchange = Exchange::of(&request);
            exchange.wait();
            exchange.carried.set(number);
            request.headers_mut().insert(header, value);
            inner.call(request).await
        })
    }
}

/// Apart, so that what waits is not as large as what it waits for.
async fn waited<T: Clone>(cell: &Cell<T>) -> Result<(T, u64), String> {
    Box::pin(cell.wait()).await
}

fn missing(header: &HeaderName, why: &str) -> Error {
    Error::new(ErrorKind::Credential).with_detail(format!("no credential for the header {header}: {why}"))
}

exchange::by_reference!(Credentials);

#[cfg(test)]
mod tests {
    use http::header::{AUTHORIZATION, HeaderValue};

    use super::*;
    use crate::testing::{Bottom, get, status};

    #[tokio::test]
    async fn replaces_what_the_client_sent_and_follows_a_rotation() {
        let (bottom, secret) = (Bottom::default(), Secret::default());
        let service = bottom.under(layer(Params { header: AUTHORIZATION }, secret.clone()));
        for token in ["one", "two"] {
            secret.set(Some(secret::bearer(token).expect("a token")));
            let mut request = get("https://a.test/");
            request.headers_mut().append(AUTHORIZATION, HeaderValue::from_static("Bearer client"));
            request.headers_mut().append(AUTHORIZATION, HeaderValue::from_static("Bearer again"));

            assert_eq!(status(service.call(request)).await, 200);
        }

        for (seen, expected) in bottom.seen().into_iter().zip(["Bearer one", "Bearer two"]) {
            let values: Vec<_> = seen.headers.get_all(AUTHORIZATION).iter().collect();
            assert_eq!(values, [expected]);
            assert!(values[0].is_sensitive());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_fetched_is_waited_for_and_noted() {
        let (bottom, secret) = (Bottom::default(), Secret::fetched());
        let service = bottom.under(layer(Params { header: AUTHORIZATION }, secret.clone()));
        let request = get("https://a.test/");
        let record = crate::testing::record(&request);
        let waiting = tokio::spawn(service.call(request));
        tokio::task::yield_now().await;
        assert_eq!(bottom.calls(), 0);

        secret.put(secret::bearer("t").expect("a token"), None);

        assert_eq!(waiting.await.expect("no panic").expect("a response").status(), 200);
        assert_eq!((bottom.calls(), record.carried.get()), (1, Some(1)));
        secret.clear();
        secret.fail(Trouble { detail: "invalid_client".into(), settled: true });
        let error = service.call(get("https://a.test/")).await.expect_err("a failure");
        assert_eq!(error.kind, ErrorKind::Credential);
        assert!(format!("{error:?}").contains("invalid_client"), "{error:?}");
    }

    #[tokio::test]
    async fn nothing_is_sent_without_it() {
        let (bottom, secret) = (Bottom::default(), Secret::default());
        let service = bottom.under(layer(Params { header: AUTHORIZATION }, secret.clone()));
        secret.set(Some(secret::bearer("t").expect("a token")));
        secret.set(None);

        let error = service.call(get("https://a.test/")).await.expect_err("a failure");

        assert_eq!((error.kind, bottom.calls()), (ErrorKind::Credential, 0));
    }
}
