//! Where a request enters and where every outcome leaves: the only place that turns an `Error` into a response.

mod connect;
mod extended;
mod finish;
mod hops;
mod normal;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use exchange::body::Side;
use exchange::detour::Denied;
use exchange::exchange::{Connection, Upload};
use exchange::headers::Via;
use exchange::service::Outcome;
use exchange::{Body, Door, Error, ErrorKind, Exchange, ResponseFuture, clock};
use http::request::Parts;
use http::{HeaderMap, Request, Response};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;

use self::normal::Normal;
use crate::listener::conn::Entry;
use crate::listener::pulse::Pulse;
use crate::listener::takeover::Takeover;
use crate::permit;
use crate::stack::{Site, Stack};
use crate::worker::Worker;

/// One connection's way into the stack.
#[derive(Clone)]
pub struct Edge(Arc<Inner>);

struct Inner {
    worker: Arc<Worker>,
    entry: Entry,
    pulse: Arc<Pulse>,
    known: normal::Known,
    /// The same in every snapshot.
    via: Arc<Via>,
}

impl Edge {
    /// The edge of a connection.
    pub fn new(worker: Arc<Worker>, entry: Entry, pulse: Arc<Pulse>) -> Self {
        let via = Arc::clone(&worker.site().snapshot().via);
        Self(Arc::new(Inner { worker, entry, pulse, known: normal::Known::default(), via }))
    }

    /// One request's way, and for how long its client may take nothing of the answer.
    ///
    /// `body`: as it comes from the client; `takeover`: if the request may take its connection or stream over.
    pub fn pass(
        &self,
        mut parts: Parts,
        body: Body,
        takeover: Option<Takeover>,
        connection: Arc<dyn Connection>,
    ) -> (Passage, Duration) {
        let now = clock::now();
        let Inner { worker, entry, .. } = &*self.0;
        let glance = worker.glance();
        #[expect(clippy::expect_used, reason = "a worker has a site before it has a connection")]
        let site = glance.as_ref().expect("a site is in place");
        let id = worker.context().random.with(|rng| rng.u64(..));
        let from = normal::From { entry, site, known: &self.0.known, random: &worker.context().random };
        let Normal { head, accept, refused, named, last, handshake, expects, credential } =
            normal::of(&mut parts, &body, &from, id, now);
        let exchange = Arc::new(Exchange::new(head, Some(connection)));
        if expects {
            exchange.expect();
        }
        if let Some(value) = credential {
            exchange.set_credential(value);
        }
        let found = match refused {
            Some(error) => Err(error),
            None => find(site, &exchange, &parts.headers, named),
        };
        let request = Request::from_parts(parts, watched(body, &exchange, worker));
        let stack = match &found {
            Ok(stack) => Arc::clone(stack),
            Err(_) => Arc::clone(site.default_stack()),
        };
        let watch = stack.watch(Arc::clone(&exchange));
        let tunnel_idle = stack.tunnel_idle;
        let patience = stack.idle;
        let leave = finish::Leave { edge: self.clone(), exchange, accept, takeover, handshake, watch, tunnel_idle };
        let stage = match found {
            Err(error) => Stage::Over(Some(leave.refused(error))),
            Ok(_) if last => {
                let mut response = hops::options();
                leave.answered(&mut response);
                Stage::Over(Some(response))
            }
            Ok(_) if leave.exchange.head.door == Door::Connect => {
                Stage::Connect(ResponseFuture::new(connect::serve(leave, Arc::clone(site), request)))
            }
            Ok(stack) => {
                // Called here rather than in the future: a request in it would be copied with it.
                match catch_unwind(AssertUnwindSafe(|| stack.service.call(request))) {
                    Ok(answering) => Stage::Below(answering, Some(leave)),
                    Err(_) => Stage::Over(Some(leave.refused(panicked()))),
                }
            }
        };
        (Passage(stage), patience)
    }
}

/// Through the stack and out again; kept by hyper itself or by the stream's task, so it needs no box.
pub struct Passage(Stage);

enum Stage {
    /// Answered here.
    Over(Option<Response<Body>>),
    /// A tunnel is being made.
    Connect(ResponseFuture),
    /// In the stack. What is there is dropped first: its attempts belong into the log of a client that left.
    Below(ResponseFuture, Option<finish::Leave>),
    /// Interim responses go first. Boxed: it is rare, and large.
    Behind(Option<Box<(finish::Leave, Poll<Outcome>)>>),
}

