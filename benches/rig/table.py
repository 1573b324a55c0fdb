"""Medians, ranges, and Markdown tables that line up."""

import statistics


def spread(values, digits):
    """`median [low-high]`."""
    values = [v for v in values if v is not None]
    if not values:
        return "-"
    shown = f"{statistics.median(values):.{digits}f}"
    if len(values) == 1:
        return shown
    return f"{shown} [{min(values):.{digits}f}-{max(values):.{digits}f}]"


def show(heads, rows):
    widths = [max(len(str(row[i])) for row in [heads, *rows]) for i in range(len(heads))]
    rule = ["-" * w for w in widths]
    return "\n".join("| " + " | ".join(str(c).ljust(w) for c, w in zip(row, widths)) + " |" for row in [heads, rule, *rows])
