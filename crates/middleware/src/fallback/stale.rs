//! Keeps what a route's upstream answers, and finds it again.
//!
//! Only a GET is kept and given back. What changes a target forgets what was kept of it (RFC 9111 section 4.4), and a
//! new answer that must not be kept takes the old one along.

use std::sync::Arc;
use std::time::Duration;

use exchange::body::OpenEnded;
use exchange::{Body, Exchange, clock};
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use policy::Tick;

use super::capture::{Capture, Pending};
use super::store::{self, Bounds, Store};
use super::terms::{self, Terms};

const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// What is kept, and for how long.
#[derive(Clone, Debug)]
pub struct Stale {
    /// Of the route.
    pub store: Arc<Store>,
    /// How much.
    pub bounds: Bounds,
    /// After it stopped being fresh.
    pub max_stale: Duration,
}

/// A request whose answer may be kept.
pub(super) struct Asked {
    stale: Stale,
    target: Arc<str>,
    method: Method,
    headers: HeaderMap,
    started: Tick,
}

impl Stale {
    pub(super) fn ask(&self, request: &Request<Body>) -> Asked {
        let head = &Exchange::of(request).head;
        let scheme = if head.tls { "https" } else { "http" };
        let is_kept = request.method() == Method::GET;
        Asked {
            stale: self.clone(),
            target: format!("{scheme}://{}{}", head.authority, head.path).into(),
            method: request.method().clone(),
            headers: if is_kept { request.headers().clone() } else { HeaderMap::new() },
            started: head.started,
        }
    }
}

impl Asked {
    /// The upstream answered.
    pub(super) fn answered(&self, response: &mut Response<Body>) {
        let store = &self.stale.store;
        let status = response.status();
        if self.method != Method::GET {
            if !self.method.is_safe() && (status.is_success() || status.is_redirection()) {
                store.forget(&self.target, None);
            }
            return;
        }
        let whole = response.extensions().get::<OpenEnded>().is_none();
        let terms = Terms::of(&self.headers, status, response.headers(), self.stale.max_stale, self.started);
        let selecting = terms::selecting(response.headers());
        match (terms.filter(|_| whole), selecting) {
            (Some(terms), Some(names)) => {
                let mut headers = response.headers().clone();
                // Of trailers nothing is kept.
                headers.remove(header::TRAILER);
                headers.remove(header::AGE);
                let body = std::mem::take(response.body_mut());
                *response.body_mut() = Capture::of(
                    body,
                    Pending {
                        store: Arc::clone(store),
                        bounds: self.stale.bounds,
                        target: Arc::clone(&self.target),
                        status,
                        headers,
                        asked: store::Asked::of(names, &self.headers),
                        request: self.headers.clone(),
                        terms,
                    },
                );
            }
            // A part, and "not modified", say nothing of the whole.
            _ if status == StatusCode::PARTIAL_CONTENT || status == StatusCode::NOT_MODIFIED => {}
            _ if status.is_success() || status.is_redirection() => store.forget(&self.target, Some(&self.headers)),
            _ => {}
        }
    }

    /// What was kept for such a request.
    pub(super) fn find(&self) -> Option<Response<Body>> {
        if self.method != Method::GET {
            return None;
        }
        let (answer, age) = self.stale.store.find(&self.target, &self.headers, clock::now())?;
        let mut response = Response::new(Body::full(answer.body.clone()));
        *response.status_mut() = answer.status;
        let headers = response.headers_mut();
        *headers = answer.headers.clone();
        headers.insert(header::AGE, HeaderValue::from(age.age.as_secs()));
        // RFC 9211: what we say of it, beside what others said.
        let said = format!("attache; hit; ttl={}; detail=stale-if-error", age.ttl);
        if let Ok(said) = HeaderValue::try_from(said) {
            headers.append(CACHE_STATUS, said);
        }
        Some(response)
    }
}
