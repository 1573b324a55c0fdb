"""Malformed requests over HTTP/2: RFC 9113, section 8. None of them may reach an origin, least of all as something else.

What is here written into a field would be a message of its own in HTTP/1 (section 10.3), so a proxy that passes it on
lets a client speak for others.
"""

from engine.accept import clean, every, nothing_smuggled, unsent
from engine.case import family
from h2 import frames as f
from h2.script import case, get, post, refuses, scene, serves

REFUSALS = ("400", "403", "404", "421", "501")
MORE = "\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"


def section(number, why, severity="high"):
    return family("h2-messages", f"RFC 9113 {number}", severity, why, modes=("h2",))


def malformed(*parts, **how):
    return refuses(*parts, statuses=REFUSALS, also=every(clean, unsent), **how)


def with_field(name, value="v"):
    return malformed(lambda c: f.headers(1, c.fields(extra=[(name, value)])))


def with_pseudo(**replaced):
    """A GET whose pseudo-fields are these: a value, None for none, or a list for several."""

    def part(c):
        fields = []
        for name, value in c.fields():
            given = replaced.get(name[1:], value)
            values = given if isinstance(given, list) else [] if given is None else [given]
            fields += [(name, each.replace("<H>", c.authority)) for each in values]
        return f.headers(1, fields)

    return malformed(part)


add = section("8.2.1", "a field name is a token in lower case")
for name, severity, text in (
    ("uppercase", "medium", "X-Upper"),
    ("space", "high", "x y"),
    ("space-before", "high", " x"),
    ("space-after", "critical", "transfer-encoding "),
    ("tab", "high", "x\ty"),
    ("colon", "critical", "x:y"),
    ("colon-at-end", "critical", "transfer-encoding:"),
    ("crlf", "critical", "x\r\ntransfer-encoding"),
    ("lf", "critical", "x\nevil"),
    ("cr", "critical", "x\revil"),
    ("nul", "critical", "x\0y"),
    ("empty", "high", ""),
    ("delete", "medium", "x\x7fy"),
    ("above-ascii", "medium", "x\xe9y"),
    ("parenthesis", "medium", "x(y"),
    ("comma", "medium", "x,y"),
    ("quote", "medium", 'x"y'),
    ("crlf-message", "critical", "x: y" + MORE + "x"),
):
    add(f"name-{name}", severity=severity, **with_field(text))

add = section("8.2.1, 10.3", "a field value has no CR, LF, NUL, and no white space around it", "critical")
for name, text in (
    ("crlf", "v\r\nevil: 1"),
    ("crlf-message", "v" + MORE),
    ("lf", "v\nevil: 1"),
    ("cr", "v\revil"),
    ("nul", "v\0w"),
    ("crlf-at-end", "v\r\n"),
    ("lf-at-start", "\nv"),
):
    add(f"value-{name}", **with_field("x-field", text))
for name, text in (("space-before", " v"), ("space-after", "v "), ("tab-before", "\tv")):
    add(
        f"value-{name}",
        severity="low",
        **refuses(lambda c, text=text: f.headers(1, c.fields(extra=[("x-field", text)])), statuses=(*REFUSALS, "200")),
    )
add("value-crlf-in-cookie", **with_field("cookie", "a=b\r\nevil: 1"))
add("value-crlf-in-host", **with_field("host", "lane.test\r\nevil: 1"))
add("value-crlf-in-content-length", **with_field("content-length", "0\r\ntransfer-encoding: chunked"))

add = section("8.2.2", "fields of a connection are none of HTTP/2's", "medium")
for name, value in (
    ("connection", "keep-alive"),
    ("connection", "close"),
    ("connection", "x-hop"),
    ("keep-alive", "timeout=5"),
    ("proxy-connection", "keep-alive"),
    ("upgrade", "websocket"),
    ("upgrade", "h2c"),
    ("te", "gzip"),
    ("te", "trailers, deflate"),
):
    add(f"field-{name}-{value.replace(', ', '-')}", **with_field(name, value))
add = section("8.2.2, 10.3", "a transfer coding in HTTP/2 would frame the message anew in HTTP/1", "critical")
for value in ("chunked", "identity", "gzip, chunked", "xchunked"):
    add(
        f"field-transfer-encoding-{value.replace(', ', '-')}",
        **malformed(
            lambda c, value=value: f.headers(1, c.fields("POST", extra=[("transfer-encoding", value)]), end=False),
            f.data(1, b"0" + MORE.encode(), True),
        ),
    )

