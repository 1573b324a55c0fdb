"""Origins that speak HTTP/2, well and badly, behind HTTP/1 and HTTP/2: RFC 9113 from a client's side.

What an origin breaks must not reach the client as something whole, a request that may have been acted on is not sent
again, and what is known not to have been is.
"""
import asyncio

from engine.accept import check, clean, cut, every, failed, got, relayed, reply, reply_field, status
from engine.case import TO_H2, Ask, family
from h2 import frames as f
from h2 import hpack
from h2.origin import Script, answer, say
from h2.script import case, get, post

POST = Ask(b"POST", b"/p", (), b"once")


def section(source, why, severity="high"):
    return family("h2-upstream", source, severity, why, modes=TO_H2)


def head(*fields, status="200", end=False):
    return lambda number: f.headers(number, [(":status", status), *fields], end=end)


def data(text, end=False):
    return lambda number: f.data(number, text, end)


def reset(why):
    return lambda number: f.reset(number, why)


def broken(seen):
    """The client is told: 502, or over HTTP/2 the end of the stream."""
    if seen.mode == "h2-h2" and not seen.replies and seen.end == "rst":
        return None
    return failed(502)(seen)


def once(seen):
    """The request was sent once."""
    return None if len(seen.requests) == 1 else f"sent {len(seen.requests)} times"


def repeated(seen):
    return None if len(seen.requests) == 2 else f"sent {len(seen.requests)} times, not twice"


# Requests.

add = section("RFC 9113 8.3.1", "a request is well-formed HTTP/2 with nothing of a connection")
add("request", every(clean, status(200), got(lambda m: None if m.target == b"/a?b" else f"{m}")), ask=Ask(b"GET", b"/a?b"))
add("request-pseudo-first", every(clean, got(lambda m: None)), ask=Ask(fields=((b"x-a", b"1"), (b"cookie", b"a=b"))))
add("request-body", every(clean, status(200), got(lambda m: None if m.body == b"x" * 150000 and m.complete else f"{m}")),
    ask=Ask(b"PUT", b"/", (), b"x" * 150000))  # fmt: skip
add("request-hop-by-hop", every(clean, got(lambda m: f"{m}" if m.get("x-hop") or m.get("keep-alive") else None)),
    modes=("h1-h2",), ask=Ask(fields=((b"Connection", b"X-Hop, keep-alive"), (b"X-Hop", b"1"), (b"Keep-Alive", b"timeout=5"))))  # fmt: skip
add("request-upgrade-offer", every(clean, got(lambda m: None)), modes=("h1-h2",),
    ask=Ask(fields=((b"Connection", b"Upgrade, HTTP2-Settings"), (b"Upgrade", b"h2c"), (b"HTTP2-Settings", b"AAMAAABk"))))  # fmt: skip
add("request-te", every(clean, got(lambda m: None if m.get("te") in (None, b"trailers") else f"{m}")), modes=("h1-h2",),
    ask=Ask(fields=((b"Connection", b"TE"), (b"TE", b"gzip, trailers"))))  # fmt: skip
add("request-names-in-lower-case", every(clean, got(lambda m: None if m.get("x-mixed") == b"MiXed" else f"{m}")),
    modes=("h1-h2",), ask=Ask(fields=((b"X-MiXed", b"MiXed"),)))  # fmt: skip
add("request-trailers", every(clean, status(200), got(lambda m: None if m.trailers == [(b"x-end", b"1")] else f"{m}")),
    severity="medium", ask=Ask(b"POST", b"/", ((b"trailer", b"x-end"),), b"hello", ((b"x-end", b"1"),)))  # fmt: skip
add("request-trailers-not-announced", every(clean, status(200), got(
    lambda m: None if m.trailers == [(b"x-end", b"1")] else f"{m}")), severity="medium",
    ask=Ask(b"POST", b"/", (), b"hello", ((b"x-end", b"1"),)))  # fmt: skip

