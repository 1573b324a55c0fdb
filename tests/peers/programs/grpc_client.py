"""A gRPC client of `grpcio`. Prints `check verdict` lines.

    grpc_client.py DOOR AUTHORITY PROXY_PORT CA

DOOR: `reverse` speaks HTTP/2 to the proxy's port under the server's authority, `connect` leaves it to grpcio to go by
`http_proxy`, `sealed` does so with TLS to the server.
"""
import asyncio
import json
import os
import queue
import sys
import time
from concurrent import futures
from pathlib import Path

door, authority, port, ca = sys.argv[1:]
for name in ("http_proxy", "https_proxy", "grpc_proxy", "no_proxy", "no_grpc_proxy"):
    os.environ.pop(name, None)
if door != "reverse":
    os.environ["http_proxy"] = f"http://127.0.0.1:{port}"

import grpc  # noqa: E402  it reads the environment

from checks import check, expect  # noqa: E402

LARGE = 16 << 20
WAIT = 10
options = [("grpc.max_receive_message_length", LARGE), ("grpc.max_send_message_length", LARGE)]
if door == "reverse":
    options += [("grpc.default_authority", authority), ("grpc.enable_http_proxy", 0)]
    channel = grpc.insecure_channel(f"127.0.0.1:{port}", options)
elif door == "connect":
    channel = grpc.insecure_channel(authority, options)
else:
    channel = grpc.secure_channel(authority, grpc.ssl_channel_credentials(Path(ca).read_bytes()), options)

unary_unary, unary_stream = channel.unary_unary, channel.unary_stream
stream_unary, stream_stream = channel.stream_unary, channel.stream_stream


def method(name):
    return f"/test.Peer/{name}"


def code_of(call):
    try:
        call()
    except grpc.RpcError as error:
        return error
    raise AssertionError("it did not fail")


def state(name):
    return json.loads(unary_unary(method("State"))(name.encode(), timeout=WAIT))


def named(name):
    return {"metadata": (("call", name),)}


def until_begun(name):
    limit = time.monotonic() + 5
    while not state(name).get("begun"):
        expect(time.monotonic() < limit, "it never reached the server")


def unary():
    for message in (b"", b"hello", bytes(range(256))):
        expect(unary_unary(method("Unary"))(message, timeout=WAIT) == message, "another message")


def many():
    with futures.ThreadPoolExecutor(50) as pool:
        calls = [pool.submit(unary_unary(method("Unary")), str(n).encode(), timeout=WAIT) for n in range(500)]
        expect([call.result() for call in calls] == [str(n).encode() for n in range(500)], "mixed up")


def large():
    message = os.urandom(8 << 20)
    expect(unary_unary(method("Unary"))(message, timeout=WAIT) == message, "another message")


def server_stream():
    got = list(unary_stream(method("Down"))(b"1000", timeout=WAIT))
    expect(got == [str(n).encode() for n in range(1000)], f"{len(got)} messages")


def client_stream():
    parts = (b"x" * 1000 for _ in range(1000))
    expect(stream_unary(method("Up"))(parts, timeout=WAIT) == b"1000000", "another sum")


def lockstep():
    # The next is sent only when the last came back: nothing may be held up.
    outgoing = queue.Queue()
    incoming = stream_stream(method("Both"))(iter(outgoing.get, None), timeout=WAIT)
    for number in range(100):
        outgoing.put(str(number).encode())
        expect(next(incoming) == str(number).encode(), f"not {number}")
    outgoing.put(None)
    expect(list(incoming) == [], "more than was sent")
    expect(incoming.code() == grpc.StatusCode.OK, incoming.code())


