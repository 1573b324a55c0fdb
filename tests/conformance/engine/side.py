"""One end of a connection: it sends, records all that arrives, and can wait for what has arrived."""
import asyncio
import socket
import struct

from . import steps
from .wire import Reader


class Side:
    """`raw` is every byte that came; `reader` what a strict reader makes of it; `end` is None, "fin" or "rst"."""

    def __init__(self, reader, writer, stage, responses):
        self.stream, self.writer, self.stage = reader, writer, stage
        self.reader = Reader(responses)
        self.raw = bytearray()
        self.end, self.finished = None, False
        self.changed = asyncio.Event()
        self.taken = 0
        self.pump = asyncio.ensure_future(self.receive())

    async def receive(self):
        try:
            while data := await self.stream.read(65536):
                self.raw += data
                self.reader.feed(data)
                self.wake()
            self.end = "fin"
            self.reader.eof()
        except OSError:
            self.end = "rst"
        self.wake()

    def wake(self):
        self.changed.set()
        self.changed = asyncio.Event()

    async def until(self, condition, readable=True):
        """Waits for the condition; whether it came true before the peer ended or, for `readable` ones, sent what no
        strict reader takes. The case's limit is above this."""
        while not condition():
            if self.end or (readable and self.reader.violations):
                return condition()
            await self.changed.wait()
        return True

    async def ended(self):
        while not self.end:
            await self.changed.wait()

    async def send(self, data):
        if self.finished:
            return
        try:
            self.writer.write(data)
            await self.writer.drain()
        except OSError:
            pass

    async def common(self, step):
        """What both ends know; whether `step` was one of these."""
        if isinstance(step, (bytes, bytearray)):
            await self.send(step)
        elif isinstance(step, steps.Pause):
            await asyncio.sleep(step.seconds)
        elif isinstance(step, steps.Signal):
            self.stage.signal(step.name).set()
        elif isinstance(step, steps.Await):
            await self.stage.signal(step.name).wait()
        elif isinstance(step, steps.Bytes):
            await self.until(lambda: len(self.raw) >= step.count, readable=False)
        elif isinstance(step, steps.Drip):
            for at in range(len(step.data)):
                if self.end:
                    break
                await self.send(step.data[at : at + 1])
                await asyncio.sleep(step.every)
        elif step is steps.PEER_END:
            await self.ended()
        elif step is steps.FIN:
            self.fin()
        elif step is steps.CLOSE:
            self.close()
        elif step is steps.RST:
            self.reset()
        else:
            return False
        return True

    def fin(self):
        try:
            if not self.writer.is_closing():
                self.finished = True
                self.writer.write_eof()
        except OSError:
            pass

    def close(self):
        self.pump.cancel()
        self.writer.close()

    def reset(self):
        self.pump.cancel()
        sock = self.writer.get_extra_info("socket")
        if sock is not None and sock.fileno() >= 0:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()
