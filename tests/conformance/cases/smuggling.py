"""Two readings of one message: Content-Length against Transfer-Encoding, and what parsers disagree about.

Each payload holds `GET /smuggled` where the wrong reading finds a request. Right is a refusal that ends the connection
(RFC 9112 6.1, 6.3), or, where the RFC leaves the choice, one clean message. What reached an origin must be readable in
one way only.
"""

from engine.accept import broken_body, check, either, every, once, own, refused, sent_on
from engine.case import family
from engine.steps import PROBE, REPLY

add = family("smuggling", "RFC 9112 6.3", "critical", "a body that one parser takes for a request")

GET = b"GET /smuggled HTTP/1.1\r\nHost: <H>\r\n\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
# `GET` with the host filled in; lengths must count that, so bodies whose length matters use a fixed one.
FIXED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
LENGTH = b"Content-Length: %d\r\n" % len(FIXED)
assert len(FIXED) == 0x23


def play(name, fields, body, accept, version=b"HTTP/1.1", method=b"POST", **own):
    head = method + b" <T>/one " + version + b"\r\nHost: <H>\r\n" + fields + b"\r\n"
    add(name, accept, client=(head + body, REPLY, PROBE), **own)


def forwarded_or_refused(body, *statuses):
    return either(refused(*statuses), sent_on(body))


# Both: an error, or the length dropped and the connection closed after the answer.
BAD_CODING = (400, 411, 415, 422, 501)
both = either(refused(*BAD_CODING), every(sent_on(b""), once))
play("cl-te", b"Content-Length: 6\r\n" + CHUNKED, b"0\r\n\r\n" + GET, both)
play("te-cl", CHUNKED + b"Content-Length: 6\r\n", b"0\r\n\r\n" + GET, both)
play("te-cl-zero", CHUNKED + b"Content-Length: 0\r\n", b"0\r\n\r\n", both)
play("cl-te-equal", b"Content-Length: 5\r\n" + CHUNKED, b"0\r\n\r\n", both)
play(
    "cl-te-short",
    b"Content-Length: 4\r\n" + CHUNKED,
    b"23\r\n" + FIXED + b"\r\n0\r\n\r\n",
    either(refused(), every(sent_on(FIXED), once)),
)
play("cl-te-get", b"Content-Length: 5\r\n" + CHUNKED, b"0\r\n\r\n" + GET, both, method=b"GET")
play("cl-bad-te", b"Content-Length: x\r\n" + CHUNKED, b"0\r\n\r\n", refused())
play("cl-twice-te", b"Content-Length: 5\r\nContent-Length: 6\r\n" + CHUNKED, b"0\r\n\r\n", refused())
play(
    "te-nominated",
    b"Connection: transfer-encoding\r\n" + CHUNKED,
    b"0\r\n\r\n",
    forwarded_or_refused(b""),
    why="a framing field cannot be made hop-by-hop by the client: its body must not be left over",
)
play(
    "cl-nominated",
    b"Connection: content-length\r\n" + LENGTH,
    FIXED,
    forwarded_or_refused(FIXED),
    why="a Content-Length that a proxy strips by Connection leaves a body without a frame",
)
play("cl-0-get", LENGTH, FIXED, forwarded_or_refused(FIXED), method=b"GET", source="RFC 9110 9.3.1, CL.0")
play("cl-0-head", LENGTH, FIXED, forwarded_or_refused(FIXED), method=b"HEAD", source="RFC 9110 9.3.2, CL.0")
play("cl-0-options", LENGTH, FIXED, forwarded_or_refused(FIXED), method=b"OPTIONS", source="TE.0 and CL.0 by OPTIONS")
play("cl-0-delete", LENGTH, FIXED, forwarded_or_refused(FIXED), method=b"DELETE", source="RFC 9110 9.3.5, CL.0")
for method in (b"GET", b"OPTIONS", b"HEAD", b"PATCH"):
    play(
        f"te-0-{method.decode().lower()}",
        CHUNKED,
        b"23\r\n" + FIXED + b"\r\n0\r\n\r\n",
        forwarded_or_refused(FIXED),
        method=method,
        severity="high",
        source="RFC 9110 9.3.1, TE.0",
        why="a body in a method that seldom has one must go on framed, or be refused: not lost, not left over",
    )

