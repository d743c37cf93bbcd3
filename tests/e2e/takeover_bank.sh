#!/bin/bash
# A bank on a mount that replicates, while the mount's daemon is killed again and again: pgbench sees no error, PostgreSQL
# says nothing, what was open of the past is read on, and home and embassy agree to the last head.
#
# usage: takeover_bank.sh [BUILD-DIR] [--spoil]		as root; --spoil mounts without a supervisor, and must fail
set -uo pipefail

here=$(realpath "$(dirname "$0")")
# shellcheck source=tools/lib.sh
. "$here/../../tools/lib.sh"
build=$here/../../build options=''
for arg; do
	case $arg in --spoil) options=nosupervise, ;; *) build=$arg ;; esac
done
build=$(realpath "$build")
[ "$(id -u)" = 0 ] || die "it mounts; run it as root"
pg_bin=$(find /usr/lib/postgresql -mindepth 2 -maxdepth 2 -name bin 2>/dev/null | sort -V | tail -1)
[ -n "$pg_bin" ] || die "PostgreSQL is missing; apt-get install postgresql"
embassy=$build/tools/embassy
kills_wanted=8

w=$(mktemp -d "${TMPDIR:-/var/tmp}/embassyfs-bank.XXXXXX")
chmod 755 "$w"
mnt=$w/mnt data=$w/mnt/data sockets=$w/sockets
passed=0 failed=0 server_pid='' load=''
mkdir "$mnt" "$w/store"
seed=${SEED:-$RANDOM}
RANDOM=$seed
echo "SEED=$seed"

daemon() { daemon_of "$mnt"; }

cleanup() {
	trap - EXIT
	touch "$w/stop"
	[ -z "$load" ] || kill "$load" 2>/dev/null
	timeout 20 setpriv --reuid=postgres --regid=postgres --clear-groups "$pg_bin/pg_ctl" -D "$data" -m immediate -s stop \
		2>/dev/null
	# shellcheck disable=SC2046 # lists of process ids
	kill -KILL $(supervisors_of $(daemon)) $(daemon) 2>/dev/null
	[ -z "$server_pid" ] || kill -KILL "$server_pid" 2>/dev/null
	umount -l "$mnt" 2>/dev/null
	wait 2>/dev/null
	rm -rf --one-file-system "$w"
}
trap cleanup EXIT
trap 'exit 130' INT TERM HUP

as_postgres() {
	setpriv --reuid=postgres --regid=postgres --init-groups env -i PATH="$pg_bin:/usr/bin:/bin" HOME="$w" \
		LC_ALL=C.UTF-8 timeout 120 "$@"
}

sql() { as_postgres psql -h "$sockets" -d bank -AtqX -v ON_ERROR_STOP=1 -c "$1"; }

start_postgres() {
	as_postgres pg_ctl -D "$data" -l "$w/logs/server" -w -s start -o "-c listen_addresses='' -c fsync=on \
		-c unix_socket_directories='$sockets' -c shared_buffers=8MB -c checkpoint_timeout=30s \
		-c max_wal_size=32MB -c min_wal_size=32MB" || { tail "$w/logs/server"; return 1; }
}

field() { timeout 20 "$embassy" status "$mnt" --json | jq -r "$1"; }
another() { [ -n "$(daemon)" ] && [ "$(daemon)" != "$1" ]; }
acknowledged_past() { [ "$(field '.embassies[0].acknowledged')" -gt "$1" ]; }

# At a moment of its own, while data is under way to the embassy; which then gets more.
kill_daemon() {
	local pid before
	before=$(field '.embassies[0].acknowledged') && pid=$(daemon) || return
	sleep "$(awk -v r=$RANDOM 'BEGIN {printf "%.3f", r / 65536}')"
	kill -KILL "$pid" && wait_until 10 another "$pid" && wait_until 15 acknowledged_past "$before"
}

