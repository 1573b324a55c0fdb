"""From HTTP/2 to HTTP/1 and back: RFC 9113, sections 8.1 to 8.3, with RFC 9110 and 9112 for the other side.

The origin's strict reader judges each request as HTTP/1, the client's each response as HTTP/2.
"""
import asyncio

from engine.accept import (
    body, clean, count, cut, every, failed, got, nothing_smuggled, relayed, reply, reply_field, request_field, sent_on,
)  # fmt: skip
from engine.case import Ask, family
from engine.steps import CLOSE, FIN, HEAD, MESSAGE, PEER_END, RST, Bytes, Pause, Signal
from h2 import frames as f
from h2.script import HOLD, case, get, post

H2 = ("h2",)


def section(source, why, severity="medium"):
    return family("h2-translation", source, severity, why, modes=H2)


# Requests.

add = section("RFC 9113 8.3.1; RFC 9112 3.2", "the request line and Host come from the pseudo-fields")
add("request-simple", sent_on(), ask=Ask(b"GET", b"/a?b=c"))
add("request-host", every(clean, got(lambda m: None if len(m.all("host")) == 1 else f"{m.all('host')}")), ask=Ask())
add("request-no-pseudo-left", every(clean, got(
    lambda m: f"{m}" if any(n.startswith(b":") for n, _ in m.fields) else None)), ask=Ask())  # fmt: skip
add("request-version", every(clean, got(lambda m: None if m.version in (b"HTTP/1.1", b"HTTP/2") else f"{m}")), ask=Ask())
add("request-options-asterisk", every(clean, got(lambda m: None if m.target == b"*" else f"{m}")),
    ask=Ask(b"OPTIONS", b"*"))  # fmt: skip
for name, path in (("dots", b"/a/../b"), ("encoded", b"/%2e%2E/%2f%5c?%00"), ("empty-query", b"/a?"), ("slashes", b"//a//b"),
                   ("double-query", b"/a?b?c=/d//"), ("marks", b"/a;b=c,d!$&'()*+~:@"), ("long", b"/" + b"a" * 8000)):  # fmt: skip
    add(f"request-path-{name}", sent_on(), ask=Ask(b"GET", path))
for method in (b"DELETE", b"PATCH", b"PROPFIND", b"M-SEARCH"):
    add(f"request-method-{method.decode().lower()}", sent_on(), ask=Ask(method, b"/m"))

add = section("RFC 9110 7.6", "what a proxy adds and takes away is the same over HTTP/2")
add("request-via", every(clean, got(lambda m: None if m.get("via") else f"no Via: {m}")), ask=Ask(), needs=frozenset())
add("request-te-trailers", every(clean, got(
    lambda m: None if m.get("te") in (None, b"trailers") else f"{m}")), ask=Ask(fields=((b"te", b"trailers"),)))  # fmt: skip
add("request-proxy-authorization", request_field("proxy-authorization", absent=True), severity="high",
    source="RFC 9110 11.7.1", ask=Ask(fields=((b"proxy-authorization", b"Basic c2VjcmV0"),)),
    needs=frozenset({"house"}))  # fmt: skip
add("request-expect", sent_on(b"hello"), source="RFC 9110 10.1.1",
    ask=Ask(b"POST", b"/e", ((b"expect", b"100-continue"),), b"hello"))  # fmt: skip

add = section("RFC 9113 8.2.3", "the pieces of a Cookie become one field again, in order", "high")
add("cookie-crumbs", every(clean, got(lambda m: None if b"; ".join(m.all("cookie")) == b"a=b; c=d; e=f" and
    (m.version == b"HTTP/2" or len(m.all("cookie")) == 1) else f"{m.all('cookie')}")), modes=("h2", "h2-h2"),
    ask=Ask(fields=((b"cookie", b"a=b"), (b"x", b"y"), (b"cookie", b"c=d"), (b"cookie", b"e=f"))))  # fmt: skip
add("cookie-whole", every(clean, request_field("cookie", b"a=b; c=d")), ask=Ask(fields=((b"cookie", b"a=b; c=d"),)))

