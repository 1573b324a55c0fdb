"""From HTTP/2 to HTTP/1, requests: RFC 9113, sections 8.1 to 8.3, with RFC 9110 and 9112 for the other side.

The origin's strict reader judges each request as HTTP/1.
"""

import asyncio

from engine.accept import body, clean, count, every, got, nothing_smuggled, request_field, sent_on
from engine.case import Ask, family
from engine.steps import HEAD, PEER_END, Signal
from h2 import frames as f
from h2.script import case, get, post

H2 = ("h2",)


def section(source, why, severity="medium"):
    return family("h2-translation", source, severity, why, modes=H2)


# Requests.

add = section("RFC 9113 8.3.1; RFC 9112 3.2", "the request line and Host come from the pseudo-fields")
add("request-simple", sent_on(), ask=Ask(b"GET", b"/a?b=c"))
add("request-host", every(clean, got(lambda m: None if len(m.all("host")) == 1 else f"{m.all('host')}")), ask=Ask())
add(
    "request-no-pseudo-left",
    every(clean, got(lambda m: f"{m}" if any(n.startswith(b":") for n, _ in m.fields) else None)),
    ask=Ask(),
)
add(
    "request-version", every(clean, got(lambda m: None if m.version in (b"HTTP/1.1", b"HTTP/2") else f"{m}")), ask=Ask()
)
add(
    "request-options-asterisk",
    every(clean, got(lambda m: None if m.target == b"*" else f"{m}")),
    ask=Ask(b"OPTIONS", b"*"),
)
for name, path in (
    ("dots", b"/a/../b"),
    ("encoded", b"/%2e%2E/%2f%5c?%00"),
    ("empty-query", b"/a?"),
    ("slashes", b"//a//b"),
    ("double-query", b"/a?b?c=/d//"),
    ("marks", b"/a;b=c,d!$&'()*+~:@"),
    ("long", b"/" + b"a" * 8000),
):
    add(f"request-path-{name}", sent_on(), ask=Ask(b"GET", path))
for method in (b"DELETE", b"PATCH", b"PROPFIND", b"M-SEARCH"):
    add(f"request-method-{method.decode().lower()}", sent_on(), ask=Ask(method, b"/m"))

add = section("RFC 9110 7.6", "what a proxy adds and takes away is the same over HTTP/2")
add("request-via", every(clean, got(lambda m: None if m.get("via") else f"no Via: {m}")), ask=Ask(), needs=frozenset())
add(
    "request-te-trailers",
    every(clean, got(lambda m: None if m.get("te") in (None, b"trailers") else f"{m}")),
    ask=Ask(fields=((b"te", b"trailers"),)),
)
add(
    "request-proxy-authorization",
    request_field("proxy-authorization", absent=True),
    severity="high",
    source="RFC 9110 11.7.1",
    ask=Ask(fields=((b"proxy-authorization", b"Basic c2VjcmV0"),)),
    needs=frozenset({"guard"}),
)
add(
    "request-expect",
    sent_on(b"hello"),
    source="RFC 9110 10.1.1",
    ask=Ask(b"POST", b"/e", ((b"expect", b"100-continue"),), b"hello"),
)

add = section("RFC 9113 8.2.3", "the pieces of a Cookie become one field again, in order", "high")
add(
    "cookie-crumbs",
    every(
        clean,
        got(
            lambda m: (
                None
                if b"; ".join(m.all("cookie")) == b"a=b; c=d; e=f"
                and (m.version == b"HTTP/2" or len(m.all("cookie")) == 1)
                else f"{m.all('cookie')}"
            )
        ),
    ),
    modes=("h2", "h2-h2"),
    ask=Ask(fields=((b"cookie", b"a=b"), (b"x", b"y"), (b"cookie", b"c=d"), (b"cookie", b"e=f"))),
)
add("cookie-whole", every(clean, request_field("cookie", b"a=b; c=d")), ask=Ask(fields=((b"cookie", b"a=b; c=d"),)))

add = section("RFC 9110 5.5", "values go through octet by octet")
for name, value in (
    ("latin", b"caf\xe9"),
    ("utf-8", "h\u00e9".encode()),
    ("quoted", b'"a, b"; c="\\""'),
    ("empty", b""),
    ("inner-spaces", b"a  \t b"),
    ("percent", b"%0d%0a"),
):
    add(f"request-value-{name}", every(clean, request_field("x-value", value)), ask=Ask(fields=((b"x-value", value),)))
add(
    "request-repeated-fields",
    every(clean, got(lambda m: None if m.get("x") == b"1, 2, 3" else f"{m}")),
    ask=Ask(fields=((b"x", b"1"), (b"x", b"2"), (b"y", b""), (b"x", b"3"))),
)

# Bodies of requests.

add = section("RFC 9113 8.1; RFC 9112 6", "a body keeps its length, or is chunked", "high")


def framing(*wanted):
    return got(lambda m: None if m.framing in (*wanted, "frames") else f"framed by {m.framing}: {m}")


add("body-with-length", every(sent_on(b"hello"), framing("length")), ask=Ask(b"POST", b"/b", (), b"hello"))
add(
    "body-without-length",
    every(sent_on(b"hello"), framing("length", "chunked")),
    ask=Ask(b"POST", b"/b", (), b"hello", chunked=True),
)
add("body-empty-data", every(sent_on(b"")), ask=Ask(b"POST", b"/b", (), b"", chunked=True))
add("body-length-0", every(sent_on(b"")), ask=Ask(b"POST", b"/b", (), b""))
add("body-of-get", sent_on(b"hello"), ask=Ask(b"GET", b"/b", (), b"hello"))
add("body-none-of-post", every(sent_on(b""), framing("length", "none")), ask=Ask(b"POST", b"/b"))
add("body-200-kib", sent_on(bytes(range(256)) * 800), ask=Ask(b"PUT", b"/b", (), bytes(range(256)) * 800, chunked=True))
SMUGGLED = b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
add(
    "body-looks-like-chunks",
    sent_on(SMUGGLED),
    severity="critical",
    source="RFC 9113 10.3",
    ask=Ask(b"POST", b"/b", (), SMUGGLED, chunked=True),
)
add(
    "body-looks-like-a-request",
    sent_on(SMUGGLED[5:]),
    severity="critical",
    source="RFC 9113 10.3",
    ask=Ask(b"POST", b"/b", (), SMUGGLED[5:]),
)


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


add(
    "trailers-of-request",
    every(clean, no_harm, count(1), body(b"hello")),
    ask=Ask(b"POST", b"/t", ((b"trailer", b"x-end"),), b"hello", ((b"x-end", b"1"),)),
)
add(
    "trailers-of-request-arrive",
    every(clean, got(lambda m: None if m.trailers == [(b"x-end", b"1")] else f"trailers {m.trailers}")),
    severity="medium",
    ask=Ask(b"POST", b"/t", ((b"trailer", b"x-end"), (b"te", b"trailers")), b"hello", ((b"x-end", b"1"),)),
)
add("trailers-only-body", every(clean, no_harm, count(1)), ask=Ask(b"POST", b"/t", (), b"", ((b"x-end", b"1"),)))
for name, value in (
    (b"content-length", b"3"),
    (b"host", b"evil.test"),
    (b"authorization", b"Basic eDp5"),
    (b"te", b"trailers"),
):
    add(
        f"trailers-of-request-{name.decode()}",
        no_harm,
        severity="high" if name != b"te" else "medium",
        ask=Ask(b"POST", b"/t", ((b"trailer", name),), b"hello", ((name, value), (b"x-end", b"1"))),
    )

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
