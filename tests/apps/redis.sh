#!/bin/bash
# Redis with an append-only file that is synced for every command (appendfsync always).  The
# server is killed under its clients' load, in the last round the mount is; what a client was
# answered is there again, and the file is whole.
# shellcheck source=tests/apps/lib.sh
. "$(dirname "$0")/lib.sh"
needs python3 python3
# The same program as redis-server, which Debian puts into another package together with a service.
needs redis-check-rdb redis-tools

server=$work/redis-server
ln -s "$(command -v redis-check-rdb)" "$server"
mkdir "$mnt/redis"

cat >"$work/client.py" <<'PY'
import sys, os, socket

class Client:
    def __init__(self, path):
        self.s = socket.socket(socket.AF_UNIX); self.s.connect(path); self.f = self.s.makefile("rb")
    def __call__(self, *words):
        parts = [w if isinstance(w, bytes) else str(w).encode() for w in words]
        self.s.sendall(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts))
        return self.answer()
    def answer(self):
        line = self.f.readline()
        if not line.endswith(b"\r\n"): raise ConnectionError
        kind, rest = line[:1], line[1:-2]
        if kind == b"-": raise RuntimeError(rest.decode())
        if kind == b":": return int(rest)
        if kind == b"$": return None if rest == b"-1" else self.f.read(int(rest) + 2)[:-2]
        return rest

def value(who, n): return b"%s:%d;" % (who.encode(), n) * (1 + n % 200)

# Each number goes to standard output once all its three commands were answered.
def load(path, who):
    c, n = Client(path), 0
    try:
        while True:
            c("SET", "%s:%d" % (who, n % 500), value(who, n))
            c("RPUSH", who + ":list", n)
            c("INCR", who + ":count")
            os.write(1, b"%d\n" % n); n += 1
    except (ConnectionError, OSError): pass

def verify(path, logs):
    c, total = Client(path), 0
    for log in logs:
        who = os.path.basename(log)
        done = len(open(log).read().split("\n")) - 1
        count, length = int(c("GET", who + ":count") or 0), c("LLEN", who + ":list")
        assert done <= count <= done + 1 and count <= length <= count + 1, \
            "%s: told %d, found %d and %d" % (who, done, count, length)
        for k in range(0, length, 37): assert int(c("LINDEX", who + ":list", k)) == k
        for n in range(max(0, done - 500), done):
            v = c("GET", "%s:%d" % (who, n % 500))
            assert v == value(who, n) or n + 500 == done and v == value(who, done), \
                "%s: number %d is %r" % (who, n, v[:20])
        total += done
    assert total > 0
    print("%d answered" % total)

if sys.argv[1] == "load": load(*sys.argv[2:4])
elif sys.argv[1] == "verify": verify(sys.argv[2], sys.argv[3:])
else:
    print(Client(sys.argv[2])(*sys.argv[3:]))
PY

sock=$work/sock
server_pid=''
redis() { python3 "$work/client.py" command "$sock" "$@"; }

answers() { redis PING >/dev/null 2>&1; }

start_server() {
	"$server" --port 0 --unixsocket "$sock" --dir "$mnt/redis" --appendonly yes --appendfsync always \
		--save '' --auto-aof-rewrite-min-size 64kb --auto-aof-rewrite-percentage 50 --aof-load-truncated yes \
		--logfile "$work/redis.log" &
	server_pid=$!
	wait_until 60 answers || { tail "$work/redis.log"; return 1; }
}

stop_server() { # stop_server SIGNAL
	kill "-$1" "$server_pid"
	wait "$server_pid" 2>/dev/null
	rm -f "$sock"
}

n_clients=4
n_commands=$(pick 500 20000)

# One round: clients until the first has so many answers; then COMMAND.
load_until() { # load_until ROUND COMMAND...
	local round=$1 pids=() w rc=0
	shift
	for w in $(seq "$n_clients"); do
		python3 "$work/client.py" load "$sock" "r$round.$w" >"$work/r$round.$w" &
		pids+=($!)
	done
	wait_lines "$n_commands" "$work/r$round.1" "${pids[0]}" || rc=1
	"$@" || rc=1
	wait "${pids[@]}"
	return $rc
}

server_and_mount() {
	kill_mount || return
	stop_server KILL
}

verify() { python3 "$work/client.py" verify "$sock" "$work"/r[0-9]*.*; }

whole() {
	local manifest
	manifest=$(echo "$mnt"/redis/appendonlydir/*.manifest)
	redis-check-aof "$manifest"
}

check "started" start_server || give_up "no Redis"
rounds=$(pick 2 8)
for round in $(seq "$rounds"); do
	check "round $round: $n_clients clients, then the server is killed" \
		load_until "$round" stop_server KILL
	check "round $round: started again" start_server || give_up "no Redis"
	check "round $round: nothing answered is lost" verify
done
check "the file is rewritten" redis BGREWRITEAOF
check "then the mount is killed under them" load_until $((rounds + 1)) server_and_mount
check "started again" start_server || give_up "no Redis"
check "nothing answered is lost" verify
check "shut down" stop_server TERM
check "redis-check-aof: the file is whole" whole
check "started on it" start_server || give_up "no Redis"
check "nothing is lost" verify
check "the check sees a loss" bash -c "python3 '$work/client.py' command '$sock' DECR r1.1:count &&
	python3 '$work/client.py' command '$sock' DECR r1.1:count &&
	! python3 '$work/client.py' verify '$sock' '$work/r1.1' 2>/dev/null"
check "shut down" stop_server TERM
conclude
