"""Heads that are not well formed, and heads that are odd but are: RFC 9112 2, 3, 5 and RFC 9110 5."""

from engine.accept import clean, dropped, either, every, refused, reply_field, request_field, sent_on, status, unsent
from engine.case import MODES, Ask, family
from engine.steps import MESSAGE, PROBE, REPLY

add = family("framing", "RFC 9112 5.1", "high", "a head line that parsers read in different ways is refused")


def head(name, line, accept, **own):
    """A request with one odd field line."""
    raw = b"GET <T>/f HTTP/1.1\r\nHost: <H>\r\n" + line + b"\r\n\r\n"
    add(f"field-{name}", accept, client=(raw, REPLY, PROBE), **own)


for name, line in {
    "space-colon": b"Foo : bar",
    "tab-colon": b"Foo\t: bar",
    "no-colon": b"Foo",
    "empty-name": b": bar",
    "space-in-name": b"Fo o: bar",
    "paren": b"Fo(o: bar",
    "slash": b"Fo/o: bar",
    "at": b"Fo@o: bar",
    "quote": b'Fo"o: bar',
    "comma": b"Fo,o: bar",
    "bracket": b"Fo[o: bar",
    "brace": b"Fo{o: bar",
    "equals": b"Fo=o: bar",
    "semicolon": b"Fo;o: bar",
    "high-bit": b"Fo\xc3\xb6: bar",
    "nul-in-name": b"Fo\x00o: bar",
    "ctl-in-name": b"Fo\x01o: bar",
    "del-in-name": b"Fo\x7fo: bar",
    "cr-in-name": b"Fo\ro: bar",
}.items():
    # Left out as a whole it harms nobody either, if it is no name at all; a space before the colon is a 400 (5.1).
    left_out = every(
        sent_on(),
        lambda s: None if not any(key.lower().startswith(b"f") for key, _ in s.requests[0].fields) else "it went on",
    )
    head(name, line, refused() if "colon" in name else either(refused(), left_out))
for name, line in {
    "nul-in-value": b"Foo: a\x00b",
    "cr-in-value": b"Foo: a\rb",
    "cr-end": b"Foo: ab\r",
    "nul-end": b"Foo: ab\x00",
    "cr-first": b"Foo: \rab",
}.items():
    sanitised = every(sent_on(), request_field("foo", b"a b", b"ab"))
    head(name, line, either(refused(), sanitised), source="RFC 9110 5.5: CR, LF and NUL are refused or replaced")
for name, line in {"fold": b"Foo: a\r\n b", "fold-tab": b"Foo: a\r\n\tb", "fold-empty": b"Foo: a\r\n \r\n b"}.items():
    unfolded = every(
        sent_on(), lambda s: None if (s.requests[0].get("foo") or b"").split() == [b"a", b"b"] else f"{s.requests[0]}"
    )
    head(name, line, either(refused(), unfolded), source="RFC 9112 5.2")
for name, raw in {
    "first-line-space": b"GET <T>/f HTTP/1.1\r\n Foo: bar\r\nHost: <H>\r\n\r\n",
    "first-line-tab": b"GET <T>/f HTTP/1.1\r\n\tHost: <H>\r\nHost: <H>\r\n\r\n",
}.items():
    ignored = every(sent_on(), request_field("foo", absent=True))
    add(
        name,
        either(refused(), ignored),
        client=(raw, REPLY, PROBE),
        source="RFC 9112 2.2: whitespace before the first field",
    )

# Request lines.
line = either(refused(400, 414, 501, 505), dropped)
for name, start in {
    "no-version": b"GET <T>/f",
    "lower-version": b"GET <T>/f http/1.1",
    "version-none": b"GET <T>/f HTTP/",
    "version-word": b"GET <T>/f HTTP/1.x",
    "version-dot": b"GET <T>/f HTTP/1.",
    "version-two-digits": b"GET <T>/f HTTP/1.10",
    "version-one": b"GET <T>/f HTTP/11",
    "version-tail": b"GET <T>/f HTTP/1.1x",
    "version-2": b"GET <T>/f HTTP/2.0",
    "version-9": b"GET <T>/f HTTP/9.9",
    "version-0": b"GET <T>/f HTTP/0.9",
    "version-plus": b"GET <T>/f HTTP/+1.1",
    "version-comma": b"GET <T>/f HTTP/1,1",
    "version-icy": b"GET <T>/f ICY/1.1",
    "method-empty": b" <T>/f HTTP/1.1",
    "method-at": b"G@T <T>/f HTTP/1.1",
    "method-nul": b"G\x00T <T>/f HTTP/1.1",
    "method-colon": b"GET: <T>/f HTTP/1.1",
    "method-slash": b"GET/ <T>/f HTTP/1.1",
    "method-high": b"G\xc9T <T>/f HTTP/1.1",
    "method-quote": b'"GET" <T>/f HTTP/1.1',
    "no-target": b"GET HTTP/1.1",
    "two-targets": b"GET <T>/f <T>/g HTTP/1.1",
    "only-method": b"GET",
    "vt": b"GET\x0b<T>/f\x0bHTTP/1.1",
    "cr": b"GET <T>/f\rHTTP/1.1",
    "cr-before-crlf": b"GET <T>/f HTTP/1.1\r",
    "nul-end": b"GET <T>/f HTTP/1.1\x00",
    "json": b'{"method": "GET"}',
    "colon": b"Host: <H>",
}.items():
    add(f"line-{name}", line, client=(start + b"\r\nHost: <H>\r\n\r\n", REPLY, PROBE), source="RFC 9112 3, 2.3")