add = section("RFC 9113 5.1.2, 6.5.2, 6.9", "what the origin sets binds the proxy")
add("window-of-seven", every(clean, status(200), got(lambda m: None if m.body == b"hello world" * 9 else f"{m}")),
    ask=Ask(b"POST", b"/", (), b"hello world" * 9), origin=Script(settings=((f.INITIAL_WINDOW, 7),)))  # fmt: skip
add("frames-larger-than-default", relayed(200, b"y" * 40000), ask=Ask(), origin=Script(answer(body=b"y" * 40000)))
add("no-huffman-table-of-zero", every(clean, status(200)), ask=Ask(), origin=Script(settings=((1, 0),)))


async def _padded(wire, it):
    """All that is odd but allowed."""
    await wire.until(lambda: it.over)
    block = hpack.encode([hpack.indexed(8), ("x-long", "z" * 20000), hpack.remembered("x-a", "b"), hpack.indexed(62)])
    await wire.send(f.ping(), f.frame(0xBB, 0, 0, b"?"), f.priority(it.number), f.long_headers(it.number, block, False),
                    f.data(it.number, b"hel", pad=200), f.data(it.number, b""), f.data(it.number, b"lo", pad=0),
                    f.data(it.number, b"", True))  # fmt: skip


add("odd-but-right", every(relayed(200, b"hello"), reply_field("x-a", b"b, b")), ask=Ask(), origin=Script(_padded))

# Responses.

add = section("RFC 9113 8.1", "responses arrive as they are")
GRPC = (("content-type", "application/grpc"),)
TRAILERS = [("grpc-status", "0"), ("grpc-message", "ok")]
add("response-trailers", every(clean, reply(
    lambda m: None if (b"x-end", b"1") in m.trailers else f"trailers {m.trailers}")), ask=Ask(fields=((b"te", b"trailers"),)),
    modes=("h2-h2",), origin=Script(answer(body=b"hello", trailers=[("x-end", "1")])))  # fmt: skip
add("response-trailers-announced", every(clean, reply(
    lambda m: None if (b"x-end", b"1") in m.trailers else f"trailers {m.trailers}")), ask=Ask(fields=((b"te", b"trailers"),)),
    severity="medium", origin=Script(answer(extra=[("trailer", "x-end")], body=b"hello", trailers=[("x-end", "1")])))  # fmt: skip
add("response-trailers-not-announced", every(clean, relayed(200, b"hello")), ask=Ask(),
    origin=Script(answer(body=b"hello", trailers=[("x-end", "1")])))  # fmt: skip
add("response-trailers-forbidden", every(clean, reply(
    lambda m: None if {n for n, _ in m.trailers} <= {b"x-end"} else f"{m.trailers}")), ask=Ask(), severity="medium",
    origin=Script(answer(extra=[("trailer", "x-end, set-cookie, content-length")], body=b"hello",
                         trailers=[("x-end", "1"), ("set-cookie", "a=b"), ("content-length", "5")])))  # fmt: skip
add("grpc-unary", every(clean, reply(lambda m: None if dict(m.trailers).get(b"grpc-status") == b"0" and m.body == b"\0\0\0\0\2ok"
    else f"{m}")), modes=("h2-h2",), ask=Ask(b"POST", b"/s/m", ((b"content-type", b"application/grpc"), (b"te", b"trailers")),
    b"\0\0\0\0\2hi", chunked=True), origin=Script(answer(extra=GRPC, body=b"\0\0\0\0\2ok", trailers=TRAILERS)))  # fmt: skip
add("grpc-trailers-only", every(clean, reply_field("grpc-status", b"5"), reply_field("grpc-message", b"none")), modes=("h2-h2",),
    ask=Ask(b"POST", b"/s/m", ((b"content-type", b"application/grpc"), (b"te", b"trailers")), b"\0\0\0\0\2hi", chunked=True),
    origin=Script(say(head(*GRPC, ("grpc-status", "5"), ("grpc-message", "none"), end=True))))  # fmt: skip