impl Future for Passage {
    type Output = Result<Response<Body>, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Stage::Over(response) => match response.take() {
                Some(response) => Poll::Ready(Ok(response)),
                None => Poll::Pending,
            },
            Stage::Connect(serving) => Pin::new(serving).poll(cx),
            Stage::Below(answering, leave) => {
                // An outcome is large: on the usual way it is changed in its place.
                let mut outcome = Poll::Pending;
                let polled = catch_unwind(AssertUnwindSafe(|| outcome = Pin::new(answering).poll(cx)));
                if polled.is_err() {
                    outcome = Poll::Ready(Err(panicked()));
                }
                let Poll::Ready(result) = &mut outcome else { return Poll::Pending };
                let Some(leave) = leave.take() else { return Poll::Pending };
                if leave.is_behind() {
                    self.0 = behind(leave, outcome);
                    return Poll::Pending;
                }
                leave.over(result);
                outcome
            }
            Stage::Behind(over) => match over.take_if(|over| !over.0.is_behind()) {
                Some(over) => {
                    let (leave, mut outcome) = *over;
                    if let Poll::Ready(result) = &mut outcome {
                        leave.over(result);
                    }
                    outcome
                }
                None => Poll::Pending,
            },
        }
    }
}

#[cold]
fn behind(leave: finish::Leave, outcome: Poll<Outcome>) -> Stage {
    Stage::Behind(Some(Box::new((leave, outcome))))
}

fn panicked() -> Error {
    Error::new(ErrorKind::Internal).with_detail("a panic was caught; please report it")
}

fn find(site: &Site, exchange: &Exchange, headers: &HeaderMap, named: Option<usize>) -> Result<Arc<Stack>, Error> {
    let head = &exchange.head;
    if head.door == Door::Connect {
        return connect::admit(site, head);
    }
    let found = match named {
        Some(index) => site.table().holds(index, head, headers).then_some(index),
        None => site.table().find(head, headers),
    };
    match found {
        Some(index) => Ok(Arc::clone(&site.stacks()[index])),
        None if site.table().keeps(head, named) => {
            exchange.detour.deny(Denied::Route);
            Err(permit::nobody(head))
        }
        None if named.is_some() => Err(Error::new(ErrorKind::NoRoute).with_detail("the route's own match refuses it")),
        None if site.is_own(&head.authority, head.tls) && !head.door.is_proxy() => {
            Err(Error::new(ErrorKind::NoRoute).with_detail("this is the proxy itself, and no route serves this host"))
        }
        None if site.passes() => Ok(Arc::clone(site.default_stack())),
        None => Err(Error::new(ErrorKind::NoRoute)
            .with_detail(format!("no route names {} and the default is deny", head.authority))),
    }
}

/// The request body, watched: how far it is, how many bytes, and a limit on silence.
fn watched(body: Body, exchange: &Arc<Exchange>, worker: &Worker) -> Body {
    let mut body = body.with_record(Arc::clone(exchange));
    if http_body::Body::is_end_stream(&body) {
        exchange.whole(false);
    } else {
        exchange.set_upload(Upload::Running);
        if exchange.head.version != http::Version::HTTP_2 && http_body::Body::size_hint(&body).exact().is_none() {
            exchange.set_doubtful(true);
        }
        body.set_idle(worker.limits().body_idle, Side::Client, exchange.head.started);
        body.attach(Box::new(finish::Uploading::new(Arc::clone(exchange))));
        if let Some(hold) = exchange.hold() {
            body.hold(Arc::clone(hold));
        }
    }
    body
}

impl hyper::service::Service<Request<Incoming>> for Edge {
    type Response = Response<Body>;
    type Error = Error;
    type Future = Passage;

    /// hyper calls it for HTTP/1 only.
    fn call(&self, request: Request<Incoming>) -> Passage {
        let (mut parts, incoming) = request.into_parts();
        let upgrade = parts.extensions.remove::<OnUpgrade>();
        let body = Body::incoming(incoming, Side::Client, parts.version);
        self.pass(parts, body, upgrade.map(Takeover::Http1), Arc::clone(&self.0.pulse) as _).0
    }
}
