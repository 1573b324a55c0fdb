"""HPACK (RFC 7541): an encoder that says exactly what it is told, and a full decoder.

The encoder writes literals without indexing and without Huffman, so that any byte can stand in any place: what a
case sends is what arrives. The decoder knows both tables and Huffman, since a peer may use all of it.
"""

# RFC 7541, appendix A; `=` stands before a value.
_STATIC = """
:authority :method=GET :method=POST :path=/ :path=/index.html :scheme=http :scheme=https :status=200
:status=204 :status=206 :status=304 :status=400 :status=404 :status=500 accept-charset
accept-encoding=gzip,deflate accept-language accept-ranges accept access-control-allow-origin age allow
authorization cache-control content-disposition content-encoding content-language content-length
content-location content-range content-type cookie date etag expect expires from host if-match
if-modified-since if-none-match if-range if-unmodified-since last-modified link location max-forwards
proxy-authenticate proxy-authorization range referer refresh retry-after server set-cookie
strict-transport-security transfer-encoding user-agent vary via www-authenticate
""".split()
STATIC = [
    tuple(part.encode() for part in (entry[0] + entry[1:].partition("=")[0], entry[1:].partition("=")[2]))
    for entry in _STATIC
]
STATIC[15] = (b"accept-encoding", b"gzip, deflate")

# RFC 7541, appendix B: the length in bits of each symbol's code, 256 being the end of the string. The codes are
# canonical, that is they follow from the lengths.
# fmt: off
_LENGTHS = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    30,
]
# fmt: on
END_OF_STRING = 256


def _codes():
    """Each symbol's (code, bits)."""
    codes, code, last = {}, 0, 0
    for bits, symbol in sorted((bits, symbol) for symbol, bits in enumerate(_LENGTHS)):
        code <<= bits - last
        last = bits
        codes[symbol] = (code, bits)
        code += 1
    return codes


CODES = _codes()
_SYMBOLS = {(bits, code): symbol for symbol, (code, bits) in CODES.items()}


class Broken(Exception):
    """A header block that no decoder may accept."""


def integer(value, prefix, first=0):
    """An integer with a prefix of so many bits, the other bits of its first byte being `first` (5.1)."""
    limit = (1 << prefix) - 1
    if value < limit:
        return bytes([first | value])
    out = bytearray([first | limit])
    value -= limit
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def string(text, huffman=False):
    """A string literal (5.2)."""
    text = raw(text)
    if not huffman:
        return integer(len(text), 7) + text
    packed = squeeze(text)
    return integer(len(packed), 7, 0x80) + packed


def squeeze(text):
    """Huffman, padded with ones."""
    bits = length = 0
    for byte in text:
        code, more = CODES[byte]
        bits, length = bits << more | code, length + more
    pad = -length % 8
    return ((bits << pad) | ((1 << pad) - 1)).to_bytes((length + pad) // 8, "big")


def literal(name, value, huffman=False):
    """A field without indexing, its name spelled out (6.2.2)."""
    return b"\x00" + string(name, huffman) + string(value, huffman)


def remembered(name, value):
    """A field that goes into the dynamic table (6.2.1)."""
    return b"\x40" + string(name) + string(value)


def indexed(index):
    """A field of a table (6.1)."""
    return integer(index, 7, 0x80)


def resize(size):
    """A new size of the dynamic table (6.3)."""
    return integer(size, 5, 0x20)


def encode(fields):
    """A header block; an element that is bytes is taken as it is."""
    return b"".join(field if isinstance(field, bytes) else literal(*field) for field in fields)


def raw(text):
    """Text as bytes; a character above 0xff has no business here."""
    return text if isinstance(text, bytes) else text.encode("latin-1")


class Decoder:
    """One direction of a connection."""

    def __init__(self, limit=4096):
        self.table, self.size, self.limit = [], 0, limit

    def decode(self, block):
        """The fields of a block as pairs of bytes."""
        fields, at = [], 0
        while at < len(block):
            first = block[at]
            if first & 0x80:
                index, at = self._integer(block, at, 7)
                fields.append(self._entry(index))
            elif first & 0xC0 == 0x40:
                field, at = self._field(block, at, 6)
                self._remember(field)
                fields.append(field)
            elif first & 0xE0 == 0x20:
                self.limit, at = self._integer(block, at, 5)
                self._shrink()
            else:
                field, at = self._field(block, at, 4)
                fields.append(field)
        return fields

    def _field(self, block, at, prefix):
        index, at = self._integer(block, at, prefix)
        name = self._entry(index)[0] if index else None
        if name is None:
            name, at = self._string(block, at)
        value, at = self._string(block, at)
        return (name, value), at

    def _entry(self, index):
        if not 1 <= index <= len(STATIC) + len(self.table):
            raise Broken(f"index {index}")
        return STATIC[index - 1] if index <= len(STATIC) else self.table[index - len(STATIC) - 1]

    def _remember(self, field):
        self.table.insert(0, field)
        self.size += len(field[0]) + len(field[1]) + 32
        self._shrink()

    def _shrink(self):
        while self.size > self.limit:
            name, value = self.table.pop()
            self.size -= len(name) + len(value) + 32

    @staticmethod
    def _integer(block, at, prefix):
        limit = (1 << prefix) - 1
        value, at = block[at] & limit, at + 1
        if value < limit:
            return value, at
        shift = 0
        while True:
            if at >= len(block) or shift > 28:
                raise Broken("an integer without an end")
            value += (block[at] & 127) << shift
            shift, at = shift + 7, at + 1
            if not block[at - 1] & 128:
                return value, at

    def _string(self, block, at):
        if at >= len(block):
            raise Broken("a string is missing")
        huffman = block[at] & 0x80
        length, at = self._integer(block, at, 7)
        if at + length > len(block):
            raise Broken("a string without an end")
        text = block[at : at + length]
        return (_stretch(text) if huffman else text), at + length


def _stretch(packed):
    out, code, bits = bytearray(), 0, 0
    for byte in packed:
        for shift in range(7, -1, -1):
            code, bits = code << 1 | byte >> shift & 1, bits + 1
            symbol = _SYMBOLS.get((bits, code))
            if symbol is not None:
                if symbol == END_OF_STRING:
                    raise Broken("the end of the string inside of it")
                out.append(symbol)
                code = bits = 0
    if bits > 7 or code != (1 << bits) - 1:
        raise Broken("padding")
    return bytes(out)
