#!/bin/bash
# The main job, end to end, on real input: three registers are written to a mount at home, the home is lost with
# everything on it, and the embassy's copy is mounted as it stood at three points in time.
#
#   land register      a PostgreSQL server under a pgbench load that never stops
#   state gazette      a tree of files, copied, changed, renamed, deleted
#   business register  a SQLite database
#
# What must hold at each point: the gazette and SQLite's file compare equal to what was recorded; PostgreSQL, started
# on a copy, recovers by itself, its balances agree, and no transaction that was committed before the point is missing.
#
# usage: embassy_story.sh [--bin DIR] [--scale small|full] [--server HOST:PORT --tls DIR --store DIR]
# Needs root (to mount), PostgreSQL's programs and sqlite3.  --server uses a block server that runs already.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tools/lib.sh
. "$here/../../tools/lib.sh"
build=$here/../../build
scale=full
server='' tls='' store=''

usage() {
	sed -n 's/^# usage: /usage: /p' "$0"
	exit "$1"
}

while [ $# -gt 0 ]; do
	case $1 in
	--bin) build=$2; shift 2 ;;
	--scale) scale=$2; shift 2 ;;
	--server) server=$2; shift 2 ;;
	--tls) tls=$2; shift 2 ;;
	--store) store=$2; shift 2 ;;
	-h | --help) usage 0 ;;
	*) usage 2 ;;
	esac
done

case $scale in
full) n_files=10000 pg_scale=10 pg_rate=200 companies=20000 ;;
small) n_files=1500 pg_scale=2 pg_rate=100 companies=2000 ;;
*) usage 2 ;;
esac

find_program() {
	local dir
	for dir in "$build" "$build/tools" "$build/server" "$build/fs/fuse"; do
		if [ -x "$dir/$1" ] && [ ! -d "$dir/$1" ]; then
			realpath "$dir/$1"
			return
		fi
	done
	echo "embassy_story: $1: not found under $build; build first" >&2
	exit 1
}

[ "$(id -u)" = 0 ] || { echo "embassy_story: it mounts; run it as root" >&2; exit 1; }
embassy=$(find_program embassy)
embassyfs=$(find_program embassyfs)
embassyd=$(find_program embassyd)
pg_bin=$(find /usr/lib/postgresql -mindepth 2 -maxdepth 2 -name bin | sort -V | tail -1)
[ -n "$pg_bin" ] || { echo "embassy_story: PostgreSQL is missing; apt-get install postgresql" >&2; exit 1; }

work=$(mktemp -d "${TMPDIR:-/var/tmp}/embassyfs-story.XXXXXX")
chmod 755 "$work"
mnt=$work/mnt
home=$work/home-volume
passphrase=$work/passphrase
started=$SECONDS
passed=0 failed=0
load_pid='' server_pid=''

# --- what runs, and taking it down ------------------------------------------------------------------------------

# A PostgreSQL server and all its children, by its data folder.
postgres_pids() {
	local pid
	for pid in $(pids_of "$pg_bin/postgres" "$1"); do
		echo "$pid"
		pgrep -P "$pid" || true
	done | sort -u
}

kill_all() {
	local pid
	for pid in "$@"; do
		kill -KILL "$pid" 2>/dev/null || true
	done
}

# shellcheck disable=SC2046,SC2086 # lists of process ids
cleanup() {
	local m
	kill_all $load_pid $(pids_of "$pg_bin/postgres" "$work") $(pids_of pgbench "$work")
	awk -v w="$work/" 'index($5, w) == 1 {print $5}' /proc/self/mountinfo | while read -r m; do
		umount "$m" 2>/dev/null || umount -l "$m" 2>/dev/null || true
	done
	kill_all $(pids_of "$embassyfs" "$work") $server_pid
	rm -rf --one-file-system "$work"
}

finish() {
	local code=$?
	trap - EXIT
	[ -n "${guard_pid:-}" ] && kill "$guard_pid" 2>/dev/null
	if [ $code != 0 ] && [ -n "${EMBASSYFS_KEEP:-}" ]; then
		echo "embassy_story: $work is kept for a look, with all that runs on it" >&2
		exit $code
	fi
	cleanup
	exit $code
}
trap finish EXIT
trap 'exit 130' INT TERM HUP

# If this script is killed outright, take down what it left.
me=$$
(
	trap '' INT HUP
	while kill -0 $me 2>/dev/null; do sleep 1; done
	cleanup
) >/dev/null 2>&1 &
guard_pid=$!

# --- telling ------------------------------------------------------------------------------------------------------

say() {
	printf '%4d s  %s\n' $((SECONDS - started)) "$*"
}

