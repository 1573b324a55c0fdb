"""Methods and statuses with rules of their own: RFC 9110 9, 15, and Max-Forwards in 7.6.2."""

from engine.accept import clean, either, every, failed, got, rejected, relayed, request_field, sent_on, status, unsent
from engine.case import H1, MODES, Ask, family
from engine.steps import MESSAGE, PROBE, REPLY

add = family("methods", "RFC 9110 9.1", "medium", "a proxy forwards methods it does not know", modes=MODES)
for method in (
    "GET",
    "POST",
    "PUT",
    "DELETE",
    "PATCH",
    "OPTIONS",
    "PROPFIND",
    "QUERY",
    "M-SEARCH",
    "get",
    "X",
    "FOO.BAR",
    "A" * 40,
):
    name = f"method-{method[:8].lower()}{'-lower' if method == 'get' else ''}"
    same = got(lambda m, method=method: None if m.method == method.encode() else f"the method became {m.method!r}")
    wanted = every(sent_on(), same)
    if method in ("get", "X", "FOO.BAR", "A" * 40):
        wanted = either(wanted, rejected(400, 405, 501))
    add(name, wanted, ask=Ask(method.encode(), b"/m"))

# HEAD, and statuses that have no body.
bare = family(
    "methods",
    "RFC 9112 6.3",
    "high",
    "what has no body is followed by the next response, whatever its fields say",
    modes=MODES,
)
bare("head", relayed(200, b""), ask=Ask(b"HEAD"))
bare(
    "head-length-kept",
    every(relayed(200, b""), lambda s: None if s.reply.get("content-length") == b"1000" else f"{s.reply}"),
    ask=Ask(b"HEAD"),
    origin=(MESSAGE, b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"),
    severity="medium",
    source="RFC 9110 9.3.2",
)
bare(
    "head-chunked",
    relayed(200, b""),
    ask=Ask(b"HEAD"),
    origin=(MESSAGE, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
)
bare("head-none", relayed(200, b""), ask=Ask(b"HEAD"), origin=(MESSAGE, b"HTTP/1.1 200 OK\r\n\r\n"))


def after(name, first, answer, code, data=b"", **own):
    """A request whose answer has no body, then one that must get its own."""
    raw = first + b" <T>/m HTTP/1.1\r\nHost: <H>\r\n\r\n"
    follows = lambda s: (
        None if len(s.replies) == 2 and s.replies[1].body == b"/probe" else f"the next request got {s.replies[1:]}"
    )  # noqa: E731
    bare(
        name,
        every(relayed(code, data), follows),
        client=(raw, REPLY, PROBE),
        origin=[(MESSAGE, answer), ()],
        modes=H1,
        **own,
    )


after("head-then", b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n", 200)
after("head-body", b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789", 200, severity="critical")
after(
    "head-smuggled",
    b"HEAD",
    b"HTTP/1.1 200 OK\r\nContent-Length: 46\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled",
    200,
    severity="critical",
)
for code in (204, 304):
    after(f"{code}-then", b"GET", b"HTTP/1.1 %d X\r\n\r\n" % code, code)
    after(f"{code}-body", b"GET", b"HTTP/1.1 %d X\r\n\r\nbody" % code, code, severity="critical")
after("304-length", b"GET", b"HTTP/1.1 304 X\r\nContent-Length: 10\r\nETag: x\r\n\r\n", 304, source="RFC 9110 15.4.5")
after(
    "304-chunked",
    b"GET",
    b"HTTP/1.1 304 X\r\nTransfer-Encoding: chunked\r\n\r\n",
    304,
    severity="medium",
    source="RFC 9112 6.1",
)
after("204-length-0", b"GET", b"HTTP/1.1 204 X\r\nContent-Length: 0\r\n\r\n", 204, severity="low")
after("205-length-0", b"GET", b"HTTP/1.1 205 X\r\nContent-Length: 0\r\n\r\n", 205, severity="low")
bare(
    "204-length",
    either(every(clean, status(204), lambda s: None if not s.reply.all("content-length") else f"{s.reply}"), failed()),
    ask=Ask(),
    origin=(MESSAGE, b"HTTP/1.1 204 X\r\nContent-Length: 5\r\n\r\n"),
    severity="medium",
    source="RFC 9110 8.6: no Content-Length in 204",
)
bare(
    "204-chunked",
    either(every(clean, status(204)), failed()),
    ask=Ask(),
    severity="medium",
    source="RFC 9112 6.1",
    origin=(MESSAGE, b"HTTP/1.1 204 X\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
)
for code in (
    200,
    201,
    202,
    203,
    206,
    207,
    226,
    300,
    301,
    302,
    303,
    307,
    308,
    400,
    401,
    402,
    403,
    404,
    405,
    406,
    408,
    409,
    410,
    411,
    412,
    413,
    414,
    415,
    416,
    417,
    418,
    422,
    423,
    425,
    426,
    428,
    431,
    451,
    500,
    501,
    505,
    507,
    599,
    299,
    499,
):
    add(
        f"status-{code}",
        relayed(code, b"ok"),
        ask=Ask(b"POST", b"/m", (), b""),
        source="RFC 9110 15: an unknown status is passed on",
        origin=(MESSAGE, b"HTTP/1.1 %d Some Reason\r\nContent-Length: 2\r\n\r\nok" % code),
        why="the origin's status is the origin's",
    )
for name, raw in {"empty": b"HTTP/1.1 200 ", "absent": b"HTTP/1.1 200", "high": b"HTTP/1.1 200 caf\xe9"}.items():
    bare(
        f"reason-{name}",
        relayed(200, b"ok"),
        ask=Ask(),
        origin=(MESSAGE, raw + b"\r\nContent-Length: 2\r\n\r\nok"),
        severity="low",
        source="RFC 9112 4",
        why="a reason phrase decides nothing",
    )

# Max-Forwards.
hops = family("methods", "RFC 9110 7.6.2", "medium", "TRACE and OPTIONS count their hops", modes=MODES)
for method in (b"TRACE", b"OPTIONS"):
    word = method.decode().lower()
    end = every(unsent, status(200, 204, 405, 501, 400, 403))
    hops(f"max-forwards-0-{word}", end, ask=Ask(method, b"/m", ((b"max-forwards", b"0"),)))
    for number in (1, 7):
        down = every(sent_on(), request_field("max-forwards", b"%d" % (number - 1)))
        refuses = every(unsent, status(405, 501, 403))
        hops(
            f"max-forwards-{number}-{word}",
            either(down, refuses) if method == b"TRACE" else down,
            ask=Ask(method, b"/m", ((b"max-forwards", b"%d" % number),)),
        )
    hops(
        f"max-forwards-word-{word}",
        either(rejected(400, 405, 501), status(200)),
        ask=Ask(method, b"/m", ((b"max-forwards", b"x"),)),
        severity="low",
    )
hops(
    "max-forwards-get",
    every(sent_on(), request_field("max-forwards", b"5", b"4")),
    ask=Ask(b"GET", b"/m", ((b"max-forwards", b"5"),)),
    severity="low",
    why="other methods may ignore it",
)
hops(
    "trace-secret",
    either(
        every(unsent, status(405, 501, 403)),
        every(unsent, status(200), lambda s: None if b"hunter2" not in s.raw else "credentials echoed"),
    ),
    ask=Ask(
        b"TRACE", b"/m", ((b"max-forwards", b"0"), (b"authorization", b"Basic hunter2"), (b"cookie", b"a=hunter2"))
    ),
    severity="high",
    source="RFC 9110 9.3.8",
    why="what a proxy echoes to TRACE holds no credentials",
)

# OPTIONS and the asterisk.
star = family("methods", "RFC 9112 3.2.4", "medium", "OPTIONS for the server as a whole", modes=H1)
asterisk = every(sent_on(), got(lambda m: None if m.target == b"*" else f"the target became {m.target!r}"))
star("options-no-path", asterisk, client=(b"OPTIONS http://<H> HTTP/1.1\r\nHost: <H>\r\n\r\n", REPLY, PROBE))
star(
    "options-star",
    either(asterisk, every(unsent, status(200, 204))),
    client=(b"OPTIONS * HTTP/1.1\r\nHost: <H>\r\n\r\n", REPLY, PROBE),
    modes=("reverse",),
)
star(
    "options-slash",
    every(sent_on(), got(lambda m: None if m.target == b"/" else f"the target became {m.target!r}")),
    client=(b"OPTIONS http://<H>/ HTTP/1.1\r\nHost: <H>\r\n\r\n", REPLY, PROBE),
)