# HTTP/1.0 has no transfer codings: faulty framing, and the connection ends whatever is done (RFC 9112 6.1).
old = either(refused(400, 501, 505), every(sent_on(b""), once))
for name, fields in {
    "te-http10": CHUNKED,
    "te-http10-keep-alive": CHUNKED + b"Connection: keep-alive\r\n",
    "te-cl-http10": CHUNKED + b"Content-Length: 5\r\n",
    "te-cl-http10-keep-alive": b"Content-Length: 5\r\nConnection: keep-alive\r\n" + CHUNKED,
}.items():
    play(name, fields, b"0\r\n\r\n" + GET, old, version=b"HTTP/1.0", source="RFC 9112 6.1, CVE-2026-2835")

# A Transfer-Encoding that is not exactly one `chunked`: with a length that says otherwise, and without.
coding = refused(*BAD_CODING)
CODINGS = {
    "identity": b"identity",
    "x-prefix": b"xchunked",
    "x-suffix": b"chunkedx",
    "cut": b"chunke",
    "twice": b"chunked, chunked",
    "then-identity": b"chunked, identity",
    "identity-then": b"identity, chunked",
    "then-gzip": b"chunked, gzip",
    "gzip": b"gzip",
    "quoted": b'"chunked"',
    "single-quoted": b"'chunked'",
    "parameter": b"chunked;q=1",
    "semicolon": b"chunked;",
    "vt": b"\x0bchunked",
    "ff": b"chunked\x0c",
    "nul": b"chunked\x00",
    "two-words": b"chunked foo",
    "empty": b"",
    "colon": b": chunked",
    "underscore": b"chun_ked",
    "latin1": b"chunk\xe9d",
    "nbsp": b"\xa0chunked",
    "bs": b"\x08chunked",
}
for name, value in CODINGS.items():
    field = b"Transfer-Encoding: " + value + b"\r\n"
    play(f"te-{name}", field, b"0\r\n\r\n" + GET, coding, source="RFC 9112 6.1, 6.3")
    play(f"te-{name}-cl", field + b"Content-Length: 5\r\n", b"0\r\n\r\n" + GET, coding, source="RFC 9112 6.1, 6.3")
for name, value in {"upper": b"CHUNKED", "mixed": b"Chunked", "tab": b"\tchunked", "spaces": b"   chunked  "}.items():
    play(
        f"te-{name}-cl",
        b"Transfer-Encoding:" + value + b"\r\nContent-Length: 5\r\n",
        b"0\r\n\r\n" + GET,
        both,
        source="RFC 9112 7: names of codings are case-insensitive",
    )
for name, value in {"comma-before": b",chunked", "comma-after": b"chunked,", "commas": b", , chunked"}.items():
    play(
        f"te-{name}",
        b"Transfer-Encoding: " + value + b"\r\n",
        b"0\r\n\r\n",
        forwarded_or_refused(b"", *BAD_CODING),
        source="RFC 9110 5.6.1: empty elements of a list",
    )
    play(
        f"te-{name}-cl",
        b"Transfer-Encoding: " + value + b"\r\nContent-Length: 5\r\n",
        b"0\r\n\r\n" + GET,
        either(refused(*BAD_CODING), both),
        source="RFC 9110 5.6.1: empty elements of a list",
    )

LINES = {
    "twice": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    "chunked-identity": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
    "identity-chunked": b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
    "chunked-x": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n",
    "x-chunked": b"Transfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n",
}
for name, field in LINES.items():
    play(f"te-lines-{name}", field, b"0\r\n\r\n" + GET, coding, source="RFC 9112 6.1: chunked once, and last")
    play(
        f"te-lines-{name}-cl",
        b"Content-Length: 5\r\n" + field,
        b"0\r\n\r\n" + GET,
        coding,
        source="RFC 9112 6.1: chunked once, and last",
    )


