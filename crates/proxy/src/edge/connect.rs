//! CONNECT: admit, dial, answer 200, then see what is inside.
//!
//! To port 80, and to hosts with `intercept`, the answer comes first and every request inside dials for itself. To any other port the dial comes
//! first, so that a failure is a clear status; plain HTTP inside is then recognised by its first bytes, and anything
//! else, or silence for 300 ms (server-first protocols), is carried as it is. TLS for another name than the tunnel's is
//! not: allow rules looked at the tunnel's. TLS to a host with `intercept` ends here instead (`crate::intercept`); if
//! nobody has spoken after 300 ms, the one who does so first tells whether it is TLS after all or a server's greeting.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use exchange::identity::Peer;
use exchange::io::Tunnel;
use exchange::{Authority, Body, Client, Error, ErrorKind, Exchange, Head, Io, clock};
use http::{HeaderMap, Request, Response};
use middleware::authenticate::Checked;
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use super::finish::Leave;
use crate::bridge::Bridge;
use crate::intercept::Opening;
use crate::listener::conn::{self, Entry};
use crate::listener::drain::{Drain, Mode};
use crate::listener::hello;
use crate::listener::sniff::{self, Spoken};
use crate::listener::takeover::Takeover;
use crate::permit;
use crate::stack::{Site, Stack};
use crate::worker::Worker;

/// For the client's first byte.
const SNIFF: Duration = Duration::from_millis(300);
/// CONNECT to this port carries plain HTTP.
const PLAIN: u16 = 80;
/// Read at once of a server that speaks first.
const GREETING: usize = 4096;

/// Whether a tunnel may be made; a route's policies do not apply inside one, so the default's stack is used.
pub(super) fn admit(site: &Site, head: &Head) -> Result<Arc<Stack>, Error> {
    let port = head.authority.port_or(443);
    if !site.connect_ports().iter().any(|(first, last)| (*first..=*last).contains(&port)) {
        return Err(Error::new(ErrorKind::Forbidden)
            .with_detail(format!("CONNECT to port {port} is not in `destinations: connect_ports`")));
    }
    // What answers without an upstream can be asked in an opened tunnel, and only there.
    let inside =
        || site.table().names_host(head.authority.host()) && site.opening(&head.authority, &head.client).is_some();
    if !is_led_to(site, &head.authority) && !inside() {
        return Err(Error::new(ErrorKind::NoRoute)
            .with_detail(format!("no route leads to {} and the default is deny", head.authority)));
    }
    Ok(Arc::clone(site.default_stack()))
}

/// What is inside may be carried there as it is.
fn is_led_to(site: &Site, authority: &Authority) -> bool {
    site.passes() || site.table().leads_to(authority)
}

/// Asks who makes a tunnel, as the routes of its host ask; what they show holds for all that is inside.
async fn authenticate(site: &Site, exchange: &Exchange) -> Result<(), Error> {
    let Some(gate) = site.snapshot().tunnel_gate(&exchange.head.authority) else { return Ok(()) };
    let known = match gate.check(exchange, &HeaderMap::new()) {
        Checked::Through => return Ok(()),
        Checked::Known(known) => known,
        Checked::Refused(error) => return Err(error),
        Checked::Later(pending) => gate.settle(pending, exchange).await?,
    };
    exchange.set_principal(known.principal);
    Ok(())
}

/// What is inside is not seen: what was shown must be what each of these routes asks for.
fn unseen(site: &Site, exchange: &Exchange) -> Result<(), Error> {
    site.snapshot().tunnel_gates(&exchange.head.authority).into_iter().try_for_each(|gate| gate.holds(exchange))?;
    permit::tunnel(site, exchange, true)
}

/// The client as it is known inside: with whom its CONNECT showed.
fn inside(exchange: &Exchange) -> Client {
    let mut client = exchange.head.client.clone();
    if let Some(principal) = exchange.principal() {
        let known = client.peer.as_deref().cloned().unwrap_or_default();
        client.peer = Some(Arc::new(Peer { principal: Some(Arc::clone(principal)), ..known }));
    }
    client
}