load_ended() {
	# shellcheck disable=SC2046 # a list of process ids
	kill -ALRM $(pids_of pgbench "$sockets") # its own way to end in time
	wait "$load" || { tail -3 "$w/load"; return 1; }
	load=''
	cat "$w/load"
	! grep -qiE 'error|aborted|fatal|could not' "$w/load" &&
		grep -q '^number of failed transactions: 0 ' "$w/load"
}

# Each transaction that pgbench was told of is there, and none that it was not.
balances_agree() {
	local told
	told=$(sed -n 's/^number of transactions actually processed: \([0-9]*\).*/\1/p' "$w/load")
	[ "${told:-0}" -gt 100 ] && [ "$(sql 'SELECT count(*) FROM pgbench_history')" = "$told" ] &&
		[ "$(sql 'SELECT (SELECT sum(abalance) FROM pgbench_accounts) =
			(SELECT sum(delta) FROM pgbench_history)')" = t ]
}

log_is_quiet() { ! grep -E 'ERROR|FATAL|PANIC|WARNING|could not' "$w/logs/server"; }

# The embassy's bytes, and heads, are home's.
same_as_home() {
	local f
	for f in "$w/store/$id"/log/*.seg; do
		cmp -n "$(stat -c %s "$f")" "$f" "$w/vol/log/${f##*/}" || return 1
	done
	[ "$(field '.embassies[0].acknowledged_head')" = "$("$embassy" heads "$address/$id" --json | tail -n 1 |
		jq -r .number)" ] &&
		cmp <("$embassy" heads "$address/$id" --json) <("$embassy" heads "$mnt" --json)
}

gone() { [ -z "$(daemon)" ]; }

(umask 077 && head -c 32 /dev/urandom >"$w/key")
"$embassy" init "$w/vol" --key-file "$w/key" >/dev/null || exit 1
id=$(sed -n 's/^id //p' "$w/vol/volume.conf")
"$build/server/embassyd" --store "$w/store" --listen 127.0.0.1:0 --insecure >"$w/server.log" 2>&1 &
server_pid=$!
wait_until 10 grep -q listening "$w/server.log" || die "embassyd did not start"
address=$(sed -n 's/^embassyd: listening on //p' "$w/server.log")
t "mount" "$build/fs/fuse/embassyfs" "$w/vol" "$mnt" -o "${options}key-file=$w/key,allow_other,embassy=$address"
install -d -o postgres -m 700 "$data" "$sockets" "$w/logs"
t "initdb" as_postgres initdb -D "$data" --locale=C.UTF-8 -E UTF8 -A trust --data-checksums
t "a server" start_postgres
t "a bank" as_postgres createdb -h "$sockets" bank
t "accounts" as_postgres pgbench -h "$sockets" -i -q -s 2 bank

as_postgres pgbench -h "$sockets" -n -c 4 -T 3600 bank >"$w/load" 2>&1 &
load=$!
python3 "$here/takeover_load.py" "$mnt" "$w/stop" "$seed" held >"$w/held" 2>&1 &
held=$!
for i in $(seq $kills_wanted); do
	t "kill $i: another daemon serves, and replicates" kill_daemon
	t "kill $i: pgbench goes on" kill -0 "$load"
done
t "pgbench has seen no error" load_ended
touch "$w/stop"
t "what was open of the past was read on" wait "$held"
t "balances agree" balances_agree
t "pg_amcheck" as_postgres pg_amcheck -h "$sockets" -d bank --install-missing --heapallindexed
t "PostgreSQL noticed nothing" log_is_quiet
t "its end" as_postgres pg_ctl -D "$data" -m fast -s stop
t "the embassy catches up" timeout 60 "$embassy" drain "$mnt" --timeout 50
t "it has what home has" same_as_home
t "status counts the kills" [ "$(field .takeovers)" = $kills_wanted ]
t "unmount" timeout 60 umount "$mnt"
t "it ends" wait_until 20 gone
kill -TERM "$server_pid"
t "the block server ends" wait "$server_pid"
server_pid=''
t "home is sound" "$embassy" check "$w/vol" --key-file "$w/key" --read-data
t "the embassy is sound" "$embassy" check "$w/store/$id" --key-file "$w/key" --read-data

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