def then_next(data):
    """One message with this body, and `/smuggled` is the next request indeed, forwarded by itself.

    A bare CR may count as a space, and a fold as well (RFC 9112 2.2, 5.2), and so read the head is well formed.
    """

    def accept(seen):
        found = own(seen.requests)
        if seen.violations or seen.faults:
            return f"not clean: {seen.violations + seen.faults}"
        if (
            [m.target for m in found] == [b"/one", b"/smuggled"]
            and found[0].body == data
            and all(m.get("via") for m in found)
        ):
            return None
        return f"the origin read {found}"

    return accept


for name, value in {"cr": b"\rchunked", "cr-end": b"chunked\r"}.items():
    field = b"Transfer-Encoding: " + value + b"\r\n"
    play(f"te-{name}", field, b"0\r\n\r\n" + GET, either(coding, then_next(b"")), source="RFC 9112 2.2, 6.1")
    play(
        f"te-{name}-cl",
        field + b"Content-Length: 5\r\n",
        b"0\r\n\r\n" + GET,
        either(coding, both),
        source="RFC 9112 2.2, 6.1",
    )

# The field's name or line disguised, so that one parser sees it and another does not.
DISGUISES = {
    "space-colon": (b"Transfer-Encoding : chunked\r\n", "RFC 9112 5.1"),
    "tab-colon": (b"Transfer-Encoding\t: chunked\r\n", "RFC 9112 5.1"),
    "leading-space": (b" Transfer-Encoding: chunked\r\n", "RFC 9112 2.2"),
    "leading-tab": (b"\tTransfer-Encoding: chunked\r\n", "RFC 9112 2.2"),
    "nul-name": (b"Transfer-Encoding\x00: chunked\r\n", "RFC 9110 5.1"),
    "nul-before": (b"\x00Transfer-Encoding: chunked\r\n", "RFC 9110 5.1"),
    "vt-name": (b"Transfer-Encoding\x0b: chunked\r\n", "RFC 9110 5.1"),
    "cr-name": (b"Transfer-Encoding\r: chunked\r\n", "RFC 9112 2.2: a bare CR"),
    "no-colon": (b"Transfer-Encoding chunked\r\n", "RFC 9112 5"),
}
for name, (field, source) in DISGUISES.items():
    play(f"te-disguised-{name}", b"Content-Length: 5\r\n" + field, b"0\r\n\r\n" + GET, refused(), source=source)
# In the last three no reading that is allowed finds a Transfer-Encoding: the length counts, `/smuggled` is a request.
FOLDS = {
    "fold": (b"Transfer-Encoding:\r\n chunked\r\n", "RFC 9112 5.2"),
    "fold-tab": (b"Transfer-Encoding:\r\n\tchunked\r\n", "RFC 9112 5.2"),
    "lf-before": (b"X: x\nTransfer-Encoding: chunked\r\n", "RFC 9112 2.2: a bare LF"),
    "lf-after": (b"Transfer-Encoding: chunked\n", "RFC 9112 2.2: a bare LF"),
    "fold-after": (b"X: x\r\n Transfer-Encoding: chunked\r\n", "RFC 9112 5.2"),
    "cr-before": (b"X: x\rTransfer-Encoding: chunked\r\n", "RFC 9112 2.2: a bare CR"),
    "high-bit": (b"Transfer-Encoding\xa0: chunked\r\n", "RFC 9110 5.1: no name, so no field"),
}
for name, (field, source) in FOLDS.items():
    play(
        f"te-disguised-{name}",
        b"Content-Length: 5\r\n" + field,
        b"0\r\n\r\n" + GET,
        either(both, then_next(b"0\r\n\r\n")) if name in ("fold-after", "cr-before", "high-bit") else both,
        source=source,
    )

