"""Child processes: started on a core, counted from /proc, and ended by id however the run ends."""

import ctypes
import os
import pathlib
import resource
import signal
import subprocess
import time

from . import Failure

TICK = os.sysconf("SC_CLK_TCK")
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)


class Process:
    """A child and its descendants. As a context manager it ends them when the block is left."""

    def __init__(self, argv, log, core=None, stdin=subprocess.DEVNULL):
        self.argv = [str(a) for a in argv]
        self.log = pathlib.Path(log)
        with open(self.log, "ab") as out:
            self.child = subprocess.Popen(
                self.argv, stdin=stdin, stdout=out, stderr=out, preexec_fn=lambda: prepare(core)
            )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def alive(self):
        return self.child.poll() is None

    def tree(self):
        """Process ids of the child and its descendants."""
        below = {}
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                fields = stat(entry)
                if fields:
                    below.setdefault(int(fields[1]), []).append(int(entry))
        found, queue = [], [self.child.pid]
        while queue:
            pid = queue.pop()
            found.append(pid)
            queue += below.get(pid, [])
        return found

    def cpu(self):
        """Seconds of (user, system) time of the whole tree; threads are included, 10 ms is the resolution."""
        user = system = 0
        for pid in self.tree():
            fields = stat(pid)
            if fields:
                user += int(fields[11])
                system += int(fields[12])
        return user / TICK, system / TICK

    def rss(self):
        """Resident KiB, summed over the tree (pages shared between its processes count more than once)."""
        total = 0
        for pid in self.tree():
            try:
                status = pathlib.Path(f"/proc/{pid}/status").read_text()
            except OSError:
                continue
            total += sum(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))
        return total

    def terminate(self, target=None, grace=10):
        """TERM to the child (or to `target` below it), then its exit code; `None` if it outlasted the grace."""
        if self.alive():
            os.kill(target or self.child.pid, signal.SIGTERM)
        try:
            return self.child.wait(grace)
        except subprocess.TimeoutExpired:
            return None

    def stop(self):
        if not self.alive():
            return
        tree = self.tree()
        if self.terminate(grace=5) is None:
            for pid in tree:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            self.child.wait()

    def complain(self, what):
        tail = self.log.read_text(errors="replace")[-2000:] if self.log.exists() else ""
        code = self.child.poll()
        state = "running" if code is None else f"exited with {code}"
        return Failure(f"{what} ({' '.join(self.argv[:12])}: {state})\n{tail}")


def prepare(core):
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    raise_files()
    if core is not None:
        os.sched_setaffinity(0, {core})


def raise_files():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536), hard))


def stat(pid):
    """The fields of /proc/PID/stat behind the name, from `state` on."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return None


def core_busy(core):
    """Seconds the core has been busy with anything, stolen time included."""
    for line in pathlib.Path("/proc/stat").read_text().splitlines():
        name, *values = line.split()
        if name == f"cpu{core}":
            numbers = [int(v) for v in values[:8]]
            return (sum(numbers) - numbers[3] - numbers[4]) / TICK
    return 0.0


def wait(condition, seconds):
    """Polls until the condition holds; whether it did within the time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False