check() { # check WORDS COMMAND...: run it; one line either way
	local words=$1
	shift
	if "$@" >"$work/out" 2>&1; then
		passed=$((passed + 1))
		say "  ok    $words"
	else
		failed=$((failed + 1))
		say "  FAIL  $words"
		head -20 "$work/out" | sed 's/^/          /'
	fi
}

# --- the registers ------------------------------------------------------------------------------------------------

as_postgres() {
	setpriv --reuid=postgres --regid=postgres --init-groups env -i PATH="$pg_bin:/usr/bin:/bin" \
		HOME="$work" LC_ALL=C.UTF-8 "$@"
}

start_postgres() { # start_postgres DATA SOCKETS
	install -d -o postgres -m 700 "$2"
	as_postgres pg_ctl -D "$1" -l "$2/log" -w -t 120 -s start -o \
		"-c listen_addresses='' -c unix_socket_directories='$2' -c shared_buffers=64MB -c max_wal_size=256MB"
}

sql() { # sql SOCKETS QUERY
	as_postgres psql -h "$1" -d land -AtqX -c "$2"
}

transactions() {
	sql "$1" 'SELECT count(*) FROM pgbench_history'
}

copy_gazette() { # copy_gazette FIRST LAST: these lines of the list of files
	sed -n "$1,$2p" "$work/files" | tar -C / -cf - -T - | tar -C "$mnt/gazette" -xf -
}

some() { # some FIRST N: spread over the files that are copied before the first snapshot; disjoint for FIRST below 9
	awk -v first="$1" -v n="$2" -v all=$((n_files * 7 / 10)) \
		'BEGIN {step = int(all / 110)} NR <= all && NR % step == first && done < n {print; done++}' "$work/files"
}

write_companies() { # write_companies TRANSACTIONS
	local i
	for ((i = 0; i < $1; i++)); do
		echo "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $((companies / 20)))
			INSERT INTO company(name, capital, seat)
			SELECT hex(randomblob(20)), abs(random()) % 1000000, hex(randomblob(8)) FROM n;"
	done | sqlite3 -bail "$mnt/business/register.db"
}

list_gazette() { # list_gazette ROOT OUT: names, kinds, owners, sizes, times, targets; then contents
	(
		cd "$1/gazette"
		find . -printf '%y %m %U:%G %s %T@ %n %p -> %l\n' | sort
		find . -type f -print0 | sort -z | xargs -0 sha256sum
		cd ../business
		sha256sum register.db
	) >"$2"
}

ask_sqlite() {
	sqlite3 -readonly "file:$1/business/register.db?immutable=1" \
		'SELECT count(*), sum(capital) FROM company'
}

# What is true now of the files, which nobody writes at this moment, and what PostgreSQL has committed at least.
record() { # record POINT
	list_gazette "$mnt" "$work/$1.list"
	ask_sqlite "$mnt" >"$work/$1.sqlite"
	transactions "$work/sockets" >"$work/$1.least"
}

most() { # after the point: what PostgreSQL can have committed at most
	transactions "$work/sockets" >"$work/$1.most"
}

# --- the checks of one point --------------------------------------------------------------------------------------

same_files() {
	list_gazette "$1" "$work/found.list"
	cmp "$work/$2.list" "$work/found.list" || {
		diff "$work/$2.list" "$work/found.list" | head -20
		return 1
	}
}

sqlite_is_sound() {
	local answer
	answer=$(sqlite3 -readonly "file:$1/business/register.db?immutable=1" 'PRAGMA integrity_check')
	[ "$answer" = ok ] || { echo "$answer"; return 1; }
	ask_sqlite "$1" | cmp - "$work/$2.sqlite"
}

refuses_writes() {
	local out
	if out=$(touch "$1/new-file" 2>&1) || [[ $out != *"Read-only file system"* ]]; then
		echo "touch said: $out"
		return 1
	fi
}

recover_postgres() { # recover_postgres VIEW POINT
	rm -rf "$work/recover"
	cp -a "$1/land" "$work/recover"
	rm -f "$work/recover/postmaster.pid"
	start_postgres "$work/recover" "$work/recover-sockets"
}