add = section("RFC 9110 5.5", "values go through octet by octet")
for name, value in (("latin", b"caf\xe9"), ("utf-8", "h\u00e9".encode()), ("quoted", b'"a, b"; c="\\""'), ("empty", b""),
                    ("inner-spaces", b"a  \t b"), ("percent", b"%0d%0a")):  # fmt: skip
    add(f"request-value-{name}", every(clean, request_field("x-value", value)), ask=Ask(fields=((b"x-value", value),)))
add("request-repeated-fields", every(clean, got(lambda m: None if m.get("x") == b"1, 2, 3" else f"{m}")),
    ask=Ask(fields=((b"x", b"1"), (b"x", b"2"), (b"y", b""), (b"x", b"3"))))  # fmt: skip

# Bodies of requests.

add = section("RFC 9113 8.1; RFC 9112 6", "a body keeps its length, or is chunked", "high")


def framing(*wanted):
    return got(lambda m: None if m.framing in (*wanted, "frames") else f"framed by {m.framing}: {m}")


add("body-with-length", every(sent_on(b"hello"), framing("length")), ask=Ask(b"POST", b"/b", (), b"hello"))
add("body-without-length", every(sent_on(b"hello"), framing("length", "chunked")),
    ask=Ask(b"POST", b"/b", (), b"hello", chunked=True))  # fmt: skip
add("body-empty-data", every(sent_on(b"")), ask=Ask(b"POST", b"/b", (), b"", chunked=True))
add("body-length-0", every(sent_on(b"")), ask=Ask(b"POST", b"/b", (), b""))
add("body-of-get", sent_on(b"hello"), ask=Ask(b"GET", b"/b", (), b"hello"))
add("body-none-of-post", every(sent_on(b""), framing("length", "none")), ask=Ask(b"POST", b"/b"))
add("body-200-kib", sent_on(bytes(range(256)) * 800), ask=Ask(b"PUT", b"/b", (), bytes(range(256)) * 800, chunked=True))
SMUGGLED = b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
add("body-looks-like-chunks", sent_on(SMUGGLED), severity="critical", source="RFC 9113 10.3",
    ask=Ask(b"POST", b"/b", (), SMUGGLED, chunked=True))  # fmt: skip
add("body-looks-like-a-request", sent_on(SMUGGLED[5:]), severity="critical", source="RFC 9113 10.3",
    ask=Ask(b"POST", b"/b", (), SMUGGLED[5:]))  # fmt: skip


@case(add, "body-in-tiny-frames", also=every(clean, body(b"x" * 700)))
async def _(wire, _stage):
    await wire.send(post()(wire), *[f.data(1, b"x")] * 700, f.data(1, b"", True))
    verdict = await wire.verdict()
    return None if verdict == "200" else verdict


add = section("RFC 9110 6.5", "trailers stay trailers, and none of them frames, routes or authorizes", "high")


def no_harm(seen):
    """Nothing of a trailer became a field of the head, nor a forbidden one arrived at all."""
    for request in seen.requests:
        if request.get("x-end") is not None:
            return f"a trailer became a header: {request}"
        bad = {b"content-length", b"transfer-encoding", b"host", b"authorization", b"te", b"connection"}
        if wrong := [name for name, _ in request.trailers if name.lower() in bad]:
            return f"the trailers {wrong} went on"
    return nothing_smuggled(seen)


add("trailers-of-request", every(clean, no_harm, count(1), body(b"hello")),
    ask=Ask(b"POST", b"/t", ((b"trailer", b"x-end"),), b"hello", ((b"x-end", b"1"),)))  # fmt: skip
add("trailers-of-request-arrive", every(clean, got(
    lambda m: None if m.trailers == [(b"x-end", b"1")] else f"trailers {m.trailers}")), severity="medium",
    ask=Ask(b"POST", b"/t", ((b"trailer", b"x-end"), (b"te", b"trailers")), b"hello", ((b"x-end", b"1"),)))  # fmt: skip
