"""Bodies and trailers go through as they are: RFC 9112 7, RFC 9110 6.4, 6.5, 7.7."""

from engine.accept import broken_body, clean, either, every, failed, got, refused, relayed, reply, sent_on, status
from engine.case import H1, MODES, Ask, family
from engine.steps import CLOSE, HEAD, MESSAGE, PROBE, REPLY, Await, Bytes, Drip, Signal

add = family("body", "RFC 9110 6.4, 7.7", "high", "a body arrives byte for byte, whatever frames it", modes=MODES)
EVERY = bytes(range(256))
CRLFS = b"\r\n\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"
BODIES = {
    "empty": b"",
    "one": b"x",
    "every-byte": EVERY * 4,
    "crlfs": CRLFS,
    "64k": bytes(65536),
    "100k": b"abcdefghij" * 10000,
    "zeros": b"\x00" * 100,
    "gzip": b"\x1f\x8b\x08" + EVERY,
}
for name, data in BODIES.items():
    add(f"up-length-{name}", sent_on(data), ask=Ask(b"POST", b"/b", (), data))
    if data:
        add(f"up-chunked-{name}", sent_on(data), ask=Ask(b"POST", b"/b", (), data, (), True))
    add(
        f"down-length-{name}",
        relayed(200, data),
        ask=Ask(),
        origin=(MESSAGE, b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(data) + data),
    )
    chunk = b"%x\r\n%s\r\n" % (len(data), data) if data else b""
    add(
        f"down-chunked-{name}",
        relayed(200, data),
        ask=Ask(),
        origin=(MESSAGE, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk + b"0\r\n\r\n"),
    )
    add(
        f"down-until-close-{name}",
        relayed(200, data),
        ask=Ask(),
        origin=(MESSAGE, b"HTTP/1.1 200 OK\r\n\r\n" + data, CLOSE),
    )
small = b"".join(b"1\r\n%c\r\n" % byte for byte in EVERY) + b"0\r\n\r\n"
add(
    "down-tiny-chunks",
    relayed(200, EVERY),
    ask=Ask(),
    origin=(MESSAGE, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + small),
)
CHUNKED = b"POST <T>/b HTTP/1.1\r\nHost: <H>\r\nTransfer-Encoding: chunked\r\n\r\n"
for name, data in {
    "tiny": small,
    "extension": b"3;a=b;c\r\nabc\r\n0\r\n\r\n",
    "extension-quoted": b'3;a="b;c"\r\nabc\r\n0\r\n\r\n',
    "extension-last": b"3\r\nabc\r\n0;x=y\r\n\r\n",
    "zeros": b"0003\r\nabc\r\n000\r\n\r\n",
    "upper-hex": b"A\r\nabcdefghij\r\n0\r\n\r\n",
    "lower-hex": b"a\r\nabcdefghij\r\n0\r\n\r\n",
}.items():
    whole = {"tiny": EVERY, "upper-hex": b"abcdefghij", "lower-hex": b"abcdefghij"}.get(name, b"abc")
    add(
        f"up-chunks-{name}",
        either(sent_on(whole), refused()) if "extension" in name else sent_on(whole),
        client=(CHUNKED + data, REPLY, PROBE),
        modes=H1,
        source="RFC 9112 7.1",
    )
