#!/bin/bash
# Mail delivered by many at once.  Maildir: write into tmp, fsync, link into new, fsync of the
# folder; a reader moves mail from new to cur.  mbox: appended under a dot lock and an fcntl
# lock.  Deliverers are killed now and then.  What a deliverer said is delivered is there, once;
# nothing is torn; an mbox holds messages and nothing between them.
# shellcheck source=tests/apps/lib.sh
. "$(dirname "$0")/lib.sh"
needs python3 python3

cat >"$work/mail.py" <<'PY'
import os, sys, errno, fcntl, hashlib, random, time

def message(who, number):
    body = b"".join(b"line %d of %s.%d\n" % (i, who, number) for i in range(random.randrange(1, 400)))
    return (b"From %s@example.org Mon Jan  1 00:00:00 2024\nSubject: %s.%d\nX-Sum: %s\nLines: %d\n\n" %
            (who, who, number, hashlib.sha256(body).hexdigest().encode(), body.count(b"\n"))) + body + b"\n"

# One whole message at ${at}: its subject and where it ends.
def parse(data, at=0):
    assert data.startswith(b"From ", at), "no message at byte %d: %r" % (at, data[at:at + 40])
    end = data.index(b"\n\n", at)
    head = dict(line.split(b": ", 1) for line in data[at:end].split(b"\n")[1:])
    start = stop = end + 2
    for _ in range(int(head[b"Lines"])): stop = data.index(b"\n", stop) + 1
    assert hashlib.sha256(data[start:stop]).hexdigest().encode() == head[b"X-Sum"], "torn: %r" % head
    assert data[stop:stop + 1] == b"\n"
    return head[b"Subject"].decode(), stop + 1

def write_all(f, data):
    while data: data = data[os.write(f, data):]

def sync_folder(path):
    d = os.open(path, os.O_RDONLY); os.fsync(d); os.close(d)

