"""The proxies under test, started from the committed configurations, a process for each mode.

Those files name the ports 4780 (listener) and 4781 (admin), and between `# each lane` and `# end` one lane, `lane.test`
to port 4790; here the lane is repeated for every case, with the port of that case's origin. How peers are found and
installed, and how processes are kept, is shared with benches/.
"""
import asyncio
import re
import shutil
import socket
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent.parent / "benches"))

from rig import Failure, client, process, proxies, stand  # noqa: E402

CONFIGS = HERE.parent / "configs"
DIRECTORY = "/tmp/attache-conformance"
LANE = re.compile(r"^[ \t]*# each lane\n(.*?)^[ \t]*# end\n", re.M | re.S)
PEERS = proxies.PEERS

# What a peer can play. Forward: absolute-form; CONNECT is an ability of its own.
MODES = {
    "attache": ("forward", "reverse", "h2", "h1-h2", "h2-h2", "floods"),
    "haproxy": ("forward", "reverse", "h2", "h1-h2", "h2-h2", "floods"),
    "nginx": ("forward", "reverse", "h2", "floods"),
    "envoy": ("forward", "reverse", "h2", "h1-h2", "h2-h2", "floods"),
}
ABILITIES = {"attache": frozenset({"connect", "guard", "h2-connect", "retry"}), "envoy": frozenset({"connect"})}


class Subject:
    """A proxy as a process: `open` starts it in front of these origins, `close` ends it."""

    def __init__(self, name, binary=None):
        self.name = name
        self.proxy = proxies.find(name, binary)
        self.version, self.modes = self.proxy.version, MODES[name]
        self.abilities = ABILITIES.get(name, frozenset())
        self.mode = "forward"

    async def open(self, origins):
        self.dir = Path(tempfile.mkdtemp(prefix="attache-conformance-"))
        self.port, self.admin = stand.free(), stand.free()
        self.child = process.Process(self.proxy.command(self.place(origins)), self.dir / "log")
        for _ in range(400):
            if not self.child.alive():
                raise self.failure("does not start")
            if await asyncio.to_thread(self.ready):
                return
            await asyncio.sleep(0.05)
        raise self.failure("is not ready")

    def failure(self, what):
        failure = self.child.complain(f"{self.name} {what}")
        self.child.stop()
        return failure

    def ready(self):
        if self.proxy.ready:
            return client.status(self.admin, self.proxy.ready) == 200
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def crashed(self):
        return not self.child.alive()

    def memory(self):
        """The most that was resident since `forget_memory`, in bytes, its child processes included."""
        return sum(peak(pid) for pid in self.child.tree())

    def forget_memory(self):
        for pid in self.child.tree():
            Path(f"/proc/{pid}/clear_refs").write_text("5")

    async def close(self):
        await asyncio.to_thread(self.child.stop)
        shutil.rmtree(self.dir, ignore_errors=True)

    def place(self, origins):
        """The configuration of this mode: NAME-MODE.*, NAME-to-h2.* before an HTTP/2 origin, NAME-h2.* for
        floods, or NAME.* for all modes."""
        shared = "-to-h2" if self.mode.endswith("-h2") else "-h2" if self.mode == "floods" else ""
        kinds = (f"-{self.mode}", shared, "")
        files = (CONFIGS / f"{self.name}{kind}.{self.proxy.suffix}" for kind in kinds)
        source = next(file for file in files if file.exists())
        text = LANE.sub(lambda found: "".join(lane(found.group(1), origin) for origin in origins), source.read_text())
        for old, new in (("4780", self.port), ("4781", self.admin)):
            text = re.sub(rf"\b{old}\b", str(new), text)
        copy = self.dir / source.name
        token = self.dir / "token"
        token.write_text("s3cr3t\n")
        token.chmod(0o600)
        copy.write_text(text.replace(DIRECTORY, str(self.dir)))
        return copy


def peak(pid):
    found = re.search(r"VmHWM:\s*(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found.group(1)) * 1024 if found else 0


def lane(text, origin):
    return text.replace("lane.test", origin.host).replace("4790", str(origin.port))


__all__ = ["Failure", "PEERS", "Subject"]
