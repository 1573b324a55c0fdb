"""Origins that speak HTTP/2, behind HTTP/1 and HTTP/2: requests and whole responses (RFC 9113, from a client's side)."""

from engine.accept import check, clean, cut, every, got, relayed, reply, reply_field, status
from engine.case import TO_H2, Ask, family
from h2 import frames as f
from h2 import hpack
from h2.origin import Script, answer, data, head, reset, say

POST = Ask(b"POST", b"/p", (), b"once")


def section(source, why, severity="high"):
    return family("h2-upstream", source, severity, why, modes=TO_H2)


# Requests.

add = section("RFC 9113 8.3.1", "a request is well-formed HTTP/2 with nothing of a connection")
add(
    "request",
    every(clean, status(200), got(lambda m: None if m.target == b"/a?b" else f"{m}")),
    ask=Ask(b"GET", b"/a?b"),
)
add("request-pseudo-first", every(clean, got(lambda m: None)), ask=Ask(fields=((b"x-a", b"1"), (b"cookie", b"a=b"))))
add(
    "request-body",
    every(clean, status(200), got(lambda m: None if m.body == b"x" * 150000 and m.complete else f"{m}")),
    ask=Ask(b"PUT", b"/", (), b"x" * 150000),
)
add(
    "request-hop-by-hop",
    every(clean, got(lambda m: f"{m}" if m.get("x-hop") or m.get("keep-alive") else None)),
    modes=("h1-h2",),
    ask=Ask(fields=((b"Connection", b"X-Hop, keep-alive"), (b"X-Hop", b"1"), (b"Keep-Alive", b"timeout=5"))),
)
add(
    "request-upgrade-offer",
    every(clean, got(lambda m: None)),
    modes=("h1-h2",),
    ask=Ask(
        fields=((b"Connection", b"Upgrade, HTTP2-Settings"), (b"Upgrade", b"h2c"), (b"HTTP2-Settings", b"AAMAAABk"))
    ),
)
add(
    "request-te",
    every(clean, got(lambda m: None if m.get("te") in (None, b"trailers") else f"{m}")),
    modes=("h1-h2",),
    ask=Ask(fields=((b"Connection", b"TE"), (b"TE", b"gzip, trailers"))),
)
add(
    "request-names-in-lower-case",
    every(clean, got(lambda m: None if m.get("x-mixed") == b"MiXed" else f"{m}")),
    modes=("h1-h2",),
    ask=Ask(fields=((b"X-MiXed", b"MiXed"),)),
)
add(
    "request-trailers",
    every(clean, status(200), got(lambda m: None if m.trailers == [(b"x-end", b"1")] else f"{m}")),
    severity="medium",
    ask=Ask(b"POST", b"/", ((b"trailer", b"x-end"),), b"hello", ((b"x-end", b"1"),)),
)
add(
    "request-trailers-not-announced",
    every(clean, status(200), got(lambda m: None if m.trailers == [(b"x-end", b"1")] else f"{m}")),
    severity="medium",
    ask=Ask(b"POST", b"/", (), b"hello", ((b"x-end", b"1"),)),
)

add = section("RFC 9113 5.1.2, 6.5.2, 6.9", "what the origin sets binds the proxy")
add(
    "window-of-seven",
    every(clean, status(200), got(lambda m: None if m.body == b"hello world" * 9 else f"{m}")),
    ask=Ask(b"POST", b"/", (), b"hello world" * 9),
    origin=Script(settings=((f.INITIAL_WINDOW, 7),)),
)
add("frames-larger-than-default", relayed(200, b"y" * 40000), ask=Ask(), origin=Script(answer(body=b"y" * 40000)))
add("no-huffman-table-of-zero", every(clean, status(200)), ask=Ask(), origin=Script(settings=((1, 0),)))


async def _padded(wire, it):
    """All that is odd but allowed."""
    await wire.until(lambda: it.over)
    block = hpack.encode([hpack.indexed(8), ("x-long", "z" * 20000), hpack.remembered("x-a", "b"), hpack.indexed(62)])
    await wire.send(
        f.ping(),
        f.frame(0xBB, 0, 0, b"?"),
        f.priority(it.number),
        f.long_headers(it.number, block, False),
        f.data(it.number, b"hel", pad=200),
        f.data(it.number, b""),
        f.data(it.number, b"lo", pad=0),
        f.data(it.number, b"", True),
    )


add("odd-but-right", every(relayed(200, b"hello"), reply_field("x-a", b"b, b")), ask=Ask(), origin=Script(_padded))

# Responses.

