"""What a case is, and the registry of them.

A case is data: what the client does, what the origin does, and a function over what both saw. `ask` describes a
request by its parts and plays in every mode; `client` gives steps with raw bytes and plays in HTTP/1 modes only; `play`
takes over altogether. Exactly one of the three is given.

In raw bytes `<T>` is the target's prefix (`http://HOST` in forward mode, nothing in reverse mode), `<H>` the host.
"""
from dataclasses import dataclass, field

SEVERITIES = ("critical", "high", "medium", "low")
H1 = ("forward", "reverse")
# HTTP/2 in front of an HTTP/1 origin; HTTP/1, and HTTP/2, in front of an HTTP/2 origin.
H2, TO_H2 = ("h2",), ("h1-h2", "h2-h2")
MODES = (*H1, *H2, *TO_H2)
# As h2, each case before a process of its own, so that its memory can be measured; only cases made for it.
FLOODS = ("floods",)
ALL = (*MODES, *FLOODS)
# In the order of the table.
AREAS = (
    "smuggling", "framing", "targets", "guard", "hop-by-hop", "connect", "upgrade", "truncation", "upstream", "body",
    "interim", "limits", "slowness", "loops", "methods", "http10", "pipelining",
    "h2-framing", "h2-messages", "h2-translation", "h2-upstream", "h2-floods",
)  # fmt: skip


@dataclass(frozen=True)
class Ask:
    """A request by its parts; a front turns it into bytes or frames. `fields` are (name, value) pairs of bytes."""

    method: bytes = b"GET"
    path: bytes = b"/"
    fields: tuple = ()
    body: bytes | None = None
    trailers: tuple = ()
    chunked: bool = False


@dataclass(frozen=True)
class Case:
    """`accept(seen)` returns nothing when all is well, else what is wrong. `needs` names abilities of a subject."""

    id: str
    area: str
    source: str
    severity: str
    why: str
    accept: object
    client: tuple = ()
    ask: object = None
    play: object = None
    origin: object = ()
    modes: tuple = H1
    needs: frozenset = field(default_factory=frozenset)
    limit: float = 6.0

    def __post_init__(self):
        assert self.area in AREAS and self.severity in SEVERITIES, self.id
        assert set(self.modes) <= set(ALL), self.id
        assert (bool(self.client), self.ask is not None, self.play is not None).count(True) == 1, self.id

    def plays(self, mode):
        if mode not in TO_H2:
            return mode in self.modes
        if isinstance(self.origin, (tuple, list)) and self.origin:
            return False
        return mode in self.modes or (self.ask is not None and "h2" in self.modes)


class Registry:
    """All cases by id, in the order in which they were added."""

    def __init__(self):
        self.cases = {}

    def add(self, *cases):
        for case in cases:
            if case.id in self.cases:
                raise ValueError(f"two cases are called {case.id}")
            self.cases[case.id] = case

    def plays(self, mode, pattern=None):
        """The cases that play in a mode: before an HTTP/2 origin also those that ask by parts, over HTTP/2 too, and leave the
        origin plain. `pattern` is a regular expression for id (which begins with the area) and source."""
        chosen = (case for case in self.cases.values() if case.plays(mode))
        if pattern:
            chosen = (case for case in chosen if pattern.search(f"{case.id} {case.source}"))
        return list(chosen)


REGISTRY = Registry()


def family(area, source, severity, why, **common):
    """A maker of cases that share all but a few things; the id is the area and the name."""

    def add(name, accept, **own):
        given = {"area": area, "source": source, "severity": severity, "why": why, **common, **own}
        REGISTRY.add(Case(id=f"{area}-{name}", accept=accept, **given))

    return add
