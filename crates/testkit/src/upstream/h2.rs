//! HTTP/2 by the `h2` crate: the frames that matter are said in a script's words.

use std::sync::Arc;

use ::h2::{Reason, SendStream, server};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use tokio::task::JoinSet;

use super::reply::{Payload, Reply, Then};
use super::{Book, Handler, Seen};
use crate::wire::{Fields, Stream};

pub(super) async fn serve<S: Stream + 'static>(
    io: S,
    connection: usize,
    handler: &Arc<Handler>,
    early: bool,
    book: &Book,
) {
    let Ok(mut accepted) = server::handshake(io).await else { return };
    let mut streams = JoinSet::new();
    // Ends with the connection; what its streams still do is dropped with it.
    while let Some(Ok((request, respond))) = accepted.accept().await {
        let (handler, book) = (Arc::clone(handler), book.clone());
        streams.spawn(async move { answer(request, respond, connection, &*handler, early, &book).await });
    }
}

/// Answers each stream while it comes.
pub(super) async fn echo<S: Stream + 'static>(io: S) {
    let Ok(mut accepted) = server::handshake(io).await else { return };
    let mut streams = JoinSet::new();
    while let Some(Ok((request, mut respond))) = accepted.accept().await {
        streams.spawn(async move {
            let mut incoming = request.into_body();
            let response = Response::builder().header("content-type", "application/grpc").body(()).expect("a response");
            let mut outgoing = respond.send_response(response, false)?;
            while let Some(data) = incoming.data().await {
                let data = data?;
                incoming.flow_control().release_capacity(data.len())?;
                outgoing.send_data(data, false)?;
            }
            outgoing.send_trailers(map(&vec![("grpc-status".into(), "0".into())]))
        });
    }
}

async fn answer(
    request: http::Request<::h2::RecvStream>,
    mut respond: server::SendResponse<Bytes>,
    connection: usize,
    handler: &Handler,
    early: bool,
    book: &Book,
) {
    let (head, mut incoming) = request.into_parts();
    let mut headers: Fields = vec![
        (":authority".into(), head.uri.authority().map(ToString::to_string).unwrap_or_default()),
        (":scheme".into(), head.uri.scheme_str().unwrap_or_default().into()),
    ];
    headers.extend(fields(&head.headers));
    let mut seen = book.began(Seen {
        connection,
        method: head.method.to_string(),
        target: head.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        version: "HTTP/2".into(),
        headers,
        ..Seen::default()
    });
    if early {
        return say(&handler(&seen), respond);
    }
    while let Some(data) = incoming.data().await {
        let Ok(data) = data else { return };
        // A stream that is over has no window to give back.
        let _ = incoming.flow_control().release_capacity(data.len());
        seen.body.extend_from_slice(&data);
    }
    let Ok(trailers) = incoming.trailers().await else { return };
    seen.trailers = trailers.as_ref().map(fields).unwrap_or_default();
    seen.whole = true;
    book.read(&seen);
    let reply = handler(&seen);
    tokio::select! {
        () = reply.due() => {}
        _ = std::future::poll_fn(|cx| respond.poll_reset(cx)) => return,
    }
    if reply.then == Then::Refuse {
        return respond.send_reset(Reason::REFUSED_STREAM);
    }
    say(&reply, respond);
}

/// Nothing waits for the peer here: bodies of tests fit into a window.
fn say(reply: &Reply, mut respond: server::SendResponse<Bytes>) {
    let (parts, is_silent) = match &reply.payload {
        Payload::Length(body) if body.is_empty() => (Vec::new(), false),
        Payload::Length(body) => (vec![body.clone()], false),
        Payload::Chunked(parts) => (parts.clone(), false),
        Payload::Raw(_) => (Vec::new(), true),
    };
    if is_silent {
        return respond.send_reset(Reason::INTERNAL_ERROR);
    }
    let mut response = Response::new(());
    *response.status_mut() = reply.status.try_into().expect("a status");
    *response.headers_mut() = map(&reply.headers);
    let ends_here = parts.is_empty() && reply.trailers.is_empty() && reply.then == Then::Keep;
    let Ok(mut stream) = respond.send_response(response, ends_here) else { return };
    if !ends_here {
        // The client may have reset the stream: then nobody listens any more.
        let _ = body(reply, parts, &mut stream);
    }
}

fn body(reply: &Reply, parts: Vec<Vec<u8>>, stream: &mut SendStream<Bytes>) -> Result<(), ::h2::Error> {
    let last = parts.len();
    for (index, part) in parts.into_iter().enumerate() {
        let ends = index + 1 == last && reply.trailers.is_empty() && reply.then == Then::Keep;
        stream.send_data(Bytes::from(part), ends)?;
    }
    match reply.then {
        Then::Keep if !reply.trailers.is_empty() => stream.send_trailers(map(&reply.trailers)),
        Then::Keep => Ok(()),
        _ => {
            stream.send_reset(Reason::INTERNAL_ERROR);
            Ok(())
        }
    }
}

fn fields(map: &HeaderMap) -> Fields {
    map.iter().map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())).collect()
}

fn map(fields: &Fields) -> HeaderMap {
    let pair = |(name, value): &(String, String)| {
        (HeaderName::try_from(name.as_str()).expect("a name"), HeaderValue::from_str(value).expect("a value"))
    };
    fields.iter().map(pair).collect()
}