def to_maildir(box, who, number):
    name = "%d.%d_%d.host" % (time.time(), os.getpid(), number)
    f = os.open(box + "/tmp/" + name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    write_all(f, message(who, number)); os.fsync(f); os.close(f)
    # Old programs link and unlink, newer ones rename.
    if number % 2:
        os.link(box + "/tmp/" + name, box + "/new/" + name); os.unlink(box + "/tmp/" + name)
    else: os.rename(box + "/tmp/" + name, box + "/new/" + name)
    sync_folder(box + "/new")

# The dot lock: a file of our own linked to the lock's name; that it then has two names says
# that it is ours.
class DotLock:
    def __init__(self, box): self.lock, self.own = box + ".lock", "%s.%d" % (box, os.getpid())
    def __enter__(self):
        os.close(os.open(self.own, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
        while True:
            try: os.link(self.own, self.lock)
            except FileExistsError: pass
            if os.stat(self.own).st_nlink == 2: break
            time.sleep(0.001)
        os.unlink(self.own)
    def __exit__(self, *_): os.unlink(self.lock)

class Locked:
    def __init__(self, box):
        self.dot, self.f = DotLock(box), os.open(box, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    def __enter__(self):
        self.dot.__enter__(); fcntl.lockf(self.f, fcntl.LOCK_EX); return self.f
    def __exit__(self, *x):
        fcntl.lockf(self.f, fcntl.LOCK_UN); os.close(self.f); self.dot.__exit__()

# A deliverer that fails midway cuts off what it appended.
def to_mbox(box, who, number):
    with Locked(box) as f:
        end, data = os.fstat(f).st_size, message(who, number)
        write_all(f, data[:len(data) // 2])
        if number % 7 == 3: os.ftruncate(f, end); write_all(f, data)
        else: write_all(f, data[len(data) // 2:])
        os.fsync(f)

def deliver(kind, box, who, first, last):
    for n in range(first, last + 1):
        (to_maildir if kind == "maildir" else to_mbox)(box, who.encode(), n)
        os.write(1, b"%s.%d\n" % (who.encode(), n))

def subjects_of_mbox(box):
    with Locked(box) as f: data = os.pread(f, os.fstat(f).st_size + 1, 0)
    at, found = 0, []
    while at < len(data):
        subject, at = parse(data, at); found.append(subject)
    return found

def read_all(f):
    return b"".join(iter(lambda: os.read(f, 1 << 20), b""))

# After a rename, link or unlink, Linux's FUSE sends the file's times.  If the process is killed, the
# kernel may give that up.  It takes this for a write that failed: whoever closes the file next is told
# EIO, once, though nothing is lost.  Only the killed deliverer's last message may meet that.
def close_after_kill(f, path, data, killed, told):
    try: os.close(f)
    except OSError as e:
        if e.errno != errno.EIO: raise
        subject = parse(data)[0]
        assert subject.startswith(killed + ".") and not told, "EIO on close: %s" % subject
        told.append(subject)
        f = os.open(path, os.O_RDONLY); assert read_all(f) == data; os.close(f)

# Reads and files away what is new, until the file ${stop} is there and nothing is new any more.
def read_maildir(box, stop, killed):
    told = []
    while True:
        last = os.path.exists(stop)
        for name in os.listdir(box + "/new"):
            path = box + "/new/" + name
            f = os.open(path, os.O_RDONLY)
            data = read_all(f)
            assert parse(data)[1] == len(data)
            close_after_kill(f, path, data, killed, told)
            os.rename(path, box + "/cur/" + name + ":2,S")
        if last and not os.listdir(box + "/new"): return

def read_mbox(box, stop):
    before = []
    while not os.path.exists(stop):
        found = subjects_of_mbox(box)
        assert found[:len(before)] == before, "what was read before has changed"
        before = found

def verify(kind, box, delivered):
    if kind == "mbox": found = subjects_of_mbox(box)
    else:
        paths = ["%s/%s/%s" % (box, d, n) for d in ("new", "cur") for n in os.listdir(box + "/" + d)]
        found = [parse(open(p, "rb").read())[0] for p in paths]
    want = [line for path in delivered for line in open(path).read().split("\n")[:-1]]
    missing = set(want) - set(found)
    assert len(want) > 0 and not missing, "lost: %s" % sorted(missing)[:5]
    assert len(set(found)) == len(found), "delivered twice"
    # A deliverer that was killed may have delivered one message that it did not live to tell of.
    assert len(found) <= len(want) + len(delivered), \
        "%d messages, %d were delivered" % (len(found), len(want))
    print("%d messages" % len(found))

command, kind, box = sys.argv[1:4]
if command == "deliver": deliver(kind, box, sys.argv[4], int(sys.argv[5]), int(sys.argv[6]))
elif command == "read" and kind == "maildir": read_maildir(box, sys.argv[4], sys.argv[5])
elif command == "read": read_mbox(box, sys.argv[4])
elif command == "verify": verify(kind, box, sys.argv[4:])
PY

n_deliverers=$(pick 4 8)
n_mails=$(pick 120 3000)

deliver_all() { # deliver_all KIND BOX: at once, one of them killed midway; a reader meanwhile
	local kind=$1 box=$2 pids=() who reader rc=0
	rm -f "$work/stop"
	for who in $(seq "$n_deliverers"); do
		python3 "$work/mail.py" deliver "$kind" "$box" "$kind-$who" 1 "$n_mails" \
			>"$work/$kind.$who" &
		pids+=($!)
	done
	python3 "$work/mail.py" read "$kind" "$box" "$work/stop" "$kind-1" &
	reader=$!
	if [ "$kind" = maildir ]; then
		# An mbox's deliverer would leave its lock and half a message, as it does
		# everywhere.
		wait_lines $((n_mails / 3)) "$work/$kind.1" "${pids[0]}" || rc=1
		kill -KILL "${pids[0]}"
		wait "${pids[0]}" 2>/dev/null
		unset 'pids[0]'
	fi
	for who in "${pids[@]}"; do wait "$who" || rc=1; done
	: >"$work/stop"
	wait $reader || rc=1
	return $rc
}

verify() { python3 "$work/mail.py" verify "$1" "$2" "$work/$1".[0-9]*; }

notices_loss() { # a message less, and the check must say so
	local one
	one=$(find "$mnt/maildir/cur" -type f | tail -1)
	mv "$one" "$work/aside"
	! verify maildir "$mnt/maildir" >/dev/null 2>&1 || return
	cp "$work/aside" "$one"
}

mkdir -p "$mnt"/maildir/{tmp,new,cur}
check "Maildir: $n_deliverers deliver $n_mails each, one is killed, one reads" \
	deliver_all maildir "$mnt/maildir"
check "Maildir: nothing lost, torn or twice" verify maildir "$mnt/maildir"
check "the check sees a loss" notices_loss
check "mbox: $n_deliverers deliver $n_mails each under two locks, one reads" \
	deliver_all mbox "$mnt/mbox"
check "mbox: nothing lost, torn or twice" verify mbox "$mnt/mbox"
check "mbox: no lock is left" [ "$(cd "$mnt" && echo mbox*)" = mbox ]
check "the mount is killed" kill_mount
# The last lock's removal was not synced, so the lock may be back: stale, as after any crash, and removed as at any boot.
rm -f "$mnt"/mbox.*
check "Maildir: all delivered mail survives" verify maildir "$mnt/maildir"
check "mbox: all delivered mail survives" verify mbox "$mnt/mbox"
conclude
