"""A strict reader of HTTP/1 messages: what an origin with the least mercy makes of the bytes it is given.

It decides message by message and never guesses: what RFC 9112 forbids a sender is a `violation`, after which nothing
that follows can be trusted and the rest stays unread. Requests and responses share it, so that the client holds a
proxy's answers to the same rules. Bodies are kept whole; cases are small.
"""
import re
from dataclasses import dataclass, field

TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
REQUEST_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([\x21-\x7e\x80-\xff]+) (HTTP/1\.[01])\Z")
STATUS_LINE = re.compile(rb"(HTTP/1\.[01]) ([1-9][0-9][0-9])(?: ([\t\x20-\x7e\x80-\xff]*))?\Z")
VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*\Z")
CHUNK = re.compile(rb"([0-9A-Fa-f]{1,16})((?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?)\Z")
# A LF without its CR, a CR without its LF (which may still be under way), NUL.
LOOSE = re.compile(rb"(?<!\r)\n|\r(?!\n)(?!\Z)|\x00")
LONGEST_HEAD = 1 << 20


@dataclass
class Message:
    """One message. `start` is (method, target, version) or (version, status, reason), all bytes."""

    start: tuple
    fields: list
    framing: str = "none"  # none, length, chunked, close, tunnel
    body: bytes = b""
    trailers: list = field(default_factory=list)
    extensions: list = field(default_factory=list)
    complete: bool = False

    @property
    def method(self):
        return self.start[0]

    @property
    def target(self):
        return self.start[1]

    @property
    def version(self):
        return self.start[2] if self.start[2].startswith(b"HTTP/") else self.start[0]

    @property
    def status(self):
        return int(self.start[1])

    def all(self, name):
        """Every value of a field, in order."""
        return values(self.fields, name)

    def get(self, name):
        """The values of a field as one, or `None`."""
        found = self.all(name)
        return b", ".join(found) if found else None

    def __repr__(self):
        head = b" ".join(self.start).decode("latin-1")
        state = "" if self.complete else " INCOMPLETE"
        return f"<{head} {self.fields} {self.framing} {self.body[:60]!r}/{len(self.body)} {self.trailers or ''}{state}>"


def values(fields, name):
    return [value for key, value in fields if key.lower() == name.lower().encode()]


