#!/bin/bash
# A C project is built on the mount by ninja with four jobs.  The second build has nothing to
# do, also after a remount; a touched header rebuilds those who include it and no others; the
# program runs and gives the right answer.
# shellcheck source=tests/apps/lib.sh
. "$(dirname "$0")/lib.sh"
needs ninja ninja-build
needs gcc gcc
needs python3 python3

n_files=$(pick 120 1000)
src=$mnt/project

# ${n_files} sources, each with a header that its two successors include, a library for each
# twenty, one program.
cat >"$work/generate.py" <<'PY'
import os, sys
root, n = sys.argv[1], int(sys.argv[2])
os.makedirs(root + "/src"); os.chdir(root)
w = open("build.ninja", "w")
w.write("rule cc\n command = gcc -O1 -g -MD -MF $out.d -c $in -o $out\n depfile = $out.d\n deps = gcc\n"
        "rule ar\n command = rm -f $out && ar rcs $out $in\nrule ld\n command = gcc -o $out $in\n")
libs = {}
for i in range(n):
    open("src/f%d.h" % i, "w").write("#pragma once\nint f%d(int);\n" % i)
    seen = [j for j in (i - 1, i - 2) if j >= 0]
    body = "".join('#include "f%d.h"\n' % j for j in [i] + seen)
    body += "#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n"
    body += "".join("static int g%d(int x) { char b[64]; snprintf(b, sizeof(b), \"%%d\", x); "
                    "return atoi(b) + %d - %d; }\n" % (k, k, k) for k in range(20))
    inner = "f%d(x)" % (i - 1) if seen else "x"
    body += "int f%d(int x) { return g%d(%s) + 1; }\n" % (i, i % 20, inner)
    open("src/f%d.c" % i, "w").write(body)
    w.write("build o/f%d.o: cc src/f%d.c\n" % (i, i))
    libs.setdefault(i // 20, []).append("o/f%d.o" % i)
open("src/main.c", "w").write('#include "f%d.h"\n#include <stdio.h>\nint main(void) { '
                              'printf("%%d\\n", f%d(0)); return 0; }\n' % (n - 1, n - 1))
w.write("build o/main.o: cc src/main.c\n")
for k, objects in libs.items(): w.write("build lib%d.a: ar %s\n" % (k, " ".join(objects)))
w.write("build program: ld o/main.o %s\n" % " ".join("lib%d.a" % k for k in sorted(libs, reverse=True)))
PY

nothing_to_do() {
	local out
	out=$(ninja -C "$src") && [[ $out == *"no work to do"* ]] || { echo "$out" | head; return 1; }
}

# f7.h is included by f7, f8 and f9: three objects, their archive, the program.
rebuilds_five() {
	local out
	touch "$src/src/f7.h" && out=$(ninja -C "$src" -d explain -v) || return
	[ "$(grep -c '^\[[0-9]*/5\]' <<<"$out")" = 5 ] || { echo "$out" | tail; return 1; }
}

rebuilds_after_edit() {
	sed -i 's/+ 1; }$/+ 2; }/' "$src/src/f5.c" && ninja -C "$src" &&
		[ "$("$src/program")" = $((n_files + 1)) ]
}

# This project itself, where its sources are at hand.
build_ourselves() {
	local root
	root=$(cd "$(dirname "$0")/../.." && pwd)
	mkdir "$mnt/ours"
	tar -C "$root" --exclude=./.git --exclude='./build*' -cf - . | tar -C "$mnt/ours" -xf - &&
		meson setup "$mnt/ours/build" "$mnt/ours" && ninja -C "$mnt/ours/build" -j4 &&
		"$mnt/ours/build/tools/embassy" version && ninja -C "$mnt/ours/build" | grep 'no work to do'
}

check "a project of $n_files files" python3 "$work/generate.py" "$src" "$n_files"
check "ninja -j4" ninja -C "$src" -j4
check "the program is right" [ "$("$src/program")" = "$n_files" ]
check "the second build does nothing" nothing_to_do
check "a touched header rebuilds what includes it" rebuilds_five
check "an edited source is seen" rebuilds_after_edit
check "remounted" remount_it
check "there is still nothing to do" nothing_to_do
check "ninja -t clean, and all again" bash -c "ninja -C '$src' -t clean && ninja -C '$src' -j4"
check "nothing is missing" nothing_to_do
[ -z "$full" ] || check "this project itself" build_ourselves
conclude
