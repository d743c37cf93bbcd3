#!/usr/bin/env python3
"""The tables of compare: what each contender reached, and what that cost.

table.py ROWS COSTS NAME...
Both files hold a line for each measurement, its words set apart by tabs:
ROWS has NAME WORKLOAD VALUE UNIT, COSTS has NAME WORKLOAD COUNTER VALUE AMOUNT,
where AMOUNT is how many bytes or operations VALUE was spent on.  The first NAME is the baseline.
"""

import statistics
import sys
from collections import defaultdict

PAGE = 4096

# What is told of CPU seconds: (of what, workload, unit, how many of that unit a second for each
# byte or operation is).
CPU = [
    ("sequential write", "write", "s/GB", 1e9),
    ("text write", "write-text", "s/GB", 1e9),
    ("sequential read, cold", "read", "s/GB", 1e9),
    ("text read, cold", "read-text", "s/GB", 1e9),
    ("a small file created", "create", "µs", 1e6),
    ("an fsync, 1 thread", "fsync-1", "µs", 1e6),
    ("an fsync, 8 threads", "fsync-8", "µs", 1e6),
    ("a random read, 1 thread", "random-read-1", "µs", 1e6),
    ("a random read, 4 threads", "random-read-4", "µs", 1e6),
    ("a transaction of pgbench", "pgbench", "µs", 1e6),
]

# What is told of bytes: (of what, workload, bytes that the application wrote in an operation).
BYTES = [
    ("sequential write", "write", 1),
    ("text write", "write-text", 1),
    ("random writes of 4 KiB", "random-write", PAGE),
    ("random overwrites of 8 KiB", "overwrite-8k", 2 * PAGE),
    ("small files created", "create", PAGE),
    ("fsync of 4 KiB, 1 thread", "fsync-1", PAGE),
    ("fsync of 4 KiB, 8 threads", "fsync-8", PAGE),
]


def lines_of(path):
    with open(path, encoding="utf-8") as f:
        return [line.rstrip("\n").split("\t") for line in f]


def number(x):
    return f"{x:.0f}" if abs(x) >= 100 else f"{x:.1f}" if abs(x) >= 10 else f"{x:.2f}"


def noise(values):
    """Half the spread of the rounds, in percent of the median."""
    median = statistics.median(values)
    return f"±{50 * (max(values) - min(values)) / median if median > 0 else 0:.0f}%"


def print_table(columns, rows):
    print("| " + " | ".join(columns) + " |")
    print("|" + "---|" * len(columns))
    for row in rows:
        print("| " + " | ".join(row) + " |")


def speed_rows(lines, names):
    values, units = defaultdict(list), {}
    for name, workload, value, unit in lines:
        values[workload, name].append(float(value))
        units[workload] = unit
    for workload, unit in units.items():
        base = statistics.median(values[workload, names[0]] or [0])
        cells = []
        for name in names:
            cell = values[workload, name]
            if not cell:
                cells.append("")
                continue
            x = statistics.median(cell)
            less_is_better = unit in ("s", "us", "MiB")
            ratio = (base / x if less_is_better else x / base) if base > 0 and x > 0 else 0
            cells.append(f"{number(x)} ({ratio:.2f}, {noise(cell)})")
        yield [workload, unit, *cells]


class Costs:
    """Values of (workload, counter, name) for each byte or operation, one a round."""

    def __init__(self, lines):
        self.values = defaultdict(list)
        for name, workload, counter, value, amount in lines:
            if float(amount) > 0:
                self.values[workload, counter, name].append(float(value) / float(amount))

    def row(self, workload, counter, factor, names):
        """Cells, or None if nobody has such a cost."""
        cells = []
        for name in names:
            values = [factor * v for v in self.values[workload, counter, name]]
            cells.append(f"{number(statistics.median(values))} ({noise(values)})" if values else "")
        return cells if any(cells) else None

    def cpu(self, names):
        for what, workload, unit, factor in CPU:
            for counter in ("daemon", "embassyd", "system"):
                if cells := self.row(workload, counter, factor, names):
                    yield [f"CPU: {what}", counter, unit, *cells]

    def bytes(self, names):
        for counter, title in (("disk", "written to the disk"), ("sent", "sent to the embassy")):
            for what, workload, size in BYTES:
                if cells := self.row(workload, counter, 1 / size, names):
                    yield [f"{title}: {what}", counter, "byte/byte", *cells]


def main():
    rows, costs, names = sys.argv[1], sys.argv[2], sys.argv[3:]
    print("## Speed\n")
    print("Medians. In brackets: the ratio to the disk's own filesystem (above 1 is better), and half")
    print("the spread of the rounds. Reading is cold but where it says warm.\n")
    print_table(["workload", "unit", *names], speed_rows(lines_of(rows), names))
    print("\n## Costs\n")
    print("Medians, and half the spread of the rounds. What is counted, tests/bench/README.md says.\n")
    table = Costs(lines_of(costs))
    print_table(["cost", "of", "unit", *names], [*table.cpu(names), *table.bytes(names)])


if __name__ == "__main__":
    main()