class Reader:
    """Feed it bytes; `messages` grows. `methods` (responses only) are those of the requests, in order."""

    def __init__(self, responses=False):
        self.responses = responses
        self.methods = []
        self.messages = []
        self.violations = []
        self.rest = bytearray()
        self.tunnel = bytearray()
        self.state = self.head
        self.need = 0
        self.scanned = 0
        self.current = None

    def feed(self, data):
        if self.state == self.tunnelled:
            self.tunnel += data
            return
        self.rest += data
        while not self.violations and self.state():
            pass

    def eof(self):
        """The peer sent FIN: a body that lasts until then is whole."""
        if self.current and self.current.framing == "close":
            self.done()

    def bad(self, what):
        self.violations.append(what)
        return False

    def head(self):
        if not self.rest:
            return False
        end = self.rest.find(b"\r\n\r\n", max(0, self.scanned - 3))
        loose = LOOSE.search(self.rest, max(0, self.scanned - 1), end if end >= 0 else len(self.rest))
        if loose:
            return self.bad(f"{loose.group()!r} in a head: {bytes(self.rest[:120])!r}")
        if end < 0:
            self.scanned = len(self.rest)
            return self.bad("an endless head") if len(self.rest) > LONGEST_HEAD else False
        self.scanned = 0
        lines = bytes(self.rest[:end]).split(b"\r\n")
        start = (STATUS_LINE if self.responses else REQUEST_LINE).match(lines[0])
        if not start:
            return self.bad(f"a start line that is none: {lines[0][:80]!r}")
        fields = self.fields(lines[1:])
        if fields is None:
            return False
        message = self.current = Message(tuple(part or b"" for part in start.groups()), fields)
        del self.rest[: end + 4]
        if self.frame():
            self.messages.append(message)
            return True
        return False

    def fields(self, lines):
        found = []
        for line in lines:
            name, colon, value = line.partition(b":")
            if line[:1] in b" \t" or not colon or not TOKEN.match(name):
                self.bad(f"a field line that is none: {line[:80]!r}")
                return None
            if not VALUE.match(value):
                self.bad(f"a control character in a field value: {line[:80]!r}")
                return None
            found.append((name, value.strip(b" \t")))
        return found

    def frame(self):
        """Decides where the body ends: RFC 9112 6.3."""
        message = self.current
        coding, length = message.get("transfer-encoding"), message.all("content-length")
        if coding is not None and length:
            return self.bad(f"Transfer-Encoding and Content-Length: {message}")
        if coding is not None and coding.lower() != b"chunked":
            return self.bad(f"a Transfer-Encoding that is not chunked: {coding!r}")
        if coding is not None and message.version == b"HTTP/1.0":
            return self.bad("Transfer-Encoding in HTTP/1.0")
        if len(length) > 1 or (length and not re.fullmatch(rb"[0-9]{1,18}", length[0])):
            return self.bad(f"a Content-Length that is none: {length}")
        if not self.responses:
            if len(message.all("host")) != 1 and message.version == b"HTTP/1.1":
                return self.bad(f"not one Host: {message}")
        elif not self.response_has_body(message, coding, length):
            return self.bodyless(message)
        if coding is not None:
            message.framing, self.state = "chunked", self.chunk_size
        elif length and int(length[0]):
            message.framing, self.state, self.need = "length", self.counted, int(length[0])
        elif self.responses and not length:
            message.framing, self.state = "close", self.until_close
        else:
            message.framing = "length" if length else "none"
            self.done()
        return True

    def response_has_body(self, message, coding, length):
        method = self.methods[0] if self.methods else b"GET"
        status = message.status
        if status >= 200 and self.methods:
            self.methods.pop(0)
        if status == 101 or (method == b"CONNECT" and 200 <= status < 300):
            if method == b"CONNECT" and (coding is not None or length):
                self.bad(f"a body announced in a 2xx to CONNECT: {message}")
            message.framing = "tunnel"
            return False
        if status < 200 or status == 204:
            if coding is not None or (length and status != 204):
                self.bad(f"a body announced in {status}")
            return False
        return status != 304 and method != b"HEAD"

    def bodyless(self, message):
        if self.violations:
            return False
        message.complete, self.current = True, None
        if message.framing == "tunnel":
            self.state, self.tunnel = self.tunnelled, self.rest
            self.rest = bytearray()
        return True

    def done(self):
        self.current.complete = True
        self.state, self.current = self.head, None

    def counted(self):
        self.take(self.need)
        if self.need:
            return False
        self.done()
        return True

    def take(self, count):
        part = bytes(self.rest[:count])
        self.current.body += part
        self.need -= len(part)
        del self.rest[: len(part)]

    def until_close(self):
        self.need = len(self.rest)
        self.take(self.need)
        return False

    def line(self):
        end = self.rest.find(b"\n")
        if end < 0:
            return None
        line = bytes(self.rest[: end + 1])
        del self.rest[: end + 1]
        if not line.endswith(b"\r\n"):
            self.bad(f"a line without CR: {line[:60]!r}")
            return None
        return line[:-2]

    def chunk_size(self):
        line = self.line()
        if line is None:
            return False
        size = CHUNK.match(line)
        if not size:
            return self.bad(f"a chunk size that is none: {line[:60]!r}")
        if size.group(2):
            self.current.extensions.append(size.group(2))
        self.need = int(size.group(1), 16)
        self.state = self.chunk_data if self.need else self.trailer
        return True

    def chunk_data(self):
        self.take(self.need)
        if self.need or len(self.rest) < 2:
            return False
        if self.rest[:2] != b"\r\n":
            return self.bad(f"a chunk that goes on: {bytes(self.rest[:20])!r}")
        del self.rest[:2]
        self.state = self.chunk_size
        return True

    def trailer(self):
        line = self.line()
        if line is None:
            return False
        if not line:
            self.done()
            return True
        found = self.fields([line])
        if found is None:
            return False
        self.current.trailers += found
        return True

    def tunnelled(self):
        return False
