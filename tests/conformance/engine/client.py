"""The raw client of the HTTP/1 modes: it plays a script, then reads until what it asked for is answered.

At the end of a script the client waits for a final response to each request it knows of (`REPLY` and `PROBE` have
waited for theirs), then half-closes and reads on to the end, so that a byte too many is seen as well.
"""
import asyncio
import re

from . import steps
from .side import Side

DRAIN = 1.0
REQUEST = re.compile(rb"(?m)^([A-Z]+) [^ \r\n]+ HTTP/1\.[01]\r?$")


async def connect(stage):
    reader, writer = await asyncio.open_connection("127.0.0.1", stage.port)
    return Side(reader, writer, stage, responses=True)


async def play(stage, script):
    """Plays the script; the side, for what it saw."""
    side = await connect(stage)
    stage.clients.append(side)
    awaited = 0
    for step in script:
        step = stage.fill(step)
        if isinstance(step, bytes):
            side.reader.methods += REQUEST.findall(step)
        if await side.common(step):
            if step in (steps.CLOSE, steps.RST):
                return side
        elif step is steps.HEAD:
            await side.until(lambda: len(side.reader.messages) > side.taken)
            side.taken += 1
        elif step is steps.REPLY:
            awaited += 1
            if not await side.until(lambda: finals(side) >= awaited):
                break
        elif step is steps.PROBE:
            side.reader.methods.append(b"GET")
            await side.send(stage.fill(b"GET <T>/probe HTTP/1.1\r\nHost: <H>\r\n\r\n"))
            awaited += 1
            if not await side.until(lambda: finals(side) >= awaited):
                break
        else:
            raise TypeError(f"a client cannot {step!r}")
    await side.until(lambda: finals(side) >= max(awaited, 1))
    await finish(side)
    return side


def finals(side):
    return sum(message.complete and message.status >= 200 or message.framing == "tunnel"
               for message in side.reader.messages)  # fmt: skip


async def finish(side):
    side.closed_first = side.end is not None
    side.fin()
    try:
        await asyncio.wait_for(side.ended(), DRAIN)
    except TimeoutError:
        pass
