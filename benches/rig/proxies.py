"""The proxies: how each is found, started from a configuration file, and asked for its version."""

import pathlib
import re
import shlex
import subprocess

from . import CONFIGS, TARGET, Failure, tools

PEERS = ("haproxy", "nginx", "envoy")
CONFIG_NAMES = ("plain", "default", "full", "tls", "jwt")


class Proxy:
    """`template` is the command; `{config}` in it is the configuration file."""

    def __init__(self, name, suffix, template, ready, version, file=None):
        self.name = name
        self.suffix = suffix
        self.template = template
        self.ready = ready
        self.version = version
        self.file = file

    def config(self, name):
        return pathlib.Path(self.file) if self.file else CONFIGS / f"{self.name}-{name}.{self.suffix}"

    def command(self, config):
        return [word.replace("{config}", str(config)) for word in self.template]


SUFFIXES = {"attache": "yaml", "haproxy": "cfg", "nginx": "conf", "envoy": "yaml"}
READY = {"attache": "/readyz", "envoy": "/ready"}


def find(name, binary=None, command=None, file=None):
    """A proxy by name, installed if need be; `command` replaces how it is started."""
    if name not in SUFFIXES:
        raise Failure(f"no proxy is called {name!r}: {', '.join(SUFFIXES)}")
    if command:
        template, version = shlex.split(command), command
        if "{config}" not in command:
            raise Failure("--command needs {config} where the configuration file goes")
    elif name == "attache":
        path = pathlib.Path(binary or TARGET / "release" / "attache").resolve()
        if not path.is_file():
            raise Missing(f"{path} does not exist; cargo build --release makes it")
        template, version = [str(path), "serve", "-c", "{config}"], ask(path, "--version")
    elif name == "envoy":
        path = tools.envoy()
        template = [path, "-c", "{config}", "--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]
        version = ask(path, "--version")
    else:
        tools.need(name)
        path = tools.find(name)
        template = [path, "-db", "-f", "{config}"] if name == "haproxy" else [path, "-c", "{config}"]
        version = ask(path, "-v")
    return Proxy(name, SUFFIXES[name], template, READY.get(name), version, file)


class Missing(Failure):
    """The proxy is not built."""


def ask(*argv):
    """The version number in a program's answer."""
    answer = subprocess.run(argv, capture_output=True, text=True)
    text = answer.stdout + answer.stderr
    found = re.search(r"\b\d+\.\d+\.\d+", text)
    return found.group(0) if found else text.strip()[:40]
