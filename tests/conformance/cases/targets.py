"""Request targets and Host: RFC 9112 3.2, RFC 9110 4.2 and 7.2."""

from engine.accept import either, every, got, rejected, request_field, sent_on
from engine.case import MODES, Ask, family
from engine.steps import PROBE, REPLY

add = family("targets", "RFC 9112 3.2", "high", "one host, and a valid one: what is routed on is what is sent on")
FORWARD = ("forward",)


def get(name, target, host, accept, **own):
    """`host` is the raw lines between the request line and the end."""
    add(name, accept, client=(b"GET " + target + b" HTTP/1.1\r\n" + host + b"\r\n", REPLY, PROBE), **own)


def target(wanted):
    return got(
        lambda request: None if request.target == wanted else f"the target became {request.target!r}, not {wanted!r}"
    )


def own_host(seen):
    """The origin reads the host that was asked for, with or without a default port."""
    hosts = (seen.host.encode(), seen.host.encode() + b":80")
    return request_field("host", *hosts)(seen)


HOST = b"Host: <H>\r\n"
get("host-missing", b"<T>/t", b"", rejected())
get("host-twice", b"<T>/t", HOST * 2, rejected())
get("host-twice-other", b"<T>/t", HOST + b"Host: other.test\r\n", rejected(), severity="critical")
get("host-twice-other-first", b"<T>/t", b"Host: other.test\r\n" + HOST, rejected(), severity="critical")
get("host-twice-apart", b"<T>/t", HOST + b"X: y\r\nhost: other.test\r\n", rejected(), severity="critical")
get("host-space-colon", b"<T>/t", b"Host : <H>\r\n", rejected())
get("host-fold", b"<T>/t", b"Host:\r\n <H>\r\n", either(rejected(), every(sent_on(), own_host)))
get("host-empty", b"<T>/t", b"Host: \r\n", either(rejected(400, 403, 404, 421, 503), every(sent_on(), own_host)))
# RFC 9112 3.2: an invalid Host is a 400 (that no route has it is near enough); in forward mode 3.2.2 allows to ignore
# it for the target's.
for name, host in {
    "userinfo": b"user@<H>",
    "path": b"<H>/x",
    "query": b"<H>?x",
    "fragment": b"<H>#x",
    "space": b"<H> x",
    "comma": b"<H>, other.test",
    "port-word": b"<H>:http",
    "port-plus": b"<H>:+80",
    "port-minus": b"<H>:-80",
    "port-tail": b"<H>:80a",
    "port-range": b"<H>:65536",
    "port-two": b"<H>:80:80",
    "backslash": b"<H>\\x",
    "nul": b"<H>\x00",
    "tab": b"<H>\tx",
    "bracket": b"[<H>",
    "at": b"@<H>",
    "percent": b"<H>%",
    "percent-nul": b"<H>%00",
    "quote": b'"<H>"',
    "angle": b"<<H>>",
    "scheme": b"http://<H>",
    "pipe": b"<H>|x",
    "latin1": b"<H>\xe9",
    "del": b"<H>\x7f",
}.items():
    ignored = lambda seen: (
        None if seen.mode == "forward" and not every(sent_on(), own_host)(seen) else "not ignored for the target"
    )  # noqa: E731
    get(f"host-{name}", b"<T>/t", b"Host: " + host + b"\r\n", either(rejected(400, 404, 421, 503), ignored))
for name, host in {"name-case": b"", "port-80": b":80", "port-empty": b":"}.items():
    raw = b"Host: <H>" + host + b"\r\n" if name != "name-case" else b"hOsT: <H>\r\n"
    get(
        f"host-valid-{name}",
        b"<T>/t",
        raw,
        sent_on() if name != "port-empty" else either(sent_on(), rejected()),
        severity="medium",
    )

# Absolute form: the target beats Host, and the origin gets origin-form.
over = every(sent_on(), own_host, target(b"/t"))
for name, host in {"other": b"other.test", "other-port": b"<H>:8080", "ip": b"127.0.0.1", "empty": b""}.items():
    add(
        f"absolute-host-{name}",
        over,
        client=(b"GET http://<H>/t HTTP/1.1\r\nHost: " + host + b"\r\n\r\n", REPLY, PROBE),
        source="RFC 9112 3.2.2: the proxy must ignore Host and replace it",
        severity="high",
    )
for name, raw, wanted in (
    ("origin-form", b"http://<H>/a?b", b"/a?b"),
    ("no-path", b"http://<H>", b"/"),
    ("query-only", b"http://<H>?q=1", b"/?q=1"),
    ("upper-scheme", b"HTTP://<H>/a", b"/a"),
    ("port-80", b"http://<H>:80/a", b"/a"),
    ("slashes", b"http://<H>//a", b"//a"),
    ("url-in-path", b"http://<H>/http://x/", b"/http://x/"),
    ("at-in-path", b"http://<H>/@x:y", b"/@x:y"),
):
    get(
        f"absolute-{name}",
        raw,
        HOST,
        every(sent_on(), own_host, target(wanted)),
        source="RFC 9112 3.2.1, 3.2.2",
        severity="medium",
    )