add("grpc-te-goes-on", every(clean, got(lambda m: None if m.get("te") == b"trailers" else f"no te: {m}")), modes=("h2-h2",),
    severity="medium", source="gRPC over HTTP/2", ask=Ask(b"POST", b"/s/m", ((b"content-type", b"application/grpc"),
    (b"te", b"trailers")), b"\0\0\0\0\2hi", chunked=True))  # fmt: skip
add("grpc-trailers-in-head-of-cut", cut, modes=("h2-h2",), severity="critical",
    ask=Ask(b"POST", b"/s/m", ((b"content-type", b"application/grpc"), (b"te", b"trailers")), b"\0\0\0\0\2hi", chunked=True),
    origin=Script(say(head(*GRPC), data(b"\0\0\0\0\2o"), reset("INTERNAL_ERROR"))))  # fmt: skip
add("head", every(relayed(200, b""), reply_field("content-length", b"5", None)), ask=Ask(b"HEAD"),
    origin=Script(say(head(("content-length", "5"), end=True))))  # fmt: skip
add("204", relayed(204, b""), ask=Ask(), origin=Script(say(head(status="204", end=True))))
add("304-with-length", relayed(304, b""), ask=Ask(), origin=Script(say(head(("content-length", "5"), status="304", end=True))))
add("103-does-no-harm", relayed(200, b"ok"), ask=Ask(), origin=Script(
    say(head(("link", "</a>"), status="103"), head(), data(b"ok", True))))  # fmt: skip
add("103-arrives", every(relayed(200, b"ok"), check(lambda s: f"{s.interim}", lambda s: [m.status for m in s.interim] == [103])),
    severity="medium", source="RFC 9110 15.2", ask=Ask(), origin=Script(
        say(head(("link", "</a>"), status="103"), head(), data(b"ok", True))))  # fmt: skip
add("long-head", relayed(200, b""), severity="medium", ask=Ask(), origin=Script(answer(
    extra=[(f"x-{n}", "y" * 100) for n in range(40)], body=b"")))  # fmt: skip
add("two-cookies", reply(lambda m: None if m.all("set-cookie") == [b"a=b", b"c=d"] else f"{m}"), ask=Ask(),
    origin=Script(answer(extra=[("set-cookie", "a=b"), ("set-cookie", "c=d")])))  # fmt: skip
add("reset-no-error-after-the-end", relayed(200, b"early"), ask=Ask(b"GET"),
    origin=Script(say(head(("content-length", "5")), data(b"early", True), reset("NO_ERROR"))))  # fmt: skip


async def _early(wire, it):
    await wire.send(f.headers(it.number, [(":status", "413"), ("content-length", "3")], end=False),
                    f.data(it.number, b"big", True), f.reset(it.number, "NO_ERROR"))  # fmt: skip


add("early-answer", relayed(413, b"big"), ask=Ask(b"POST", b"/", (), b"x" * 300000), origin=Script(_early))

# Endings.

add = section("RFC 9113 8.1, 8.1.1", "a response that breaks off never looks complete", "critical")
LENGTH = ("content-length", "9")
for name, script in (
    ("reset", say(head(), data(b"hello"), reset("INTERNAL_ERROR"))),
    ("reset-cancel", say(head(), data(b"hello"), reset("CANCEL"))),
    ("reset-no-error", say(head(), data(b"hello"), reset("NO_ERROR"))),
    ("reset-refused", say(head(), data(b"hello"), reset("REFUSED_STREAM"))),
    ("reset-after-head", say(head(LENGTH), reset("INTERNAL_ERROR"))),
    ("connection-closed", say(head(), data(b"hello"), then="close")),
    ("connection-reset", say(head(), data(b"hello"), then="reset")),
    ("goaway-and-close", say(head(), data(b"hello"), f.goaway(2**31 - 1), then="close")),
    ("goaway-error", say(head(), data(b"hello"), f.goaway(2**31 - 1, "INTERNAL_ERROR"), then="close")),
    ("goaway-below", say(head(), data(b"hello"), f.goaway(0, "NO_ERROR"), then="close")),
    ("shorter-than-length", say(head(LENGTH), data(b"hello", True))),
    ("longer-than-length", say(head(("content-length", "3")), data(b"hello", True))),
    ("frame-that-is-none", say(head(), data(b"hello"), f.frame(f.PING, 0, 0, b"short"))),
    ("trailers-malformed", say(head(), data(b"hello"), lambda n: f.headers(n, [("X-Upper", "1")]))),
    ("trailers-nul", say(head(), data(b"hello"), lambda n: f.headers(n, [("x-end", "a\0b")]))),
    ("second-head", say(head(), data(b"hello"), head(), data(b"more", True))),
    ("half-a-frame", say(head(), lambda n: f.frame(f.DATA, f.END_STREAM, n, b"hello", length=99), then="close")),
):  # fmt: skip
    add(f"cut-{name}", cut, ask=Ask(), origin=Script(script))

