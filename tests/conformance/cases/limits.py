"""Floods within one connection: heads, targets, chunks and trailers without end (semantics 8, RFC 6585 5)."""

from engine.accept import broken_body, clean, dropped, either, every, refused, sent_on, status, unsent
from engine.case import H1, family
from engine.steps import PROBE, REPLY

add = family(
    "limits", "semantics 8, RFC 6585 5", "high", "what grows without end is refused with its own status", modes=H1
)
HOST = b"Host: <H>\r\n"


def get(lines=b"", path=b"/l", start=None):
    return (start or b"GET <T>" + path + b" HTTP/1.1") + b"\r\n" + HOST + lines + b"\r\n"


too_large = either(refused(431, 400, 413, 414), every(unsent, dropped))
for name, lines in {
    "value-100k": b"X: " + b"x" * 100_000 + b"\r\n",
    "value-1m": b"X: " + b"x" * 1_000_000 + b"\r\n",
    "name-100k": b"x" * 100_000 + b": y\r\n",
    "lines-200": b"".join(b"X-%d: y\r\n" % n for n in range(200)),
    "lines-10000": b"X: y\r\n" * 10_000,
    "lines-same-150": b"X: y\r\n" * 150,
    "lines-empty-20000": b"X:\r\n" * 20_000,
    "cookie-100k": b"Cookie: " + b"a=b; " * 20_000 + b"\r\n",
    "connection-100k": b"Connection: " + b"x, " * 33_000 + b"\r\n",
}.items():
    # How many lines are too many is each proxy's own to say.
    add(
        f"head-{name}",
        too_large,
        client=(get(lines), REPLY, PROBE),
        needs=frozenset({"guard"} if name in ("lines-200", "lines-same-150") else ()),
    )
add(
    "head-endless",
    too_large,
    client=(b"GET <T>/l HTTP/1.1\r\n" + HOST, b"X: y\r\n" * 300_000, REPLY),
    why="a head that never ends is not kept",
)
add(
    "line-endless",
    either(refused(414, 400, 431), every(unsent, dropped)),
    client=(b"GET <T>/" + b"x" * 2_000_000, REPLY),
)
add("method-endless", either(refused(400, 414, 431, 501), every(unsent, dropped)), client=(b"G" * 500_000, REPLY))
add(
    "method-10k",
    either(refused(400, 414, 431, 501, 405), every(unsent, dropped)),
    client=(get(start=b"G" * 10_000 + b" <T>/l HTTP/1.1"), REPLY, PROBE),
    severity="medium",
)
for size in (100_000, 1_000_000):
    add(
        f"target-{size}",
        either(refused(414, 400, 431), every(unsent, dropped)),
        client=(get(path=b"/" + b"x" * size), REPLY, PROBE),
        source="RFC 9110 15.5.15: 414",
    )
add(
    "target-query-100k",
    either(refused(414, 400, 431), every(unsent, dropped)),
    client=(get(path=b"/?" + b"x" * 100_000), REPLY, PROBE),
)
add(
    "crlf-flood",
    either(refused(400, 408, 431, 413), dropped),
    client=(b"\r\n" * 500_000, REPLY),
    why="empty lines before a request are not skipped for ever",
)
# What must still pass.
fine = family("limits", "RFC 9112 3: at least 8000 octets", "medium", "limits leave room for what is usual", modes=H1)
fine("target-8000", sent_on(), client=(get(path=b"/" + b"x" * 7900), REPLY, PROBE))
fine("value-8000", sent_on(), client=(get(b"X: " + b"x" * 7900 + b"\r\n"), REPLY, PROBE))
fine("lines-60", sent_on(), client=(get(b"".join(b"X-%d: y\r\n" % n for n in range(60))), REPLY, PROBE))
fine(
    "value-16k",
    either(sent_on(), too_large),
    client=(get(b"X: " + b"x" * 16000 + b"\r\n"), REPLY, PROBE),
    severity="low",
)

# Bodies.
CHUNKED = b"POST <T>/l HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
body = family("limits", "RFC 9112 7.1.1", "high", "what is beside the data in a chunked body is bounded", modes=H1)
for name, data in {
    "extension-1m": b"1;" + b"x" * 1_000_000 + b"\r\na\r\n0\r\n\r\n",
    "extensions-many": b"1;aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\na\r\n" * 20_000 + b"0\r\n\r\n",
    "size-zeros": b"0" * 500_000 + b"1\r\na\r\n0\r\n\r\n",
}.items():
    body(
        name,
        (
            either(broken_body, dropped, every(clean, status(200)))
            if name != "extension-1m"
            else either(broken_body, dropped)
        ),
        client=(CHUNKED + data, REPLY),
        source="RFC 9112 7.1.1: chunk extensions",
    )
for name, data in {
    "trailer-1m": b"X: " + b"x" * 1_000_000 + b"\r\n",
    "trailers-20000": b"X: y\r\n" * 20_000,
    "trailer-endless": b"X: y\r\n" * 300_000,
}.items():
    body(
        name,
        either(broken_body, dropped, status(400, 413, 431)),
        client=(CHUNKED + b"0\r\n" + data + b"\r\n" * (name != "trailer-endless"), REPLY),
        source="RFC 9112 7.1.2",
    )
body(
    "tiny-chunks",
    every(clean, status(200)),
    client=(CHUNKED + b"1\r\na\r\n" * 20_000 + b"0\r\n\r\n", REPLY),
    severity="medium",
    why="small chunks are slow, not wrong",
)