add("trailers-only-body", every(clean, no_harm, count(1)), ask=Ask(b"POST", b"/t", (), b"", ((b"x-end", b"1"),)))
for name, value in ((b"content-length", b"3"), (b"host", b"evil.test"), (b"authorization", b"Basic eDp5"), (b"te", b"trailers")):
    add(f"trailers-of-request-{name.decode()}", no_harm, severity="high" if name != b"te" else "medium",
        ask=Ask(b"POST", b"/t", ((b"trailer", name),), b"hello", ((name, value), (b"x-end", b"1"))))  # fmt: skip

# Uploads that do not end well.

add = section("RFC 9113 8.1; RFC 9112 8", "an upload that is broken off never looks complete", "critical")


def unfinished(seen):
    whole = [request for request in seen.requests if request.complete]
    if whole:
        return f"the origin read a whole message: {whole[0]}"
    return f"an origin got {seen.violations[0]}" if seen.violations else None


async def broken_off(wire, stage, ending, length=None):
    extra = [("content-length", length)] if length else []
    await wire.send(f.headers(1, wire.fields("POST", extra=extra), end=False), f.data(1, b"hello"))
    await stage.signal("begun").wait()
    ending()
    for _ in range(100):
        if all(side.end for side in stage.origin.sides):
            return None
        await asyncio.sleep(0.02)
    return "the origin is not told within 2 s"


BEGUN = (HEAD, Signal("begun"), PEER_END)
for name, length in (("length", "10"), ("chunked", None)):
    @case(add, f"upload-reset-{name}", origin=BEGUN, also=unfinished)
    async def _(wire, stage, length=length):
        return await broken_off(wire, stage, lambda: wire.put(f.reset(1)), length)

    @case(add, f"upload-connection-closed-{name}", origin=BEGUN, also=unfinished)
    async def _(wire, stage, length=length):
        return await broken_off(wire, stage, wire.fin, length)

    @case(add, f"upload-connection-reset-{name}", origin=BEGUN, also=unfinished)
    async def _(wire, stage, length=length):
        return await broken_off(wire, stage, wire.reset, length)

add = section("RFC 9113 5.4.2", "a client that goes away is told upstream within a second", "medium")


@case(add, "reset-while-waiting", origin=BEGUN)
async def _(wire, stage):
    await wire.send(get()(wire))
    await stage.signal("begun").wait()
    await wire.send(f.reset(1))
    for _ in range(60):
        if all(side.end for side in stage.origin.sides):
            return None
        await asyncio.sleep(0.02)
    return "the origin still waits after 1.2 s"


# Responses.

add = section("RFC 9113 8.1, 8.3.2", "a response keeps its status, fields, body and trailers", "high")


def answers(text, *more):
    """An origin that answers with these bytes."""
    return (MESSAGE, text.replace(b"\n", b"\r\n") if b"\r\n" not in text else text, *more)


LENGTH = answers(b"HTTP/1.1 200 OK\nContent-Length: 5\nX-Case: Kept\n\nhello")
add("response-length", relayed(200, b"hello"), ask=Ask(), origin=LENGTH)
add("response-field", reply_field("x-case", b"Kept"), ask=Ask(), origin=LENGTH)
add("response-date-added", every(clean, reply(lambda m: None if m.get("date") else "no Date")), severity="low",
    source="RFC 9110 6.6.1", ask=Ask(), origin=LENGTH)  # fmt: skip
CHUNKED = b"HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n3\nhel\n2;x=y\nlo\n0\n"
add("response-chunked", relayed(200, b"hello"), ask=Ask(), origin=answers(CHUNKED + b"\n"))
add("response-until-close", relayed(200, b"hello"), ask=Ask(),
    origin=answers(b"HTTP/1.1 200 OK\nConnection: close\n\nhello", FIN))  # fmt: skip
add("response-1.0", relayed(200, b"hello"), ask=Ask(), origin=answers(b"HTTP/1.0 200 OK\n\nhello", FIN))
add("response-empty", relayed(200, b""), ask=Ask(), origin=answers(b"HTTP/1.1 200 OK\nContent-Length: 0\n\n"))
add("response-no-reason", relayed(404, b""), ask=Ask(), origin=answers(b"HTTP/1.1 404 \nContent-Length: 0\n\n"))
add("response-odd-status", relayed(799, b""), ask=Ask(), origin=answers(b"HTTP/1.1 799 Odd\nContent-Length: 0\n\n"),
    severity="low")  # fmt: skip
