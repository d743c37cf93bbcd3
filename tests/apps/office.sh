#!/bin/bash
# Saving as office programs do: the new version into a temporary file, fsync, rename over the
# old, fsync of the folder. A reader sees the old or the new version, whole, and never an older
# one again; a save that returned survives the mount.
# shellcheck source=tests/apps/lib.sh
. "$(dirname "$0")/lib.sh"
needs python3 python3

# A version says its number in every line, so that a mix of two, or a part of one, is seen.
cat >"$work/office.py" <<'PY'
import os, sys, random

def version(number):
    return b"version %08d\n" % number * random.Random(number).randrange(1, 20000)

def number_of(data):
    n = int(data[8:16])
    assert data == version(n), "torn: %d bytes of version %d" % (len(data), n)
    return n

def save(path, n):
    folder, temporary = os.path.dirname(path), "%s.tmp%d" % (path, os.getpid())
    f = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    data = version(n)
    while data: data = data[os.write(f, data):]
    os.fsync(f); os.close(f)
    os.rename(temporary, path)
    d = os.open(folder, os.O_RDONLY); os.fsync(d); os.close(d)

def reader(path, until):
    last, reads = 0, 0
    while last < until:
        with open(path, "rb") as f: n = number_of(f.read())
        assert n >= last, "version %d after %d" % (n, last)
        last, reads = n, reads + 1
    assert reads > 1
    print("read", reads)

command, path = sys.argv[1:3]
if command == "save":
    for n in range(int(sys.argv[3]), int(sys.argv[4]) + 1):
        save(path, n)
        print(n, flush=True)
elif command == "read": reader(path, int(sys.argv[3]))
elif command == "is": 
    n = number_of(open(path, "rb").read()); print(n)
    assert n >= int(sys.argv[3]), "version %d, where %s was saved" % (n, sys.argv[3])
PY
office() { python3 "$work/office.py" "$@"; }

doc=$mnt/documents/report.odt
mkdir "$mnt/documents"
saves=$(pick 300 5000)

save_while_read() {
	local readers=() r rc=0
	office save "$doc" 1 1 >/dev/null || return
	for r in 1 2 3; do
		office read "$doc" "$saves" &
		readers+=($!)
	done
	# A reader that has failed must not be hidden by the others.
	office save "$doc" 2 "$saves" >/dev/null || rc=1
	for r in "${readers[@]}"; do wait "$r" || rc=1; done
	return $rc
}

survives_kill() {
	local pid rc=0
	: >"$work/saved" # what an earlier round left must not be taken for this one's
	python3 "$work/office.py" save "$doc" $((saves + 1)) $((saves + 1000000)) \
		>"$work/saved" 2>/dev/null &
	pid=$!
	wait_lines "$(pick 20 200)" "$work/saved" $pid && kill_mount $pid || rc=1
	kill -KILL $pid 2>/dev/null
	wait $pid 2>/dev/null
	[ $rc = 0 ] && office is "$doc" "$(tail -n 1 "$work/saved")"
}

check "$saves saves under three readers: the old or the new version, whole" save_while_read
check "nothing but the document is left" [ "$(ls -A "$mnt/documents")" = report.odt ]
check "the reader can tell a mix" bash -c "head -c 1000 '$doc' >'$work/torn' &&
	! python3 '$work/office.py' is '$work/torn' 0"
for round in $(seq "$(pick 2 10)"); do
	check "the mount is killed, round $round: a save that returned is there" survives_kill
done
check "remounted" remount_it
check "and still whole" office is "$doc" "$saves"
conclude
