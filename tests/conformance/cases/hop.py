"""Fields for one hop, Via, and what a proxy adds or must not: RFC 9110 7.6, 6.6.1, 7.7, 11.7."""

from engine.accept import (
    clean,
    either,
    every,
    got,
    rejected,
    relayed,
    reply,
    reply_field,
    request_field,
    sent_on,
    status,
)
from engine.case import MODES, Ask, family
from engine.steps import MESSAGE, PROBE, REPLY

add = family("hop-by-hop", "RFC 9110 7.6.1", "high", "what is meant for one hop goes no further", modes=MODES)
H1 = ("forward", "reverse")


def out(name, lines, accept, **own):
    raw = b"GET <T>/h HTTP/1.1\r\nHost: <H>\r\n" + lines + b"\r\n"
    add(name, every(sent_on(), accept), client=(raw, REPLY, PROBE), **{"modes": H1, **own})


def back(name, lines, accept, body=b"ok", **own):
    answer = b"HTTP/1.1 200 OK\r\n" + lines + b"Content-Length: %d\r\n\r\n" % len(body) + body
    add(name, every(clean, status(200), accept), ask=Ask(), origin=(MESSAGE, answer), **own)


gone = lambda name: request_field(name, absent=True)  # noqa: E731
no_reply = lambda name: reply_field(name, absent=True)  # noqa: E731

out("named", b"Connection: x-secret\r\nX-Secret: 1\r\n", gone("x-secret"))
out("named-case", b"connection: X-SECRET\r\nx-SeCrEt: 1\r\n", gone("x-secret"))
out("named-list", b"Connection: keep-alive, x-a,, x-b\r\nX-A: 1\r\nX-B: 1\r\n", every(gone("x-a"), gone("x-b")))
out("named-lines", b"Connection: x-a\r\nX-A: 1\r\nX-B: 1\r\nConnection: x-b\r\n", every(gone("x-a"), gone("x-b")))
out("named-later", b"X-A: 1\r\nConnection: x-a\r\n", gone("x-a"))
out("named-twice", b"X-A: 1\r\nX-A: 2\r\nConnection: x-a\r\n", gone("x-a"))
out("named-close", b"Connection: close, x-a\r\nX-A: 1\r\n", gone("x-a"))
out("named-space", b"Connection: \t x-a \t,\tx-b\r\nX-A: 1\r\nX-B: 1\r\n", every(gone("x-a"), gone("x-b")))
out("named-absent", b"Connection: x-none\r\nX-A: 1\r\n", request_field("x-a", b"1"))
has_host = got(lambda m: None if m.get("host") else f"Host is gone: {m}")
add(
    "named-host",
    either(rejected(), every(sent_on(), has_host)),
    modes=H1,
    why="Host is for every hop, whoever names it",
    client=(b"GET <T>/h HTTP/1.1\r\nHost: <H>\r\nConnection: host\r\n\r\n", REPLY, PROBE),
)
out("connection-itself", b"Connection: keep-alive\r\n", request_field("connection", None, b"keep-alive", b"Keep-Alive"))
out("connection-close", b"Connection: close\r\n", sent_on(), severity="medium")
out("keep-alive", b"Connection: keep-alive\r\nKeep-Alive: timeout=5\r\n", gone("keep-alive"))
out("keep-alive-alone", b"Keep-Alive: timeout=5\r\n", gone("keep-alive"), severity="medium")
out("proxy-connection", b"Proxy-Connection: keep-alive\r\n", gone("proxy-connection"), severity="medium")
out("te", b"Connection: TE\r\nTE: gzip\r\n", request_field("te", None, b"trailers"))
out("te-alone", b"TE: gzip;q=0.5\r\n", request_field("te", None, b"trailers"), severity="medium")
out("te-trailers", b"Connection: TE\r\nTE: trailers\r\n", request_field("te", None, b"trailers"), severity="low")
out(
    "te-mixed",
    b"Connection: TE\r\nTE: gzip, trailers;q=0.5\r\n",
    request_field("te", None, b"trailers"),
    severity="medium",
)
out(
    "upgrade-h2c",
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
    every(gone("upgrade"), gone("http2-settings")),
    source="RFC 9110 7.8, h2c smuggling",
    severity="critical",
)
out(
    "upgrade-h2c-alone",
    b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
    gone("upgrade"),
    source="RFC 9110 7.8, h2c smuggling",
)
out("upgrade-unnamed", b"Upgrade: foo/2\r\n", gone("upgrade"), source="RFC 9110 7.8")
out("upgrade-tls", b"Connection: upgrade\r\nUpgrade: TLS/1.0\r\n", gone("upgrade"), source="RFC 2817")
add(
    "proxy-authorization",
    every(sent_on(), gone("proxy-authorization")),
    modes=("forward",),
    severity="critical",
    source="RFC 9110 11.7.1",
    why="the proxy's credential is the proxy's: an origin must not learn it",
    client=(b"GET <T>/h HTTP/1.1\r\nHost: <H>\r\nProxy-Authorization: Basic eDp5\r\n\r\n", REPLY, PROBE),
)
for field in (
    "authorization",
    "cookie",
    "x-forwarded-for",
    "forwarded",
    "x-request-id",
    "accept-encoding",
    "user-agent",
    "range",
    "if-none-match",
):
    add(
        f"end-to-end-{field}",
        every(sent_on(), request_field(field, b"v1")),
        ask=Ask(b"GET", b"/h", ((field.encode(), b"v1"),)),
        severity="medium",
        why="what is meant for the origin arrives as it is",
        source="RFC 9110 7.6.1, 7.7",
    )