def metadata():
    sent = (("ascii", "a value; with, signs"), ("binary-bin", b"\x00\x01\xfe\xff"))
    answer, call = unary_unary(method("Metadata")).with_call(b"m", metadata=sent, timeout=WAIT)
    first, last = dict(call.initial_metadata()), dict(call.trailing_metadata())
    expect((first.get("initial"), first.get("initial-bin")) == ("first", b"\x00\xff\x01"), f"{first}")
    expect((last.get("trailing"), last.get("trailing-bin")) == (sent[0][1], sent[1][1]), f"{last}")


def refused():
    # The first frame of the answer is its last: trailers-only.
    error = code_of(lambda: unary_unary(method("Refuse"))(b"", timeout=WAIT))
    expect(error.code() == grpc.StatusCode.FAILED_PRECONDITION, error.code())
    expect(error.details() == "nein, \u00fcberhaupt nicht: 100 %", error.details())
    expect(dict(error.trailing_metadata()).get("why") == "because", error.trailing_metadata())


def unimplemented():
    error = code_of(lambda: unary_unary(method("Nothing"))(b"", timeout=WAIT))
    expect(error.code() == grpc.StatusCode.UNIMPLEMENTED, error.code())


def fails_late():
    got = []
    call = unary_stream(method("FailLate"))(b"", timeout=WAIT)
    error = code_of(lambda: got.extend(iter(call)))
    expect((got, error.code(), error.details()) == ([b"one", b"two"], grpc.StatusCode.DATA_LOSS, "after two"),
           f"{got} {error.code()} {error.details()}")


def deadline():
    name, begun = f"deadline-{os.getpid()}", time.monotonic()
    error = code_of(lambda: unary_unary(method("Slow"))(b"", timeout=0.6, **named(name)))
    took = time.monotonic() - begun
    expect(error.code() == grpc.StatusCode.DEADLINE_EXCEEDED, f"{error.code()}: {error.details()}")
    expect(0.5 < took < 2, f"{took:.2f} s")
    seen = state(name)
    expect(seen.get("ended"), f"the server was not told: {seen}")
    # grpcio rounds what it sends up.
    expect(seen["remaining"] is not None and seen["remaining"] < 0.65, f"the server had {seen['remaining']} s")


def stream_deadline():
    name, got = f"stream-deadline-{os.getpid()}", []
    call = unary_stream(method("Drip"))(b"", timeout=0.8, **named(name))
    error = code_of(lambda: got.extend(iter(call)))
    expect(error.code() == grpc.StatusCode.DEADLINE_EXCEEDED, f"{error.code()}: {error.details()}")
    expect(len(got) > 3, f"{len(got)} messages before")
    expect(state(name).get("ended"), "the server was not told")


def cancelled():
    name = f"cancel-{os.getpid()}"
    call = unary_unary(method("Slow")).future(b"", timeout=30, **named(name))
    until_begun(name)
    call.cancel()
    expect(state(name).get("ended"), "the server was not told within a second")


def stream_cancelled():
    name = f"stream-cancel-{os.getpid()}"
    call = unary_stream(method("Drip"))(b"", timeout=30, **named(name))
    expect(next(call) == b"drip", "no message")
    call.cancel()
    expect(state(name).get("ended"), "the server was not told within a second")


def upload_cancelled():
    name, outgoing = f"upload-cancel-{os.getpid()}", queue.Queue()
    call = stream_unary(method("Swallow")).future(iter(outgoing.get, None), timeout=30, **named(name))
    outgoing.put(b"part")
    until_begun(name)
    call.cancel()
    seen = state(name)
    expect(seen.get("ended"), "the server was not told within a second")
    expect(not seen.get("whole"), "half an upload was ended as a whole one")
    outgoing.put(None)


CHECKS = [unary, many, large, server_stream, client_stream, lockstep, metadata, refused, unimplemented, fails_late,
          deadline, stream_deadline, cancelled, stream_cancelled, upload_cancelled]


async def main():
    for one in CHECKS:
        await check(one.__name__.replace("_", "-"), asyncio.to_thread(one))


asyncio.run(main())
# Threads of calls that hang must not keep the process.
os._exit(0)