balances_agree() {
	local sums
	sums=$(sql "$work/recover-sockets" 'SELECT
		(SELECT sum(abalance) FROM pgbench_accounts) = (SELECT sum(delta) FROM pgbench_history) AND
		(SELECT sum(bbalance) FROM pgbench_branches) = (SELECT sum(delta) FROM pgbench_history) AND
		(SELECT sum(tbalance) FROM pgbench_tellers) = (SELECT sum(delta) FROM pgbench_history)')
	[ "$sums" = t ]
}

has_all_transactions() {
	local least most found
	least=$(cat "$work/$1.least")
	most=$(cat "$work/$1.most" 2>/dev/null || echo 999999999)
	found=$(transactions "$work/recover-sockets")
	echo "$found" >"$work/$1.found"
	echo "committed before: $least, after: $most, found: $found"
	[ "$found" -ge "$least" ] && [ "$found" -le "$most" ]
}

amcheck() {
	as_postgres pg_amcheck -h "$work/recover-sockets" -d land --install-missing --heapallindexed
}

check_files_of() { # check_files_of VIEW POINT
	check "gazette and business register equal what was recorded" same_files "$1" "$2"
	check "SQLite's integrity check" sqlite_is_sound "$1" "$2"
	check "the view refuses writes" refuses_writes "$1"
}

check_point() { # check_point VIEW POINT
	local before=$failed
	check_files_of "$1" "$2"
	check "PostgreSQL recovers on a copy" recover_postgres "$1" "$2"
	check "its balances agree" balances_agree
	check "it has all transactions committed before" has_all_transactions "$2"
	check "pg_amcheck finds nothing" amcheck
	as_postgres pg_ctl -D "$work/recover" -s -m fast stop >/dev/null 2>&1 || true
	printf '%-26s %8s s  %-9s %-9s %s\n' "$2" "$(cat "$work/$2.seconds")" \
		"$(grep -c '^f ' "$work/$2.list")" "$(cut -d'|' -f1 "$work/$2.sqlite")" \
		"$(cat "$work/$2.found" 2>/dev/null || echo '?') transactions, $(
			[ "$failed" = "$before" ] && echo 'all equal' || echo 'NOT ALL EQUAL')" >>"$work/summary"
}

mount_view() { # mount_view POINT TIME
	local t0 t1
	mkdir -p "$work/view-$1"
	t0=$(date +%s%N)
	"$embassyfs" "$server/$volume" "$work/view-$1" \
		-o "at=$2,tls=$tls/embassy,passphrase-file=$passphrase" || return 1
	stat "$work/view-$1" >/dev/null
	t1=$(date +%s%N)
	awk -v ns=$((t1 - t0)) 'BEGIN {printf "%.2f", ns / 1e9}' >"$work/$1.seconds"
}

wait_for_line() { # wait_for_line FILE TEXT SECONDS PID: the rest of the line
	local i
	for ((i = 0; i < $3 * 20; i++)); do
		if grep -qF -- "$2" "$1"; then
			sed -n "s/^.*$2//p" "$1" | head -1
			return
		fi
		kill -0 "$4" 2>/dev/null || break
		sleep 0.05
	done
	cat "$1" >&2
	return 1
}

# --- the story ------------------------------------------------------------------------------------------------------

mkdir "$mnt"
(umask 077 && head -c 24 /dev/urandom | base64 >"$passphrase")

if [ -z "$server" ]; then
	say "the embassy: a block server with mutual TLS"
	tls=$work/tls store=$work/store
	"$embassy" tls "$tls" >/dev/null
	"$embassyd" --store "$store" --listen 127.0.0.1:0 --tls "$tls/server" >"$work/embassyd.log" 2>&1 &
	server_pid=$!
	server=$(wait_for_line "$work/embassyd.log" "listening on " 20 "$server_pid")
fi
say "the embassy listens on $server"

"$embassy" init "$home" --passphrase-file "$passphrase" --label story >"$work/init.out"
volume=$(awk '$1 == "volume" {print $2}' "$work/init.out")
"$embassyfs" "$home" "$mnt" -o "allow_other,passphrase-file=$passphrase,tls=$tls/home,embassy=$server"
say "the home: volume $volume, mounted and replicating"

mkdir "$mnt/gazette" "$mnt/business"
install -d -o postgres -m 700 "$mnt/land"
find /usr/include /usr/share /usr/lib -xdev -type f -size -2M 2>/dev/null |
	awk -v n="$n_files" 'NR <= n {sub("^/", ""); print}' >"$work/files"
n_files=$(wc -l <"$work/files")

say "land register: initdb, pgbench at scale $pg_scale"
as_postgres initdb -D "$mnt/land" --locale=C.UTF-8 -E UTF8 -A trust >/dev/null
start_postgres "$mnt/land" "$work/sockets"
as_postgres createdb -h "$work/sockets" land
as_postgres pgbench -h "$work/sockets" -i -q -s "$pg_scale" land >/dev/null 2>&1
as_postgres pgbench -h "$work/sockets" -n -c 4 -T 7200 -R "$pg_rate" land >"$work/pgbench.log" 2>&1 &
load_pid=$!
disown
say "land register: under load, $pg_rate transactions a second; it never stops"

