#!/usr/bin/env python3
"""The table of compare: what each contender reached.

table.py ROWS NAME...
ROWS holds a line for each measurement, NAME WORKLOAD VALUE UNIT, set apart by tabs.  The first NAME is
the baseline.
"""

import statistics
import sys
from collections import defaultdict


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


def main():
    rows, names = sys.argv[1], sys.argv[2:]
    print("## Speed\n")
    print("Medians. In brackets: the ratio to the disk's own filesystem (above 1 is better), and half")
    print("the spread of the rounds. Reading is cold but where it says warm.\n")
    print_table(["workload", "unit", *names], speed_rows(lines_of(rows), names))


if __name__ == "__main__":
    main()
