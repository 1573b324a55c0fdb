"""Plays cases: each on a stage of its own, many at once, every one bounded in time."""
import asyncio
import copy
import traceback
from dataclasses import dataclass, field

from . import client, front, held

AT_ONCE = 32
ALONE_AT_ONCE = 4
# What must not arrive at an origin can only be waited for: quiet for this long, and not longer than that.
QUIET, PATIENCE = 0.03, 0.5
# How often a case is played again that failed while this process was held up.
AGAIN = 2


class Stage:
    """What a case has while it plays: a mode, a subject's port, an origin, and signals between the two scripts."""

    def __init__(self, subject, mode, origin):
        self.subject, self.mode, self.origin = subject, mode, origin
        self.port, self.host = subject.port, origin.host
        self.clients = []
        self.signals = {}
        self.notes = {}

    def signal(self, name):
        return self.signals.setdefault(name, asyncio.Event())

    def fill(self, step):
        if not isinstance(step, bytes):
            return step
        prefix = f"http://{self.host}" if self.mode == "forward" else ""
        return step.replace(b"<T>", prefix.encode()).replace(b"<H>", self.host.encode())


@dataclass
class Seen:
    """What a case is judged by. `replies` are final responses, `interim` the statuses of the others, `late` is whether
    the case ran into its limit. `requests` are all that origins could read, `violations` what they could not."""

    mode: str
    host: str
    replies: list = field(default_factory=list)
    interim: list = field(default_factory=list)
    closed: bool = False
    end: str | None = None
    faults: list = field(default_factory=list)
    tunnel: bytes = b""
    raw: bytes = b""
    late: bool = False
    origins: list = field(default_factory=list)
    requests: list = field(default_factory=list)
    violations: list = field(default_factory=list)
    notes: dict = field(default_factory=dict)

    @property
    def reply(self):
        return self.replies[0] if self.replies else None

    @property
    def status(self):
        return self.replies[0].status if self.replies else 0


@dataclass
class Result:
    case: object
    mode: str
    wrong: str | None
    seen: object


async def run(subject, mode, cases, origins):
    """Plays the cases of one mode; the results in their order."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(case, origin):
        async with gate:
            return await play(subject, mode, case, origin)

    return await asyncio.gather(*(one(case, origin) for case, origin in zip(cases, origins)))


async def alone(subject, mode, cases, origins):
    """The same, each before a process of its own."""
    gate = asyncio.Semaphore(ALONE_AT_ONCE)

    async def one(case, origin):
        async with gate:
            own = copy.copy(subject)
            await own.open([origin])
            try:
                result = await play(own, mode, case, origin)
                if own.crashed():
                    result.wrong = f"the proxy died ({result.wrong or 'after that'})"
                return result
            finally:
                await own.close()

    return await asyncio.gather(*(one(case, origin) for case, origin in zip(cases, origins)))


async def play(subject, mode, case, origin):
    """Plays one case; again, if it failed while this process was held up."""
    for _ in range(AGAIN):
        began = held.now()
        result = await once(subject, mode, case, origin)
        if not result.wrong or not held.since(began) or not hasattr(origin, "again"):
            return result
        origin = origin.again()
    return await once(subject, mode, case, origin)


async def once(subject, mode, case, origin):
    stage = Stage(subject, mode, origin)
    await origin.open(stage, case.origin)
    late, broken = False, None
    try:
        await asyncio.wait_for(act(stage, case), case.limit)
    except TimeoutError:
        late = True
    except OSError as error:
        broken = f"the client could not go on: {error!r}"
    await settle(origin)
    seen = look(stage, late)
    for side in stage.clients:
        side.close()
    await origin.close()
    try:
        wrong = broken or case.accept(seen)
    except Exception:
        wrong = traceback.format_exc(limit=-2)
    return Result(case, mode, wrong, seen)


async def settle(origin):
    """Returns once the origin has been quiet: a client can be done before what it sent has arrived, or not arrived."""
    for _ in range(int(PATIENCE / QUIET)):
        before = [(len(side.raw), side.end) for side in origin.sides]
        await asyncio.sleep(QUIET)
        if before == [(len(side.raw), side.end) for side in origin.sides]:
            return


async def act(stage, case):
    if case.play:
        await case.play(stage)
    elif case.ask is not None:
        await front.FRONTS[stage.mode](stage, case.ask)
    else:
        await client.play(stage, case.client)


def look(stage, late):
    seen = Seen(stage.mode, stage.host, late=late, notes=stage.notes)
    for side in stage.clients:
        seen.replies += [m for m in side.reader.messages if m.status >= 200]
        seen.interim += [m for m in side.reader.messages if m.status < 200]
        seen.faults += side.reader.violations
        seen.raw += bytes(side.raw)
        seen.tunnel += bytes(side.reader.tunnel)
        seen.end = side.end
        seen.closed = getattr(side, "closed_first", side.end is not None)
    seen.origins = stage.origin.sides
    for side in stage.origin.sides:
        seen.requests += side.reader.messages
        seen.violations += side.reader.violations
    return seen
