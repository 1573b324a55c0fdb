"""1xx responses and Expect: RFC 9110 10.1.1, 15.2, RFC 8297."""

from engine.accept import body, clean, either, every, relayed, sent_on, status, unsent
from engine.case import H1, MODES, Ask, family
from engine.steps import HEAD, MESSAGE, PROBE, REPLY, Await, Pause, Signal

add = family(
    "interim", "RFC 9110 15.2", "medium", "a proxy forwards 1xx responses, unless it asked for them itself", modes=H1
)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def saw(*statuses):
    return lambda seen: (
        None
        if [m.status for m in seen.interim] == list(statuses)
        else f"interim {[m.status for m in seen.interim]}, not {list(statuses)}"
    )


def hint(name, wanted, raw, **own):
    add(name, every(relayed(200, b"ok"), wanted), ask=Ask(), origin=(MESSAGE, raw + OK), **{"modes": MODES, **own})


hint("103", saw(103), b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n", source="RFC 8297")
hint(
    "103-twice",
    saw(103, 103),
    b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </b>\r\n\r\n",
    source="RFC 8297",
    severity="low",
)
hint("102", saw(102), b"HTTP/1.1 102 Processing\r\n\r\n", severity="low")
hint("unknown-1xx", saw(199), b"HTTP/1.1 199 Odd\r\n\r\n", severity="low")
hint(
    "100-unasked",
    either(saw(), saw(100)),
    b"HTTP/1.1 100 Continue\r\n\r\n",
    why="a 100 nobody asked for may be dropped, and harms nothing",
)
link = lambda s: None if s.interim and s.interim[0].get("link") == b"</a>" else f"{s.interim}"  # noqa: E731
hint("103-fields", link, b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", source="RFC 8297", severity="low")
hop = lambda s: (
    "a hop-by-hop field in a 103" if any(m.get("x-up") or m.get("keep-alive") for m in s.interim) else None
)  # noqa: E731
hint(
    "103-hop-by-hop",
    hop,
    b"HTTP/1.1 103 Early Hints\r\nConnection: x-up\r\nX-Up: 1\r\nKeep-Alive: timeout=1\r\n\r\n",
    source="RFC 9110 7.6.1",
)
apart = lambda s: "a 103's field is in the final response" if s.reply.get("x-early") else None  # noqa: E731
hint("103-not-merged", apart, b"HTTP/1.1 103 Early Hints\r\nX-Early: 1\r\n\r\n", source="RFC 8297", severity="high")
add(
    "103-before-body",
    relayed(200, b"ok"),
    client=(b"GET <T>/i HTTP/1.1\r\nHost: <H>\r\n\r\n", HEAD, Signal("hinted"), REPLY),
    limit=4,
    severity="low",
    origin=(MESSAGE, b"HTTP/1.1 103 Early Hints\r\n\r\n", Await("hinted"), OK),
    source="RFC 8297",
    why="an early hint is early",
)
two = lambda s: None if len(s.replies) == 2 and s.replies[1].body == b"/probe" else f"{s.replies}"  # noqa: E731
add(
    "100-after-head",
    every(relayed(200, b""), two),
    client=(b"HEAD <T>/i HTTP/1.1\r\nHost: <H>\r\n\r\n", REPLY, PROBE),
    severity="high",
    origin=[(MESSAGE, b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"), ()],
)

EXPECT = b"POST <T>/i HTTP/1.1\r\nHost: <H>\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"
ask = family("interim", "RFC 9110 10.1.1", "medium", "Expect: 100-continue between three parties", modes=H1)
hundred = lambda s: None if s.interim and s.interim[0].status == 100 else f"interim {s.interim}"  # noqa: E731
GO = b"HTTP/1.1 100 Continue\r\n\r\n"
ask(
    "expect",
    every(relayed(200, b"ok"), hundred, body(b"body")),
    client=(EXPECT, HEAD, b"body", REPLY),
    origin=(HEAD, GO, MESSAGE, OK),
)
kept = lambda s: (
    None if s.status == 401 and not any(m.status == 100 for m in s.interim) else f"{s.interim} then {s.status}"
)  # noqa: E731
ask(
    "expect-refused",
    every(clean, kept),
    client=(EXPECT, REPLY),
    source="RFC 9110 10.1.1: the origin's final answer instead of 100",
    origin=(HEAD, b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
)
ask(
    "expect-417",
    every(clean, status(417)),
    client=(EXPECT, REPLY),
    origin=(HEAD, b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
)
ask(
    "expect-at-once",
    every(relayed(200, b"ok"), body(b"body")),
    client=(EXPECT + b"body", REPLY),
    origin=(MESSAGE, GO + OK),
    why="a client that does not wait",
)
ask(
    "expect-no-100",
    every(relayed(200, b"ok"), body(b"body")),
    client=(EXPECT, Pause(1.1), b"body", REPLY),
    origin=(MESSAGE, OK),
    why="an origin that never says 100: a client that waits in vain goes on by itself",
)
ask(
    "expect-chunked",
    every(relayed(200, b"ok"), body(b"body")),
    origin=(HEAD, GO, MESSAGE, OK),
    client=(
        b"POST <T>/i HTTP/1.1\r\nHost: <H>\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n",
        HEAD,
        b"4\r\nbody\r\n0\r\n\r\n",
        REPLY,
    ),
)
ask(
    "expect-case",
    every(relayed(200, b"ok"), hundred, body(b"body")),
    client=(EXPECT.replace(b"100-continue", b"100-Continue"), HEAD, b"body", REPLY),
    origin=(HEAD, GO, MESSAGE, OK),
)
ask(
    "expect-get",
    every(clean, status(200)),
    client=(b"GET <T>/i HTTP/1.1\r\nHost: <H>\r\nExpect: 100-continue\r\n\r\n", REPLY),
    severity="low",
    why="without a body there is nothing to wait for",
)
ask(
    "expect-unknown",
    either(every(status(417, 400), unsent), sent_on()),
    client=(b"GET <T>/i HTTP/1.1\r\nHost: <H>\r\nExpect: magic\r\n\r\n", REPLY),
    severity="low",
)
follows = lambda s: (
    None if all(b"smuggled" not in m.target for m in s.requests) and len(s.replies) < 3 else f"{s.replies}"
)  # noqa: E731
ask(
    "expect-desync",
    every(clean, follows),
    severity="critical",
    source="0.CL by Expect",
    modes=H1,
    client=(
        b"POST <T>/i HTTP/1.1\r\nHost: <H>\r\nExpect: y 100-continue\r\nContent-Length: 35\r\n\r\n"
        b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
        REPLY,
        PROBE,
    ),
    why="an obfuscated Expect must not make the body a request",
)
ask(
    "expect-refused-then",
    every(clean, follows),
    severity="critical",
    source="RFC 9110 10.1.1, response desync",
    client=(
        b"POST <T>/i HTTP/1.1\r\nHost: <H>\r\nExpect: 100-continue\r\nContent-Length: 35\r\n\r\n",
        REPLY,
        b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
        PROBE,
    ),
    origin=[(HEAD, b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"), ()],
    why="after a refusal the body either still comes, and is a body, or the connection is over",
)
