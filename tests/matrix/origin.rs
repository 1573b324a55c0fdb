//! The upstream: HTTP/1.1 and HTTP/2 by hand, so that it can break off at any byte.
//!
//! Of HTTP/2 only what a proxy makes it need: one stream after another, windows both ways, and fields as HPACK literals.
//! What HTTP/1 calls mid head, mid chunk and in trailers is there the middle of a HEADERS, DATA and trailing HEADERS
//! frame; before the head, mid body and before the last chunk are between frames, where GOAWAY and RST_STREAM may stand.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use rustls::ServerConfig;
use testkit::wire::{Stream, Wire};
use testkit::{BlackHole, Port, Upstream};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::watch;

use crate::fault::{Fault, How, Point};

/// What an upstream saw.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Request heads.
    pub requests: usize,
    /// Those that were read to a clean end.
    pub whole: usize,
    /// Those that the proxy gave up while they were served.
    pub gone: usize,
    /// Answers whose head a client has.
    pub begun: usize,
    /// Bytes written for a body without end.
    pub poured: usize,
}

/// A running upstream, or what stands for it.
pub struct Origin {
    pub url: String,
    pub tally: watch::Sender<Tally>,
    pub upstream: Option<Upstream>,
    _held: Option<Held>,
}

enum Held {
    Port(#[expect(dead_code, reason = "it is held")] Port),
    Hole(#[expect(dead_code, reason = "it is held")] BlackHole),
}

/// What is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoken {
    H1,
    H2c,
    H1Tls,
    H2Tls,
}

impl Spoken {
    pub fn is_tls(self) -> bool {
        matches!(self, Self::H1Tls | Self::H2Tls)
    }

    fn is_h2(self) -> bool {
        matches!(self, Self::H2c | Self::H2Tls)
    }

    fn scheme(self) -> &'static str {
        match self {
            Self::H1 => "http",
            Self::H2c => "h2c",
            Self::H1Tls | Self::H2Tls => "https",
        }
    }
}

/// Servers for either ALPN.
#[derive(Clone)]
pub struct Servers {
    pub h1: Arc<ServerConfig>,
    pub h2: Arc<ServerConfig>,
}

impl Origin {
    pub async fn new(spoken: Spoken, fault: Fault, servers: &Servers) -> Self {
        let tally = watch::Sender::new(Tally::default());
        let (addr, upstream, held) = match fault {
            Fault::Refused => {
                let port = Port::refused();
                (port.addr(), None, Some(Held::Port(port)))
            }
            Fault::BlackHole => {
                let hole = BlackHole::new().await;
                (hole.addr(), None, Some(Held::Hole(hole)))
            }
            Fault::ResetAtConnect => {
                let reset = Upstream::raw(|_, wire| async move { wire.io.reset_on_close() }).await;
                (reset.addr(), Some(reset), None)
            }
            _ => {
                let told = tally.clone();
                let speech = move |number, wire: Wire| {
                    let talk = Talk::new(wire, spoken.is_h2(), told.clone());
                    async move { talk.serve(fault, number).await }
                };
                let upstream = match spoken {
                    Spoken::H1 | Spoken::H2c => Upstream::raw(speech).await,
                    Spoken::H1Tls => Upstream::raw_tls(Arc::clone(&servers.h1), speech).await,
                    Spoken::H2Tls => Upstream::raw_tls(Arc::clone(&servers.h2), speech).await,
                };
                (upstream.addr(), Some(upstream), None)
            }
        };
        Self { url: format!("{}://{addr}", spoken.scheme()), tally, upstream, _held: held }
    }
}

const PREFACE: usize = 24;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;
const NO_ERROR: u32 = 0;
const INTERNAL_ERROR: u32 = 2;
const INITIAL_WINDOW: u16 = 4;
/// RFC 9113 section 6.9.2.
const WINDOW: i64 = 65_535;
/// For a head to reach the client.
const BEGUN: Duration = Duration::from_secs(1);
/// Of a body without end.
const BLOCK: usize = 16 * 1024;

