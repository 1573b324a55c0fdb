"""A WebSocket client of the `websockets` package. Prints `check verdict` lines.

    ws_client.py DOOR URL PROXY_PORT CA

DOOR: `reverse` speaks to the proxy's port as to the server, `connect` makes a tunnel first.
"""
import asyncio
import os
import ssl
import sys

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from checks import check, expect


async def main(door, url, port, ca):
    options = {"max_size": 8 << 20, "subprotocols": ["a"]}
    if url.startswith("wss:"):
        options["ssl"] = ssl.create_default_context(cafile=ca)
    if door == "connect":
        options["proxy"] = f"http://127.0.0.1:{port}"
    else:
        options |= {"proxy": None, "host": "127.0.0.1", "port": int(port)}

    async with connect(url, **options) as socket:

        async def echo(message):
            await socket.send(message)
            back = await socket.recv()
            expect(back == message, f"{len(back)} for {len(message)}")

        async def first():
            expect(await socket.recv() == "welcome", "no welcome")

        async def many():
            for number in range(200):
                await echo(f"message {number}")

        async def crossing():
            # All are sent before one is read.
            for number in range(200):
                await socket.send(str(number))
            for number in range(200):
                expect(await socket.recv() == str(number), f"not {number}")

        async def fragments():
            await socket.send(["one ", "two ", "three"])
            expect(await socket.recv() == "one two three", "not put together")

        async def ping():
            await (await socket.ping())

        async def quiet():
            await asyncio.sleep(1.5)
            await echo("still there")

        async def negotiated():
            expect(socket.subprotocol == "a", f"subprotocol {socket.subprotocol}")
            extensions = socket.response.headers.get("sec-websocket-extensions", "")
            expect("permessage-deflate" in extensions, f"extensions {extensions!r}")

        async def closes():
            await socket.close(4001, "the client leaves")
            expect((socket.close_code, socket.close_reason) == (4001, "the client leaves"), f"{socket.close_code}")

        await check("first", first())
        await check("text", echo("gr\u00fc\u00dfe \u2603"))
        await check("binary", echo(bytes(range(256))))
        await check("large", echo(os.urandom(4 << 20)))
        await check("many", many())
        await check("crossing", crossing())
        await check("fragments", fragments())
        await check("ping", ping())
        await check("quiet", quiet())
        await check("negotiated", negotiated())
        await check("closes", closes())

    async def left():
        async with connect(f"{url}/leave", **options) as socket:
            try:
                await socket.recv()
            except ConnectionClosed as closed:
                expect((closed.rcvd.code, closed.rcvd.reason) == (4002, "the server leaves"), f"{closed.rcvd}")
                return
        expect(False, "not closed")

    await check("left", left())


asyncio.run(main(*sys.argv[1:]))
