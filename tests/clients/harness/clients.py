"""The rows: for each client the command that GETs one URL, and how it is told of the test's CA.

A command prints what it was given and exits 0, or exits otherwise. Nothing here names a proxy: that is the
mode's part. The clients run with their defaults, so that the row shows what a user of them gets.
"""
from dataclasses import dataclass, field

from .certs import PASSWORD


@dataclass
class Client:
    """One row; `argv` takes the URL's base and a scratch directory."""

    name: str
    argv: object
    env: dict = field(default_factory=dict)

    def host(self, scheme):
        """A name of its own per scheme, so that one log line never fits two cells."""
        return f"{self.name}.{'secure' if scheme == 'https' else 'origin'}.test"


# Those that read no variable for their roots: wget of Debian is made with GnuTLS, which has the system's store alone.
UNSTEERED = {"wget"}


def untold(tools):
    """The rows as nobody told them of a CA: what they trust is for `attache run --intercept` to arrange."""
    return [client for client in rows(tools, None) if client.name not in UNSTEERED]


def rows(tools, certs):
    """All rows, in the table's order; without `certs` none knows of the test's CA."""
    def ca(name):
        return {name: str(certs.ca)} if certs else {}

    def flag(*words):
        return words if certs else ()

    openssl, node = ca("SSL_CERT_FILE"), ca("NODE_EXTRA_CA_CERTS")
    git = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0", **ca("GIT_SSL_CAINFO")}
    store = f"-Djavax.net.ssl.trustStore={certs.store}" if certs else ""
    trust = flag(store, f"-Djavax.net.ssl.trustStorePassword={PASSWORD}")
    file = certs.ca if certs else None
    programs = tools["programs"]

    def get(*command):
        return lambda base, _: [*map(str, command), f"{base}/hello"]

    def python(name):
        return get(tools["python"], programs / f"get_{name}.py")

    def javascript(name):
        return get(tools["node"], tools["modules"] / f"get_{name}.mjs")

    def java(name):
        return get(tools["java"], *trust, "-cp", tools["classes"], name)

    def clone(base, scratch):
        script = '"$0" clone -q "$1" "$2" && cat "$2/token"'
        return ["sh", "-c", script, tools["git"], f"{base}/repo.git", str(scratch / "clone")]

    return [
        Client("curl", get(tools["curl"], "-sSf", *flag("--cacert", file))),
        Client("wget", get(tools["wget"], "-nv", "-O", "-", "--tries=1", *flag(f"--ca-certificate={file}"))),
        Client("git", clone, git),
        Client("urllib", python("urllib"), openssl),
        Client("requests", python("requests"), ca("REQUESTS_CA_BUNDLE")),
        Client("httpx", python("httpx"), openssl),
        Client("aiohttp-trust-env", python("aiohttp"), openssl),
        Client("axios", javascript("axios"), node),
        Client("undici-agent", javascript("undici"), node),
        Client("java-httpclient", java("GetHttpClient")),
        Client("java-urlconnection", java("GetUrlConnection")),
        Client("go-net-http", get(tools["get-go"]), openssl),
    ]
