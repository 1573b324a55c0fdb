"""Origins that misbehave: RFC 9112 5.1, 6.3, 9.2, and never a connection again that is in doubt."""

from engine.accept import check, clean, cut, either, every, failed, relayed, status
from engine.case import H1, MODES, Ask, family
from engine.steps import CLOSE, FIN, HEAD, MESSAGE, PROBE, REPLY, RST, Await, Signal

add = family(
    "upstream", "RFC 9112 4", "high", "what is no response is the proxy's 502, not the client's problem", modes=MODES
)
END = b"Content-Length: 2\r\n\r\nok"
for name, line in {
    "garbage": b"\x00\x01\x02\x03\x04garbage\r\n\r\n",
    "ssh": b"SSH-2.0-OpenSSH_9.2p1\r\n",
    "tls-alert": b"\x15\x03\x03\x00\x02\x02\x46",
    "http2": b"\x00\x00\x12\x04\x00\x00\x00\x00\x00" + b"\x00" * 18,
    "version-2": b"HTTP/2.0 200 OK\r\n" + END,
    "version-0": b"HTTP/0.9 200 OK\r\n" + END,
    "version-x": b"HTTP/x.1 200 OK\r\n" + END,
    "version-none": b"HTTP/ 200 OK\r\n" + END,
    "icy": b"ICY 200 OK\r\n" + END,
    "lower": b"http/1.1 200 OK\r\n" + END,
    "prefix": b"XHTTP/1.1 200 OK\r\n" + END,
    "status-two": b"HTTP/1.1 20 OK\r\n" + END,
    "status-four": b"HTTP/1.1 2000 OK\r\n" + END,
    "status-letter": b"HTTP/1.1 2x0 OK\r\n" + END,
    "status-none": b"HTTP/1.1 \r\n" + END,
    "status-missing": b"HTTP/1.1\r\n" + END,
    "status-minus": b"HTTP/1.1 -20 OK\r\n" + END,
    "status-zero": b"HTTP/1.1 000 OK\r\n" + END,
    "status-99": b"HTTP/1.1 099 OK\r\n" + END,
    "html": b"<html><body>hi</body></html>\r\n\r\n",
    "json": b'{"error": "x"}\r\n\r\n',
    "nul-reason": b"HTTP/1.1 200 O\x00K\r\n" + END,
    "cr-reason": b"HTTP/1.1 200 O\rK\r\n" + END,
    "tabs": b"HTTP/1.1\t200\tOK\r\n" + END,
    "field-first": b"Content-Length: 2\r\n\r\nok",
    "request": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
}.items():
    add(f"line-{name}", failed(), ask=Ask(b"POST", b"/u", (), b"x"), origin=(MESSAGE, line, CLOSE))
