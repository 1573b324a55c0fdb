"""Origins that speak HTTP/2 badly, behind HTTP/1 and HTTP/2: RFC 9113 from a client's side.

What an origin breaks must not reach the client as something whole, a request that may have been acted on is not sent
again, and what is known not to have been is.
"""

from engine.accept import clean, cut, either, every, failed, relayed, status
from engine.case import TO_H2, Ask, family
from h2 import frames as f
from h2 import hpack
from h2.origin import Script, answer, data, head, reset, say

POST = Ask(b"POST", b"/p", (), b"once")


def section(source, why, severity="high"):
    return family("h2-upstream", source, severity, why, modes=TO_H2)


def broken(seen):
    """The client is told, or over HTTP/2 the end of the stream."""
    if seen.mode == "h2-h2" and not seen.replies and seen.end == "rst":
        return None
    return failed()(seen)


def once(seen):
    """The request was sent once."""
    return None if len(seen.requests) == 1 else f"sent {len(seen.requests)} times"


def repeated(seen):
    return None if len(seen.requests) == 2 else f"sent {len(seen.requests)} times, not twice"


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
):
    add(f"cut-{name}", cut, ask=Ask(), origin=Script(script))

add = section("RFC 9113 8.1.1, 8.2, 8.3.2, 10.3", "a malformed response becomes an error of the gateway", "critical")
for name, severity, part in (
    ("value-crlf", "critical", head(("x", "a\r\nevil: 1"), end=True)),
    ("value-lf", "critical", head(("x", "a\nevil: 1"), end=True)),
    ("value-nul", "critical", head(("x", "a\0b"), end=True)),
    ("name-crlf", "critical", head(("x\r\nevil", "1"), end=True)),
    ("name-colon", "critical", head(("x: 1\r\nevil", "1"), end=True)),
    ("name-space", "critical", head(("x y", "1"), end=True)),
    ("name-uppercase", "medium", head(("X-Upper", "1"), end=True)),
    ("name-empty", "high", head(("", "1"), end=True)),
    ("connection", "medium", head(("connection", "close"), end=True)),
    ("transfer-encoding", "critical", head(("transfer-encoding", "chunked"), end=True)),
    ("upgrade", "medium", head(("upgrade", "websocket"), end=True)),
    ("no-status", "high", lambda n: f.headers(n, [("x", "y")])),
    ("two-statuses", "high", lambda n: f.headers(n, [(":status", "200"), (":status", "404")])),
    ("status-words", "high", head(status="ok", end=True)),
    ("status-crlf", "critical", head(status="200 OK\r\nevil: 1", end=True)),
    ("status-1000", "medium", head(status="1000", end=True)),
    ("status-42", "medium", head(status="42", end=True)),
    ("status-101", "high", head(status="101", end=True)),
    ("interim-with-end", "high", head(status="103", end=True)),
    ("pseudo-of-requests", "medium", lambda n: f.headers(n, [(":status", "200"), (":path", "/")])),
    ("pseudo-after-field", "high", lambda n: f.headers(n, [("x", "y"), (":status", "200")])),
    ("two-lengths", "critical", head(("content-length", "0"), ("content-length", "5"), end=True)),
    ("length-words", "critical", head(("content-length", "five"), end=True)),
    ("length-signed", "critical", head(("content-length", "+0"), end=True)),
    ("length-without-data", "critical", head(("content-length", "5"), end=True)),
    ("data-before-head", "high", data(b"hello", True)),
):
    add(f"malformed-{name}", every(clean, broken), severity=severity, ask=POST, origin=Script(say(part)))

