"""Whether this process was held up: on a machine that is too busy it can be, for longer than the proxies wait for it.

What failed meanwhile proves nothing. One task an event loop looks; it ends with the loop.
"""
import asyncio
import time
import weakref

LIMIT = 0.4
EVERY = 0.1


class Watch:
    """`last` is when the process was held up last, for longer than is harmless."""

    def __init__(self):
        self.last = 0.0
        self.task = asyncio.create_task(self.look())

    async def look(self):
        while True:
            before = time.monotonic()
            await asyncio.sleep(EVERY)
            if time.monotonic() - before - EVERY > LIMIT:
                self.last = time.monotonic()


WATCHES = weakref.WeakKeyDictionary()


def now():
    """The time, and from now on somebody looks."""
    loop = asyncio.get_running_loop()
    if loop not in WATCHES:
        WATCHES[loop] = Watch()
    return time.monotonic()


def since(began):
    """Whether the process was held up after this time."""
    return WATCHES[asyncio.get_running_loop()].last >= began
