//! HTTP/1.1 by hand.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::reply::{Payload, Reply, Then};
use super::{Book, Handler, Seen};
use crate::wire::{Wire, field};

pub(super) async fn serve(mut wire: Wire, connection: usize, handler: &Handler, early: bool, book: &Book) {
    while let Ok(Some((line, headers))) = wire.head().await {
        let mut words = line.split(' ').map(str::to_owned);
        let mut word = || words.next().unwrap_or_default();
        let (method, target, version) = (word(), word(), word());
        let seen = Seen { connection, method, target, version, headers, ..Seen::default() };
        let mut seen = book.began(seen);
        if !early {
            let read = body(&mut wire, &mut seen).await;
            seen.whole = read.is_ok();
            book.read(&seen);
            if read.is_err() {
                return;
            }
        }
        let reply = handler(&seen);
        tokio::select! {
            () = reply.due() => {}
            () = wire.closed() => return,
        }
        // A client that left needs no answer.
        if wire.send(bytes(&reply, &seen.method)).await.is_err() {
            return;
        }
        match reply.then {
            Then::Keep if !early => {}
            Then::Reset | Then::Refuse => return wire.io.reset_on_close(),
            Then::Echo => return echo(wire).await,
            Then::Keep | Then::Close => {
                // Half-closed first, so that unread bytes do not turn the end into a reset.
                let _ = wire.io.shutdown().await;
                return wire.closed().await;
            }
        }
    }
}

async fn body(wire: &mut Wire, seen: &mut Seen) -> io::Result<()> {
    let mut body = Vec::new();
    let read = if let Some(length) = field(&seen.headers, "content-length") {
        let length = length.parse().map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
        wire.exact(length, &mut body).await.map(|()| Vec::new())
    } else if field(&seen.headers, "transfer-encoding").is_some() {
        wire.chunks(&mut body).await
    } else {
        Ok(Vec::new())
    };
    seen.body = body;
    seen.trailers = read?;
    Ok(())
}

fn bytes(reply: &Reply, method: &str) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {} Scripted\r\n", reply.status);
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    match &reply.payload {
        Payload::Raw(bytes) => bytes.clone(),
        Payload::Length(body) => {
            if !matches!(reply.status, 100..=199 | 204 | 304) {
                head.push_str(&format!("content-length: {}\r\n", body.len()));
            }
            let mut bytes = format!("{head}\r\n").into_bytes();
            if method != "HEAD" {
                bytes.extend_from_slice(body);
            }
            bytes
        }
        Payload::Chunked(parts) => {
            let mut bytes = format!("{head}transfer-encoding: chunked\r\n\r\n").into_bytes();
            for part in parts {
                bytes.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
                bytes.extend_from_slice(part);
                bytes.extend_from_slice(b"\r\n");
            }
            bytes.extend_from_slice(b"0\r\n");
            for (name, value) in &reply.trailers {
                bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
            }
            bytes.extend_from_slice(b"\r\n");
            bytes
        }
    }
}

async fn echo(mut wire: Wire) {
    let mut bytes = wire.early().to_vec();
    loop {
        if wire.io.write_all(&bytes).await.is_err() {
            return;
        }
        bytes.resize(16 * 1024, 0);
        match wire.io.read(&mut bytes).await {
            Ok(0) | Err(_) => break,
            Ok(count) => bytes.truncate(count),
        }
    }
    // The other side has ended: so do we, in order.
    let _ = wire.io.shutdown().await;
}
