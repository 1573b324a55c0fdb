"""A gRPC server of `grpcio`, with bytes for messages: in the clear on one port, TLS on another.

    grpc_server.py CERT KEY

What happened to a call is told by `State`, under the name that the call brought in its metadata.
"""
import json
import sys
import threading
import time
from concurrent import futures
from pathlib import Path

import grpc

LARGE = 16 << 20
calls, changed = {}, threading.Condition()


def note(context, **what):
    metadata = {name: value for name, value in context.invocation_metadata()}
    with changed:
        calls.setdefault(metadata.get("call", ""), {}).update(what)
        changed.notify_all()


def begun(context):
    note(context, begun=True, remaining=context.time_remaining())
    context.add_callback(lambda: note(context, ended=True))


def unary(request, context):
    return request


def metadata(request, context):
    got = {name: value for name, value in context.invocation_metadata()}
    context.send_initial_metadata((("initial", "first"), ("initial-bin", b"\x00\xff\x01")))
    context.set_trailing_metadata((("trailing", got.get("ascii", "")), ("trailing-bin", got.get("binary-bin", b""))))
    return request


def down(request, context):
    for number in range(int(request)):
        yield str(number).encode()


def up(requests, context):
    return str(sum(len(request) for request in requests)).encode()


def both(requests, context):
    yield from requests


def slow(request, context):
    begun(context)
    while context.is_active():
        time.sleep(0.02)
    return request


def drip(request, context):
    begun(context)
    while context.is_active():
        yield b"drip"
        time.sleep(0.05)


def swallow(requests, context):
    begun(context)
    try:
        for _ in requests:
            pass
    except grpc.RpcError:
        return b""
    # grpcio ends the requests of a cancelled call like those of a whole one, and says a moment later which it was.
    time.sleep(0.2)
    note(context, whole=context.is_active())
    return b""


def refuse(request, context):
    context.set_trailing_metadata((("why", "because"),))
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, "nein, \u00fcberhaupt nicht: 100 %")


def fail_late(request, context):
    yield b"one"
    yield b"two"
    context.abort(grpc.StatusCode.DATA_LOSS, "after two")


def state(request, context):
    """Waits a moment for the call to end."""
    name = request.decode()
    with changed:
        changed.wait_for(lambda: calls.get(name, {}).get("ended"), timeout=1)
        return json.dumps(calls.get(name, {})).encode()


KINDS = {
    "Unary": grpc.unary_unary_rpc_method_handler(unary),
    "Metadata": grpc.unary_unary_rpc_method_handler(metadata),
    "Down": grpc.unary_stream_rpc_method_handler(down),
    "Up": grpc.stream_unary_rpc_method_handler(up),
    "Both": grpc.stream_stream_rpc_method_handler(both),
    "Slow": grpc.unary_unary_rpc_method_handler(slow),
    "Drip": grpc.unary_stream_rpc_method_handler(drip),
    "Swallow": grpc.stream_unary_rpc_method_handler(swallow),
    "Refuse": grpc.unary_unary_rpc_method_handler(refuse),
    "FailLate": grpc.unary_stream_rpc_method_handler(fail_late),
    "State": grpc.unary_unary_rpc_method_handler(state),
}

options = [("grpc.max_receive_message_length", LARGE), ("grpc.max_send_message_length", LARGE)]
server = grpc.server(futures.ThreadPoolExecutor(max_workers=32), options=options)
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Peer", KINDS),))
cert, key = (Path(file).read_bytes() for file in sys.argv[1:])
ports = {
    "h2c": server.add_insecure_port("127.0.0.1:0"),
    "tls": server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(key, cert)])),
}
server.start()
print(json.dumps(ports), flush=True)
server.wait_for_termination()
