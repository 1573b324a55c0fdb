"""Upgrades: RFC 9110 7.8, RFC 6455. Only `websocket`, only when asked for, and never before the 101."""

from engine.accept import (
    check,
    clean,
    either,
    every,
    failed,
    got,
    nothing_smuggled,
    rejected,
    relayed,
    request_field,
    short,
    status,
)
from engine.case import H1, family
from engine.steps import CLOSE, FIN, HEAD, MESSAGE, PEER_END, PROBE, REPLY, RST, Await, Signal

add = family(
    "upgrade", "RFC 6455 4, RFC 9110 7.8", "high", "an upgraded connection carries bytes both ways to its end", modes=H1
)
KEY = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
ASKED = b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
PING, PONG = b"\x81\x04ping", b"\x81\x04pong"


def ask(lines=ASKED, method=b"GET", version=b"HTTP/1.1", body=b""):
    return method + b" <T>/ws " + version + b"\r\nHost: <H>\r\n" + lines + KEY + b"\r\n" + body


def tunnel(data):
    return check(lambda s: f"the client got {short(s.tunnel)} after the 101 ({s.replies})", lambda s: s.tunnel == data)


def upward(data):
    return check(
        lambda s: f"the origin got {[short(side.raw) for side in s.origins]}",
        lambda s: bytes(s.origins[0].raw).endswith(b"\r\n\r\n" + data),
    )


switched = every(
    check(lambda s: f"no 101: {s.replies}", lambda s: any(m.status == 101 for m in s.interim)),
    request_field("upgrade", b"websocket"),
    got(lambda m: None if b"upgrade" in (m.get("connection") or b"").lower() else f"Connection: {m.get('connection')}"),
)
accepted = lambda s: (
    None if any(m.get("sec-websocket-accept") for m in s.interim) else "no Sec-WebSocket-Accept"
)  # noqa: E731
W = (MESSAGE, SWITCH, Await("sent"), PONG, CLOSE)
add(
    "websocket", every(switched, accepted, tunnel(PONG)), client=(ask(), HEAD, PING, Signal("sent"), PEER_END), origin=W
)
add(
    "websocket-up",
    every(switched, upward(PING)),
    client=(ask(), HEAD, PING, FIN, PEER_END),
    origin=(MESSAGE, SWITCH, PEER_END, CLOSE),
)
add(
    "websocket-case",
    tunnel(PONG),
    client=(ask(b"connection: keep-alive, UPGRADE\r\nUPGRADE: WebSocket\r\n"), HEAD, Signal("sent"), PEER_END),
    origin=W,
    severity="medium",
)
add(
    "bytes-with-101",
    tunnel(PONG),
    client=(ask(), HEAD, PEER_END),
    origin=(MESSAGE, SWITCH + PONG, CLOSE),
    why="bytes right behind the 101 belong to the new protocol",
)
add(
    "client-half-close",
    tunnel(PONG),
    client=(ask(), HEAD, PING, FIN, PEER_END),
    origin=(MESSAGE, SWITCH, PEER_END, PONG, CLOSE),
    source="half-close",
)
add(
    "origin-half-close",
    every(tunnel(PONG), upward(PING)),
    client=(ask(), HEAD, Await("ended"), PING, FIN, PEER_END, Await("got")),
    origin=(MESSAGE, SWITCH + PONG, FIN, Signal("ended"), PEER_END, Signal("got"), CLOSE),
    source="half-close",
)
add(
    "origin-resets",
    check("the client's side stays open", lambda s: s.end is not None),
    client=(ask(), HEAD, PING, Signal("sent"), PEER_END),
    origin=(MESSAGE, SWITCH, Await("sent"), RST),
)
big = bytes(range(256)) * 1000
add(
    "large",
    every(tunnel(big), upward(big)),
    client=(ask(), HEAD, big, FIN, PEER_END),
    origin=(MESSAGE, SWITCH, big, PEER_END, CLOSE),
)
add(
    "declined",
    relayed(200, b"ok"),
    client=(ask(), REPLY, PROBE),
    origin=[(MESSAGE, OK), ()],
    why="a server may answer an upgrade in plain HTTP",
)
add(
    "declined-426",
    relayed(426, b""),
    client=(ask(), REPLY),
    origin=(MESSAGE, b"HTTP/1.1 426 Upgrade Required\r\nSec-WebSocket-Version: 13\r\nContent-Length: 0\r\n\r\n"),
)