add = section("RFC 9113 8.1", "responses arrive as they are")
GRPC = (("content-type", "application/grpc"),)
TRAILERS = [("grpc-status", "0"), ("grpc-message", "ok")]
add(
    "response-trailers",
    every(clean, reply(lambda m: None if (b"x-end", b"1") in m.trailers else f"trailers {m.trailers}")),
    ask=Ask(fields=((b"te", b"trailers"),)),
    modes=("h2-h2",),
    origin=Script(answer(body=b"hello", trailers=[("x-end", "1")])),
)
add(
    "response-trailers-announced",
    every(clean, reply(lambda m: None if (b"x-end", b"1") in m.trailers else f"trailers {m.trailers}")),
    ask=Ask(fields=((b"te", b"trailers"),)),
    severity="medium",
    origin=Script(answer(extra=[("trailer", "x-end")], body=b"hello", trailers=[("x-end", "1")])),
)
add(
    "response-trailers-not-announced",
    every(clean, relayed(200, b"hello")),
    ask=Ask(),
    origin=Script(answer(body=b"hello", trailers=[("x-end", "1")])),
)
add(
    "response-trailers-forbidden",
    every(clean, reply(lambda m: None if {n for n, _ in m.trailers} <= {b"x-end"} else f"{m.trailers}")),
    ask=Ask(),
    severity="medium",
    origin=Script(
        answer(
            extra=[("trailer", "x-end, set-cookie, content-length")],
            body=b"hello",
            trailers=[("x-end", "1"), ("set-cookie", "a=b"), ("content-length", "5")],
        )
    ),
)
add(
    "grpc-unary",
    every(
        clean,
        reply(lambda m: None if dict(m.trailers).get(b"grpc-status") == b"0" and m.body == b"\0\0\0\0\2ok" else f"{m}"),
    ),
    modes=("h2-h2",),
    ask=Ask(
        b"POST", b"/s/m", ((b"content-type", b"application/grpc"), (b"te", b"trailers")), b"\0\0\0\0\2hi", chunked=True
    ),
    origin=Script(answer(extra=GRPC, body=b"\0\0\0\0\2ok", trailers=TRAILERS)),
)
add(
    "grpc-trailers-only",
    every(clean, reply_field("grpc-status", b"5"), reply_field("grpc-message", b"none")),
    modes=("h2-h2",),
    ask=Ask(
        b"POST", b"/s/m", ((b"content-type", b"application/grpc"), (b"te", b"trailers")), b"\0\0\0\0\2hi", chunked=True
    ),
    origin=Script(say(head(*GRPC, ("grpc-status", "5"), ("grpc-message", "none"), end=True))),
)
add(
    "grpc-te-goes-on",
    every(clean, got(lambda m: None if m.get("te") == b"trailers" else f"no te: {m}")),
    modes=("h2-h2",),
    severity="medium",
    source="gRPC over HTTP/2",
    ask=Ask(
        b"POST", b"/s/m", ((b"content-type", b"application/grpc"), (b"te", b"trailers")), b"\0\0\0\0\2hi", chunked=True
    ),
)
add(
    "grpc-trailers-in-head-of-cut",
    cut,
    modes=("h2-h2",),
    severity="critical",
    ask=Ask(
        b"POST", b"/s/m", ((b"content-type", b"application/grpc"), (b"te", b"trailers")), b"\0\0\0\0\2hi", chunked=True
    ),
    origin=Script(say(head(*GRPC), data(b"\0\0\0\0\2o"), reset("INTERNAL_ERROR"))),
)
add(
    "head",
    every(relayed(200, b""), reply_field("content-length", b"5", None)),
    ask=Ask(b"HEAD"),
    origin=Script(say(head(("content-length", "5"), end=True))),
)
add("204", relayed(204, b""), ask=Ask(), origin=Script(say(head(status="204", end=True))))
add(
    "304-with-length",
    relayed(304, b""),
    ask=Ask(),
    origin=Script(say(head(("content-length", "5"), status="304", end=True))),
)
add(
    "103-does-no-harm",
    relayed(200, b"ok"),
    ask=Ask(),
    origin=Script(say(head(("link", "</a>"), status="103"), head(), data(b"ok", True))),
)
add(
    "103-arrives",
    every(relayed(200, b"ok"), check(lambda s: f"{s.interim}", lambda s: [m.status for m in s.interim] == [103])),
    severity="medium",
    source="RFC 9110 15.2",
    ask=Ask(),
    origin=Script(say(head(("link", "</a>"), status="103"), head(), data(b"ok", True))),
)
add(
    "long-head",
    relayed(200, b""),
    severity="medium",
    ask=Ask(),
    origin=Script(answer(extra=[(f"x-{n}", "y" * 100) for n in range(40)], body=b"")),
)
add(
    "two-cookies",
    reply(lambda m: None if m.all("set-cookie") == [b"a=b", b"c=d"] else f"{m}"),
    ask=Ask(),
    origin=Script(answer(extra=[("set-cookie", "a=b"), ("set-cookie", "c=d")])),
)
add(
    "reset-no-error-after-the-end",
    relayed(200, b"early"),
    ask=Ask(b"GET"),
    origin=Script(say(head(("content-length", "5")), data(b"early", True), reset("NO_ERROR"))),
)


async def _early(wire, it):
    await wire.send(
        f.headers(it.number, [(":status", "413"), ("content-length", "3")], end=False),
        f.data(it.number, b"big", True),
        f.reset(it.number, "NO_ERROR"),
    )


add("early-answer", relayed(413, b"big"), ask=Ask(b"POST", b"/", (), b"x" * 300000), origin=Script(_early))