add("response-set-cookies", reply(
    lambda m: None if m.all("set-cookie") == [b"a=b, c", b"d=e"] else f"{m.all('set-cookie')}"), ask=Ask(),
    origin=answers(b"HTTP/1.1 200 OK\nSet-Cookie: a=b, c\nSet-Cookie: d=e\nContent-Length: 0\n\n"))  # fmt: skip
add("response-latin-value", reply_field("x", b"caf\xe9"), ask=Ask(), severity="medium",
    origin=answers(b"HTTP/1.1 200 OK\nX: caf\xe9\nContent-Length: 0\n\n"))  # fmt: skip
add("response-trailers", every(clean, reply(
    lambda m: None if m.trailers == [(b"x-end", b"1")] else f"trailers {m.trailers}")), ask=Ask(fields=((b"te", b"trailers"),)),
    origin=answers(b"HTTP/1.1 200 OK\nTrailer: X-End\nTransfer-Encoding: chunked\n\n5\nhello\n0\nX-End: 1\n\n"))  # fmt: skip
add("response-trailers-not-announced", every(clean, reply(
    lambda m: None if m.trailers == [(b"x-end", b"1")] else f"trailers {m.trailers}")), severity="medium",
    ask=Ask(fields=((b"te", b"trailers"),)), origin=answers(CHUNKED + b"X-End: 1\n\n"))  # fmt: skip
FORBIDDEN = b"X-End: 1\nContent-Length: 99\nTransfer-Encoding: x\nSet-Cookie: a=b\nConnection: close\n\n"
add("response-trailers-forbidden", every(clean, reply(
    lambda m: None if {n for n, _ in m.trailers} <= {b"x-end"} else f"trailers {m.trailers}")), source="RFC 9110 6.5.1",
    ask=Ask(), origin=answers(CHUNKED + FORBIDDEN))  # fmt: skip

add = section("RFC 9113 8.2.2", "fields of the connection to the origin do not reach the client")
HOPS = (b"HTTP/1.1 200 OK\nConnection: keep-alive, X-Hop\nKeep-Alive: timeout=9\nX-Hop: 1\nProxy-Connection: keep-alive\n"
        b"Upgrade: h2c\nContent-Length: 2\n\nok")  # fmt: skip
add("response-connection-fields", every(relayed(200, b"ok"), reply_field("x-hop", absent=True)), ask=Ask(),
    origin=answers(HOPS), severity="high")  # fmt: skip
add("response-proxy-authenticate", reply_field("proxy-authenticate", absent=True), ask=Ask(), severity="low",
    needs=frozenset({"house"}),
    origin=answers(b"HTTP/1.1 200 OK\nProxy-Authenticate: Basic\nContent-Length: 0\n\n"))  # fmt: skip

add = section("RFC 9110 9.3.2, 15.3.5, 15.4.5", "responses that have no body end at their head", "high")
add("head", every(relayed(200, b""), reply_field("content-length", b"5", None)), ask=Ask(b"HEAD"),
    origin=answers(b"HTTP/1.1 200 OK\nContent-Length: 5\n\n"))  # fmt: skip
add("head-length-kept", reply_field("content-length", b"5"), ask=Ask(b"HEAD"), severity="low",
    origin=answers(b"HTTP/1.1 200 OK\nContent-Length: 5\n\n"))  # fmt: skip
add("head-chunked", relayed(200, b""), ask=Ask(b"HEAD"),
    origin=answers(b"HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n"))  # fmt: skip
add("204", relayed(204, b""), ask=Ask(), origin=answers(b"HTTP/1.1 204 No Content\n\n"))
add("204-with-length", every(clean, relayed(204, b""), reply_field("content-length", absent=True)), ask=Ask(),
    severity="low", origin=answers(b"HTTP/1.1 204 No Content\nContent-Length: 0\n\n"))  # fmt: skip