# The odd ones.
odd = family(
    "upgrade",
    "RFC 9110 7.8, CVE-2026-2833",
    "critical",
    "nothing is a tunnel before the origin's 101 to a request for it",
    modes=H1,
)
RAW = b"GET /smuggled HTTP/1.1\r\nHost: <H>\r\nConnection: x-raw\r\nX-Raw: 1\r\n\r\n"


def parsed(seen):
    """What followed the upgrade was, if anything, read and forwarded as a request: it has a Via of the proxy's."""
    if seen.violations:
        return f"an origin got {seen.violations[0]}"
    raw = [m for m in seen.requests if m.get("x-raw") and not m.get("via")]
    return f"copied without being read: {raw[0]}" if raw else None


odd("early-bytes-declined", parsed, client=(ask() + RAW, REPLY), origin=[(MESSAGE, OK), ()])
odd(
    "early-bytes-refused",
    parsed,
    client=(ask() + RAW, REPLY),
    origin=[(MESSAGE, b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"), ()],
)
odd(
    "early-bytes-426",
    parsed,
    client=(ask() + RAW, REPLY),
    origin=[(MESSAGE, b"HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n"), ()],
)
no101 = check(
    lambda s: f"a 101 reached the client: {s.raw[:60]!r}", lambda s: not any(m.status == 101 for m in s.interim)
)
for name, lines in {
    "unasked": b"",
    "unnamed": b"Upgrade: websocket\r\n",
    "only-connection": b"Connection: Upgrade\r\n",
    "h2c": b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
    "token": b"Connection: Upgrade\r\nUpgrade: foo\r\n",
}.items():
    odd(
        f"101-{name}",
        every(no101, failed(400, 502, 503, 403)),
        client=(b"GET <T>/x HTTP/1.1\r\nHost: <H>\r\n" + lines + b"\r\n", REPLY),
        origin=(MESSAGE, SWITCH + PONG, CLOSE),
        why="a 101 that the client did not ask for is no answer",
    )
odd(
    "101-other-token",
    every(no101, failed()),
    client=(ask(), REPLY),
    origin=(MESSAGE, SWITCH.replace(b"websocket", b"h2c", 1) + PONG, CLOSE),
)
odd(
    "101-no-token",
    every(no101, failed()),
    client=(ask(), REPLY),
    origin=(MESSAGE, b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + PONG, CLOSE),
    severity="medium",
)
odd(
    "101-http10",
    every(no101, check(lambda s: f"{s.status}", lambda s: s.status != 101)),
    client=(ask(version=b"HTTP/1.0"), REPLY),
    origin=(MESSAGE, SWITCH + PONG, CLOSE),
)
no_upgrade = every(clean, status(200), request_field("upgrade", absent=True))
refusal = every(rejected(400, 405, 403, 501), nothing_smuggled)
for name, raw in {
    "body-length": ask(ASKED + b"Content-Length: 35\r\n", b"GET", body=b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"),
    "body-chunked": ask(
        ASKED + b"Transfer-Encoding: chunked\r\n",
        b"GET",
        body=b"23\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n\r\n0\r\n\r\n",
    ),
    "post": ask(ASKED + b"Content-Length: 3\r\n", b"POST", body=b"abc"),
    "post-no-body": ask(ASKED, b"POST"),
    "put": ask(ASKED, b"PUT"),
}.items():
    odd(
        name,
        either(refusal, no_upgrade),
        client=(raw, REPLY, PROBE),
        origin=(),
        source="CVE-2026-58055, RFC 6455 4.1: GET without a body",
        why="an upgrade never goes with a body",
    )
for name, lines in {
    "two-tokens": b"Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n",
    "two-lines": b"Connection: Upgrade\r\nUpgrade: h2c\r\nUpgrade: websocket\r\n",
}.items():
    fine = request_field("upgrade", b"websocket", None)
    odd(
        name,
        either(rejected(400, 403, 426), every(clean, status(200), fine)),
        client=(b"GET <T>/x HTTP/1.1\r\nHost: <H>\r\n" + lines + KEY + b"\r\n", REPLY),
        severity="high",
        why="no other protocol goes along",
    )
odd(
    "cl-0",
    either(relayed(200, b"/ws"), refusal),
    client=(ask(ASKED + b"Content-Length: 0\r\n"), REPLY, PROBE),
    severity="low",
)
