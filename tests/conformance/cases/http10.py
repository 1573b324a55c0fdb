"""HTTP/1.0 on either side: RFC 9112 C, 9.3, RFC 9110 6.2."""

from engine.accept import clean, either, every, failed, got, reply, sent_on, status
from engine.case import H1, MODES, Ask, family
from engine.steps import CLOSE, MESSAGE, PROBE, REPLY

add = family(
    "http10", "RFC 9112 C.1", "medium", "old clients and old origins are served within what they know", modes=H1
)


def old(name, lines, accept, origin=(), body=b"", method=b"GET", **own):
    raw = method + b" <T>/o HTTP/1.0\r\nHost: <H>\r\n" + lines + b"\r\n" + body
    add(name, accept, client=(raw, REPLY, PROBE), origin=origin, **own)


closed = lambda s: None if len(s.replies) == 1 and s.end else f"the connection stays: {s.replies[1:]}"  # noqa: E731
no_coding = reply(lambda m: None if m.get("transfer-encoding") is None else f"a transfer coding to HTTP/1.0: {m}")
old("close", b"", every(sent_on(), closed), source="RFC 9112 9.3", why="an HTTP/1.0 connection ends after its response")
old("connection-close", b"Connection: close\r\n", every(sent_on(), closed))
old(
    "keep-alive",
    b"Connection: keep-alive\r\n",
    every(sent_on(), lambda s: None if s.replies[1:] or s.end else "neither kept nor closed"),
)
chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
plain_body = lambda s: None if s.reply and s.reply.body == b"ok" and s.reply.complete else f"{s.reply}"  # noqa: E731
old(
    "chunked-reply",
    b"",
    every(status(200), no_coding, plain_body),
    (MESSAGE, chunked),
    severity="critical",
    source="RFC 9112 6.1",
    why="HTTP/1.0 knows no transfer coding: chunk sizes would be part of the body",
)
old(
    "chunked-reply-keep-alive",
    b"Connection: keep-alive\r\n",
    every(status(200), no_coding, plain_body),
    [(MESSAGE, chunked), ()],
    severity="critical",
    source="RFC 9112 6.1",
)
old(
    "trailers-reply",
    b"",
    every(status(200), no_coding, plain_body),
    (MESSAGE, b"HTTP/1.1 200 OK\r\nTrailer: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx: y\r\n\r\n"),
    severity="high",
    source="RFC 9112 6.1",
)
cut = lambda s: (
    None if s.end == "rst" or not s.replies or not s.replies[0].complete else "a cut body ends cleanly"
)  # noqa: E731
add(
    "chunked-reply-cut",
    either(cut, failed()),
    severity="high",
    source="RFC 9112 8",
    client=(b"GET <T>/o HTTP/1.0\r\nHost: <H>\r\n\r\n", REPLY),
    origin=(MESSAGE, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel", CLOSE),
    why="a body that ends with the connection can only be cut by a reset",
)
old(
    "until-close-reply",
    b"Connection: keep-alive\r\n",
    every(status(200), plain_body),
    [(MESSAGE, b"HTTP/1.0 200 OK\r\n\r\nok", CLOSE), ()],
    severity="high",
)
old("post", b"Content-Length: 3\r\n", sent_on(b"abc"), body=b"abc", method=b"POST")
old("post-no-length", b"", sent_on(b""), method=b"POST", severity="low")
old("head", b"", every(status(200), lambda s: None if s.reply.body == b"" else "a body"), method=b"HEAD")
old(
    "upgrade",
    b"Connection: Upgrade\r\nUpgrade: websocket\r\n",
    either(
        every(status(200), got(lambda m: None if m.get("upgrade") is None else "Upgrade forwarded")), status(400, 426)
    ),
    severity="high",
    source="RFC 9110 7.8",
    why="an Upgrade in HTTP/1.0 is ignored",
)
add(
    "own-version",
    got(lambda m: None if m.version == b"HTTP/1.1" or m.get("host") else f"{m}"),
    client=(b"GET <T>/o HTTP/1.0\r\nHost: <H>\r\n\r\n", REPLY),
    source="RFC 9110 2.5",
    severity="low",
    why="an intermediary speaks its own version",
)
add(
    "no-host-absolute",
    sent_on(),
    client=(b"GET http://<H>/o HTTP/1.0\r\n\r\n", REPLY),
    source="RFC 9112 3.2: Host is not required of HTTP/1.0",
    severity="medium",
)
add(
    "interim-never",
    every(clean, status(200), lambda s: "a 1xx to HTTP/1.0" if s.interim else None),
    client=(b"GET <T>/o HTTP/1.0\r\nHost: <H>\r\n\r\n", REPLY),
    origin=(MESSAGE, b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
    source="RFC 9110 15.2",
    severity="high",
)
add(
    "expect-ignored",
    every(clean, status(200), lambda s: "a 1xx to HTTP/1.0" if s.interim else None),
    source="RFC 9110 10.1.1",
    severity="medium",
    client=(b"POST <T>/o HTTP/1.0\r\nHost: <H>\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nok", REPLY),
)

# Old origins: the same in every mode.
theirs = family(
    "http10", "RFC 9112 9.3", "medium", "an HTTP/1.0 response ends with its length or its connection", modes=MODES
)
for name, answer in {
    "length": b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "until-close": b"HTTP/1.0 200 OK\r\n\r\nok",
    "close": b"HTTP/1.0 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
    "keep-alive": b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok",
}.items():
    theirs(f"origin-{name}", every(clean, status(200), plain_body), ask=Ask(), origin=(MESSAGE, answer, CLOSE))
add(
    "origin-not-reused",
    every(
        clean,
        status(200),
        lambda s: None if len(s.origins) > 1 and s.replies[-1].body == b"/probe" else "reused, or no answer",
    ),
    client=(b"GET <T>/o HTTP/1.1\r\nHost: <H>\r\n\r\n", REPLY, PROBE),
    origin=[(MESSAGE, b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"), ()],
    source="RFC 9112 9.3",
    why="without keep-alive an HTTP/1.0 connection is not used again",
)
