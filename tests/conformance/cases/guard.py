"""Where requests may not go, and who may not ask: SSRF, rebinding, web pages (conformance 3, semantics 7).

These rules are Attaché's own, so peers are asked only for what is common.
"""

from engine import client
from engine.accept import check, either, every, rejected, request_field, sent_on, status, unsent
from engine.case import family
from engine.steps import PROBE, REPLY

add = family(
    "guard",
    "conformance 3: SSRF",
    "critical",
    "metadata services and the like are no destination, in whatever spelling",
    modes=("forward",),
    needs=frozenset({"guard"}),
)


def get(url, host):
    return b"GET http://" + url + b"/latest/meta-data HTTP/1.1\r\nHost: " + host + b"\r\n\r\n"


for name, host in {
    "metadata": b"169.254.169.254",
    "metadata-mapped": b"[::ffff:169.254.169.254]",
    "metadata-mapped-hex": b"[::ffff:a9fe:a9fe]",
    "metadata-decimal": b"2852039166",
    "metadata-hex": b"0xA9FEA9FE",
    "metadata-octal": b"0251.0376.0251.0376",
    "link-local": b"169.254.0.1",
    "link-local-6": b"[fe80::1]",
    "aws-6": b"[fd00:ec2::254]",
    "zero": b"0.0.0.0",
    "zero-net": b"0.1.2.3",
    "zero-6": b"[::]",
    "multicast": b"239.1.2.3",
    "multicast-6": b"[ff02::1]",
    "broadcast": b"255.255.255.255",
}.items():
    add(name, every(unsent, status(403, 400, 502)), client=(get(host, host), REPLY))
# A name is no way around: the address counts, whatever leads to it.
for name in ("metadata", "mapped", "zero", "own", "admin"):
    host = name.encode() + b".test"
    add(
        f"name-{name}",
        every(unsent, status(403, 508)),
        client=(get(host, host), REPLY),
        why="a name that resolves to a forbidden address",
    )
    add(
        f"name-{name}-connect",
        every(unsent, status(403, 508)),
        client=(b"CONNECT " + host + b":443 HTTP/1.1\r\nHost: " + host + b":443\r\n\r\n", REPLY),
        why="a name that resolves to a forbidden address, through a tunnel",
    )


def admin(raw, proxied=False):
    """Speaks to the admin port: directly, or through the proxy."""

    async def play(stage):
        stage.port = stage.port if proxied else stage.subject.admin
        await client.play(stage, (raw.replace(b"ADMIN", b"%d" % stage.subject.admin), REPLY))

    return play


own = family(
    "guard",
    "conformance 3: admin",
    "high",
    "the admin port is for its owner, not for web pages or proxied requests",
    modes=("forward",),
    needs=frozenset({"guard"}),
)
denied = check(lambda s: f"{s.raw[:80]!r}", lambda s: s.status in (400, 401, 403, 404, 405, 421, 508))
own(
    "admin-through-proxy",
    denied,
    play=admin(b"GET http://127.0.0.1:ADMIN/metrics HTTP/1.1\r\nHost: 127.0.0.1:ADMIN\r\n\r\n", True),
    severity="critical",
)
own(
    "admin-connect",
    denied,
    play=admin(b"CONNECT 127.0.0.1:ADMIN HTTP/1.1\r\nHost: 127.0.0.1:ADMIN\r\n\r\n", True),
    severity="critical",
)
own(
    "admin-host",
    denied,
    play=admin(b"GET /api/v1/config HTTP/1.1\r\nHost: evil.test\r\n\r\n"),
    source="conformance 3: DNS rebinding",
)
own(
    "admin-host-prefix",
    denied,
    play=admin(b"GET /api/v1/config HTTP/1.1\r\nHost: localhost.evil.test:ADMIN\r\n\r\n"),
    source="conformance 3: DNS rebinding",
)
own(
    "admin-post-bare",
    denied,
    play=admin(b"POST /api/v1/reload HTTP/1.1\r\nHost: 127.0.0.1:ADMIN\r\nContent-Length: 0\r\n\r\n"),
    source="conformance 3: CSRF",
)
own(
    "admin-get-changes-nothing",
    denied,
    play=admin(b"GET /api/v1/reload HTTP/1.1\r\nHost: 127.0.0.1:ADMIN\r\nX-Attache: 1\r\n\r\n"),
    source="conformance 3: CSRF",
)
own(
    "admin-own-host",
    status(200),
    play=admin(b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1:ADMIN\r\n\r\n"),
    severity="medium",
    why="its owner gets in",
)

# A web page may reach this port; on a route that adds a credential it may not use it.
page = family(
    "guard",
    "semantics 7: browsers",
    "critical",
    "a web page must not use a route that adds a credential",
    modes=("reverse",),
    needs=frozenset({"guard"}),
)


def secret(lines):
    return (b"GET /secret/x HTTP/1.1\r\nHost: <H>\r\n" + lines + b"\r\n", REPLY, PROBE)


for name, lines in {
    "origin": b"Origin: https://evil.example\r\n",
    "origin-null": b"Origin: null\r\n",
    "cross-site": b"Sec-Fetch-Site: cross-site\r\n",
    "same-site": b"Sec-Fetch-Site: same-site\r\n",
    "odd-site": b"Sec-Fetch-Site: x\r\n",
    "both": b"Origin: https://evil.example\r\nSec-Fetch-Site: none\r\n",
}.items():
    page(f"page-{name}", rejected(403), client=secret(lines))
with_key = every(sent_on(), request_field("x-api-key", b"s3cr3t"))
for name, lines in {
    "none": b"Sec-Fetch-Site: none\r\n",
    "same-origin": b"Sec-Fetch-Site: same-origin\r\n",
    "program": b"",
}.items():
    page(
        f"page-{name}",
        with_key,
        client=secret(lines),
        severity="medium",
        why="what is no other site's page gets through",
    )
page(
    "page-own-key",
    with_key,
    client=secret(b"X-Api-Key: guessed\r\n"),
    severity="high",
    why="the route's credential replaces the client's",
)
page(
    "page-no-auth",
    sent_on(),
    client=(b"GET /open HTTP/1.1\r\nHost: <H>\r\nOrigin: https://other.example\r\n\r\n", REPLY, PROBE),
    severity="medium",
    why="a route without a credential is for everyone",
)


def target(wanted):
    return check(
        lambda s: f"the target became {[m.target for m in s.requests]}",
        lambda s: s.requests and s.requests[0].target == wanted,
    )


def by_base(host):
    """Calls the route by its base URL on the proxy itself."""

    async def play(stage):
        raw = b"GET /r/<H>/x?y HTTP/1.1\r\nHost: " + host.replace(b"PORT", b"%d" % stage.port) + b"\r\n\r\n"
        await client.play(stage, (raw, REPLY))

    return play


base = family(
    "guard",
    "semantics 7: /r/",
    "medium",
    "the base URL is for local names only; elsewhere /r/ is the upstream's path",
    modes=("reverse",),
    needs=frozenset({"guard"}),
)
for name, host in {"loopback": b"127.0.0.1:PORT", "localhost": b"localhost:PORT"}.items():
    base(f"base-{name}", every(sent_on(), target(b"/x?y")), play=by_base(host))
base(
    "base-other-host",
    every(sent_on(), target(b"/r/a/x")),
    client=(b"GET /r/a/x HTTP/1.1\r\nHost: <H>\r\n\r\n", REPLY, PROBE),
)
base(
    "base-unknown",
    either(rejected(404), rejected(403)),
    client=(b"GET /r/nowhere/x HTTP/1.1\r\nHost: localhost\r\n\r\n", REPLY),
)