get(
    "absolute-port-empty",
    b"http://<H>:/a",
    HOST,
    every(sent_on(), own_host, target(b"/a")),
    severity="low",
    source="RFC 3986 3.2.3: an empty port is the default",
)
for name, raw in {
    "userinfo": b"http://user:pw@<H>/t",
    "user": b"http://user@<H>/t",
    "userinfo-empty": b"http://@<H>/t",
    "userinfo-other": b"http://<H>@other.test/t",
    "userinfo-fragment": b"http://<H>:80#@other.test/t",
    "userinfo-backslash": b"http://<H>\\@other.test/t",
    "port-plus": b"http://<H>:+80/t",
    "port-range": b"http://<H>:65536/t",
    "port-zero": b"http://<H>:0/t",
    "port-minus": b"http://<H>:-1/t",
    "port-word": b"http://<H>:http/t",
    "port-two": b"http://<H>:80:80/t",
    "no-host": b"http:///t",
    "no-host-port": b"http://:80/t",
    "one-slash": b"http:/<H>/t",
    "no-slash": b"http:<H>/t",
    "bracket": b"http://[::1/t",
    "bracket-host": b"http://[<H>]/t",
    "percent-nul": b"http://<H>%00/t",
    "percent-slash": b"http://<H>%2f.test/t",
    "tab": b"http://<H>\t/t",
    "semicolon": b"http://<H>;x/t",
    "comma": b"http://<H>,x/t",
    "latin1": b"http://<H>\xe9/t",
    "quote": b'http://"<H>"/t',
    "scheme-none": b"://<H>/t",
    "scheme-ftp": b"ftp://<H>/t",
    "scheme-file": b"file:///etc/passwd",
    "scheme-javascript": b"javascript:x",
    "scheme-data": b"data:,x",
    "scheme-ws": b"ws://<H>/t",
    "word": b"t",
}.items():
    get(
        f"authority-{name}",
        raw,
        HOST,
        rejected(400, 403, 404, 405, 421, 501, 502),
        modes=FORWARD,
        severity="critical" if "fragment" in name or "backslash" in name else "high",
        source="RFC 9110 4.2.4, RFC 3986 3.2",
        why="one strict authority parser: nothing after a host makes it another",
    )
get(
    "authority-form",
    b"<H>:80",
    HOST,
    rejected(400, 404, 405, 501),
    severity="medium",
    source="RFC 9112 3.2.3: only CONNECT has it",
)

# Origin form: path and query are the origin's, byte for byte (RFC 9110 7.7, RFC 3986 6 is not a proxy's).
for name, path in {
    "dots": b"/a/../b",
    "dot": b"/a/./b",
    "dots-first": b"/../../etc/passwd",
    "dots-escaped": b"/%2e%2e/b",
    "slashes": b"//a///b",
    "slash-escaped": b"/a%2Fb",
    "slash-escaped-lower": b"/a%2fb",
    "backslash-escaped": b"/a%5cb",
    "semicolon": b"/a;p=1/b;q",
    "query-empty": b"/a?",
    "query-question": b"/a?b=c?d",
    "query-slash": b"/a?b=/../c",
    "escaped-upper": b"/%C3%A9",
    "escaped-lower": b"/%c3%a9",
    "escaped-plain": b"/%61",
    "plus": b"/a+b%20c",
    "crlf-escaped": b"/a%0d%0aX:%20y",
    "nul-escaped": b"/a%00b",
    "sub-delims": b"/!$&'()*+,;=:@-._~",
    "star": b"/*",
    "query-only": b"/?",
    "colon": b"/a:b",
    "url": b"/http://other.test/",
    "url-query": b"/?u=http://other.test/&v",
    "long": b"/" + b"x" * 8000,
    "percent-25": b"/%2525",
    "ampersand": b"/?&&=&",
    "bracket-query": b"/?a[]=1",
    "escaped-question": b"/a%3Fb",
    "escaped-hash": b"/a%23b",
}.items():
    add(
        f"path-{name}",
        every(sent_on(), target(path)),
        ask=Ask(b"GET", path),
        modes=MODES,
        severity="medium",
        source="RFC 9110 7.7, RFC 9112 3.2.1",
        why="path and query bytes are the origin's: no normalising, no decoding",
    )
for name, path in {
    "percent": b"/%",
    "percent-z": b"/%zz",
    "space": b"/a b",
    "hash": b"/a#b",
    "nul": b"/a\x00b",
    "tab": b"/a\tb",
    "del": b"/a\x7fb",
    "ctl": b"/a\x01b",
    "latin1": b"/\xe9",
    "utf8": "/é".encode(),
    "backslash": b"/a\\b",
    "quote": b'/a"b',
    "angle": b"/a<b>",
    "brace": b"/{a}",
    "pipe": b"/a|b",
    "caret": b"/a^b",
    "backtick": b"/a`b",
    "cr": b"/a\rb",
    "vt": b"/a\x0bb",
}.items():
    escaped = b"".join(b"%%%02X" % byte if byte not in b'/ab{}|^`\\<>"%#z' else bytes([byte]) for byte in path)
    kept = every(
        sent_on(),
        got(lambda m, p=path, e=escaped: None if m.target in (p, e, p.partition(b"#")[0]) else f"target {m.target!r}"),
    )
    get(
        f"path-bad-{name}",
        b"<T>" + path,
        HOST,
        either(rejected(), kept),
        severity="medium",
        source="RFC 9112 3.2: 400, or nothing changed",
    )
get(
    "path-double-slash-host",
    b"//other.test/t",
    HOST,
    either(rejected(400, 403, 404), every(sent_on(), own_host, target(b"//other.test/t"))),
    source="RFC 9112 3.2.1",
    why="a path that starts with two slashes names no host",
)
add(
    "path-relative",
    rejected(400, 404),
    client=(b"GET t HTTP/1.1\r\nHost: <H>\r\n\r\n", REPLY, PROBE),
    modes=("reverse",),
    severity="medium",
)
add(
    "path-star-get",
    rejected(400, 403, 404, 405),
    client=(b"GET * HTTP/1.1\r\nHost: <H>\r\n\r\n", REPLY, PROBE),
    modes=("reverse",),
    severity="low",
    source="RFC 9112 3.2.4: only OPTIONS has it",
)
