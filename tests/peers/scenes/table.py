"""The expectation file, and the table as printed: one row a way, the checks that are `ok` behind it, reasons below."""


def expected(path):
    """`{row: [check]}`: a row is indented under the kind whose checks it must pass; `!check` takes one away."""
    table, kind = {}, []
    for line in path.read_text().splitlines():
        text = line.partition("#")[0]
        words = text.split()
        if not words:
            continue
        if not text[0].isspace():
            kind = words[1:]
            continue
        name, *changes = words
        wrong = [change for change in changes if change[0] != "!" or change[1:] not in kind]
        if wrong or name in table:
            raise ValueError(f"{path.name}: {line!r}: want a new row, and !check for what it need not pass")
        table[name] = [check for check in kind if f"!{check}" not in changes]
    return table


class Report:
    """Prints as it counts."""

    def __init__(self):
        self.passed = self.failed = 0
        self.reasons = []

    def row(self, name, wanted, verdicts, context):
        """`verdicts` is `{check: verdict}`."""
        marks = []
        for check in wanted:
            verdict = verdicts.get(check, "was not run")
            marks.append(check if verdict == "ok" else f"{check}:FAILED")
            self._count(f"{name}, {check}", [] if verdict == "ok" else [verdict], context)
        if more := [check for check in verdicts if check not in wanted and verdicts[check] == "ok"]:
            self._count(f"{name}: passes what expected.txt says it cannot: {', '.join(more)}", ["mismatch"], "")
        print(f"{name:<34}{' '.join(marks)}", flush=True)

    def check(self, what, faults):
        """A line below the table."""
        self._count(what, faults, "")
        print(f"\n{'MISMATCH' if faults else 'ok':<10}{what}")

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
            self.reasons.append("\n".join(f"    | {line}" for line in context.splitlines()[-12:]))
