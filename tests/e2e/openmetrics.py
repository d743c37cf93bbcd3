#!/usr/bin/env python3
"""Is standard input OpenMetrics text (version 1.0.0), to the letter, as Prometheus and others read it?

usage: openmetrics.py [NAME{label="value",...}]...

Each argument is a sample that must be there; its value is printed.  Exit code 0 if all is well; else what is wrong is
said, with the number of the line.
"""

import math
import re
import sys

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"'
NUMBER = r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[+-]?Inf|NaN"
SAMPLE = re.compile(rf"({NAME})(?:\{{((?:{LABEL}(?:,{LABEL})*)?)\}})? ({NUMBER})")
# What may follow the name of a family, by its type.
SUFFIXES = {"counter": {"_total", "_created"}, "gauge": {""}, "info": {"_info"}, "stateset": {""}, "unknown": {""},
            "histogram": {"_bucket", "_count", "_sum", "_created"}}


class Wrong(Exception):
    pass


def need(good, what):
    if not good:
        raise Wrong(what)


class Family:
    def __init__(self, name):
        self.name, self.type, self.about = name, "unknown", set()
        self.sets = []  # of labels but le and the state, in the order in which they begin
        self.samples = {}

    def describe(self, keyword, text):
        need(keyword not in self.about, f"a second {keyword}")
        need(not self.samples, f"{keyword} behind a sample")
        self.about.add(keyword)
        if keyword == "TYPE":
            need(text in SUFFIXES, f"type '{text}'")
            self.type = text
        elif keyword == "UNIT":
            need(text == "" or self.name.endswith("_" + text), f"the name does not end with the unit '{text}'")
            need(text == "" or self.type not in ("info", "stateset"), f"a unit of a {self.type}")
        else:
            need(re.fullmatch(r'(?:[^\\\n"]|\\[\\n"])*', text), "HELP with what is to be escaped")

    def add(self, name, labels, value):
        suffix = name[len(self.name):]
        need(suffix in SUFFIXES[self.type], f"'{name}' in the family '{self.name}' of type {self.type}")
        own = {"histogram": "le" if suffix == "_bucket" else None, "stateset": self.name}.get(self.type)
        need(own is None or own in labels, f"'{name}' without the label '{own}'")
        need("le" not in labels or own == "le", "a label 'le'")
        rest = tuple(sorted((k, v) for k, v in labels.items() if k != own))
        if rest not in self.sets:
            self.sets.append(rest)
        need(self.sets[-1] == rest, "the samples of two sets of labels are mixed")
        key = (name, tuple(sorted(labels.items())))
        need(key not in self.samples, f"'{name}' twice with the same labels")
        self.samples[key] = value
        if self.type in ("counter", "histogram"):
            need(value >= 0, f"{value} of a {self.type}")
        if suffix in ("_bucket", "_count"):
            need(value == int(value), f"a count of {value}")
        if self.type == "info":
            need(value == 1, f"{value} of an info")
        if self.type == "stateset":
            need(value in (0, 1), f"{value} of a stateset")

    def end(self):
        if self.type != "histogram":
            return
        for rest in self.sets:
            of = {}
            for (name, labels), value in self.samples.items():
                if tuple(x for x in labels if x[0] != "le") == rest:
                    of.setdefault(name[len(self.name):], []).append((dict(labels).get("le"), value))
            need(all(re.fullmatch(NUMBER, le) for le, _ in of.get("_bucket", [])), "a bound that is no number")
            bounds = [float(le.replace("Inf", "inf")) for le, _ in of.get("_bucket", [])]
            counts = [n for _, n in of.get("_bucket", [])]
            need(bounds and bounds[-1] == math.inf, "a histogram without the bucket +Inf, or not at its end")
            need(bounds == sorted(set(bounds)) and bounds[0] >= 0, "buckets are not in order, or of less than nothing")
            need(counts == sorted(counts), "a bucket has less than the one before")
            need(("_count" in of) == ("_sum" in of), "a histogram with one of sum and count")
            need("_count" not in of or of["_count"][0][1] == counts[-1], "count is not the bucket +Inf")


def unescape(text):
    return re.sub(r"\\(.)", lambda m: {"n": "\n"}.get(m.group(1), m.group(1)), text)


class Reader:
    def __init__(self):
        self.family, self.families, self.samples = None, {}, {}

    def enter(self, name):
        """The family ${name} goes on, or begins: no other of that name was there, nor one that would have its samples."""
        if self.family and self.family.name == name:
            return
        if self.family:
            self.family.end()
        need(name not in self.families, f"the family '{name}' is not in one piece")
        self.family = self.families[name] = Family(name)

    def meta(self, line):
        m = re.fullmatch(rf"# (TYPE|UNIT|HELP) ({NAME}) (.*)", line)
        need(m, "neither a sample nor TYPE, UNIT or HELP")
        self.enter(m.group(2))
        self.family.describe(m.group(1), m.group(3))

    def sample(self, line):
        m = SAMPLE.fullmatch(line)
        need(m, "no sample")
        name, labels = m.group(1), {}
        for key, value in re.findall(LABEL, m.group(2) or ""):
            need(key not in labels, f"the label '{key}' twice")
            labels[key] = unescape(value)
        of = self.family
        if not of or not (name.startswith(of.name) and name[len(of.name):] in SUFFIXES[of.type]):
            raise Wrong(f"'{name}' is of no family that was announced")
        value = float(m.groups()[-1].replace("Inf", "inf"))
        of.add(name, labels, value)
        self.samples[(name, tuple(sorted(labels.items())))] = m.groups()[-1]

    def read(self, text):
        need(text.endswith("# EOF\n"), "it does not end with '# EOF' and a newline")
        lines = text[:-1].split("\n")
        for i, line in enumerate(lines[:-1]):
            try:
                (self.meta if line.startswith("#") else self.sample)(line)
            except Wrong as e:
                raise Wrong(f"line {i + 1}: {e}: {line}") from None
        if self.family:
            self.family.end()
        for name in self.families:
            for suffix in SUFFIXES[self.families[name].type] - {""}:
                need(name + suffix not in self.families, f"the family '{name + suffix}' has the name of a sample")


def main():
    reader = Reader()
    try:
        reader.read(sys.stdin.buffer.read().decode("utf-8"))
        for want in sys.argv[1:]:
            name, _, labels = want.partition("{")
            key = (name, tuple(sorted((k, unescape(v)) for k, v in re.findall(LABEL, labels))))
            need(key in reader.samples, f"there is no {want}")
            print(reader.samples[key])
    except (Wrong, UnicodeDecodeError) as e:
        sys.exit(f"openmetrics: {e}")


if __name__ == "__main__":
    main()
