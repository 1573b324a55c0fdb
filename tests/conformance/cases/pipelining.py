"""Several requests on one connection: RFC 9112 9.3.2, 9.6."""

from engine.accept import check, clean, either, every, nothing_smuggled
from engine.case import H1, family
from engine.steps import MESSAGE, PROBE, REPLY, Await, Signal

add = family("pipelining", "RFC 9112 9.3.2", "high", "responses come in the order of their requests", modes=H1)


def get(path, lines=b"", version=b"HTTP/1.1"):
    return b"GET <T>" + path + b" " + version + b"\r\nHost: <H>\r\n" + lines + b"\r\n"


def post(path, body):
    return b"POST <T>" + path + b" HTTP/1.1\r\nHost: <H>\r\nContent-Length: %d\r\n\r\n" % len(body) + body


def answers(*bodies):
    """These bodies, whole, in this order, and nothing else."""
    return every(
        clean,
        check(
            lambda s: f"the answers were {[m.body for m in s.replies]}",
            lambda s: [m.body for m in s.replies] == list(bodies) and all(m.complete for m in s.replies),
        ),
    )


for number in (2, 3, 10, 30):
    paths = [b"/p%d" % n for n in range(number)]
    add(f"gets-{number}", answers(*paths), client=(b"".join(map(get, paths)), *[REPLY] * number))
add("post-get", answers(b"/a", b"/b"), client=(post(b"/a", b"xyz") + get(b"/b"), REPLY, REPLY))
add(
    "get-post-get",
    answers(b"/a", b"/b", b"/c"),
    client=(get(b"/a") + post(b"/b", b"xyz") + get(b"/c"), REPLY, REPLY, REPLY),
)
chunked = b"POST <T>/b HTTP/1.1\r\nHost: <H>\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nxyz\r\n0\r\n\r\n"
add("chunked-get", answers(b"/b", b"/c"), client=(chunked + get(b"/c"), REPLY, REPLY))
# One that answers the first with `close` has said that the second was not looked at (RFC 9112 9.6).
add(
    "trailers-get",
    either(
        answers(b"/b", b"/c"),
        every(answers(b"/b"), check("the answer does not say close", lambda s: s.replies[-1].get("connection") == b"close")),
    ),
    client=(chunked[:-2] + b"X: y\r\n\r\n" + get(b"/c"), REPLY, REPLY),
)
add(
    "body-like-request",
    answers(b"/a", b"/b"),
    client=(post(b"/a", b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n") + get(b"/b"), REPLY, REPLY),
    severity="critical",
)
add("split", answers(b"/a", b"/b"), client=(get(b"/a") + get(b"/b")[:2], REPLY, get(b"/b")[2:], REPLY))
add(
    "close-first",
    answers(b"/a"),
    client=(get(b"/a", b"Connection: close\r\n") + get(b"/smuggled"), REPLY, PROBE),
    source="RFC 9112 9.6",
    why="after `close` no further request is read",
)
add(
    "http10-first",
    answers(b"/a"),
    client=(get(b"/a", version=b"HTTP/1.0") + get(b"/smuggled"), REPLY, PROBE),
    source="RFC 9112 9.3",
)
stops = every(
    nothing_smuggled, check(lambda s: f"{s.replies}", lambda s: [m.status for m in s.replies][-1:] == [400] and s.end)
)
add(
    "bad-first",
    every(stops, check("more than one answer", lambda s: len(s.replies) == 1)),
    severity="critical",
    client=(b"GET <T>/a HTTP/1.1\r\nHost: <H>\r\nX : y\r\n\r\n" + get(b"/smuggled"), REPLY, PROBE),
    why="nothing behind a broken request is a request",
)
add(
    "bad-second",
    every(stops, check("the first answer", lambda s: s.replies[0].body == b"/a")),
    severity="critical",
    client=(get(b"/a") + b"GET <T>/b HTTP/1.1\r\nHost: <H>\r\nX : y\r\n\r\n" + get(b"/smuggled"), REPLY, REPLY, PROBE),
)
heads = check(lambda s: f"{s.replies}", lambda s: len(s.replies) == 2 and s.replies[1].body == b"/b")
add("head-get", every(clean, heads), client=(b"HEAD <T>/a HTTP/1.1\r\nHost: <H>\r\n\r\n" + get(b"/b"), REPLY, REPLY))
ok = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
add(
    "slow-first",
    answers(b"/a", b"/b"),
    client=(get(b"/a") + get(b"/b"), Signal("sent"), REPLY, REPLY),
    origin=[(MESSAGE, Await("sent"), ok + b"/a"), ()],
)
add(
    "close-by-origin",
    answers(b"/a", b"/b"),
    client=(get(b"/a") + get(b"/b"), REPLY, REPLY),
    source="RFC 9112 9.3.2",
    origin=[(MESSAGE, b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n/a"), ()],
)