add = section("8.3", "pseudo-fields are known, once, and first")
add("pseudo-unknown", **malformed(lambda c: f.headers(1, [(":x", "y"), *c.fields()])))
add("pseudo-of-responses", **malformed(lambda c: f.headers(1, [(":status", "200"), *c.fields()])))
add("pseudo-after-field", **malformed(lambda c: f.headers(1, [*c.fields()[:-1], ("x", "y"), c.fields()[-1]])))
add("pseudo-after-field-again", **malformed(lambda c: f.headers(1, c.fields(extra=[("x", "y"), (":path", "/b")]))))
add("pseudo-none-at-all", **malformed(lambda c: f.headers(1, [("x", "y")])))
add("pseudo-empty-block", **malformed(f.headers(1, b"")))

add = section("8.3.1", "a request has one method, scheme and path")
for name, value in (("method", "GET"), ("scheme", "http"), ("path", "/"), ("authority", "<H>")):
    add(f"{name}-twice", **with_pseudo(**{name: [value, value]}))
    if name != "authority":
        add(f"{name}-missing", **with_pseudo(**{name: None}))
        severity = "low" if name == "scheme" else "high"
        add(f"{name}-empty", severity=severity, **with_pseudo(**{name: ""}))
add("authority-twice-differing", severity="critical", **with_pseudo(authority=["<H>", "evil.test"]))
add("path-twice-differing", severity="critical", **with_pseudo(path=["/", "/smuggled"]))

add = section("8.3.1, 10.3", "a method, path or scheme cannot carry a request line of its own", "critical")
for name, text in (
    ("space", "GET /smuggled HTTP/1.1"),
    ("crlf", "GET / HTTP/1.1\r\nevil: 1\r\nx:"),
    ("nul", "G\0T"),
    ("lf", "GET\nx"),
    ("colon", "GET:"),
    ("tab", "GET\t/smuggled"),
):
    add(f"method-{name}", **with_pseudo(method=text))
for name, text in (
    ("space", "/a b"),
    ("version", "/a HTTP/1.1\r\nevil: 1\r\nx: "),
    ("version-in-one-line", "/smuggled HTTP/1.0"),
    ("crlf", "/a\r\nevil: 1"),
    ("lf", "/a\nevil"),
    ("cr", "/a\revil"),
    ("nul", "/a\0b"),
    ("tab", "/a\tb"),
    ("message", "/ HTTP/1.1" + MORE),
    ("delete", "/a\x7fb"),
    ("space-before", " /a"),
    ("space-after", "/a "),
):
    add(f"path-{name}", **with_pseudo(path=text))
for name, text in (
    ("crlf", "http\r\nevil: 1"),
    ("url", "http://evil.test/smuggled?"),
    ("space", "http x"),
    ("nul", "http\0"),
    ("slash", "http/smuggled"),
):
    add(f"scheme-{name}", **with_pseudo(scheme=text))
add("scheme-digit", severity="low", source="RFC 3986 3.1", **with_pseudo(scheme="1http"))

add = section("8.3.1; RFC 3986 3", "a path begins with a slash and has no fragment", "high")
for name, text in (
    ("relative", "a/b"),
    ("absolute-form", "http://evil.test/smuggled"),
    ("authority-form", "evil.test:80"),
    ("at", "@evil.test/smuggled"),
):
    add(f"path-{name}", **with_pseudo(path=text))
# Nothing but the client's own request is bent by these.
for name, text in (("query-only", "?a=b"), ("asterisk-for-get", "*"), ("fragment", "/a#b")):
    add(f"path-{name}", severity="medium", **with_pseudo(path=text))

add = section("8.3.1; RFC 3986 3.2", "an authority is a host and perhaps a port", "high")
for name, text in (
    ("userinfo", "user@<H>"),
    ("userinfo-before", "<H>@evil.test"),
    ("password", "u:p@<H>"),
    ("path", "<H>/smuggled"),
    ("query", "<H>?x"),
    ("fragment", "<H>#x"),
    ("space", "<H> x"),
    ("port-above", "<H>:65536"),
    ("port-signed", "<H>:+80"),
    ("port-words", "<H>:http"),
    ("two-ports", "<H>:80:80"),
    ("comma", "<H>,evil.test"),
    ("backslash", "<H>\\x"),
    ("open-bracket", "[::1"),
    ("port-only", ":80"),
    ("percent", "<H>%00"),
    ("port-then-at", "<H>:80@evil.test"),
):
    add(f"authority-{name}", **with_pseudo(authority=text))