add = section("RFC 9113 8.1.1, 8.2, 8.3.2, 10.3", "a malformed response becomes an error of the gateway", "critical")
for name, severity, part in (
    ("value-crlf", "critical", head(("x", "a\r\nevil: 1"), end=True)), ("value-lf", "critical", head(("x", "a\nevil: 1"), end=True)),
    ("value-nul", "critical", head(("x", "a\0b"), end=True)), ("name-crlf", "critical", head(("x\r\nevil", "1"), end=True)),
    ("name-colon", "critical", head(("x: 1\r\nevil", "1"), end=True)), ("name-space", "critical", head(("x y", "1"), end=True)),
    ("name-uppercase", "medium", head(("X-Upper", "1"), end=True)), ("name-empty", "high", head(("", "1"), end=True)),
    ("connection", "medium", head(("connection", "close"), end=True)),
    ("transfer-encoding", "critical", head(("transfer-encoding", "chunked"), end=True)),
    ("upgrade", "medium", head(("upgrade", "websocket"), end=True)),
    ("no-status", "high", lambda n: f.headers(n, [("x", "y")])),
    ("two-statuses", "high", lambda n: f.headers(n, [(":status", "200"), (":status", "404")])),
    ("status-words", "high", head(status="ok", end=True)), ("status-crlf", "critical", head(status="200 OK\r\nevil: 1", end=True)),
    ("status-1000", "medium", head(status="1000", end=True)), ("status-42", "medium", head(status="42", end=True)),
    ("status-101", "high", head(status="101", end=True)), ("interim-with-end", "high", head(status="103", end=True)),
    ("pseudo-of-requests", "medium", lambda n: f.headers(n, [(":status", "200"), (":path", "/")])),
    ("pseudo-after-field", "high", lambda n: f.headers(n, [("x", "y"), (":status", "200")])),
    ("two-lengths", "critical", head(("content-length", "0"), ("content-length", "5"), end=True)),
    ("length-words", "critical", head(("content-length", "five"), end=True)),
    ("length-signed", "critical", head(("content-length", "+0"), end=True)),
    ("length-without-data", "critical", head(("content-length", "5"), end=True)),
    ("data-before-head", "high", data(b"hello", True)),
):  # fmt: skip
    add(f"malformed-{name}", every(clean, broken), severity=severity, ask=POST, origin=Script(say(part)))

add = section("RFC 9113 4, 5.1, 5.4.1, 6", "an origin that breaks the protocol fails the request, and no more")
for name, part in (
    ("garbage", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" + bytes(60)), ("push", lambda n: f.frame(
        f.PUSH_PROMISE, f.END_HEADERS, n, b"\0\0\0\2" + hpack.encode([(":method", "GET"), (":path", "/"), (":scheme", "http"),
                                                                    (":authority", "x")]))),
    ("hpack", lambda n: f.headers(n, b"\xff\xff\xff\xff\xff\x0f")), ("settings-of-5", f.frame(f.SETTINGS, 0, 0, bytes(5))),
    ("idle-stream", lambda n: f.headers(n + 100, [(":status", "200")])), ("even-stream", head(status="200")(2)),
    ("window-overflow", f.update(0, 2**31 - 1) * 2), ("update-of-zero", f.update(0, 0)),
    ("frame-too-large", f.frame(f.DATA, 0, 1, bytes(20), length=2**24 - 1)),
    ("continuation-alone", lambda n: f.frame(f.CONTINUATION, f.END_HEADERS, n, b"")),
    ("headers-interrupted", lambda n: f.headers(n, [(":status", "200")], done=False) + f.ping()),
):  # fmt: skip
    add(f"breach-{name}", every(clean, broken, once), ask=POST, origin=Script(say(part)))
