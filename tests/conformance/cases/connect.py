"""CONNECT: RFC 9110 9.3.6, RFC 9112 3.2.3, RFC 9931, and where a tunnel may go."""

from engine.accept import check, every, refused, short, status
from engine.case import family
from engine.steps import CLOSE, FIN, PEER_END, PROBE, REPLY, RST, Await, Bytes, Signal

add = family(
    "connect",
    "RFC 9110 9.3.6",
    "high",
    "a tunnel carries bytes as they are, both ways, to the end",
    modes=("forward",),
    needs=frozenset({"connect"}),
)
# The first bytes are no HTTP and no TLS, so that a proxy that looks inside sees a raw tunnel.
ASK = b"CONNECT <H>:443 HTTP/1.1\r\nHost: <H>:443\r\n\r\n"
PING, PONG = b"\x01\x02ping\x00\xff", b"\x03\x04pong\x00\xfe"


def tunnel(data):
    return check(lambda s: f"the client got {short(s.tunnel)} in the tunnel", lambda s: s.tunnel == data)


def upward(data):
    """What the origin got, whole."""
    return check(
        lambda s: f"the origin got {[short(side.raw) for side in s.origins]}",
        lambda s: bytes(s.origins[-1].raw) == data if s.origins else not data,
    )


opened = every(
    status(200),
    check(lambda s: f"a body in the 2xx: {s.reply}", lambda s: s.reply.framing == "tunnel" and not s.faults),
)
both = every(opened, tunnel(PONG), upward(PING))
add("bytes", both, client=(ASK, REPLY, PING, Bytes(40), PEER_END), origin=(Bytes(len(PING)), PONG, CLOSE))
add(
    "client-first-fin",
    every(opened, tunnel(PONG), upward(PING)),
    client=(ASK, REPLY, PING, FIN, PEER_END),
    origin=(PEER_END, PONG, CLOSE),
    source="half-close",
    why="a client that is done sending still gets the answer",
)
add(
    "origin-first-fin",
    every(opened, tunnel(PONG), upward(PING)),
    client=(ASK, REPLY, Signal("open"), Await("ended"), PING, FIN, PEER_END, Await("got")),
    origin=(Await("open"), PONG, FIN, Signal("ended"), PEER_END, Signal("got"), CLOSE),
    source="half-close",
    why="an origin that is done sending still gets the rest",
)
add(
    "server-first",
    every(opened, tunnel(PONG)),
    client=(ASK, REPLY, PEER_END),
    origin=(PONG, CLOSE),
    why="a protocol in which the server speaks first",
)
add(
    "early-bytes",
    every(opened, tunnel(PONG), upward(PING)),
    client=(ASK + PING, REPLY, PEER_END),
    origin=(Bytes(len(PING)), PONG, CLOSE),
    why="bytes sent with the CONNECT belong to the tunnel",
)
big = bytes(range(256)) * 2000
add(
    "large",
    every(opened, tunnel(big), upward(big)),
    client=(ASK, REPLY, big, FIN, PEER_END),
    origin=(Bytes(len(big)), big, CLOSE),
)
add(
    "origin-resets",
    every(opened, check("the tunnel stays", lambda s: s.end is not None)),
    client=(ASK, REPLY, PING, PEER_END),
    origin=(Bytes(len(PING)), RST),
)
add(
    "http10",
    opened,
    client=(b"CONNECT <H>:443 HTTP/1.0\r\n\r\n", REPLY, PING, PEER_END),
    origin=(Bytes(len(PING)), CLOSE),
    severity="medium",
    why="old clients tunnel without Host",
)
add(
    "no-proxy-fields",
    every(opened, tunnel(PONG), upward(PING)),
    severity="critical",
    why="the proxy's credentials stay at the proxy",
    client=(ASK[:-2] + b"Proxy-Authorization: Basic eDp5\r\n\r\n", REPLY, PING, PEER_END),
    origin=(Bytes(len(PING)), PONG, CLOSE),
)

# Refusals. What follows a refused CONNECT was meant for the tunnel: it is no request (RFC 9931).
BEHIND = b"GET http://<H>/smuggled HTTP/1.1\r\nHost: <H>\r\n\r\n"
no = family(
    "connect",
    "RFC 9931, RFC 9112 3.2.3",
    "high",
    "a refused CONNECT ends the connection: what follows is no request",
    modes=("forward",),
    needs=frozenset({"connect"}),
)


def refuse(name, target, *statuses, **own):
    raw = b"CONNECT " + target + b" HTTP/1.1\r\nHost: <H>\r\n\r\n"
    no(
        name,
        refused(*(statuses or (400, 403, 404, 405, 501, 502, 503, 504))),
        client=(raw + BEHIND, REPLY, PROBE),
        **own,
    )


