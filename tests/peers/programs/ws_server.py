"""A WebSocket server of the `websockets` package: plain on one port, TLS on another. Prints both, then serves.

    ws_server.py CERT KEY
"""
import asyncio
import json
import ssl
import sys

from websockets.asyncio.server import serve


async def talk(socket):
    if socket.request.path.endswith("/leave"):
        await socket.close(4002, "the server leaves")
        return
    await socket.send("welcome")
    async for message in socket:
        await socket.send(message)


async def main(cert, key):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    common = {"host": "127.0.0.1", "port": 0, "subprotocols": ["b", "a"], "max_size": 8 << 20}
    async with serve(talk, **common) as plain, serve(talk, ssl=context, **common) as secure:
        ports = [server.sockets[0].getsockname()[1] for server in (plain, secure)]
        print(json.dumps({"h1": ports[0], "tls": ports[1]}), flush=True)
        await asyncio.get_running_loop().create_future()


asyncio.run(main(*sys.argv[1:]))