for name, start in {
    "tabs": b"GET\t<T>/f\tHTTP/1.1",
    "two-spaces": b"GET  <T>/f HTTP/1.1",
    "space-end": b"GET <T>/f HTTP/1.1 ",
    "version-1.2": b"GET <T>/f HTTP/1.2",
    "space-before": b" GET <T>/f HTTP/1.1",
}.items():
    add(
        f"line-{name}",
        either(line, sent_on()),
        client=(start + b"\r\nHost: <H>\r\n\r\n", REPLY, PROBE),
        severity="low",
        source="RFC 9112 3: may be parsed on whitespace, else 400",
    )
for name, before in {"crlf": b"\r\n", "two-crlf": b"\r\n\r\n"}.items():
    add(
        f"before-{name}",
        sent_on() if name == "crlf" else either(sent_on(), refused()),
        severity="low",
        source="RFC 9112 2.2",
        client=(before + b"GET <T>/f HTTP/1.1\r\nHost: <H>\r\n\r\n", REPLY, PROBE),
        why="an empty line before the request line is ignored",
    )
for name, raw in {
    "ssh": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "nuls": b"\x00" * 64 + b"\r\n\r\n",
    "smtp": b"EHLO example\r\n\r\n",
    "high": b"\xff\xfe\xfd\r\n\r\n",
}.items():
    add(f"garbage-{name}", either(refused(), dropped), client=(raw, REPLY), source="RFC 9112 2.2", limit=8)

# A ClientHello that is none: to answer it with a TLS alert is a courtesy.
alert = every(
    unsent,
    lambda seen: (
        None if seen.end and (not seen.raw or seen.raw[:1] == b"\x15") else f"{seen.raw[:60]!r}, end {seen.end}"
    ),
)
add(
    "garbage-tls",
    either(refused(), alert),
    client=(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 64, REPLY),
    source="RFC 9112 2.2",
    limit=8,
)

# What is odd and right must pass.
keep = family(
    "framing", "RFC 9110 5.5", "medium", "a field value is the sender's: it arrives byte for byte", modes=MODES
)
for name, value in {
    "inner-spaces": b"a   b",
    "inner-tab": b"a\tb",
    "obs-text": b"caf\xe9",
    "utf8": "č".encode(),
    "empty": b"",
    "quotes": b'"a\\"b"',
    "commas": b",a,,b,",
    "long": b"x" * 4096,
    "equals": b"a=b; c==",
    "percent": b"%0d%0aX: y",
    "crlf-escaped": b"a\\r\\nX: b",
    "colon": b":a:b:",
    "angle": b"<script>",
}.items():
    keep(f"keep-{name}", every(sent_on(), request_field("x-odd", value)), ask=Ask(b"GET", b"/k", ((b"x-odd", value),)))
    answer = b"HTTP/1.1 200 OK\r\nX-Odd: " + value + b"\r\nContent-Length: 0\r\n\r\n"
    keep(
        f"keep-reply-{name}",
        every(clean, status(200), reply_field("x-odd", value)),
        ask=Ask(),
        origin=(MESSAGE, answer),
    )
keep(
    "keep-trimmed",
    every(sent_on(), request_field("foo", b"bar")),
    modes=("forward", "reverse"),
    source="RFC 9112 5.1",
    client=(b"GET <T>/f HTTP/1.1\r\nHost: <H>\r\nFoo: \t bar \t \r\n\r\n", REPLY, PROBE),
)
keep(
    "keep-no-space",
    every(sent_on(), request_field("foo", b"bar")),
    modes=("forward", "reverse"),
    source="RFC 9112 5.1",
    client=(b"GET <T>/f HTTP/1.1\r\nHost:<H>\r\nFoo:bar\r\n\r\n", REPLY, PROBE),
)


def lines(name, wanted):
    """The field's lines in their order, as one list or apart."""
    return lambda seen: (
        None
        if seen.requests and b",".join(seen.requests[0].all(name)).replace(b" ", b"") == wanted
        else f"{name} arrived as {seen.requests and seen.requests[0].all(name)}"
    )


keep(
    "keep-order",
    every(sent_on(), lines("x-n", b"1,2,3,4,5")),
    source="RFC 9110 5.3: the order of lines of one field",
    ask=Ask(b"GET", b"/k", tuple((b"x-n", b"%d" % n) for n in range(1, 6))),
)
for name in (b"!#$%&'*+-.^_`|~", b"x_y", b"9"):
    keep(
        f"keep-name-{name.hex()}",
        every(sent_on(), request_field(name.decode(), b"v")),
        ask=Ask(b"GET", b"/k", ((name, b"v"),)),
        source="RFC 9110 5.6.2: any token is a name",
        severity="low",
    )
cookies = b"Set-Cookie: a=1; Expires=Wed, 09 Jun 2027 10:18:14 GMT\r\nSet-Cookie: b=2\r\n"
cookies = b"HTTP/1.1 200 OK\r\n" + cookies + b"Content-Length: 0\r\n\r\n"
keep(
    "keep-set-cookie",
    every(clean, lambda s: None if s.reply and len(s.reply.all("set-cookie")) == 2 else f"{s.reply}"),
    ask=Ask(),
    origin=(MESSAGE, cookies),
    source="RFC 9110 5.3: Set-Cookie is never joined",
    severity="high",
)