/// Answers a CONNECT and carries what is inside.
pub(super) async fn serve(mut leave: Leave, site: Arc<Site>, request: Request<Body>) -> Result<Response<Body>, Error> {
    let Some(client) = leave.takeover.take() else {
        return Ok(leave.refused(Error::new(ErrorKind::Internal).with_detail("the connection cannot be taken over")));
    };
    if let Err(error) = authenticate(&site, &leave.exchange).await {
        return Ok(leave.refused(error));
    }
    let head = &leave.exchange.head;
    let opening = site.opening(&head.authority, &head.client);
    // To port 80, and of a host that is intercepted, what is inside is seen before anything is dialed; whatever turns out
    // not to be is asked again then.
    let opaque = head.authority.port_or(PLAIN) != PLAIN && opening.is_none();
    let let_in = if opaque { unseen(&site, &leave.exchange) } else { permit::tunnel(&site, &leave.exchange, false) };
    if let Err(error) = let_in {
        return Ok(leave.refused(error));
    }
    if !opaque {
        return Ok(open(leave, site, client, None, opening));
    }
    let stack = Arc::clone(site.default_stack());
    match stack.service.call(request).await {
        Err(error) => leave.failed(error),
        Ok(response) => Ok(open(leave, site, client, Some(response), None)),
    }
}

/// Answers 200 and goes on in a task of its own.
fn open(
    leave: Leave,
    site: Arc<Site>,
    client: Takeover,
    dialed: Option<Response<Body>>,
    opening: Option<Opening>,
) -> Response<Body> {
    let Leave { edge, exchange, watch, tunnel_idle, .. } = leave;
    exchange.answered(200, None, Some(clock::now()));
    let mut owing = dialed.unwrap_or_default();
    let dialed = owing.extensions_mut().remove::<Tunnel>();
    watch.attach(&mut owing);
    let inside = Inside {
        entry: Entry { client: inside(&exchange), tunnel: Some(exchange.head.authority.clone()), tls: false },
        worker: Arc::clone(&edge.0.worker),
        exchange,
        owed: owing.into_body(),
        idle: tunnel_idle,
        named: site,
        opening,
    };
    let held = inside.worker.hold();
    tokio::spawn(async move {
        if let Some(client) = client.taken().await {
            inside.serve(client, dialed).await;
        }
        drop(held);
    });
    Response::new(Body::empty())
}

/// An open tunnel.
struct Inside {
    entry: Entry,
    worker: Arc<Worker>,
    exchange: Arc<Exchange>,
    owed: Body,
    idle: Duration,
    named: Arc<Site>,
    /// How TLS inside is opened, if it is.
    opening: Option<Opening>,
}

impl Inside {
    async fn serve(self, mut client: Io, dialed: Option<Tunnel>) {
        let worker = Arc::clone(&self.worker);
        let first_byte = worker.limits().first_byte;
        let is_plain = self.exchange.head.authority.port_or(PLAIN) == PLAIN;
        let within = if is_plain { first_byte } else { SNIFF };
        let mut early = BytesMut::new();
        let mut heard = timeout(within, sniff::peek(&mut client, &mut early)).await;
        if heard.is_err() && self.opening.is_some() && !self.may_carry() {
            // Nothing but TLS has a way here, so a client that is slow to begin has its time.
            heard = timeout(first_byte, sniff::peek(&mut client, &mut early)).await;
        }
        let spoken = match heard {
            Ok(Ok(Some(Spoken::Http1))) => Some(conn::Inside::Http1),
            Ok(Ok(Some(Spoken::Http2))) => Some(conn::Inside::Http2),
            Ok(Ok(Some(Spoken::Tls))) if let Some(opening) = self.opening.clone() => {
                return self.opened(opening, sniff::rewound(client, early.freeze())).await;
            }
            Ok(Ok(Some(Spoken::Tls))) if is_misdirected(&self.exchange, &mut client, &mut early, first_byte).await => {
                return conn::refuse_name(client).await;
            }
            _ => None,
        };
        let client = sniff::rewound(client, early.freeze());
        if let Some(spoken) = spoken {
            // Over HTTP/2 it would be spoken to before a request was let through; a route has a pool of its own.
            if let Some(dialed) = dialed.filter(|_| spoken == conn::Inside::Http1)
                && !self.named.table().names_host(self.exchange.head.authority.host())
            {
                dialed.keep().await;
            }
            return Box::pin(conn::serve_inside(spoken, client, self.entry.clone(), worker)).await;
        }
        // Something that is not HTTP after all: dialed now, through the same stack.
        let Some(upstream) = dialed.and_then(|dialed| dialed.take()) else { return self.late(client).await };
        self.carry(client, upstream, &worker).await;
    }

