"""Peers that are slow: each wait has an end (semantics 8; the limits here are 2 s, set in the configurations)."""

from engine.accept import check, clean, cut, dropped, either, every, failed, relayed, status, unsent
from engine.case import H1, MODES, Ask, family
from engine.steps import MESSAGE, PEER_END, REPLY, Drip, Pause

add = family(
    "slowness", "semantics 8, RFC 9110 15.5.9", "high", "a client that does not get on is let go", modes=H1, limit=9.0
)
gone = every(unsent, either(dropped, status(408, 400)), check("the connection stays open", lambda s: s.end is not None))
add("nothing", gone, client=(b"", PEER_END))
add("one-byte", gone, client=(b"G", PEER_END))
add("line-half", gone, client=(b"GET <T>/s HT", PEER_END))
add("head-half", gone, client=(b"GET <T>/s HTTP/1.1\r\nHost: <H>\r\nX: ", PEER_END))
add("head-no-end", gone, client=(b"GET <T>/s HTTP/1.1\r\nHost: <H>\r\n", PEER_END))
add("crlf-only", gone, client=(b"\r\n", PEER_END), severity="medium")
# HTTP/2 settings may have come before the limit.
let_go = every(
    unsent,
    check("the connection stays open", lambda s: s.end is not None),
    check(lambda s: f"{s.raw[:60]!r}", lambda s: b" 200" not in s.raw[:16]),
)
add("preface-half", let_go, client=(b"PRI * HTTP/2.0\r\n\r\nSM", PEER_END))
add(
    "head-drip",
    gone,
    client=(b"GET <T>/s HTTP/1.1\r\nHost: <H>\r\n", Drip(b"X-A: 1\r\n" * 9, 0.1), PEER_END),
    source="slowloris",
    why="a head has a limit in all, not per byte",
)
add("line-drip", gone, client=(Drip(b"GET /" + b"x" * 60, 0.1), PEER_END), source="slowloris")


def incomplete(seen):
    whole = [m for m in seen.requests if m.complete]
    return f"the origin read a whole request: {whole[0]}" if whole else None


stalled = every(
    incomplete,
    check("the connection stays open", lambda s: s.end is not None),
    check(lambda s: f"status {s.status}", lambda s: s.status in (0, 400, 408, 502, 504)),
)
add("body-stalled", stalled, client=(b"POST <T>/s HTTP/1.1\r\nHost: <H>\r\nContent-Length: 10\r\n\r\nhello", PEER_END))
add("body-none", stalled, client=(b"POST <T>/s HTTP/1.1\r\nHost: <H>\r\nContent-Length: 10\r\n\r\n", PEER_END))
add(
    "chunk-stalled",
    stalled,
    client=(b"POST <T>/s HTTP/1.1\r\nHost: <H>\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel", PEER_END),
)
add(
    "trailer-stalled",
    stalled,
    client=(b"POST <T>/s HTTP/1.1\r\nHost: <H>\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y\r\n", PEER_END),
)
idle = every(
    check(lambda s: f"{s.replies}", lambda s: [m.status for m in s.replies] in ([200], [200, 408])),
    check("the connection stays open", lambda s: s.end is not None),
)
add(
    "idle",
    idle,
    client=(b"GET <T>/s HTTP/1.1\r\nHost: <H>\r\n\r\n", REPLY, PEER_END),
    severity="medium",
    why="an idle connection ends at its limit",
)
add(
    "second-head-half",
    idle,
    client=(b"GET <T>/s HTTP/1.1\r\nHost: <H>\r\n\r\n", REPLY, b"GET <T>/x HT", PEER_END),
    why="the limit holds for every request of a connection",
)

back = family(
    "slowness",
    "semantics 3",
    "high",
    "an origin that does not get on becomes an error, or a cut",
    modes=MODES,
    limit=9.0,
)
back("origin-silent", failed(), ask=Ask(b"POST", b"/s", (), b"x"), origin=(MESSAGE, PEER_END))
back(
    "origin-head-half",
    failed(),
    ask=Ask(b"POST", b"/s", (), b"x"),
    origin=(MESSAGE, b"HTTP/1.1 200 OK\r\nX: ", PEER_END),
)
back(
    "origin-head-drip",
    failed(),
    ask=Ask(b"POST", b"/s", (), b"x"),
    origin=(MESSAGE, Drip(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 12, 0.1), PEER_END),
    severity="medium",
)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"
back("origin-body-stalled", cut, ask=Ask(), origin=(MESSAGE, OK + b"hello", PEER_END))
back(
    "origin-chunk-stalled",
    cut,
    ask=Ask(),
    origin=(MESSAGE, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", PEER_END),
)
back("origin-until-close-stalled", cut, ask=Ask(), origin=(MESSAGE, b"HTTP/1.1 200 OK\r\n\r\nhello", PEER_END))
back(
    "origin-body-slow",
    relayed(200, b"helloworld"),
    ask=Ask(),
    origin=(MESSAGE, OK, Drip(b"helloworld", 0.25)),
    severity="medium",
    why="slow is not stalled: each byte renews the wait",
)
back(
    "origin-head-late",
    relayed(200, b"helloworld"),
    ask=Ask(),
    origin=(MESSAGE, Pause(0.8), OK + b"helloworld"),
    severity="medium",
)
add(
    "upload-slow",
    every(clean, status(200)),
    client=(b"POST <T>/s HTTP/1.1\r\nHost: <H>\r\nContent-Length: 10\r\n\r\n", Drip(b"helloworld", 0.15), REPLY),
    severity="medium",
    why="slow is not stalled: each byte renews the wait",
)