for name, text in (
    ("crlf", "<H>\r\nevil: 1"),
    ("nul", "<H>\0"),
    ("lf", "<H>\nevil: 1"),
    ("tab", "<H>\tx"),
    ("message", "<H>" + MORE),
):
    add(f"authority-{name}", severity="critical", **with_pseudo(authority=text))

add = section("8.3.1", "`Host` does not contradict :authority", "high")


def one_host(seen):
    """Refused, or the one Host that the origin reads is that of :authority."""
    hosts = [request.all("host") for request in seen.requests]
    return None if all(each == [seen.host.encode()] for each in hosts) else f"the origin read Host {hosts}"


def hosts(*values, authority=None, **how):
    def part(c):
        extra = [("host", value.replace("<H>", c.authority)) for value in values]
        return f.headers(1, c.fields(authority=authority, extra=extra))

    return refuses(part, also=every(clean, one_host), **how)


add("host-differs", severity="critical", **hosts("evil.test", statuses=(*REFUSALS, "200")))
add("host-twice", **hosts("<H>", "<H>", statuses=(*REFUSALS, "200")))
add("host-twice-differing", severity="critical", **hosts("<H>", "evil.test", statuses=(*REFUSALS, "200")))
add("host-list", **hosts("<H>, evil.test", statuses=(*REFUSALS, "200")))
add("host-alone-twice", severity="critical", **hosts("<H>", "evil.test", authority="", statuses=REFUSALS))
add("neither-host-nor-authority", **malformed(lambda c: f.headers(1, c.fields(authority=""))))


@case(add, "host-alone-serves", severity="medium", also=every(clean, one_host))
async def _(wire, _stage):
    await wire.send(f.headers(1, wire.fields(authority="", extra=[("host", wire.authority)])))
    verdict = await wire.verdict()
    return None if verdict == "200" else verdict


add(
    "host-the-same-serves",
    severity="medium",
    **serves(lambda c: f.headers(1, c.fields(extra=[("host", c.authority)])), also=every(clean, one_host)),
)

add = section("8.1.1", "DATA is exactly as long as content-length says", "critical")
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"


def broken_off(seen):
    """No origin read a whole message, nor a second one."""
    whole = [request for request in seen.requests if request.complete and request.body != b""]
    return f"the origin read a whole message: {whole[0]}" if whole else nothing_smuggled(seen)


def lengths(values, *pieces, end=True, also=broken_off, stream=1):
    def part(c):
        head = c.fields("POST", extra=[("content-length", value) for value in values])
        parts = [f.headers(stream, head, end=not pieces)]
        parts += [f.data(stream, piece, end and number == len(pieces)) for number, piece in enumerate(pieces, 1)]
        return b"".join(parts)

    return refuses(part, statuses=REFUSALS, also=also)


add("length-short", **lengths(["10"], b"hello"))
add("length-short-no-data", **lengths(["10"]))
add("length-short-empty-data", **lengths(["10"], b""))
add("length-zero-with-data", **lengths(["0"], SMUGGLED))
add("length-long", **lengths(["5"], b"hello" + SMUGGLED))
add("length-long-in-pieces", **lengths(["5"], b"hel", b"lo" + SMUGGLED))
add("length-long-afterwards", **lengths(["5"], b"hello", SMUGGLED, also=nothing_smuggled))
add("length-twice-differing", **lengths(["5", "6"], b"hello"))
for name, value in (
    ("signed", "+5"),
    ("negative", "-5"),
    ("hex", "0x5"),
    ("list-differing", "5, 6"),
    ("words", "five"),
    ("empty", ""),
    ("beyond-64-bits", "18446744073709551621"),
    ("fraction", "5.0"),
    ("inner-space", "1 5"),
):
    add(f"length-{name}", **lengths([value], b"hello"))
add(
    "length-short-before-trailers",
    **refuses(
        lambda c: f.headers(1, c.fields("POST", extra=[("content-length", "9")]), end=False),
        f.data(1, b"hello"),
        f.headers(1, [("x-end", "1")]),
        statuses=REFUSALS,
        also=broken_off,
    ),
)