/// What came from the proxy.
enum Event {
    Head {
        ended: bool,
    },
    Data {
        ended: bool,
    },
    /// This request was given up; the connection is as it was.
    Reset,
    Window,
    /// The connection is over.
    Closed,
}

struct Talk {
    reader: ReadHalf<Box<dyn Stream>>,
    writer: WriteHalf<Box<dyn Stream>>,
    buf: BytesMut,
    h2: bool,
    begun: bool,
    stream: u32,
    /// What may still be sent: on the connection, on the stream, on a new one.
    room: (i64, i64, i64),
    /// The request on this connection has ended.
    ended: bool,
    /// HTTP/1: how its body ends.
    rest: Rest,
    tally: watch::Sender<Tally>,
}

enum Rest {
    Length(usize),
    Chunked(Vec<u8>),
}

impl Talk {
    fn new(wire: Wire, h2: bool, tally: watch::Sender<Tally>) -> Self {
        let (reader, writer) = tokio::io::split(wire.into_io());
        Self {
            reader,
            writer,
            buf: BytesMut::new(),
            h2,
            begun: false,
            stream: 0,
            room: (WINDOW, WINDOW, WINDOW),
            ended: false,
            rest: Rest::Length(0),
            tally,
        }
    }

    async fn serve(mut self, fault: Fault, number: usize) {
        let mut answered = 0;
        while let Some(index) = self.asked().await {
            if fault == Fault::Early && index == 0 {
                self.early().await;
                if self.h2 {
                    continue;
                }
                return;
            }
            if !self.whole().await {
                if fault == Fault::Mute {
                    self.tally.send_modify(|tally| tally.gone += 1);
                }
                if self.h2 {
                    continue;
                }
                return;
            }
            let done = match fault {
                Fault::Broken(point, how) if index == 0 => return self.broken(point, how).await,
                Fault::Stale if answered == 4 => {
                    let _ = self.good().await;
                    // Every other HTTP/2 connection ends without a word.
                    return self.goodbye(number.is_multiple_of(2)).await;
                }
                Fault::IdleGoodbye => {
                    let _ = self.good().await;
                    if !self.h2 {
                        let _ = self
                            .say(b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 4\r\n\r\nlate")
                            .await;
                    }
                    return self.goodbye(true).await;
                }
                Fault::Extra => {
                    let mut bytes = self.answer(200, &[], b"good");
                    match self.h2 {
                        true => bytes.extend(self.piece(b"evil")),
                        false => bytes.extend(self.answer(200, &[], b"evil")),
                    }
                    self.say(&bytes).await
                }
                Fault::Latency if index == 0 => {
                    tokio::time::sleep(Duration::from_millis(150)).await;
                    self.good().await
                }
                Fault::Latency | Fault::Mute => self.gone().await,
                Fault::Jitter => {
                    tokio::time::sleep(Duration::from_millis(index as u64 * 37 % 80)).await;
                    self.good().await
                }
                Fault::Drip => self.drip().await,
                Fault::Stall => {
                    let head = self.head(200, &[("content-length", "10")], true);
                    match self.say(&[head, self.part(b"abc")].concat()).await {
                        Ok(()) => self.gone().await,
                        wrong => wrong,
                    }
                }
                Fault::Burst(every) if index % every == 0 => self.say(&self.answer(503, &[], b"busy")).await,
                Fault::TooMany if index == 0 => self.say(&self.answer(429, &[("retry-after", "1")], b"busy")).await,
                Fault::Pour => self.pour().await,
                _ => self.good().await,
            };
            answered += 1;
            if done.is_err() {
                return;
            }
        }
    }

    // --- what comes in

    /// The next request's head; its number among all.
    async fn asked(&mut self) -> Option<usize> {
        loop {
            match self.event().await {
                Event::Head { ended } => {
                    self.ended = ended;
                    let mut index = 0;
                    self.tally.send_modify(|tally| {
                        index = tally.requests;
                        tally.requests += 1;
                    });
                    return Some(index);
                }
                Event::Closed => return None,
                _ => {}
            }
        }
    }

    /// Reads the request to its end; false if it was given up.
    async fn whole(&mut self) -> bool {
        while !self.ended {
            match self.event().await {
                Event::Data { ended } => self.ended = ended,
                Event::Window => {}
                Event::Head { .. } | Event::Reset | Event::Closed => return false,
            }
        }
        self.tally.send_modify(|tally| tally.whole += 1);
        true
    }

    /// Waits until the proxy gives the request up.
    async fn gone(&mut self) -> io::Result<()> {
        loop {
            match self.event().await {
                Event::Reset => break,
                Event::Closed => {
                    self.tally.send_modify(|tally| tally.gone += 1);
                    return Err(io::ErrorKind::ConnectionAborted.into());
                }
                _ => {}
            }
        }
        self.tally.send_modify(|tally| tally.gone += 1);
        Ok(())
    }

    /// Cancel-safe: what was read stays in the buffer until it is a whole event.
    async fn event(&mut self) -> Event {
        loop {
            let found = if self.h2 { self.frame().await } else { self.text() };
            if let Some(event) = found {
                return event;
            }
            if !matches!(self.reader.read_buf(&mut self.buf).await, Ok(1..)) {
                return Event::Closed;
            }
        }
    }

    fn text(&mut self) -> Option<Event> {
        if self.ended || !self.begun {
            let end = self.buf.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
            let head = String::from_utf8_lossy(&self.buf.split_to(end)).to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
            self.rest = match length {
                Some(length) => Rest::Length(length.trim().parse().expect("a length")),
                None if head.contains("transfer-encoding:") => Rest::Chunked(Vec::new()),
                None => Rest::Length(0),
            };
            self.begun = true;
            return Some(Event::Head { ended: matches!(self.rest, Rest::Length(0)) });
        }
        if self.buf.is_empty() {
            return None;
        }
        let part = self.buf.split();
        let ended = match &mut self.rest {
            Rest::Length(left) => {
                *left -= part.len();
                *left == 0
            }
            Rest::Chunked(all) => {
                all.extend_from_slice(&part);
                all.ends_with(b"0\r\n\r\n")
            }
        };
        Some(Event::Data { ended })
    }

    async fn frame(&mut self) -> Option<Event> {
        if !self.begun {
            if self.buf.len() < PREFACE {
                return None;
            }
            self.buf.advance(PREFACE);
            self.begun = true;
            let _ = self.say(&frame(SETTINGS, 0, 0, &[])).await;
        }
        loop {
            let length = u32::from_be_bytes([0, *self.buf.first()?, *self.buf.get(1)?, *self.buf.get(2)?]) as usize;
            if self.buf.len() < 9 + length {
                return None;
            }
            let head = self.buf.split_to(9);
            let body = self.buf.split_to(length);
            let (kind, flags) = (head[3], head[4]);
            let stream = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
            match kind {
                HEADERS if stream > self.stream => {
                    self.stream = stream;
                    self.room.1 = self.room.2;
                    return Some(Event::Head { ended: flags & END_STREAM != 0 });
                }
                DATA => {
                    if length > 0 {
                        let more = u32::try_from(length).expect("a frame").to_be_bytes();
                        let both = [frame(WINDOW_UPDATE, 0, 0, &more), frame(WINDOW_UPDATE, 0, stream, &more)];
                        let _ = self.say(&both.concat()).await;
                    }
                    if stream == self.stream {
                        return Some(Event::Data { ended: flags & END_STREAM != 0 });
                    }
                }
                RST_STREAM if stream == self.stream => return Some(Event::Reset),
                SETTINGS if flags & ACK == 0 => {
                    for one in body.chunks_exact(6) {
                        if u16::from_be_bytes([one[0], one[1]]) == INITIAL_WINDOW {
                            self.room.2 = i64::from(u32::from_be_bytes([one[2], one[3], one[4], one[5]]));
                        }
                    }
                    let _ = self.say(&frame(SETTINGS, ACK, 0, &[])).await;
                }
                PING if flags & ACK == 0 => drop(self.say(&frame(PING, ACK, 0, &body)).await),
                WINDOW_UPDATE => {
                    let more = i64::from(u32::from_be_bytes([body[0], body[1], body[2], body[3]]));
                    match stream {
                        0 => self.room.0 += more,
                        _ if stream == self.stream => self.room.1 += more,
                        _ => {}
                    }
                    return Some(Event::Window);
                }
                _ => {}
            }
        }
    }

    // --- what goes out

    async fn say(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.writer.write_all(bytes).await?;
        self.writer.flush().await
    }

    async fn good(&mut self) -> io::Result<()> {
        self.say(&self.answer(200, &[], b"good")).await
    }

    /// A whole answer.
    fn answer(&self, status: u16, fields: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
        let length = body.len().to_string();
        let fields = [fields, &[("content-length", length.as_str())]].concat();
        let head = self.head(status, &fields, true);
        if self.h2 { [head, frame(DATA, END_STREAM, self.stream, body)].concat() } else { [&head, body].concat() }
    }

    /// A head with a body to come; unless it is framed by a field, HTTP/1 sends chunks.
    fn head(&self, status: u16, fields: &[(&str, &str)], framed: bool) -> Vec<u8> {
        if self.h2 {
            // The static table's eighth name is `:status`.
            let mut block = literal(&[8], &status.to_string());
            for (name, value) in fields {
                block.extend(literal(&string(&[0], name), value));
            }
            return frame(HEADERS, END_HEADERS, self.stream, &block);
        }
        let mut head = format!("HTTP/1.1 {status} Scripted\r\n");
        for (name, value) in fields {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !framed {
            head.push_str("transfer-encoding: chunked\r\n");
        }
        format!("{head}\r\n").into_bytes()
    }

    /// A part of a body of known length.
    fn part(&self, data: &[u8]) -> Vec<u8> {
        if self.h2 { frame(DATA, 0, self.stream, data) } else { data.to_vec() }
    }

    /// A chunk.
    fn piece(&self, data: &[u8]) -> Vec<u8> {
        if self.h2 { self.part(data) } else { [format!("{:x}\r\n", data.len()).as_bytes(), data, b"\r\n"].concat() }
    }

    fn trailers(&self) -> Vec<u8> {
        if self.h2 {
            let block = literal(&string(&[0], "x-sum"), "123456");
            return frame(HEADERS, END_HEADERS | END_STREAM, self.stream, &block);
        }
        b"0\r\nx-sum: 123456\r\n\r\n".to_vec()
    }

    async fn broken(mut self, point: Point, how: How) {
        let head = self.head(200, &[("trailer", "x-sum")], false);
        let known = self.head(200, &[("content-length", "10")], true);
        let (bytes, between) = match point {
            Point::BeforeHead => (Vec::new(), true),
            Point::MidHead => (half(&head), false),
            Point::MidBody => ([known, self.part(b"abc")].concat(), true),
            Point::MidChunk => ([head, half(&self.piece(b"a chunk of some bytes"))].concat(), false),
            Point::BeforeLastChunk => ([head, self.piece(b"abc")].concat(), true),
            Point::InTrailers => ([head, self.piece(b"abc"), half(&self.trailers())].concat(), false),
        };
        let begun = !matches!(point, Point::BeforeHead | Point::MidHead);
        // It has gone where it can be read before the end is seen.
        let _ = self.say(&bytes).await;
        if begun && how == How::Reset {
            until_begun(self.tally.subscribe()).await;
        }
        if self.h2 && between && how == How::Reset {
            let _ = self.say(&frame(RST_STREAM, 0, self.stream, &INTERNAL_ERROR.to_be_bytes())).await;
            // The connection is good; only here a further request may come on it.
            return Box::pin(self.serve(Fault::Jitter, 0)).await;
        }
        match how {
            How::Close => self.goodbye(between).await,
            How::Reset => self.reader.unsplit(self.writer).reset_on_close(),
        }
    }

    /// The end of the connection, in order; `word`: HTTP/2 says that no stream after this one was processed.
    async fn goodbye(mut self, word: bool) {
        if self.h2 && word {
            let _ = self.say(&frame(GOAWAY, 0, 0, &[self.stream.to_be_bytes(), NO_ERROR.to_be_bytes()].concat())).await;
        }
        let _ = self.writer.shutdown().await;
        while !matches!(self.event().await, Event::Closed) {}
    }

    async fn early(&mut self) {
        let _ = self.say(&self.answer(413, &[], b"too much")).await;
        if self.h2 {
            // RFC 9113 section 8.1.
            let _ = self.say(&frame(RST_STREAM, 0, self.stream, &NO_ERROR.to_be_bytes())).await;
            return;
        }
        let _ = self.writer.shutdown().await;
        while !matches!(self.event().await, Event::Closed) {}
    }

    async fn drip(&mut self) -> io::Result<()> {
        let head = self.head(200, &[("content-length", "6")], true);
        self.say(&head).await?;
        for byte in b"drip!\n" {
            tokio::time::sleep(Duration::from_millis(100)).await;
            self.say(&self.part(&[*byte])).await?;
        }
        match self.h2 {
            true => self.say(&frame(DATA, END_STREAM, self.stream, &[])).await,
            false => Ok(()),
        }
    }

    /// As much as is taken, until the proxy gives the request up.
    async fn pour(&mut self) -> io::Result<()> {
        let head = self.head(200, &[], false);
        self.say(&head).await?;
        let block = self.piece(&[b'p'; BLOCK]);
        let mut at = 0;
        loop {
            let open = !self.h2 || at > 0 || self.room.0.min(self.room.1) >= BLOCK as i64;
            let event = tokio::select! {
                wrote = self.writer.write(&block[at..]), if open => {
                    let Ok(wrote) = wrote else {
                        self.tally.send_modify(|tally| tally.gone += 1);
                        return Err(io::ErrorKind::BrokenPipe.into());
                    };
                    if at == 0 {
                        self.room.0 -= BLOCK as i64;
                        self.room.1 -= BLOCK as i64;
                    }
                    at = (at + wrote) % block.len();
                    self.tally.send_modify(|tally| tally.poured += wrote);
                    continue;
                }
                read = self.reader.read_buf(&mut self.buf) => match read {
                    Ok(1..) if self.h2 => self.answered().await,
                    _ => Event::Closed,
                },
            };
            match event {
                Event::Reset => {
                    self.tally.send_modify(|tally| tally.gone += 1);
                    // A frame that was begun is ended: the connection stays readable.
                    return if at == 0 { Ok(()) } else { self.say(&block[at..]).await };
                }
                Event::Closed => {
                    self.tally.send_modify(|tally| tally.gone += 1);
                    return Err(io::ErrorKind::ConnectionAborted.into());
                }
                _ => {}
            }
        }
    }

    /// All frames that are there. None of those that come in the middle of a response wants an answer between two
    /// parts of a block.
    async fn answered(&mut self) -> Event {
        while let Some(event) = self.frame().await {
            if matches!(event, Event::Reset) {
                return event;
            }
        }
        Event::Window
    }
}

/// Waits until the client has the head: a reset throws away what was not yet read on the way there. A head that is held
/// back longer than this is seen as one that never came.
async fn until_begun(mut tally: watch::Receiver<Tally>) {
    let _ = tokio::time::timeout(BEGUN, tally.wait_for(|tally| tally.begun > 0)).await;
}

fn half(bytes: &[u8]) -> Vec<u8> {
    bytes[..bytes.len() / 2].to_vec()
}

fn frame(kind: u8, flags: u8, stream: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).expect("a frame").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), body].concat()
}

/// RFC 7541 section 5.2, without Huffman; everything here is shorter than 127 bytes.
fn string(before: &[u8], text: &str) -> Vec<u8> {
    [before, &[u8::try_from(text.len()).expect("short")], text.as_bytes()].concat()
}

/// RFC 7541 section 6.2.2.
fn literal(name: &[u8], value: &str) -> Vec<u8> {
    string(name, value)
}
