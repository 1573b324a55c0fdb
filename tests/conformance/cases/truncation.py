"""A message that was cut must never look whole: RFC 9112 8, in both directions."""

from engine.accept import count, cut, either, every, failed, relayed
from engine.case import H1, MODES, Ask, family
from engine.steps import CLOSE, FIN, MESSAGE, RST, Pause

add = family(
    "truncation", "RFC 9112 8", "critical", "a cut response is a cut for the client too, never a clean end", modes=MODES
)

LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
# What an origin says before it breaks off, and where that leaves the client: cut, or an error of the proxy's own.
MIDDLE = {
    "length-none": LENGTH,
    "length-some": LENGTH + b"hello",
    "length-all-but-one": LENGTH + b"hello wor",
    "chunked-none": CHUNKED,
    "chunk-size": CHUNKED + b"5",
    "chunk-size-line": CHUNKED + b"5\r\n",
    "chunk-some": CHUNKED + b"5\r\nhel",
    "chunk-all": CHUNKED + b"5\r\nhello",
    "chunk-crlf": CHUNKED + b"5\r\nhello\r\n",
    "last-chunk-size": CHUNKED + b"5\r\nhello\r\n0",
    "last-chunk": CHUNKED + b"5\r\nhello\r\n0\r\n",
    "trailer-some": CHUNKED + b"5\r\nhello\r\n0\r\nX: y",
    "trailer-line": CHUNKED + b"5\r\nhello\r\n0\r\nX: y\r\n",
    "last-crlf-half": CHUNKED + b"5\r\nhello\r\n0\r\n\r",
    "extension": CHUNKED + b"5;a=b",
}
for name, data in MIDDLE.items():
    for how, end in (("fin", CLOSE), ("rst", RST)):
        # A reset may overtake the bytes before it, so that not even the head arrives: then it is the proxy's 502.
        add(f"{name}-{how}", either(cut, failed()), ask=Ask(), origin=(MESSAGE, data, end))
add(
    "until-close-rst",
    either(cut, failed()),
    ask=Ask(),
    source="RFC 9112 8, 6.3",
    limit=8,
    origin=(MESSAGE, b"HTTP/1.1 200 OK\r\n\r\nhello", Pause(0.2), RST),
    why="a close-delimited body that ends with a reset is cut",
)
add(
    "until-close-fin",
    relayed(200, b"hello"),
    ask=Ask(),
    origin=(MESSAGE, b"HTTP/1.1 200 OK\r\n\r\nhello", CLOSE),
    severity="high",
    why="a close-delimited body that ends with a FIN is whole",
)
add(
    "length-zero-fin",
    relayed(200, b""),
    ask=Ask(),
    origin=(MESSAGE, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", CLOSE),
    severity="high",
)
add(
    "length-large-fin",
    either(cut, failed()),
    ask=Ask(),
    origin=(MESSAGE, b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 300000, CLOSE),
)
for name, data in {
    "nothing": b"",
    "status-half": b"HTTP/1.",
    "status": b"HTTP/1.1 200 OK",
    "status-line": b"HTTP/1.1 200 OK\r\n",
    "field-half": b"HTTP/1.1 200 OK\r\nContent-Le",
    "fields": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n",
    "head-cr": b"HTTP/1.1 200 OK\r\n\r",
    "interim": b"HTTP/1.1 103 Early Hints\r\n\r\n",
    "hundred": b"HTTP/1.1 100 Continue\r\n\r\n",
}.items():
    for how, end in (("fin", CLOSE), ("rst", RST)):
        add(
            f"head-{name}-{how}",
            failed(),
            ask=Ask(),
            origin=(MESSAGE, data, end),
            severity="high",
            why="a head that was cut is no response: the proxy says so itself",
        )
add(
    "post-once",
    every(failed(), count(1)),
    ask=Ask(b"POST", b"/t", (), b"x"),
    origin=(MESSAGE, CLOSE),
    source="RFC 9110 9.2.2",
    why="a request that is not idempotent and may have been acted on is not sent again",
)
add(
    "post-once-rst",
    every(failed(), count(1)),
    ask=Ask(b"POST", b"/t", (), b"x"),
    origin=(MESSAGE, RST),
    source="RFC 9110 9.2.2",
)
add(
    "patch-once",
    every(failed(), count(1)),
    ask=Ask(b"PATCH", b"/t", (), b"x"),
    origin=(MESSAGE, CLOSE),
    source="RFC 9110 9.2.2",
)
add(
    "post-once-mid-body",
    every(either(cut, failed()), count(1)),
    ask=Ask(b"POST", b"/t", (), b"x"),
    origin=(MESSAGE, LENGTH + b"he", CLOSE),
    source="RFC 9110 9.2.2",
)

# Requests: the origin must see a cut as well.
up = family(
    "truncation", "RFC 9112 8", "critical", "a request that the client broke off is no whole request upstream", modes=H1
)
POST = b"POST <T>/u HTTP/1.1\r\nHost: <H>\r\n"


def incomplete(seen):
    whole = [m for m in seen.requests if m.complete]
    if whole:
        return f"the origin read a whole request: {whole[0]}"
    return f"the origin got {seen.violations[0]}" if seen.violations else None


for name, fields, body in (
    ("length", b"Content-Length: 10\r\n", b"hello"),
    ("length-none", b"Content-Length: 10\r\n", b""),
    ("chunk-size", b"Transfer-Encoding: chunked\r\n", b"5"),
    ("chunk-some", b"Transfer-Encoding: chunked\r\n", b"5\r\nhel"),
    ("chunk-all", b"Transfer-Encoding: chunked\r\n", b"5\r\nhello\r\n"),
    ("last-chunk", b"Transfer-Encoding: chunked\r\n", b"5\r\nhello\r\n0\r\n"),
    ("trailer", b"Transfer-Encoding: chunked\r\n", b"5\r\nhello\r\n0\r\nX: y\r\n"),
    ("chunked-none", b"Transfer-Encoding: chunked\r\n", b""),
):
    for how, end in (("fin", FIN), ("rst", RST)):
        up(f"request-{name}-{how}", incomplete, client=(POST + fields + b"\r\n" + body, end))
up("request-head-fin", incomplete, client=(POST + b"Content-Length: 0\r\n", FIN))
up("request-large-fin", incomplete, client=(POST + b"Content-Length: 1000000\r\n\r\n" + b"x" * 200000, FIN))