# A Content-Length that is not one number.
LENGTHS = {
    "plus": b"+%d",
    "minus": b"-%d",
    "hex": b"0x%x",
    "underscore": b"%d_",
    "point": b"%d.0",
    "exponent": b"%de0",
    "letter": b"%da",
    "semicolon": b"%d;",
    "space-inside": b"3 %d",
    "different": b"%d, 5",
    "different-first": b"5, %d",
    "vt": b"\x0b%d",
    "ff": b"%d\x0c",
    "nul": b"%d\x00",
    "quoted": b'"%d"',
    "overflow64": b"184467440737095516%d",
    "overflow32": b"429496729%d000000000000",
    "fullwidth": b"\xef\xbc\x93%d",
    "nbsp": b"\xa0%d",
    "colon": b": %d",
    "comma": b",,%da",
    "huge": b"9" * 400 + b"%d",
}
for name, form in LENGTHS.items():
    value = form % len(FIXED)
    play(f"cl-{name}", b"Content-Length: " + value + b"\r\n", FIXED, refused(400, 413))
play(
    "cl-cr",
    b"Content-Length: \r%d\r\n" % len(FIXED),
    FIXED,
    forwarded_or_refused(FIXED),
    source="RFC 9112 2.2: a bare CR",
)
play("cl-empty", b"Content-Length: \r\n", GET, refused())
play("cl-zero-minus", b"Content-Length: -0\r\n", GET, refused())
play("cl-comma-end", b"Content-Length: %d,\r\n" % len(FIXED), FIXED, forwarded_or_refused(FIXED))
play("cl-same-list", b"Content-Length: %d, %d\r\n" % (len(FIXED), len(FIXED)), FIXED, forwarded_or_refused(FIXED))
play("cl-same-lines", LENGTH * 2, FIXED, forwarded_or_refused(FIXED))
play("cl-other-lines", LENGTH + b"Content-Length: 0\r\n", FIXED, refused())
play("cl-other-lines-first", b"Content-Length: 0\r\n" + LENGTH, FIXED, refused())
play("cl-zeros", b"Content-Length: 0000%d\r\n" % len(FIXED), FIXED, forwarded_or_refused(FIXED))
for name, field in {
    "space-colon": b"Content-Length : %d\r\n",
    "tab-colon": b"Content-Length\t: %d\r\n",
    "nul": b"Content-Length\x00: %d\r\n",
    "no-colon": b"Content-Length %d\r\n",
}.items():
    play(f"cl-disguised-{name}", field % len(FIXED), FIXED, refused(), source="RFC 9112 5.1, 2.2")
# A fold of the line before: then there is no length, and what follows is a request for a host that nobody routes.
play(
    "cl-disguised-leading-space",
    b"X: y\r\n Content-Length: %d\r\n" % len(FIXED),
    FIXED,
    either(refused(), sent_on(b"")),
    source="RFC 9112 5.2",
)
for name, field in {"fold": b"Content-Length:\r\n %d\r\n", "lf": b"X: x\nContent-Length: %d\r\n"}.items():
    play(f"cl-disguised-{name}", field % len(FIXED), FIXED, forwarded_or_refused(FIXED), source="RFC 9112 5.2, 2.2")

# The head's end, and what stands before a request.
for name, head in {
    "lf-lf": b"POST <T>/one HTTP/1.1\nHost: <H>\nContent-Length: 0\n\n",
    "crlf-lf": b"POST <T>/one HTTP/1.1\r\nHost: <H>\r\nContent-Length: 0\r\n\n",
    "lf-crlf": b"POST <T>/one HTTP/1.1\r\nHost: <H>\r\nContent-Length: 0\n\r\n",
}.items():
    add(f"end-{name}", either(refused(), sent_on(b"")), client=(head, REPLY, PROBE), source="RFC 9112 2.2")
add(
    "end-cr-cr",
    refused(),
    client=(
        b"POST <T>/one HTTP/1.1\r\nHost: <H>\r\nX: 1\r\r\nGET /smuggled HTTP/1.1\r\nHost: <H>\r\n\r\n",
        REPLY,
        PROBE,
    ),
    source="RFC 9112 2.2: a bare CR",
)