add("breach-no-settings-at-all", every(clean, failed(502, 504)), severity="low", ask=POST,
    origin=Script(say(f.ping(), then="close"), settings=None))  # fmt: skip

# Again, or not.

add = section("RFC 9110 9.2.2; RFC 9113 8.7", "what may have been acted on is not sent again", "critical")
for name, script in (
    ("reset", say(reset("INTERNAL_ERROR"))), ("reset-cancel", say(reset("CANCEL"))), ("reset-no-error", say(reset("NO_ERROR"))),
    ("closed", say(then="close")), ("goaway-above", say(f.goaway(2**31 - 1), then="close")),
    ("calm", say(reset("ENHANCE_YOUR_CALM"))),
):  # fmt: skip
    add(f"once-{name}", every(clean, broken, once), ask=POST, origin=Script(script))

add = section("RFC 9113 8.7", "what provably was not acted on may be sent again, whatever the method", "medium")
for name, script in (("goaway-below", say(f.goaway(0), then="close")), ("goaway-below-stays-open", say(f.goaway(0)))):
    add(f"again-{name}", every(clean, status(200), repeated), ask=POST, origin=Script(script, answer()),
        needs=frozenset({"retry"}))  # fmt: skip
    add(f"no-harm-{name}", every(clean, status(200, 502, 503)), severity="high", ask=POST, origin=Script(script, answer()))


async def _refuse_once(wire, it):
    if it.number == 1:
        await wire.until(lambda: it.over)
        await wire.send(f.reset(it.number, "REFUSED_STREAM"))
    else:
        await answer()(wire, it)


add("no-harm-refused", every(clean, status(200, 502, 503)), severity="high", ask=POST,
    origin=Script(say(reset("REFUSED_STREAM")), answer()))  # fmt: skip
add("again-refused", every(clean, status(200), repeated), ask=POST, origin=Script(_refuse_once),
    needs=frozenset({"retry"}))  # fmt: skip

add = section("RFC 9113 6.8", "GOAWAY lets what runs end, and sends what is new elsewhere")
add("goaway-then-the-answer", relayed(200, b"whole"), ask=Ask(), origin=Script(
    say(f.goaway(2**31 - 1), f.goaway(1), head(), data(b"wh"), data(b"ole", True))))  # fmt: skip

# Many streams.

add = family("h2-upstream", "RFC 9113 5.1.2, 6.8", "high", "streams over one connection to an origin", modes=("h2-h2",))

@case(add, "hundred-streams-do-not-mix", severity="critical")
async def _(wire, _stage):
    numbers = range(1, 201, 2)
    await wire.send(*(get(n, path=f"/stream-{n}")(wire) for n in numbers))
    for number in numbers:
        verdict = await wire.verdict(number)
        if verdict != "200" or bytes(wire.stream(number).data) != b"/stream-%d" % number:
            return f"stream {number}: {verdict} {bytes(wire.stream(number).data)!r}"
    return None


def kept(seen):
    return seen.notes.get("above")


async def _counting(wire, it):
    """Two at a time are allowed."""
    open_now = [other for other in wire.streams.values() if other.head and not getattr(other, "answered", False)]
    if len(open_now) > 2:
        wire.stage.notes["above"] = f"{len(open_now)} streams where 2 are allowed"
    await asyncio.sleep(0.02)
    it.answered = True
    await answer()(wire, it)


@case(add, "limit-of-the-origin-is-kept", also=kept, origin=Script(_counting, settings=((f.MAX_STREAMS, 2),)))
async def _(wire, _stage):
    # The first request may be sent before the origin's SETTINGS are there.
    await wire.get(stream=1)
    await wire.send(*(get(n)(wire) for n in range(3, 23, 2)))
    verdicts = {await wire.verdict(n) for n in range(3, 23, 2)}
    return None if verdicts == {"200"} else f"{verdicts}"