add("304", relayed(304, b""), ask=Ask(), origin=answers(b"HTTP/1.1 304 Not Modified\nETag: x\n\n"))
add("304-with-length", relayed(304, b""), ask=Ask(), origin=answers(b"HTTP/1.1 304 Not Modified\nContent-Length: 5\n\n"))
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
add("103-twice-arrives", every(relayed(200, b"ok"), interim(103, 103)), ask=Ask(),
    origin=answers(HINTS, Pause(0.05), HINTS, Pause(0.05), OK))  # fmt: skip
add("102-arrives", every(relayed(200, b"ok"), interim(102)), ask=Ask(), severity="low",
    origin=answers(b"HTTP/1.1 102 Processing\n\n", Pause(0.05), OK))  # fmt: skip
add("101-unasked", every(clean, failed(502)), source="RFC 9113 8.6", severity="high", ask=Ask(),
    origin=answers(b"HTTP/1.1 101 Switching Protocols\nConnection: upgrade\nUpgrade: websocket\n\n"))  # fmt: skip
add("100-then-200", relayed(200, b"ok"), severity="high", ask=Ask(b"POST", b"/", ((b"expect", b"100-continue"),), b"hello"),
    origin=(HEAD, b"HTTP/1.1 100 Continue\r\n\r\n", Pause(0.02), OK.replace(b"\n", b"\r\n")))  # fmt: skip

# Responses that are broken.

add = section("RFC 9112 8; RFC 9113 8.1", "a response that is cut ends in RST_STREAM, never in END_STREAM", "critical")
for name, text, end in (
    ("length", b"HTTP/1.1 200 OK\nContent-Length: 9\n\nhello", CLOSE), ("length-reset", b"HTTP/1.1 200 OK\nContent-Length: 9\n\nhello", RST),
    ("chunk", b"HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n9\nhello", CLOSE),
    ("between-chunks", b"HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n5\nhello\n", CLOSE),
    ("last-chunk", b"HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n5\nhello\n0\n", CLOSE),
    ("trailers", b"HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n5\nhello\n0\nX-End: 1\n", CLOSE),
    ("chunk-size", b"HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n5\nhello\nzz\n", Pause(0.5)),
    ("chunk-data", b"HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n5\nhelloXX0\n\n", Pause(0.5)),
    ("until-close-reset", b"HTTP/1.1 200 OK\n\nhello", RST),
):  # fmt: skip
    add(f"cut-{name}", cut, ask=Ask(), origin=answers(text, Pause(0.1), end))
add = section("RFC 9112 4, 6.3", "an answer that is no HTTP becomes 502", "high")
for name, text in (
    ("nothing", b""), ("half-a-head", b"HTTP/1.1 200 OK\nContent-Le"), ("garbage", b"\x16\x03\x01 what\n\n"),
    ("version", b"HTTP/3.7 200 OK\nContent-Length: 0\n\n"), ("status", b"HTTP/1.1 20 OK\nContent-Length: 0\n\n"),
    ("nul", b"HTTP/1.1 200 OK\nX: a\0b\nContent-Length: 0\n\n"), ("space-name", b"HTTP/1.1 200 OK\nX y: z\nContent-Length: 0\n\n"),
    ("lengths", b"HTTP/1.1 200 OK\nContent-Length: 3\nContent-Length: 5\n\nhello"),
    ("length-signed", b"HTTP/1.1 200 OK\nContent-Length: +5\n\nhello"),
    ("coding", b"HTTP/1.1 200 OK\nTransfer-Encoding: chunked, chunked\n\n0\n\n"),
):  # fmt: skip
    add(f"broken-{name}", every(clean, failed(502)), ask=Ask(b"POST", b"/", (), b"once"), origin=answers(text, CLOSE))
add("broken-post-once", lambda seen: None if len(seen.requests) == 1 else f"sent {len(seen.requests)} times",
    severity="critical", source="RFC 9110 9.2.2", ask=Ask(b"POST", b"/", (), b"once"), origin=answers(b"", CLOSE))  # fmt: skip
add("extra-bytes-are-nobodys", every(relayed(200, b"ok"), lambda seen: None if len(seen.replies) == 1 else "two answers"),
    severity="critical", source="RFC 9112 9.2", ask=Ask(), origin=answers(OK + OK))  # fmt: skip

# Early answers, and several streams.