# Chunked bodies that two parsers end in two places.
SIZES = {
    "plus": b"+23",
    "minus": b"-23",
    "hex-prefix": b"0x23",
    "space-before": b" 23",
    "letter": b"23g",
    "nul": b"23\x00",
    "comma": b"23,",
    "underscore": b"2_3",
    "empty": b"",
    "overflow": b"10000000000000023",
    "overflow-f": b"FFFFFFFFFFFFFFFF23",
    "vt": b"23\x0b",
    "quote": b'"23"',
    "cr": b"23\r",
    "point": b"23.0",
    "nbsp": b"\xa023",
    "two": b"23 23",
}
for name, size in SIZES.items():
    play(f"chunk-size-{name}", CHUNKED, size + b"\r\n" + FIXED + b"\r\n0\r\n\r\n", broken_body, source="RFC 9112 7.1")
for name, size in {"space-after": b"23 ", "tab-after": b"23\t", "zeros": b"0" * 12 + b"23", "upper": b"000023"}.items():
    play(
        f"chunk-size-{name}",
        CHUNKED,
        size + b"\r\n" + FIXED + b"\r\n0\r\n\r\n",
        either(broken_body, sent_on(FIXED)),
        source="RFC 9112 7.1: BWS and leading zeros",
        modes=("forward", "reverse"),
    )
BODIES = {
    "lf-after-size": (b"23\n" + FIXED + b"\r\n0\r\n\r\n", "CVE-2025-22871"),
    "lf-in-extension": (b"23;a\nb\r\n" + FIXED + b"\r\n0\r\n\r\n", "CVE-2025-55315"),
    "cr-in-extension": (b"23;a\rb\r\n" + FIXED + b"\r\n0\r\n\r\n", "CVE-2025-55315"),
    "lf-ends-extension": (b"0;a\n\r\n" + GET, "CVE-2025-55315"),
    "lf-ends-quoted": (b'23;a="\n"\r\n' + FIXED + b"\r\n0\r\n\r\n", "CVE-2025-55315"),
    "lf-after-data": (b"23\r\n" + FIXED + b"\n0\r\n\r\n", "RFC 9112 7.1"),
    "cr-after-data": (b"23\r\n" + FIXED + b"\r0\r\n\r\n", "RFC 9112 7.1"),
    "other-after-data": (b"23\r\n" + FIXED + b"XX0\r\n\r\n", "RFC 9112 7.1"),
    "none-after-data": (b"23\r\n" + FIXED + b"0\r\n\r\n", "RFC 9112 7.1"),
    "too-short": (b"5\r\nabcdefgh\r\n0\r\n\r\n" + GET, "RFC 9112 7.1"),
    "lf-after-last": (b"0\n\r\n" + GET, "RFC 9112 7.1"),
    "cr-after-last": (b"0\r\r\n\r\n" + GET, "RFC 9112 7.1"),
}
for name, (data, source) in BODIES.items():
    play(f"chunk-{name}", CHUNKED, data, either(broken_body, every(sent_on(), once)), source=source)
play(
    "chunk-nul-in-extension",
    CHUNKED,
    b"23;a=\x00\r\n" + FIXED + b"\r\n0\r\n\r\n",
    either(broken_body, sent_on(FIXED)),
    source="RFC 9112 7.1.1",
)
# Of a trailer section a lone LF may be the end (RFC 9112 2.2); what follows is then a request, and not lost.
play("chunk-lf-last-line", CHUNKED, b"0\r\n\n" + GET, either(broken_body, then_next(b"")), source="RFC 9112 7.1.2, 2.2")
TRAILERS = {
    "space-colon": b"X : 1",
    "leading-space": b" X: 1",
    "no-colon": b"smuggled",
    "nul": b"X: a\x00b",
    "cr": b"X: a\rb",
    "nul-name": b"X\x00: 1",
    "empty-name": b": 1",
    "request": b"GET /smuggled HTTP/1.1",
}
for name, line in TRAILERS.items():
    dropped = every(sent_on(b""), check("a trailer went on", lambda s: not s.requests[0].trailers))
    accept = either(
        broken_body, refused(), every(sent_on(b""), once), *([] if name in ("request", "no-colon") else [dropped])
    )
    play(f"trailer-{name}", CHUNKED, b"0\r\n" + line + b"\r\n\r\n", accept, source="RFC 9112 7.1.2, 5.1")
