"""From HTTP/1 to HTTP/2, responses: RFC 9113, sections 8.1, 8.2.2 and 8.3.2, with RFC 9110 and 9112 for the other side.

A strict reader of HTTP/2 judges what reaches the client.
"""

from engine.accept import clean, cut, every, failed, relayed, reply, reply_field
from engine.case import Ask, family
from engine.steps import CLOSE, FIN, HEAD, MESSAGE, RST, Pause

H2 = ("h2",)


def section(source, why, severity="medium"):
    return family("h2-translation", source, severity, why, modes=H2)


add = section("RFC 9113 8.1, 8.3.2", "a response keeps its status, fields, body and trailers", "high")


def answers(text, *more):
    """An origin that answers with these bytes."""
    return (MESSAGE, text.replace(b"\n", b"\r\n") if b"\r\n" not in text else text, *more)


LENGTH = answers(b"HTTP/1.1 200 OK\nContent-Length: 5\nX-Case: Kept\n\nhello")
add("response-length", relayed(200, b"hello"), ask=Ask(), origin=LENGTH)
add("response-field", reply_field("x-case", b"Kept"), ask=Ask(), origin=LENGTH)
add(
    "response-date-added",
    every(clean, reply(lambda m: None if m.get("date") else "no Date")),
    severity="low",
    source="RFC 9110 6.6.1",
    ask=Ask(),
    origin=LENGTH,
)
CHUNKED = b"HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n3\nhel\n2;x=y\nlo\n0\n"
add("response-chunked", relayed(200, b"hello"), ask=Ask(), origin=answers(CHUNKED + b"\n"))
add(
    "response-until-close",
    relayed(200, b"hello"),
    ask=Ask(),
    origin=answers(b"HTTP/1.1 200 OK\nConnection: close\n\nhello", FIN),
)
add("response-1.0", relayed(200, b"hello"), ask=Ask(), origin=answers(b"HTTP/1.0 200 OK\n\nhello", FIN))
add("response-empty", relayed(200, b""), ask=Ask(), origin=answers(b"HTTP/1.1 200 OK\nContent-Length: 0\n\n"))
add("response-no-reason", relayed(404, b""), ask=Ask(), origin=answers(b"HTTP/1.1 404 \nContent-Length: 0\n\n"))
add(
    "response-odd-status",
    relayed(799, b""),
    ask=Ask(),
    origin=answers(b"HTTP/1.1 799 Odd\nContent-Length: 0\n\n"),
    severity="low",
)
add(
    "response-set-cookies",
    reply(lambda m: None if m.all("set-cookie") == [b"a=b, c", b"d=e"] else f"{m.all('set-cookie')}"),
    ask=Ask(),
    origin=answers(b"HTTP/1.1 200 OK\nSet-Cookie: a=b, c\nSet-Cookie: d=e\nContent-Length: 0\n\n"),
)
add(
    "response-latin-value",
    reply_field("x", b"caf\xe9"),
    ask=Ask(),
    severity="medium",
    origin=answers(b"HTTP/1.1 200 OK\nX: caf\xe9\nContent-Length: 0\n\n"),
)
add(
    "response-trailers",
    every(clean, reply(lambda m: None if m.trailers == [(b"x-end", b"1")] else f"trailers {m.trailers}")),
    ask=Ask(fields=((b"te", b"trailers"),)),
    origin=answers(b"HTTP/1.1 200 OK\nTrailer: X-End\nTransfer-Encoding: chunked\n\n5\nhello\n0\nX-End: 1\n\n"),
)
add(
    "response-trailers-not-announced",
    every(clean, reply(lambda m: None if m.trailers == [(b"x-end", b"1")] else f"trailers {m.trailers}")),
    severity="medium",
    ask=Ask(fields=((b"te", b"trailers"),)),
    origin=answers(CHUNKED + b"X-End: 1\n\n"),
)
FORBIDDEN = b"X-End: 1\nContent-Length: 99\nTransfer-Encoding: x\nSet-Cookie: a=b\nConnection: close\n\n"
add(
    "response-trailers-forbidden",
    every(clean, reply(lambda m: None if {n for n, _ in m.trailers} <= {b"x-end"} else f"trailers {m.trailers}")),
    source="RFC 9110 6.5.1",
    ask=Ask(),
    origin=answers(CHUNKED + FORBIDDEN),
)

add = section("RFC 9113 8.2.2", "fields of the connection to the origin do not reach the client")
HOPS = (
    b"HTTP/1.1 200 OK\nConnection: keep-alive, X-Hop\nKeep-Alive: timeout=9\nX-Hop: 1\nProxy-Connection: keep-alive\n"
    b"Upgrade: h2c\nContent-Length: 2\n\nok"
)
add(
    "response-connection-fields",
    every(relayed(200, b"ok"), reply_field("x-hop", absent=True)),
    ask=Ask(),
    origin=answers(HOPS),
    severity="high",
)
add(
    "response-proxy-authenticate",
    reply_field("proxy-authenticate", absent=True),
    ask=Ask(),
    severity="low",
    needs=frozenset({"guard"}),
    origin=answers(b"HTTP/1.1 200 OK\nProxy-Authenticate: Basic\nContent-Length: 0\n\n"),
)