add = section("RFC 9113 8.1", "an answer before the upload is over arrives whole", "high")


@case(add, "early-answer", origin=(HEAD, b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig", Pause(0.3), CLOSE))
async def _(wire, _stage):
    await wire.send(post()(wire), f.data(1, b"x" * 1000))
    it = wire.stream(1)
    for _ in range(150):
        if it.over:
            break
        await wire.send(f.data(1, b"x" * 100))
        await asyncio.sleep(0.01)
    await wire.until(lambda: it.ended)
    if it.status != "413" or bytes(it.data) != b"big" or not it.ended:
        return f"{await wire.verdict(1, 0)} {bytes(it.data)!r}"
    # The rest of the upload is no error of the connection's.
    await wire.send(f.data(1, b"x" * 100))
    return None if await wire.alive() else f"then the connection ended: {await wire.ending(0)}"


@case(add, "early-answer-stops-the-upload", severity="medium",
      origin=(HEAD, b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig", Pause(0.1), CLOSE))  # fmt: skip
async def _(wire, _stage):
    await wire.send(post()(wire), f.data(1, b"x" * 1000))
    it = wire.stream(1)
    await wire.until(lambda: it.ended)
    await wire.until(lambda: it.code is not None, 1.0)
    return None if it.code in (0, 8) else f"no RST_STREAM(NO_ERROR), but {it.code}"


add = section("RFC 9113 5, 8.1", "streams do not wait for, nor mix with, each other", "critical")


@case(add, "hundred-streams-do-not-mix")
async def _(wire, _stage):
    numbers = range(1, 201, 2)
    await wire.send(*(get(n, path=f"/stream-{n}")(wire) for n in numbers))
    for number in numbers:
        verdict = await wire.verdict(number)
        data = bytes(wire.stream(number).data)
        if verdict != "200" or data != b"/stream-%d" % number:
            return f"stream {number}: {verdict} {data!r}"
    return None


@case(add, "slow-stream-does-not-block", severity="high", origin=[HOLD, ()])
async def _(wire, stage):
    await wire.send(get(1, path="/slow")(wire))
    await wire.alive()
    verdict = await wire.get("/fast", 3, within=1.5)
    stage.signal("go").set()
    return None if verdict == "200" and bytes(wire.stream(3).data) == b"/fast" else verdict


@case(add, "uploads-do-not-mix", severity="critical",
      also=lambda seen: None if sorted(m.body for m in seen.requests) == [b"a" * 500, b"b" * 500] else f"{seen.requests}")  # fmt: skip
async def _(wire, _stage):
    await wire.send(post(1)(wire), post(3)(wire), *[f.data(1, b"a" * 50), f.data(3, b"b" * 50)] * 10,
                    f.data(3, b"", True), f.data(1, b"", True))  # fmt: skip
    verdicts = [await wire.verdict(1), await wire.verdict(3)]
    return None if verdicts == ["200", "200"] else f"{verdicts}"


# CONNECT.

add = section("RFC 9113 8.5", "CONNECT makes a tunnel of a stream", "high")
CONNECT = frozenset({"h2-connect"})


def connect(c, port=443, stream=1):
    return f.headers(stream, [(":method", "CONNECT"), (":authority", f"{c.authority}:{port}")], end=False)


@case(add, "connect-tunnel", needs=CONNECT, also=None, origin=(Bytes(4), b"\x01pong", PEER_END, b"more", FIN))
async def _(wire, _stage):
    await wire.send(connect(wire))
    it = wire.stream(1)
    await wire.until(lambda: it.head or it.over)
    if it.status != "200" or it.ended:
        return f"{it.head} {it.code}"
    if it.field("content-length") or it.field("transfer-encoding"):
        return f"a body is announced: {it.head}"
    await wire.send(f.data(1, b"\x00ping"))
    if not await wire.until(lambda: bytes(it.data) == b"\x01pong"):
        return f"the tunnel brought {bytes(it.data)!r}"
    await wire.send(f.data(1, b"", True))
    await wire.until(lambda: it.over)
    return None if bytes(it.data) == b"\x01pongmore" and it.ended else f"after half-close {bytes(it.data)!r}, {it.code}"


@case(add, "connect-reset-by-origin", needs=CONNECT, also=None, origin=(Bytes(4), b"\x01part", Pause(0.1), RST), severity="critical")
async def _(wire, _stage):
    await wire.send(connect(wire), f.data(1, b"\x00ping"))
    it = wire.stream(1)
    await wire.until(lambda: it.over)
    return None if it.code is not None else "a reset of the origin looks like its end"


@case(add, "connect-reset-by-client", needs=CONNECT, also=None, origin=(Bytes(4), Signal("begun"), PEER_END))
async def _(wire, stage):
    await wire.send(connect(wire), f.data(1, b"\x00ping"))
    await stage.signal("begun").wait()
    await wire.send(f.reset(1))
    for _ in range(75):
        if all(side.end for side in stage.origin.sides):
            return None
        await asyncio.sleep(0.02)
    return "the origin is not told within 1.5 s"


@case(add, "connect-port-refused", needs=CONNECT, also=lambda seen: "connected" if seen.origins else None)
async def _(wire, _stage):
    await wire.send(connect(wire, 25))
    verdict = await wire.verdict()
    return None if verdict in ("403", "rst CONNECT_ERROR") else verdict


@case(add, "connect-refused-is-one-stream", needs=CONNECT)
async def _(wire, _stage):
    await wire.send(connect(wire, 25), f.data(1, b"GET /smuggled HTTP/1.1\r\n\r\n"))
    await wire.until(lambda: wire.stream(1).head)
    verdict = await wire.get("/next", 3)
    return None if verdict == "200" else f"{verdict} for the next stream"


# WebSocket.

add = section("RFC 8441", "a WebSocket over HTTP/2 is bridged to one over HTTP/1", "medium")
SWITCH = (b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
          b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")  # fmt: skip
WEBSOCKET = [("sec-websocket-version", "13")]


def extended(c, *more):
    pseudo = [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":path", "/ws")]
    return f.headers(1, [*pseudo, (":authority", c.authority), *WEBSOCKET, *more], end=False)


@case(add, "websocket-offered", needs=CONNECT)
async def _(wire, _stage):
    await wire.until(lambda: wire.settings is not None)
    return None if wire.settings.get(f.ENABLE_CONNECT) == 1 else "no SETTINGS_ENABLE_CONNECT_PROTOCOL"


@case(add, "websocket-bridged", needs=CONNECT, also=None, origin=(HEAD, SWITCH, b"\x81\x02hi", PEER_END, FIN))
async def _(wire, stage):
    await wire.send(extended(wire))
    it = wire.stream(1)
    await wire.until(lambda: it.data or it.over)
    if it.status != "200" or bytes(it.data) != b"\x81\x02hi":
        return f"{await wire.verdict(1, 0)} {bytes(it.data)!r}"
    asked = stage.origin.sides[0].reader.messages[0]
    if asked.method != b"GET" or asked.get("upgrade") != b"websocket" or not asked.get("sec-websocket-key"):
        return f"the origin was asked {asked}"
    if any(name in (b"connection", b"upgrade", b"sec-websocket-accept") for name, _ in it.head):
        return f"fields of HTTP/1's handshake: {it.head}"
    await wire.send(f.data(1, b"\x88\x80\0\0\0\0", True))
    await wire.until(lambda: it.over)
    return None if it.ended else f"its end is {it.code}"


@case(add, "websocket-refused-by-origin", needs=CONNECT, origin=(HEAD, b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno"))
async def _(wire, _stage):
    await wire.send(extended(wire))
    verdict = await wire.verdict()
    return None if verdict == "403" else verdict


@case(add, "websocket-cut-is-a-reset", needs=CONNECT, also=None, severity="high",
      origin=(HEAD, SWITCH, b"\x81\x05he", Pause(0.1), RST))  # fmt: skip
async def _(wire, _stage):
    await wire.send(extended(wire))
    it = wire.stream(1)
    await wire.until(lambda: it.over)
    if it.status != "200":
        return f"{await wire.verdict(1, 0)}: no tunnel"
    return "a reset of the origin looks like its end" if it.ended else None
