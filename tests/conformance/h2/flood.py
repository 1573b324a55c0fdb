"""How floods are played: one client does its worst, another asks for something small all the while, and the proxy's
memory is measured.

Bounds are Attache's own (README): a connection costs at most 5 MiB, a stalled stream at most 1 MiB. A request of the
other client is answered within a second, however hard the first one tries.
"""

import asyncio
import contextlib
import time

from engine import origin
from engine.front import ORIGINS
from engine.side import Side

from . import client
from . import frames as f
from .front import View
from .wire import PATIENCE

MIB = 1 << 20
CONNECTION, STREAM = 5 * MIB, 1 * MIB
PROMPT = 1.0
NEIGHBOUR = b"/neighbour"
# A flood lasts this long if nothing stops it.
LONGEST = 2.5
# Connections to the origin at once that one client's may cause: as many as streams, and the neighbour's own.
UPSTREAM = 256 + 8


class Origin(origin.Origin):
    """Plain to the neighbour, over whichever connection it comes; the case's script is for the others. `most` is how
    many connections were open at once."""

    most = 0

    def accept(self, reader, writer):
        side = Side(reader, writer, self.stage, responses=False)
        self.sides.append(side)
        self.most = max(self.most, sum(not other.end for other in self.sides))
        self.tasks.append(asyncio.create_task(self.serve(side, len(self.sides))))

    async def serve(self, side, number):
        while await side.until(lambda: len(side.reader.messages) > side.taken):
            if self.script and side.reader.messages[side.taken].target != NEIGHBOUR:
                return await origin.run(side, self.script, number)
            await side.until(lambda: origin.whole(side) > side.taken)
            side.taken += 1
            await origin.echo(side, number)
        side.fin()


ORIGINS["floods"] = Origin


def flood(attack, bound=CONNECTION, upstream=UPSTREAM, **how):
    """A case's `play` and `accept`; `attack(wire, stage)` says what is wrong, if anything."""

    async def play(stage):
        stage.notes["wrong"] = "it came to no end in time"
        neighbour = await client.connect(stage.port, stage.host)
        stage.clients.append(View(neighbour))
        for number in range(1, 21, 2):
            if await neighbour.get("/neighbour", number) != "200":
                stage.notes["wrong"] = "the neighbour is not served before it begins"
                return
        stage.subject.forget_memory()
        before = stage.subject.memory()
        neighbour.late = 0.0
        asking = asyncio.gather(ask(neighbour), clock(neighbour))
        wire = await client.connect(stage.port, stage.host, **how)
        wrong = None
        try:
            async with asyncio.timeout(LONGEST):
                wrong = await attack(wire, stage)
        except TimeoutError:
            wrong = None if getattr(attack, "endless", True) else "it goes on and on"
        grown = stage.subject.memory() - before
        answered = len(neighbour.waits)
        await neighbour.until(lambda: len(neighbour.waits) > answered or neighbour.fault)
        asking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asking
        wire.close()
        stage.notes["grown"] = grown
        stage.notes["wrong"] = wrong or judged(grown, bound, neighbour, stage.origin.most, upstream)

    def accept(seen):
        return seen.notes["wrong"]

    return {"play": play, "accept": accept, "limit": 12.0}


async def clock(neighbour):
    """By how much this process is late, in all."""
    while True:
        began = time.monotonic()
        await asyncio.sleep(0.01)
        neighbour.late += time.monotonic() - began - 0.01


async def ask(neighbour):
    """One small request after the other. What this process itself was late in is no wait."""
    neighbour.waits, neighbour.fault, number = [], None, 21
    while True:
        neighbour.since, began = time.monotonic(), neighbour.late
        verdict = await neighbour.get("/neighbour", number)
        neighbour.waits.append(time.monotonic() - neighbour.since - (neighbour.late - began))
        if verdict != "200":
            neighbour.fault = neighbour.fault or verdict
            return
        number += 2
        await asyncio.sleep(0.03)


def judged(grown, bound, neighbour, connections, upstream):
    if grown > bound:
        return f"memory grew by {grown / MIB:.1f} MiB, more than {bound / MIB:.0f}"
    if neighbour.fault:
        return f"the other client got {neighbour.fault}"
    if max(neighbour.waits, default=PATIENCE) > PROMPT:
        return f"the other client waited {max(neighbour.waits, default=PATIENCE):.1f} s"
    if connections > upstream:
        return f"{connections} connections to the origin at once"
    return None


def repeat(make, count, first=(), ends=True, batch=100):
    """An attack of many frames: `make(wire, n)` gives the bytes for the stream or turn n. With `ends` it must be
    broken off."""

    async def attack(wire, _stage):
        await wire.until(lambda: wire.acks)
        await wire.send(*(part(wire) if callable(part) else part for part in first))
        for start in range(0, count, batch):
            if wire.goaway or wire.closed:
                break
            await wire.send(*(make(wire, n) for n in range(start, min(start + batch, count))))
            # What is sent into one pipe must not be the only thing this process does.
            await asyncio.sleep(0)
        if ends and not await wire.ending(1.0) and not wire.stream(1).over:
            return f"{count} of them, and the connection lives"
        return None

    attack.endless = not ends
    return attack


def request(wire, number, **how):
    return f.headers(number, wire.fields(**how), end=how.get("method") != "POST")
