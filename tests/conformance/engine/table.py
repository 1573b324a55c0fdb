"""What the runs come to: area x passed of each subject, and what is wrong, the worst first."""
from .case import AREAS, SEVERITIES


def known(path):
    """The failures that are accepted, `id mode` to reason; one a line, `*` is any mode."""
    found = {}
    for line in path.read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            case, mode, reason = line.split(None, 2)
            found[case, mode] = reason
    return found


def reason(accepted, result):
    return accepted.get((result.case.id, result.mode)) or accepted.get((result.case.id, "*"))


def tally(results):
    """Area to (passed, total)."""
    counts = {}
    for result in results:
        passed, total = counts.get(result.case.area, (0, 0))
        counts[result.case.area] = passed + (not result.wrong), total + 1
    return counts


def show(runs):
    """`runs`: subject to results."""
    tallies = {subject: tally(results) for subject, results in runs.items()}
    names = [f"{subject.name} {subject.version}" for subject in tallies]
    print("| area | " + " | ".join(names) + " |")
    print("|---" * (len(names) + 1) + "|")
    for area in AREAS:
        cells = [counts.get(area) for counts in tallies.values()]
        if any(cells):
            print(f"| {area} | " + " | ".join(f"{c[0]}/{c[1]}" if c else "-" for c in cells) + " |")
    sums = [tuple(map(sum, zip(*counts.values()))) or (0, 0) for counts in tallies.values()]
    print("| all | " + " | ".join(f"{passed}/{total}" for passed, total in sums) + " |")


def failures(subject, results, accepted, verbose):
    """Prints a subject's failures by severity."""
    wrong = [result for result in results if result.wrong]
    if not wrong:
        return
    print(f"\n{subject.name}:")
    for severity in SEVERITIES:
        for result in (result for result in wrong if result.case.severity == severity):
            why = reason(accepted, result) if accepted else None
            print(f"  {severity:8} {result.case.id} [{result.mode}] {result.case.source}")
            print(f"           {result.wrong}" + (f"\n           known: {why}" if why else ""))
            if verbose:
                print(f"           why: {result.case.why}")
                print(f"           client got: {result.seen.raw[:400]!r} end={result.seen.end}")
                for side in result.seen.origins:
                    print(f"           origin got: {bytes(side.raw[:400])!r} end={side.end}")


def behind(ours, theirs):
    """Areas in which a peer passes a greater share of the cases that both play."""
    mine = {(result.case.id, result.mode): result for result in ours}
    shared = [result for result in theirs if (result.case.id, result.mode) in mine]
    peer, attache = tally(shared), tally([mine[result.case.id, result.mode] for result in shared])
    return [f"{area}: {peer[area][0]} to {attache[area][0]} of {peer[area][1]}"
            for area in peer if peer[area][0] > attache[area][0]]  # fmt: skip