async def _shut(wire, it):
    """Grants nothing before it has seen that nothing comes."""
    if it.number > 1:
        await wire.until(lambda: it.data, 0.3)
        if it.data:
            wire.stage.notes["above"] = f"{len(it.data)} octets in a window of 0"
        await wire.send(f.update(it.number, 1000))
    await answer()(wire, it)


@case(add, "window-of-zero", also=kept, origin=Script(_shut, settings=((f.INITIAL_WINDOW, 0),)))
async def _(wire, _stage):
    await wire.get()
    verdict = await wire.get(stream=3, method="POST", body=b"hello")
    return None if verdict == "200" else verdict


async def _leave_after_one(wire, it):
    await answer()(wire, it)
    await wire.send(f.goaway(it.number))


@case(add, "goaway-moves-to-a-new-connection", origin=Script(_leave_after_one))
async def _(wire, _stage):
    for number in (1, 3, 5):
        verdict = await wire.get(stream=number)
        if verdict != "200":
            return f"{verdict} for request {number}"
        await asyncio.sleep(0.05)
    return None


async def _wait(wire, it):
    wire.stage.signal("begun").set()
    await wire.until(lambda: it.over)


async def gone(stage):
    """The origin learns of the client's end within a second or so."""
    for _ in range(60):
        its = stage.origin.inner.requests
        if its and all(it.code is not None for it in its) or all(wire.closed for wire in stage.origin.inner.wires):
            return None
        await asyncio.sleep(0.02)
    return "the origin is not told within 1.2 s"


@case(add, "client-reset-goes-on", origin=Script(_wait))
async def _(wire, stage):
    await wire.send(post()(wire))
    await stage.signal("begun").wait()
    await wire.send(f.reset(1))
    return await gone(stage)


@case(add, "client-gone-goes-on", origin=Script(_wait))
async def _(wire, stage):
    await wire.send(post()(wire))
    await stage.signal("begun").wait()
    wire.reset()
    return await gone(stage)


@case(add, "upload-cut-is-no-end", severity="critical", origin=Script(_wait),
      also=lambda seen: "the origin read a whole message" if any(m.complete for m in seen.requests) else None)  # fmt: skip
async def _(wire, stage):
    await wire.send(post()(wire), f.data(1, b"hello"))
    await stage.signal("begun").wait()
    wire.reset()
    return await gone(stage)


async def _refuse_second(wire, it):
    if it.number == 1:
        await wire.send(f.headers(1, [(":status", "200")], end=False), f.data(1, b"a"))
        await wire.stage.signal("go").wait()
        await wire.send(f.data(1, b"b", True))
    else:
        await wire.send(f.reset(it.number, "INTERNAL_ERROR"))


@case(add, "reset-of-one-leaves-the-other", origin=Script(_refuse_second))
async def _(wire, stage):
    await wire.send(get(1)(wire))
    await wire.until(lambda: wire.stream(1).data)
    other = await wire.get(stream=3, method="POST")
    stage.signal("go").set()
    verdict = await wire.verdict(1)
    if verdict != "200" or bytes(wire.stream(1).data) != b"ab":
        return f"the neighbour got {verdict}"
    return None if other in ("502", "rst INTERNAL_ERROR") else f"the reset one got {other}"


add = section("RFC 9113 8.3.1", "a request for https is not sent in the clear", "critical")


@case(add, "scheme-https-is-no-http", modes=("h2-h2",), needs=frozenset({"house"}),
      also=lambda seen: f"sent in the clear: {seen.requests[0]}" if seen.requests else None)  # fmt: skip
async def _(wire, _stage):
    # The client speaks in the clear to the proxy, as it does for CONNECT; the proxy may not do so to the origin.
    await wire.send(get(scheme="https", extra=[("authorization", "Basic c2VjcmV0")])(wire))
    await wire.verdict()
    return None
