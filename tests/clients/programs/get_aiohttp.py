"""One GET with aiohttp; without trust_env it would read no proxy setting at all."""
import asyncio
import sys

import aiohttp


async def main():
    async with aiohttp.ClientSession(trust_env=True, raise_for_status=True) as client:
        async with client.get(sys.argv[1]) as answer:
            sys.stdout.write(await answer.text())


asyncio.run(main())