for field in (
    "x-forwarded-for",
    "forwarded",
    "x-real-ip",
    "x-forwarded-host",
    "accept",
    "user-agent",
    "accept-encoding",
    "authorization",
    "cookie",
):
    add(
        f"not-added-{field}",
        every(sent_on(), gone(field)),
        ask=Ask(),
        severity="low",
        source="RFC 9110 7.7",
        why="a proxy does not invent fields of the client's",
    )

# Responses.
back("reply-named", b"Connection: x-up\r\nX-Up: 1\r\n", no_reply("x-up"))
back(
    "reply-named-list",
    b"Connection: x-a, keep-alive, x-b\r\nX-A: 1\r\nX-B: 1\r\n",
    every(no_reply("x-a"), no_reply("x-b")),
)
back(
    "reply-named-lines",
    b"Connection: x-a\r\nConnection: X-B\r\nX-A: 1\r\nX-B: 1\r\n",
    every(no_reply("x-a"), no_reply("x-b")),
)
back(
    "reply-keep-alive",
    b"Keep-Alive: timeout=71\r\nConnection: keep-alive\r\n",
    reply(lambda m: None if b"71" not in (m.get("keep-alive") or b"") else "the origin's Keep-Alive"),
)
back("reply-proxy-connection", b"Proxy-Connection: close\r\n", no_reply("proxy-connection"), severity="medium")
back("reply-upgrade", b"Upgrade: h2c\r\nConnection: upgrade\r\n", no_reply("upgrade"), severity="medium")
back("reply-close", b"Connection: close\r\n", relayed(200, b"ok"), severity="medium")
back("reply-named-length", b"Connection: content-length\r\n", relayed(200, b"ok"))
back(
    "reply-server",
    b"Server: origin/1\r\n",
    reply_field("server", b"origin/1"),
    severity="medium",
    source="RFC 9110 7.7",
    why="Server is the origin's word",
)
back(
    "reply-no-server",
    b"",
    no_reply("server"),
    severity="low",
    source="RFC 9110 10.2.4",
    why="the proxy is not the origin server",
)
date = b"Sun, 06 Nov 1994 08:49:37 GMT"
back(
    "reply-date-kept",
    b"Date: " + date + b"\r\n",
    reply_field("date", date),
    source="RFC 9110 6.6.1",
    why="Date is the origin's",
    severity="medium",
)
back(
    "reply-date-added",
    b"",
    reply(lambda m: None if m.get("date") else "no Date"),
    source="RFC 9110 6.6.1",
    severity="low",
    why="a recipient with a clock adds the Date that is lacking",
)
for field in (
    "etag",
    "last-modified",
    "cache-control",
    "content-type",
    "content-encoding",
    "content-language",
    "content-location",
    "vary",
    "age",
    "accept-ranges",
    "www-authenticate",
    "retry-after",
    "link",
):
    back(
        f"reply-kept-{field}",
        field.encode() + b": v1\r\n",
        reply_field(field, b"v1"),
        severity="medium",
        source="RFC 9110 7.7",
        why="no transformation: the origin's fields arrive as they are",
    )

# Via.
via = family(
    "hop-by-hop",
    "RFC 9110 7.6.3",
    "medium",
    "each hop puts itself into Via, so that loops and versions can be seen",
    modes=MODES,
)


def last_via(message, protocol, before=b""):
    value = message.get("via") or b""
    entry = value.removeprefix(before).strip(b", ")
    good = value.startswith(before) and entry.split(b" ")[0].rpartition(b"/")[2] == protocol and b" " in entry
    return None if good else f"Via: {value!r}"


via("via", every(sent_on(), got(lambda m: last_via(m, b"1.1"))), modes=H1, ask=Ask())
via(
    "via-appended",
    every(sent_on(), got(lambda m: last_via(m, b"1.1", b"1.0 fred, 1.1 p.example.net"))),
    modes=H1,
    ask=Ask(b"GET", b"/h", ((b"via", b"1.0 fred"), (b"via", b"1.1 p.example.net"))),
)
via(
    "via-http10",
    every(sent_on(), got(lambda m: last_via(m, b"1.0"))),
    modes=H1,
    severity="low",
    client=(b"GET <T>/h HTTP/1.0\r\nHost: <H>\r\n\r\n", REPLY),
)
via(
    "via-comment",
    every(sent_on(), got(lambda m: last_via(m, b"1.1", b"1.1 a (b, c)"))),
    modes=H1,
    ask=Ask(b"GET", b"/h", ((b"via", b"1.1 a (b, c)"),)),
)
via(
    "via-reply",
    every(clean, status(200), reply(lambda m: last_via(m, b"1.1"))),
    modes=("forward",),
    ask=Ask(),
    why="a proxy must also put itself into the Via of a response; a gateway may leave it out",
)
via(
    "via-reply-appended",
    every(clean, status(200), reply(lambda m: last_via(m, b"1.1", b"1.0 fred"))),
    modes=("forward",),
    ask=Ask(),
    origin=(MESSAGE, b"HTTP/1.1 200 OK\r\nVia: 1.0 fred\r\nContent-Length: 0\r\n\r\n"),
)
via(
    "via-reply-kept",
    every(
        clean,
        status(200),
        reply(lambda m: None if (m.get("via") or b"").startswith(b"1.0 fred") else f"Via: {m.get('via')!r}"),
    ),
    ask=Ask(),
    origin=(MESSAGE, b"HTTP/1.1 200 OK\r\nVia: 1.0 fred\r\nContent-Length: 0\r\n\r\n"),
)
