"""A relay that forwards bytes and understands none: the subject that must fail.

It finds the origin in the first bytes, by the made-up host in them, and splices. A smuggling case that it passes
bites nothing.
"""
import asyncio
import re

HOST = re.compile(rb"lane\d+\.test")


class Splice:
    """A subject in this process."""

    # The area that it must fail.
    area = "smuggling"
    name, version, modes, abilities = "splice", "-", ("forward", "reverse"), frozenset()

    def __init__(self):
        self.port = 0
        self.tasks = []

    async def open(self, origins):
        self.ports = {origin.host.encode(): origin.port for origin in origins}
        self.server = await asyncio.start_server(self.accept, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]

    def crashed(self):
        return False

    async def close(self):
        self.server.close()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    def accept(self, reader, writer):
        self.tasks.append(asyncio.create_task(self.relay(reader, writer)))

    async def relay(self, reader, writer):
        try:
            first = await reader.read(65536)
            host = HOST.search(first)
            if not host:
                return
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.ports[host.group()])
            # What a forwarder of bytes does to an absolute-form target, so that it is judged for its framing.
            up_writer.write(first.replace(b"http://" + host.group() + b"/", b"/"))
            await asyncio.gather(copy(reader, up_writer), copy(up_reader, writer))
        except OSError:
            pass
        finally:
            writer.close()


async def copy(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    except OSError:
        writer.close()