for name, target in {
    "no-port": b"<H>",
    "port-empty": b"<H>:",
    "port-zero": b"<H>:0",
    "port-plus": b"<H>:+443",
    "port-range": b"<H>:65536",
    "port-word": b"<H>:https",
    "port-minus": b"<H>:-443",
    "port-two": b"<H>:443:443",
    "userinfo": b"user@<H>:443",
    "userinfo-pw": b"u:p@<H>:443",
    "fragment": b"<H>:443#@other.test",
    "query": b"<H>:443?x",
    "path": b"<H>:443/x",
    "scheme": b"http://<H>:443",
    "scheme-path": b"https://<H>:443/",
    "origin-form": b"/x",
    "star": b"*",
    "no-host": b":443",
    "backslash": b"<H>:443\\@x",
    "percent": b"<H>%00:443",
    "bracket": b"[<H>]:443",
    "bracket-open": b"[::1:443",
    "comma": b"<H>,x:443",
    "semicolon": b"<H>;x:443",
    "latin1": b"<H>\xe9:443",
    "quote": b'"<H>":443',
    "space-port": b"<H>:443 :443",
}.items():
    refuse(f"bad-{name}", target)
for port in (22, 25, 1, 8443):
    refuse(
        f"port-{port}",
        b"<H>:%d" % port,
        403,
        400,
        severity="medium",
        source="semantics 7: ports 443 and 80",
        needs=frozenset({"connect", "guard"}),
    )
refuse("unresolved", b"nowhere.invalid:443", 502, 503, 504, 404)
for name, target in {
    "metadata": b"169.254.169.254:443",
    "link-local": b"169.254.1.1:443",
    "mapped": b"[::ffff:169.254.169.254]:443",
    "mapped-hex": b"[::ffff:a9fe:a9fe]:443",
    "zero": b"0.0.0.0:443",
    "multicast": b"224.0.0.1:443",
    "link-local-6": b"[fe80::1]:443",
    "aws-6": b"[fd00:ec2::254]:443",
    "zero-6": b"[::]:443",
    "multicast-6": b"[ff02::1]:443",
    "decimal": b"2852039166:443",
    "octal": b"0251.0376.0251.0376:443",
    "hex": b"0xa9fea9fe:443",
}.items():
    refuse(
        f"guard-{name}",
        target,
        400,
        403,
        502,
        504,
        severity="critical",
        source="CVE class SSRF, semantics 7",
        needs=frozenset({"connect", "guard"}),
        why="metadata, link-local and such are no destination, in whatever spelling",
    )
add(
    "tunnel-bad-inner-host",
    every(
        check(lambda s: f"{[m.status for m in s.replies]}", lambda s: [m.status for m in s.replies] == [200]),
        check(lambda s: f"inside: {s.tunnel[:60]!r}", lambda s: s.tunnel.startswith(b"HTTP/1.1 421")),
    ),
    source="conformance 3: 421",
    needs=frozenset({"connect", "guard"}),
    client=(
        b"CONNECT <H>:80 HTTP/1.1\r\nHost: <H>:80\r\n\r\n",
        REPLY,
        b"GET /x HTTP/1.1\r\nHost: other.test\r\n\r\n",
        Bytes(80),
        FIN,
        PEER_END,
    ),
    severity="high",
    why="an inner Host that differs from the tunnel's would bypass rules by host",
)
inner = check(
    lambda s: f"{s.raw[:200]!r}",
    lambda s: s.status in (400, 403, 502, 504) or s.tunnel[:12] in (b"HTTP/1.1 403", b"HTTP/1.1 502", b"HTTP/1.1 504"),
)
add(
    "guard-metadata-80",
    inner,
    client=(
        b"CONNECT 169.254.169.254:80 HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n",
        REPLY,
        b"GET / HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n",
        Bytes(80),
        FIN,
        PEER_END,
    ),
    severity="critical",
    source="CVE class SSRF, semantics 7",
    needs=frozenset({"connect", "guard"}),
    why="inside a tunnel the guard holds as well",
)
add(
    "tunnel-inner-http",
    every(
        check(
            lambda s: f"inside: {s.tunnel[:60]!r}",
            lambda s: s.tunnel.startswith(b"HTTP/1.1 200") and s.tunnel.endswith(b"/inner"),
        )
    ),
    severity="medium",
    client=(
        b"CONNECT <H>:80 HTTP/1.1\r\nHost: <H>:80\r\n\r\n",
        REPLY,
        b"GET /inner HTTP/1.1\r\nHost: <H>\r\nConnection: close\r\n\r\n",
        PEER_END,
    ),
    why="plain HTTP in a tunnel works",
)
add(
    "tunnel-inner-smuggled",
    check(
        lambda s: f"{s.requests}", lambda s: not any(b"smuggled" in m.target for m in s.requests) and not s.violations
    ),
    severity="critical",
    needs=frozenset({"connect", "guard"}),
    why="plain HTTP in a tunnel is parsed as strictly as outside",
    client=(
        b"CONNECT <H>:80 HTTP/1.1\r\nHost: <H>:80\r\n\r\n",
        REPLY,
        b"POST /a HTTP/1.1\r\nHost: <H>\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        b"GET /smuggled HTTP/1.1\r\nHost: <H>\r\n\r\n",
        PEER_END,
    ),
)
add(
    "tunnel-inner-connect",
    check(lambda s: f"inside: {s.tunnel[:60]!r}", lambda s: not s.tunnel.startswith(b"HTTP/1.1 200")),
    needs=frozenset({"connect", "guard"}),
    severity="medium",
    client=(b"CONNECT <H>:80 HTTP/1.1\r\nHost: <H>:80\r\n\r\n", REPLY, ASK, Bytes(60), FIN, PEER_END),
    why="no tunnel inside a tunnel",
)