add = section("8.1", "after the head come DATA and at most one section of trailers, with the end", "high")


def trailing(*frames, also=broken_off):
    return refuses(post(), f.data(1, b"hello"), *frames, statuses=REFUSALS, also=also)


add("trailers-without-end", **trailing(f.headers(1, [("x-end", "1")], end=False), f.data(1, b"more", True)))
add("trailers-with-path", severity="medium", **trailing(f.headers(1, [(":path", "/smuggled")])))
add("trailers-with-status", severity="medium", **trailing(f.headers(1, [(":status", "200")])))
add("trailers-with-method-after-field", **trailing(f.headers(1, [("x", "y"), (":method", "PUT")])))
add("trailers-uppercase", severity="medium", **trailing(f.headers(1, [("X-End", "1")])))
add("trailers-crlf", severity="critical", **trailing(f.headers(1, [("x-end", "1" + MORE)])))
add("trailers-nul", severity="critical", **trailing(f.headers(1, [("x-end", "1\0")])))
add("trailers-name-crlf", severity="critical", **trailing(f.headers(1, [("x\r\nevil", "1")])))
add("trailers-connection", severity="medium", **trailing(f.headers(1, [("connection", "close")])))
add("trailers-transfer-encoding", severity="critical", **trailing(f.headers(1, [("transfer-encoding", "chunked")])))

add = section("8.5", "CONNECT has a method and an authority, and no more")
add(
    "connect-with-path",
    **malformed(lambda c: f.headers(1, [(":method", "CONNECT"), (":authority", f"{c.authority}:443"), (":path", "/")])),
)
add(
    "connect-with-scheme",
    **malformed(
        lambda c: f.headers(1, [(":method", "CONNECT"), (":authority", f"{c.authority}:443"), (":scheme", "http")])
    ),
)
add("connect-without-authority", **malformed(lambda c: f.headers(1, [(":method", "CONNECT")])))
for name, text in (
    ("no-port", "<H>"),
    ("userinfo", "u@<H>:443"),
    ("port-0", "<H>:0"),
    ("port-above", "<H>:65536"),
    ("path", "<H>:443/x"),
    ("crlf", "<H>:443\r\nx: y"),
    ("port-only", ":443"),
):
    add(
        f"connect-{name}",
        **malformed(
            lambda c, text=text: f.headers(
                1, [(":method", "CONNECT"), (":authority", text.replace("<H>", c.authority))], end=False
            )
        ),
    )

add = section("8.5; RFC 8441 4", ":protocol goes with CONNECT, a scheme and a path, and only if it was offered")
add("protocol-on-get", **malformed(lambda c: f.headers(1, [*c.fields(), (":protocol", "websocket")])))
add(
    "protocol-without-path",
    **malformed(
        lambda c: f.headers(
            1,
            [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":authority", c.authority)],
            end=False,
        )
    ),
)
add(
    "protocol-unknown",
    **malformed(lambda c: f.headers(1, c.fields("CONNECT", extra=[]) + [(":protocol", "smuggle")], end=False)),
)
add(
    "protocol-crlf",
    severity="critical",
    **malformed(
        lambda c: f.headers(1, c.fields("CONNECT", extra=[]) + [(":protocol", "websocket\r\nevil: 1")], end=False)
    ),
)


@case(add, "malformed-beside-good", severity="medium", source="RFC 9113 8.1.1, 5.4.1")
async def _(wire, _stage):
    # The connection may be given up as well, but not in silence.
    await wire.send(get(1, extra=[("te", "gzip")])(wire), get(3)(wire))
    verdict = await wire.verdict(3)
    return None if verdict in ("200", "goaway PROTOCOL_ERROR") else verdict


add = section("10.5.1; RFC 6585 5", "a head that is too large is answered, not cut off", "medium")


def too_large(number, size, **how):
    extra = [(f"x-{n}", "y" * size) for n in range(number)]

    async def test(wire, _):
        await wire.until(lambda: wire.acks)
        await wire.send(f.long_headers(1, wire.fields(extra=extra)))
        verdict = await wire.verdict()
        return None if verdict == "431" else f"{verdict}, not 431"

    return scene(test, every(clean, unsent), **how)


add("head-above-64-kib", needs=frozenset({"guard"}), **too_large(70, 1000))
add("head-above-100-fields", needs=frozenset({"guard"}), **too_large(110, 1))