    /// Whether what is inside may go on as it is. Asked of a record of its own: no refusal is made of it.
    fn may_carry(&self) -> bool {
        let head = Head { client: self.entry.client.clone(), ..self.exchange.head.clone() };
        is_led_to(&self.named, &head.authority) && permit::tunnel(&self.named, &Exchange::new(head, None), true).is_ok()
    }

    /// Serves the TLS inside as if it had come by itself.
    async fn opened(self, opening: Opening, client: Io) {
        let Self { entry, worker, exchange, owed, .. } = self;
        let serving = opening.serve(client, entry, &exchange.head.authority, worker);
        if !Box::pin(serving).await {
            exchange.set_reason(ErrorKind::Misdirected);
        }
        drop(owed);
    }

    async fn carry(self, client: Io, upstream: Io, worker: &Worker) {
        let Self { exchange, owed, idle, named, .. } = self;
        if named.table().names_host(exchange.head.authority.host()) {
            tracing::info!(host = %exchange.head.authority, "tunnel: the policies of this host's route do not apply inside");
        }
        let open = worker.stats().tunnel();
        Bridge { client, upstream, exchange, open, owed, idle }.run(worker.drain()).await;
    }

    async fn late(self, mut client: Io) {
        if !is_led_to(&self.named, &self.exchange.head.authority) {
            return self.exchange.set_reason(ErrorKind::NoRoute);
        }
        if let Err(error) = unseen(&self.named, &self.exchange) {
            self.exchange.set_reason(error.kind);
            tracing::debug!(reason = error.kind.label(), %error, "tunnel");
            return;
        }
        let mut request = Request::new(Body::empty().with_record(Arc::clone(&self.exchange)));
        *request.method_mut() = http::Method::CONNECT;
        if let Ok(target) = self.exchange.head.authority.to_string().parse() {
            *request.uri_mut() = target;
        }
        let worker = Arc::clone(&self.worker);
        self.exchange.wait();
        match self.named.default_stack().service.call(request).await {
            Ok(mut response) => {
                let upstream = response.extensions_mut().remove::<Tunnel>().and_then(|tunnel| tunnel.take());
                let Some(mut upstream) = upstream else { return };
                if let Some(opening) = self.opening.clone() {
                    match first(&mut client, &mut upstream, self.idle, worker.drain()).await {
                        First::Nobody => return,
                        First::Client { said, tls: true } => {
                            return self.opened(opening, sniff::rewound(client, said)).await;
                        }
                        First::Client { said, tls: false } => client = sniff::rewound(client, said),
                        First::Upstream { said, early } => {
                            client = sniff::rewound(client, early);
                            upstream = sniff::rewound(upstream, said);
                        }
                    }
                }
                self.carry(client, upstream, &worker).await;
            }
            Err(error) => {
                self.exchange.set_reason(error.kind);
                tracing::debug!(reason = error.kind.label(), %error, "tunnel");
            }
        }
    }
}

/// Who speaks first in a tunnel in which both were silent.
enum First {
    Nobody,
    Client {
        said: Bytes,
        tls: bool,
    },
    /// With what the client has begun to say.
    Upstream {
        said: Bytes,
        early: Bytes,
    },
}

/// Waits for the first to speak, for as long as a silent tunnel may stay.
async fn first(client: &mut Io, upstream: &mut Io, idle: Duration, mut drain: Drain) -> First {
    let (mut early, mut said) = (BytesMut::new(), BytesMut::with_capacity(GREETING));
    let who = tokio::select! {
        biased;
        spoken = sniff::peek(client, &mut early) => Some(Ok(spoken)),
        read = upstream.read_buf(&mut said) => Some(Err(read)),
        () = tokio::time::sleep(idle) => None,
        () = drain.reached(Mode::Stopping) => None,
    };
    let early = early.freeze();
    match who {
        None => First::Nobody,
        Some(Ok(spoken)) => First::Client { said: early, tls: matches!(spoken, Ok(Some(Spoken::Tls))) },
        Some(Err(_)) => First::Upstream { said: said.freeze(), early },
    }
}

/// The TLS inside asks for another name than the tunnel's. What is not said in time, or not readably, is carried.
async fn is_misdirected(exchange: &Exchange, client: &mut Io, early: &mut BytesMut, within: Duration) -> bool {
    let authority = &exchange.head.authority;
    let Ok(Ok(Some(name))) = timeout(within, hello::name(client, early)).await else { return false };
    let differs = hello::differs(&name, authority.host());
    if differs {
        exchange.set_reason(ErrorKind::Misdirected);
        tracing::debug!(%name, tunnel = %authority, "tunnel: tls for another name");
    }
    differs
}