add = section("RFC 9110 9.3.2, 15.3.5, 15.4.5", "responses that have no body end at their head", "high")
add(
    "head",
    every(relayed(200, b""), reply_field("content-length", b"5", None)),
    ask=Ask(b"HEAD"),
    origin=answers(b"HTTP/1.1 200 OK\nContent-Length: 5\n\n"),
)
add(
    "head-length-kept",
    reply_field("content-length", b"5"),
    ask=Ask(b"HEAD"),
    severity="low",
    origin=answers(b"HTTP/1.1 200 OK\nContent-Length: 5\n\n"),
)
add(
    "head-chunked",
    relayed(200, b""),
    ask=Ask(b"HEAD"),
    origin=answers(b"HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n"),
)
add("204", relayed(204, b""), ask=Ask(), origin=answers(b"HTTP/1.1 204 No Content\n\n"))
add(
    "204-with-length",
    every(clean, relayed(204, b""), reply_field("content-length", absent=True)),
    ask=Ask(),
    severity="low",
    origin=answers(b"HTTP/1.1 204 No Content\nContent-Length: 0\n\n"),
)
add("304", relayed(304, b""), ask=Ask(), origin=answers(b"HTTP/1.1 304 Not Modified\nETag: x\n\n"))
add(
    "304-with-length", relayed(304, b""), ask=Ask(), origin=answers(b"HTTP/1.1 304 Not Modified\nContent-Length: 5\n\n")
)
add("205", relayed(205, b""), ask=Ask(), origin=answers(b"HTTP/1.1 205 Reset Content\nContent-Length: 0\n\n"))

add = section("RFC 9110 15.2", "interim responses are passed on, and the final one follows", "medium")


def interim(*wanted):
    def accept(seen):
        found = [message.status for message in seen.interim]
        return None if found == list(wanted) else f"interim {found}, not {list(wanted)}"

    return accept


HINTS = b"HTTP/1.1 103 Early Hints\nLink: </a>\n\n"
OK = b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok"
add("103-does-no-harm", every(relayed(200, b"ok")), severity="high", ask=Ask(), origin=answers(HINTS + OK))
add("103-arrives", every(relayed(200, b"ok"), interim(103)), ask=Ask(), origin=answers(HINTS, Pause(0.05), OK))
add(
    "103-twice-arrives",
    every(relayed(200, b"ok"), interim(103, 103)),
    ask=Ask(),
    origin=answers(HINTS, Pause(0.05), HINTS, Pause(0.05), OK),
)
add(
    "102-arrives",
    every(relayed(200, b"ok"), interim(102)),
    ask=Ask(),
    severity="low",
    origin=answers(b"HTTP/1.1 102 Processing\n\n", Pause(0.05), OK),
)
add(
    "101-unasked",
    every(clean, failed()),
    source="RFC 9113 8.6",
    severity="high",
    ask=Ask(),
    origin=answers(b"HTTP/1.1 101 Switching Protocols\nConnection: upgrade\nUpgrade: websocket\n\n"),
)
add(
    "100-then-200",
    relayed(200, b"ok"),
    severity="high",
    ask=Ask(b"POST", b"/", ((b"expect", b"100-continue"),), b"hello"),
    origin=(HEAD, b"HTTP/1.1 100 Continue\r\n\r\n", Pause(0.02), OK.replace(b"\n", b"\r\n")),
)

# Responses that are broken.

add = section("RFC 9112 8; RFC 9113 8.1", "a response that is cut ends in RST_STREAM, never in END_STREAM", "critical")
for name, text, end in (
    ("length", b"HTTP/1.1 200 OK\nContent-Length: 9\n\nhello", CLOSE),
    ("length-reset", b"HTTP/1.1 200 OK\nContent-Length: 9\n\nhello", RST),
    ("chunk", b"HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n9\nhello", CLOSE),
    ("between-chunks", b"HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n5\nhello\n", CLOSE),
    ("last-chunk", b"HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n5\nhello\n0\n", CLOSE),
    ("trailers", b"HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n5\nhello\n0\nX-End: 1\n", CLOSE),
    ("chunk-size", b"HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n5\nhello\nzz\n", Pause(0.5)),
    ("chunk-data", b"HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n5\nhelloXX0\n\n", Pause(0.5)),
    ("until-close-reset", b"HTTP/1.1 200 OK\n\nhello", RST),
):
    add(f"cut-{name}", cut, ask=Ask(), origin=answers(text, Pause(0.1), end))
add = section("RFC 9112 4, 6.3", "an answer that is no HTTP becomes 502", "high")
for name, text in (
    ("nothing", b""),
    ("half-a-head", b"HTTP/1.1 200 OK\nContent-Le"),
    ("garbage", b"\x16\x03\x01 what\n\n"),
    ("version", b"HTTP/3.7 200 OK\nContent-Length: 0\n\n"),
    ("status", b"HTTP/1.1 20 OK\nContent-Length: 0\n\n"),
    ("nul", b"HTTP/1.1 200 OK\nX: a\0b\nContent-Length: 0\n\n"),
    ("space-name", b"HTTP/1.1 200 OK\nX y: z\nContent-Length: 0\n\n"),
    ("lengths", b"HTTP/1.1 200 OK\nContent-Length: 3\nContent-Length: 5\n\nhello"),
    ("length-signed", b"HTTP/1.1 200 OK\nContent-Length: +5\n\nhello"),
    ("coding", b"HTTP/1.1 200 OK\nTransfer-Encoding: chunked, chunked\n\n0\n\n"),
):
    add(f"broken-{name}", every(clean, failed()), ask=Ask(b"POST", b"/", (), b"once"), origin=answers(text, CLOSE))
add(
    "broken-post-once",
    lambda seen: None if len(seen.requests) == 1 else f"sent {len(seen.requests)} times",
    severity="critical",
    source="RFC 9110 9.2.2",
    ask=Ask(b"POST", b"/", (), b"once"),
    origin=answers(b"", CLOSE),
)
add(
    "extra-bytes-are-nobodys",
    every(relayed(200, b"ok"), lambda seen: None if len(seen.replies) == 1 else "two answers"),
    severity="critical",
    source="RFC 9112 9.2",
    ask=Ask(),
    origin=answers(OK + OK),
)