say "state gazette: copying $((n_files * 7 / 10)) files; business register: $companies companies"
sqlite3 "$mnt/business/register.db" \
	'CREATE TABLE company(id INTEGER PRIMARY KEY, name TEXT, capital INTEGER, seat TEXT);
	CREATE INDEX company_by_name ON company(name)'
copy_gazette 1 $((n_files * 7 / 10)) &
copying=$!
write_companies 20
wait $copying

record snapshot
"$embassy" snapshot "$mnt" before-the-storm >/dev/null
most snapshot
say "SNAPSHOT taken: $(cat "$work/snapshot.least") transactions committed so far"

say "writing goes on: more files, changed, renamed and deleted ones; companies come and go"
copy_gazette $((n_files * 7 / 10 + 1)) $((n_files * 85 / 100)) &
copying=$!
write_companies 5
sqlite3 "$mnt/business/register.db" 'DELETE FROM company WHERE id % 7 = 0; UPDATE company SET capital = capital + 1 WHERE id % 3 = 0'
wait $copying
some 1 100 | while read -r f; do echo "amended" >>"$mnt/gazette/$f"; done
some 2 100 | while read -r f; do rm "$mnt/gazette/$f"; done
some 3 50 | while read -r f; do mv "$mnt/gazette/$f" "$mnt/gazette/$f.old"; done
some 4 20 | while read -r f; do ln -s "$f" "$mnt/gazette/link-$(basename "$f")"; done
some 5 20 | while read -r f; do ln "$mnt/gazette/$f" "$mnt/gazette/$f.again"; done

record noted
sync -f "$mnt"
sync "$mnt/.embassy"
noted=$(date -u +%Y-%m-%dT%H:%M:%S.%NZ)
most noted
say "NOTED the time: $noted"

say "writing goes on"
copy_gazette $((n_files * 85 / 100 + 1)) "$n_files" &
copying=$!
write_companies 5
sqlite3 "$mnt/business/register.db" 'DELETE FROM company WHERE id % 5 = 0; VACUUM'
wait $copying
rm -rf "$mnt/gazette/$(dirname "$(sed -n "$((n_files / 2))p" "$work/files")")"
some 6 50 | while read -r f; do
	[ ! -f "$mnt/gazette/$f" ] || truncate -s 100 "$mnt/gazette/$f"
done

record latest
"$embassy" drain "$mnt" --timeout 300 >/dev/null
say "DRAINED: the embassy has everything"
used=$(du -sh "$home" | cut -f1)

home_pids() {
	local daemons
	daemons=$(pids_of "$embassyfs" "$mnt")
	# shellcheck disable=SC2086 # a list of process ids
	supervisors_of $daemons
	echo "$daemons"
	postgres_pids "$mnt/land"
	pids_of pgbench "$work"
}
at_home=$(home_pids)
[ "$(wc -w <<<"$at_home")" -ge 3 ] || { echo "embassy_story: the home's processes are not to be found" >&2; exit 1; }
# shellcheck disable=SC2086 # a list of process ids
kill_all $at_home $load_pid
load_pid=''
umount -l "$mnt"
for _ in {1..100}; do
	[ -z "$(home_pids)" ] && break
	sleep 0.1
done
[ -z "$(home_pids)" ] || { echo "embassy_story: the home does not die: $(home_pids)" >&2; exit 1; }
rm -rf "$home"
say "LOST: every process at home was killed, and its volume ($used) removed"

for point in snapshot noted latest; do
	case $point in
	snapshot) at=snapshot:before-the-storm ;;
	noted) at=$noted ;;
	latest) at=latest ;;
	esac
	say "mounting at the embassy over gRPC, at=$at"
	check "it mounts" mount_view $point "$at"
	mountpoint -q "$work/view-$point" || continue
	say "  mounted in $(cat "$work/$point.seconds") s"
	check_point "$work/view-$point" $point
	umount "$work/view-$point"
done

if [ -n "$server_pid" ]; then
	kill -TERM "$server_pid"
	wait "$server_pid" || true
	server_pid=''
	say "mounting the embassy's folder itself, with no server running"
else
	say "mounting the embassy's folder itself"
fi
mkdir "$work/view-folder"
check "it mounts" "$embassyfs" "$store/$volume" "$work/view-folder" -o "ro,passphrase-file=$passphrase"
if mountpoint -q "$work/view-folder"; then
	check_files_of "$work/view-folder" latest
	umount "$work/view-folder"
fi
check "the embassy's copy is sound" "$embassy" check "$store/$volume" --read-data \
	--passphrase-file "$passphrase"

echo
printf '%-26s %10s  %-9s %-9s %s\n' POINT MOUNTED FILES COMPANIES "LAND REGISTER"
cat "$work/summary"
echo
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