add = section("RFC 9113 4, 5.1, 5.4.1, 6", "an origin that breaks the protocol fails the request, and no more")
for name, part in (
    ("garbage", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" + bytes(60)),
    (
        "push",
        lambda n: f.frame(
            f.PUSH_PROMISE,
            f.END_HEADERS,
            n,
            b"\0\0\0\2" + hpack.encode([(":method", "GET"), (":path", "/"), (":scheme", "http"), (":authority", "x")]),
        ),
    ),
    ("hpack", lambda n: f.headers(n, b"\xff\xff\xff\xff\xff\x0f")),
    ("settings-of-5", f.frame(f.SETTINGS, 0, 0, bytes(5))),
    ("idle-stream", lambda n: f.headers(n + 100, [(":status", "200")])),
    ("even-stream", head(status="200")(2)),
    ("window-overflow", f.update(0, 2**31 - 1) * 2),
    ("update-of-zero", f.update(0, 0)),
    ("frame-too-large", f.frame(f.DATA, 0, 1, bytes(20), length=2**24 - 1)),
    ("continuation-alone", lambda n: f.frame(f.CONTINUATION, f.END_HEADERS, n, b"")),
    ("headers-interrupted", lambda n: f.headers(n, [(":status", "200")], done=False) + f.ping()),
):
    add(f"breach-{name}", every(clean, broken, once), ask=POST, origin=Script(say(part)))
add(
    "breach-no-settings-at-all",
    every(clean, failed()),
    severity="low",
    ask=POST,
    origin=Script(say(f.ping(), then="close"), settings=None),
)

# Again, or not.

add = section("RFC 9110 9.2.2; RFC 9113 8.7", "what may have been acted on is not sent again", "critical")
for name, script in (
    ("reset", say(reset("INTERNAL_ERROR"))),
    ("reset-cancel", say(reset("CANCEL"))),
    ("reset-no-error", say(reset("NO_ERROR"))),
    ("closed", say(then="close")),
    ("goaway-above", say(f.goaway(2**31 - 1), then="close")),
    ("calm", say(reset("ENHANCE_YOUR_CALM"))),
):
    add(f"once-{name}", every(clean, broken, once), ask=POST, origin=Script(script))

add = section("RFC 9113 8.7", "what provably was not acted on may be sent again, whatever the method", "medium")
for name, script in (("goaway-below", say(f.goaway(0), then="close")), ("goaway-below-stays-open", say(f.goaway(0)))):
    add(
        f"again-{name}",
        every(clean, status(200), repeated),
        ask=POST,
        origin=Script(script, answer()),
        needs=frozenset({"retry"}),
    )
    add(
        f"no-harm-{name}",
        every(clean, status(200, 502, 503)),
        severity="high",
        ask=POST,
        origin=Script(script, answer()),
    )


async def _refuse_once(wire, it):
    if it.number == 1:
        await wire.until(lambda: it.over)
        await wire.send(f.reset(it.number, "REFUSED_STREAM"))
    else:
        await answer()(wire, it)


add(
    "no-harm-refused",
    every(clean, status(200, 502, 503)),
    severity="high",
    ask=POST,
    origin=Script(say(reset("REFUSED_STREAM")), answer()),
)
add(
    "again-refused",
    every(clean, status(200), repeated),
    ask=POST,
    origin=Script(_refuse_once),
    needs=frozenset({"retry"}),
)

add = section("RFC 9113 6.8", "GOAWAY lets what runs end, and sends what is new elsewhere")
add(
    "goaway-then-the-answer",
    relayed(200, b"whole"),
    ask=Ask(),
    origin=Script(say(f.goaway(2**31 - 1), f.goaway(1), head(), data(b"wh"), data(b"ole", True))),
)

# Too much of it.

add = section("RFC 9113 10.5; VU#421644", "an origin's flood ends its connection, not the proxy")
FIELD = hpack.literal("x-flood", "y" * 1000)


def endless(n):
    """A head that never ends."""
    return f.headers(n, [(":status", "200")], end=False, done=False) + f.frame(f.CONTINUATION, 0, n, FIELD) * 5000


def bomb(n):
    """4,000 octets, said once and repeated by a byte each: 64 MB."""
    block = hpack.encode([(":status", "200")]) + hpack.remembered("x-bomb", "y" * 3900)
    return f.long_headers(n, block + hpack.indexed(62) * 16000)


def wide(n):
    return f.long_headers(n, [(":status", "200"), *((f"x-{k}", "y" * 1000) for k in range(1000))])


for name, part in (("continuation", endless), ("hpack-bomb", bomb), ("head-of-1-mib", wide)):
    add(f"flood-{name}", every(clean, broken), ask=POST, origin=Script(say(part)))
OK = (head(), data(b"ok", True))
for name, part in (
    ("pings", f.ping() * 20000),
    ("settings", f.settings() * 10000),
    ("window-updates", f.update(0, 1) * 20000),
    ("priorities", f.priority(1, on=3) * 20000),
    ("unknown-frames", f.frame(0xBB, 0, 0, b"?" * 50) * 20000),
    ("interim", lambda n: f.headers(n, [(":status", "103"), ("link", "</a>")], end=False) * 5000),
):
    add(
        f"flood-{name}", every(clean, status(200, 502, 503)), severity="medium", ask=POST, origin=Script(say(part, *OK))
    )
add(
    "flood-empty-data",
    either(cut, relayed(200, b"ok"), failed()),
    severity="medium",
    ask=Ask(),
    origin=Script(say(head(), lambda n: f.data(n) * 20000, data(b"ok", True))),
)
