"""How a secret is looked for, and what was found where."""
import base64
from urllib.parse import quote


class Report:
    """One line a check, and the count at the end."""

    def __init__(self):
        self.passed = self.failed = 0

    def check(self, name, good, seen=""):
        self.passed, self.failed = self.passed + bool(good), self.failed + (not good)
        if not good:
            print(f"FAILED {name}{f': {seen}' if seen else ''}", flush=True)

    def close(self):
        print(f"\n{self.passed} passed, {self.failed} failed")
        return 1 if self.failed else 0


def forms(secret):
    """A secret as it may be written: plain, hexadecimal, percent-encoded, and within base64 at each of three offsets."""
    raw = secret.encode()
    found = {secret, raw.hex(), raw.hex().upper(), quote(secret, safe="")}
    for before in range(3):
        # What stands before and behind changes the first and last characters: they are left out.
        text = base64.b64encode(b"\0" * before + raw).decode().rstrip("=")
        inside = text[2 if before else 0:][before and 2:-2]
        found |= {inside, inside.replace("+", "-").replace("/", "_")}
    return {form for form in found if len(form) >= 8}


def all(needles, surfaces, report):
    """`needles`: {name: secret}; `surfaces`: {name: text}."""
    written = {name: forms(secret) for name, secret in needles.items()}
    for surface, text in surfaces.items():
        report.check(f"{surface}: there is something to search", text.strip())
        for name, ways in written.items():
            at = next((way for way in ways if way in text), None)
            place = text.find(at) if at else 0
            report.check(f"{surface}: no {name}", at is None, text[max(0, place - 160):place + 40] if at else "")
    print(f"{len(surfaces)} surfaces, {len(needles)} secrets, {sum(map(len, written.values()))} forms")
