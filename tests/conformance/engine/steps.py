"""The words in which scripts are written, for the client and for the origin.

A script is a sequence of bytes (sent as they are) and of these. No script waits for time to pass in order to be in
step with the other side: it waits for what the other side did. `Pause` is for peers that are slow on purpose.
"""
from dataclasses import dataclass


@dataclass(frozen=True)
class Word:
    name: str

    def __repr__(self):
        return self.name


@dataclass(frozen=True)
class Pause:
    seconds: float


@dataclass(frozen=True)
class Signal:
    """Tells the other script that this point is reached."""

    name: str


@dataclass(frozen=True)
class Await:
    """Waits until the other script has signalled."""

    name: str


@dataclass(frozen=True)
class Bytes:
    """Waits until so many bytes arrived on this connection."""

    count: int


@dataclass(frozen=True)
class Drip:
    """Sends bytes one by one with a pause between."""

    data: bytes
    every: float


# Origin: wait for the head of the next request; for the whole of it, which also takes it. Client: HEAD waits for one
# more response head, interim ones too; REPLY for one more final response, whole.
HEAD, MESSAGE, REPLY = Word("HEAD"), Word("MESSAGE"), Word("REPLY")
# Wait for the peer's FIN (or RST); end our own side; both sides; with a reset.
PEER_END, FIN, CLOSE, RST = Word("PEER_END"), Word("FIN"), Word("CLOSE"), Word("RST")
# Client: a further request on the same connection, to see whether it is still served, and for whom.
PROBE = Word("PROBE")
# Origin: answer the request just read as a plain origin would, 200 with the target as body.
ECHO = Word("ECHO")
# Origin: the 101 that the handshake just read asks for (RFC 6455 4.2.2).
SWITCH = Word("SWITCH")