add(
    "up-split",
    sent_on(b"abc"),
    client=(CHUNKED, b"3", b"\r", b"\na", b"bc\r", b"\n0\r\n", b"\r\n", REPLY, PROBE),
    modes=H1,
    why="where packets end means nothing",
)
add(
    "up-drip",
    sent_on(b"abcdef"),
    client=(b"POST <T>/b HTTP/1.1\r\nHost: <H>\r\nContent-Length: 6\r\n\r\n", Drip(b"abcdef", 0.05), REPLY, PROBE),
    modes=H1,
)
add(
    "down-drip",
    relayed(200, b"abcdef"),
    ask=Ask(),
    origin=(MESSAGE, b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n", Drip(b"abcdef", 0.05)),
)
add(
    "down-head-drip",
    relayed(200, b"ok"),
    ask=Ask(),
    origin=(MESSAGE, Drip(b"HTTP/1.1 20", 0.01), b"0 OK\r\nContent-Length: 2\r\n", Drip(b"\r\nok", 0.01)),
)
add(
    "head-drip",
    sent_on(),
    client=(b"GET <T>/b HTTP/1.1\r\nHost: <H>\r\n", Drip(b"X-Slow: yes\r\n\r\n", 0.02), REPLY, PROBE),
    modes=H1,
)
# Streaming: each side sees the first part before the last is sent.
add(
    "stream-up",
    relayed(200, b"ok"),
    modes=H1,
    why="an upload streams: it is not kept until it is whole",
    client=(CHUNKED + b"5\r\nhello\r\n", Await("first"), b"0\r\n\r\n", REPLY),
    origin=(HEAD, Signal("first"), MESSAGE, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
)
add(
    "stream-down",
    relayed(200, b"helloworld"),
    modes=H1,
    why="a response streams: events reach the client when they are sent",
    client=(b"GET <T>/b HTTP/1.1\r\nHost: <H>\r\n\r\n", Bytes(20), Signal("first"), REPLY),
    origin=(
        MESSAGE,
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 10\r\n\r\nhello",
        Await("first"),
        b"world",
    ),
)
for method in (b"GET", b"DELETE", b"OPTIONS", b"PATCH"):
    add(
        f"up-method-{method.decode().lower()}",
        sent_on(b"abc"),
        ask=Ask(method, b"/b", (), b"abc"),
        source="RFC 9110 9.3",
        severity="medium",
    )
for name, fields in {
    "encoding": b"Content-Encoding: gzip",
    "unknown-encoding": b"Content-Encoding: zstd, foo",
    "no-transform": b"Cache-Control: no-transform",
    "range": b"Content-Range: bytes 0-1/9",
    "html": b"Content-Type: text/html",
}.items():
    add(
        f"down-untouched-{name}",
        relayed(200, b"ok"),
        ask=Ask(b"GET", b"/b", ((b"accept-encoding", b"gzip, br"),)),
        source="RFC 9110 7.7",
        origin=(MESSAGE, b"HTTP/1.1 200 OK\r\n" + fields + b"\r\nContent-Length: 2\r\n\r\nok"),
        why="no transformation without being asked",
    )
plain = reply(lambda m: None if m.get("content-encoding") is None else "compressed unasked")
add(
    "down-not-compressed",
    every(relayed(200, b"a" * 5000), plain),
    ask=Ask(b"GET", b"/b", ((b"accept-encoding", b"gzip, br, zstd"),)),
    source="RFC 9110 7.7",
    origin=(MESSAGE, b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5000\r\n\r\n" + b"a" * 5000),
)

# Trailers.
trail = family(
    "body",
    "RFC 9110 6.5.1",
    "high",
    "trailers are never merged into the head, and some names are never trailers",
    modes=MODES,
)


def absent_in_head(name):
    return got(lambda m: None if not m.all(name) else f"the trailer {name} is in the head: {m}")


trail(
    "trailer-up",
    every(sent_on(b"abc"), absent_in_head("x-sum")),
    ask=Ask(b"POST", b"/b", ((b"trailer", b"x-sum"),), b"abc", ((b"x-sum", b"1"),)),
)
trail(
    "trailer-up-unannounced",
    every(sent_on(b"abc"), absent_in_head("x-sum")),
    ask=Ask(b"POST", b"/b", (), b"abc", ((b"x-sum", b"1"),)),
)
trail(
    "trailer-up-arrives",
    every(
        sent_on(b"abc"),
        got(lambda m: None if (b"x-sum", b"1") in [(n.lower(), v) for n, v in m.trailers] else f"dropped: {m}"),
    ),
    severity="low",
    ask=Ask(b"POST", b"/b", ((b"trailer", b"x-sum"),), b"abc", ((b"x-sum", b"1"),)),
    why="an announced trailer should arrive",
)
# Framing, routing, authentication and what steers how a message is read: RFC 9110 6.5.1.
UP = {
    "content-length": "critical",
    "transfer-encoding": "critical",
    "host": "critical",
    "authorization": "high",
    "cookie": "high",
    "proxy-authorization": "high",
    "content-type": "low",
    "content-encoding": "low",
    "te": "low",
    "trailer": "low",
    "connection": "medium",
    "content-range": "low",
    "max-forwards": "low",
    "cache-control": "low",
    "expect": "low",
}
DOWN = {
    "content-length": "critical",
    "transfer-encoding": "critical",
    "set-cookie": "high",
    "connection": "medium",
    "www-authenticate": "medium",
    "proxy-authenticate": "medium",
    "content-type": "low",
    "content-encoding": "low",
    "content-range": "low",
    "trailer": "low",
    "cache-control": "low",
    "age": "low",
}


def neither(name, value):
    """The name is no trailer any more, and its value is not in the head."""

    def test(message):
        if name.encode() in [key.lower() for key, _ in message.trailers]:
            return f"the trailer went on: {message.trailers}"
        return f"merged: {message}" if value in message.all(name) and name != "transfer-encoding" else None

    return test


def evil(name):
    return {"content-length": b"5", "transfer-encoding": b"chunked"}.get(name, b"evil")


for name, level in UP.items():
    accept = either(broken_body, refused(), every(sent_on(b"abc"), got(neither(name, evil(name)))))
    section = name.encode() + b": " + evil(name) + b"\r\n\r\n"
    trail(
        f"trailer-up-{name}",
        accept,
        client=(CHUNKED + b"3\r\nabc\r\n0\r\n" + section, REPLY, PROBE),
        modes=H1,
        severity=level,
    )
for name, level in DOWN.items():
    accept = either(failed(), every(clean, status(200), reply(neither(name, evil(name)))))
    head = b"HTTP/1.1 200 OK\r\nTrailer: " + name.encode() + b"\r\nTransfer-Encoding: chunked\r\n\r\n"
    section = name.encode() + b": " + evil(name) + b"\r\n\r\n"
    trail(
        f"trailer-down-{name}",
        accept,
        ask=Ask(b"GET", b"/b", ((b"te", b"trailers"), (b"connection", b"te"))),
        modes=H1,
        severity=level,
        origin=(MESSAGE, head + b"3\r\nabc\r\n0\r\n" + section),
    )
announced = b"HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n"
trail(
    "trailer-down",
    every(relayed(200, b"abc"), reply(lambda m: None if not m.all("x-sum") else "merged")),
    ask=Ask(),
    origin=(MESSAGE, announced),
)
trail(
    "trailer-down-arrives",
    every(
        relayed(200, b"abc"),
        reply(lambda m: None if (b"x-sum", b"1") in [(n.lower(), v) for n, v in m.trailers] else f"dropped: {m}"),
    ),
    severity="medium",
    ask=Ask(b"GET", b"/b", ((b"te", b"trailers"), (b"connection", b"te"))),
    origin=(MESSAGE, announced),
    modes=H1,
    why="trailers that were asked for and announced arrive",
)
