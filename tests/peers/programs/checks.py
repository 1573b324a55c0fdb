"""`check verdict` lines, for programs in Python."""
import asyncio

LIMIT = 15


def expect(holds, what):
    """Fails the check with `what`."""
    if not holds:
        raise AssertionError(what)


async def check(name, coroutine):
    """Runs one check and prints its line; what goes wrong in it is its verdict."""
    try:
        await asyncio.wait_for(coroutine, LIMIT)
    except Exception as error:  # noqa: BLE001  whatever it is belongs into the line
        print(f"{name} FAILED {error!r}"[:400].replace("\n", " "), flush=True)
    else:
        print(f"{name} ok", flush=True)