add(
    "line-two-spaces",
    either(failed(), relayed(200, b"ok")),
    ask=Ask(),
    origin=(MESSAGE, b"HTTP/1.1  200 OK\r\n" + END, CLOSE),
    severity="low",
)
add(
    "line-crlf-before",
    either(failed(), relayed(200, b"ok")),
    ask=Ask(),
    origin=(MESSAGE, b"\r\nHTTP/1.1 200 OK\r\n" + END, CLOSE),
    severity="low",
)
add(
    "line-version-1.2",
    either(failed(), relayed(200, b"ok")),
    ask=Ask(),
    origin=(MESSAGE, b"HTTP/1.2 200 OK\r\n" + END, CLOSE),
    severity="low",
)
add(
    "line-lf",
    either(failed(), relayed(200, b"ok")),
    ask=Ask(),
    origin=(MESSAGE, b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok", CLOSE),
    severity="medium",
    source="RFC 9112 2.2",
)

bad = family("upstream", "RFC 9112 5", "high", "a broken field is refused or repaired, never passed on", modes=MODES)


def field(name, line, accept, **own):
    bad(
        f"field-{name}",
        accept,
        ask=Ask(),
        origin=(MESSAGE, b"HTTP/1.1 200 OK\r\n" + line + b"\r\n" + END, CLOSE),
        **own,
    )


gone = every(relayed(200, b"ok"), lambda s: None if s.reply.get("foo") in (None, b"bar") else f"{s.reply}")
for name, line in {"space-colon": b"Foo : bar", "tab-colon": b"Foo\t: bar"}.items():
    field(
        name,
        line,
        either(failed(), gone),
        source="RFC 9112 5.1: a proxy removes whitespace before the colon of a response",
    )
for name, line in {
    "no-colon": b"Foo",
    "empty-name": b": bar",
    "space-name": b"Fo o: bar",
    "nul-name": b"F\x00o: bar",
    "high-name": b"F\xe9o: bar",
    "first-space": b" Foo: bar",
}.items():
    field(name, line, either(failed(), relayed(200, b"ok")))
for name, line in {"nul-value": b"Foo: a\x00b", "cr-value": b"Foo: a\rb", "cr-split": b"Foo: a\rX-Injected: b"}.items():
    safe = every(
        clean,
        status(200),
        lambda s: (
            None if b"\x00" not in (s.reply.get("foo") or b"") and not s.reply.all("x-injected") else f"{s.reply}"
        ),
    )
    field(name, line, either(failed(), safe), source="RFC 9110 5.5", severity="critical")
folded = every(
    relayed(200, b"ok"),
    lambda s: (
        None
        if (s.reply.get("foo") or b"").split() in ([b"a", b"b"], [b"a"]) or s.reply.get("foo") is None
        else f"{s.reply}"
    ),
)
for name, line in {"fold": b"Foo: a\r\n b", "fold-tab": b"Foo: a\r\n\tb"}.items():
    field(
        name, line, either(failed(), folded), source="RFC 9112 5.2: a proxy discards it or replaces each fold by spaces"
    )

# The length of the body in doubt.
frame = family(
    "upstream",
    "RFC 9112 6.3",
    "critical",
    "a response whose end is in doubt is not passed on as if it were known",
    modes=MODES,
)
for name, lines in {
    "length-word": b"Content-Length: abc",
    "length-minus": b"Content-Length: -1",
    "length-plus": b"Content-Length: +2",
    "length-hex": b"Content-Length: 0x2",
    "length-empty": b"Content-Length: ",
    "length-different": b"Content-Length: 2, 3",
    "length-lines": b"Content-Length: 2\r\nContent-Length: 3",
    "length-space": b"Content-Length: 2 2",
    "length-overflow": b"Content-Length: 99999999999999999999999",
    "length-point": b"Content-Length: 2.0",
    "length-letter": b"Content-Length: 2a",
    "length-lines-first": b"Content-Length: 3\r\nContent-Length: 2",
}.items():
    frame(name, failed(), ask=Ask(), origin=(MESSAGE, b"HTTP/1.1 200 OK\r\n" + lines + b"\r\n\r\nok", CLOSE))
for name, lines in {
    "length-same": b"Content-Length: 2, 2",
    "length-same-lines": b"Content-Length: 2\r\nContent-Length: 2",
    "length-zeros": b"Content-Length: 0002",
}.items():
    frame(
        name,
        either(failed(), relayed(200, b"ok")),
        ask=Ask(),
        origin=(MESSAGE, b"HTTP/1.1 200 OK\r\n" + lines + b"\r\n\r\nok"),
    )
for name, coding in {
    "identity": b"identity",
    "twice": b"chunked, chunked",
    "x": b"xchunked",
    "then-gzip": b"chunked, gzip",
    "gzip": b"gzip",
    "empty": b"",
    "quoted": b'"chunked"',
    "nul": b"chunked\x00",
    "vt": b"\x0bchunked",
    "identity-then": b"identity, chunked",
}.items():
    raw = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: " + coding + b"\r\n\r\n2\r\nok\r\n0\r\n\r\n"
    until_close = every(
        clean, status(200), lambda s: None if s.reply.body in (b"2\r\nok\r\n0\r\n\r\n", b"ok") else f"{s.reply}"
    )
    frame(
        f"coding-{name}",
        either(failed(), until_close),
        ask=Ask(),
        origin=(MESSAGE, raw, CLOSE),
        source="RFC 9112 6.3: not chunked at last: until close",
    )
for name, lines in {
    "te-cl": b"Transfer-Encoding: chunked\r\nContent-Length: 99",
    "cl-te": b"Content-Length: 3\r\nTransfer-Encoding: chunked",
}.items():
    frame(
        name,
        either(failed(), relayed(200, b"ok")),
        ask=Ask(),
        origin=(MESSAGE, b"HTTP/1.1 200 OK\r\n" + lines + b"\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
    )
frame(
    "te-http10",
    either(failed(), every(clean, status(200))),
    ask=Ask(),
    source="RFC 9112 6.1: faulty framing in HTTP/1.0",
    origin=(MESSAGE, b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", CLOSE),
    severity="medium",
)
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
for name, body in {
    "size-x": b"xyz\r\nok\r\n0\r\n\r\n",
    "size-minus": b"-2\r\nok\r\n0\r\n\r\n",
    "size-plus": b"+2\r\nok\r\n0\r\n\r\n",
    "size-0x": b"0x2\r\nok\r\n0\r\n\r\n",
    "size-overflow": b"FFFFFFFFFFFFFFFFF2\r\nok\r\n0\r\n\r\n",
    "size-empty": b"\r\nok\r\n0\r\n\r\n",
    "too-long": b"2\r\nokay\r\n0\r\n\r\n",
    "too-short": b"9\r\nok\r\n0\r\n\r\n",
    "no-crlf": b"2\r\nok0\r\n\r\n",
    "lf-after-data": b"2\r\nok\n0\r\n\r\n",
    "lf-after-size": b"2\nok\r\n0\r\n\r\n",
    "underscore": b"0_2\r\nok\r\n0\r\n\r\n",
    "cr": b"2\r\rok\r\n0\r\n\r\n",
    "lf-in-extension": b"2;a\nb\r\nok\r\n0\r\n\r\n",
    "then-html": b"2\r\nok\r\n<html>\r\n\r\n",
}.items():
    frame(
        f"chunk-{name}",
        either(cut, failed()),
        ask=Ask(),
        origin=(MESSAGE, CHUNKED + body, CLOSE),
        source="RFC 9112 7.1",
    )
for name, line in {"space-colon": b"X : 1", "no-colon": b"broken", "nul": b"X: a\x00b"}.items():
    whole = every(
        clean,
        status(200),
        lambda s: None if not any(b"\x00" in value for _, value in s.reply.trailers) else f"{s.reply}",
    )
    frame(
        f"trailer-{name}",
        either(cut, failed(), whole),
        ask=Ask(),
        origin=(MESSAGE, CHUNKED + b"2\r\nok\r\n0\r\n" + line + b"\r\n\r\n", CLOSE),
        severity="high",
        source="RFC 9112 7.1.2",
    )

# A connection in doubt is never used again: the second request's answer must be its own.
again = family("upstream", "RFC 9112 9.2", "critical", "what an origin sends too much is nobody's answer", modes=H1)
GET = b"GET <T>/a HTTP/1.1\r\nHost: <H>\r\n\r\n"
EXTRA = b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\npoisoned"
own_answer = check(
    lambda s: f"the probe got {s.replies[1:]}", lambda s: len(s.replies) == 2 and s.replies[1].body == b"/probe"
)


def doubt(name, answer, accept=relayed(200, b"ok"), tail=(), **own):
    again(
        f"reuse-{name}",
        every(accept, own_answer),
        client=(GET, REPLY, PROBE),
        origin=[(MESSAGE, answer, *tail), ()],
        **own,
    )


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
doubt("extra-response", OK + EXTRA)
doubt("extra-byte", OK + b"x")
doubt("extra-crlf", OK + b"\r\n", severity="high")
doubt("extra-after-chunked", CHUNKED + b"2\r\nok\r\n0\r\n\r\n" + EXTRA)
doubt("extra-after-zero", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" + EXTRA, relayed(200, b""))
doubt("extra-interim", OK + b"HTTP/1.1 100 Continue\r\n\r\n")
doubt(
    "extra-408",
    OK + b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    tail=(CLOSE,),
    severity="high",
)
doubt(
    "fin-after",
    OK,
    tail=(CLOSE,),
    severity="high",
    why="an idle connection that the origin ended is not an error of the next request",
)
doubt(
    "rst-after",
    OK,
    tail=(RST,),
    severity="high",
    why="an idle connection that the origin reset is not an error of the next request",
)
doubt(
    "close-announced",
    b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
    source="RFC 9112 9.6",
    severity="high",
)
doubt(
    "close-in-list",
    b"HTTP/1.1 200 OK\r\nConnection: foo, Close\r\nContent-Length: 2\r\n\r\nok",
    source="RFC 9112 9.6",
    severity="medium",
)
for name, answer in {
    "bad-length": b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n" + EXTRA,
    "bad-line": b"HTTP/1.1 2x0 OK\r\nContent-Length: 0\r\n\r\n" + EXTRA,
    "bad-field": b"HTTP/1.1 200 OK\r\nFo o: x\r\nContent-Length: 0\r\n\r\n" + EXTRA,
    "te-cl": CHUNKED[:-2] + b"Content-Length: 5\r\n\r\n2\r\nok\r\n0\r\n\r\n" + EXTRA,
}.items():
    doubt(name, answer, check(lambda s: f"{s.replies}", lambda s: bool(s.replies)))
again(
    "reuse-extra-later",
    every(relayed(200, b"ok"), own_answer),
    client=(GET, REPLY, Signal("read"), Await("poisoned"), PROBE),
    source="response desync",
    origin=[(MESSAGE, OK, Await("read"), EXTRA, Signal("poisoned")), ()],
    why="bytes that come while a connection is idle end it",
)
again(
    "reuse-early-answer",
    every(
        status(413, 502),
        check(lambda s: f"{s.replies}", lambda s: len(s.replies) < 2 or s.replies[1].body == b"/probe"),
    ),
    client=(b"POST <T>/a HTTP/1.1\r\nHost: <H>\r\nContent-Length: 20\r\n\r\nhello", REPLY, b"hellohellohello", PROBE),
    severity="high",
    origin=[(HEAD, b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"), ()],
    why="an answer before the request was sent leaves a connection in doubt",
)
POST = b"POST <T>/a HTTP/1.1\r\nHost: <H>\r\nContent-Length: 1000000\r\n\r\n"
for name, end in {"fin": FIN, "close": CLOSE}.items():
    again(
        f"early-413-{name}",
        status(413),
        client=(POST + b"x" * 100000, REPLY),
        severity="high",
        source="RFC 9112 9.5",
        origin=(HEAD, b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", end),
        why="an early final response reaches the client while it still uploads",
    )

# Sizes of what comes back.
big = family("upstream", "semantics 8", "high", "an origin cannot make a proxy hold an endless head", modes=MODES)
big(
    "head-huge",
    failed(),
    ask=Ask(),
    origin=(MESSAGE, b"HTTP/1.1 200 OK\r\nX: " + b"x" * 2_000_000 + b"\r\n" + END, CLOSE),
)
big("head-lines", failed(), ask=Ask(), origin=(MESSAGE, b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20000 + END, CLOSE))
big(
    "interim-flood",
    either(failed(), relayed(200, b"ok")),
    ask=Ask(),
    origin=(MESSAGE, b"HTTP/1.1 103 Early Hints\r\n\r\n" * 500 + b"HTTP/1.1 200 OK\r\n" + END, CLOSE),
    severity="medium",
)
big(
    "head-32k",
    either(failed(), relayed(200, b"ok")),
    ask=Ask(),
    origin=(MESSAGE, b"HTTP/1.1 200 OK\r\nX: " + b"x" * 32000 + b"\r\n" + END),
    severity="low",
)
big(
    "head-8k",
    relayed(200, b"ok"),
    ask=Ask(),
    origin=(MESSAGE, b"HTTP/1.1 200 OK\r\nX: " + b"x" * 7000 + b"\r\n" + END),
    severity="medium",
)
big("refused", failed(), ask=Ask(), origin=(RST,), source="semantics 1", why="no answer at all is the proxy's 502")
