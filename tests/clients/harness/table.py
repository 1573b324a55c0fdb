"""The expectation file, and the table as printed: one row a client, one column a cell, reasons below."""

CELLS = [("env", "http"), ("env", "https"), ("run", "http"), ("run", "https")]
LETTERS = {"P", "C", "-"}


def expected(path):
    """`{client: {(mode, scheme): letter}}`; a row that does not fit is an error."""
    table = {}
    for line in path.read_text().splitlines():
        words = line.partition("#")[0].split()
        if not words:
            continue
        name, *letters = words
        if len(letters) != len(CELLS) or not LETTERS.issuperset(letters) or name in table:
            raise ValueError(f"{path.name}: {line!r}: want a new name and {len(CELLS)} of {sorted(LETTERS)}")
        table[name] = dict(zip(CELLS, letters))
    return table


class Report:
    """Prints as it counts."""

    def __init__(self):
        self.passed = self.failed = 0
        self.reasons = []

    def head(self):
        titles = "".join(f"{f'{mode} {scheme}':<13}" for mode, scheme in CELLS)
        print(f"{'client':<20}{'version':<23}{titles}".rstrip())

    def row(self, name, version, wanted, cells):
        """`cells` is `{(mode, scheme): (letter, faults, context)}`."""
        text = ""
        for cell in CELLS:
            letter, faults, context = cells[cell]
            if letter != wanted[cell]:
                faults = [f"is {letter}, must be {wanted[cell]}", *faults]
            self._count(f"{name}, {' '.join(cell)}", faults, context)
            text += f"{f'{letter} MISMATCH' if faults else f'{letter} ok':<13}"
        print(f"{name:<20}{version:<23}{text}".rstrip())

    def check(self, what, faults, context=""):
        """A line below the table."""
        self._count(what, faults, context)
        print(f"{'MISMATCH' if faults else 'ok':<10}{what}")

    def close(self):
        """The reasons, the closing line, and the exit code."""
        if self.reasons:
            print("\n" + "\n".join(self.reasons))
        print(f"\n{self.passed} passed, {self.failed} failed")
        return 1 if self.failed else 0

    def _count(self, what, faults, context):
        if not faults:
            self.passed += 1
            return
        self.failed += 1
        self.reasons.append("\n".join([f"{what}:", *(f"  {fault}" for fault in faults)]))
        if context:
            self.reasons.append("\n".join(f"    | {line}" for line in context.splitlines()))
