#!/bin/bash
# PostgreSQL with full-page writes under pgbench, killed in the middle, in the last round
# together with the mount.  Each time it recovers by itself; every transaction that a client saw
# committed is there; balances agree; pg_amcheck finds nothing, and neither do page checksums.
#
# Its own regression suite is run as well where its inputs are: Debian's packages hold
# pg_regress without them, so EMBASSYFS_PG_REGRESS names src/test/regress of a built source tree
# of the same major version.
# shellcheck source=tests/apps/lib.sh
. "$(dirname "$0")/lib.sh"
pg_bin=$(find /usr/lib/postgresql -mindepth 2 -maxdepth 2 -name bin 2>/dev/null | sort -V | tail -1)
needs "${pg_bin:-/usr/lib/postgresql/bin}/pgbench" postgresql
needs "$pg_bin/pg_amcheck" postgresql

data=$mnt/data sockets=$work/sockets logs=$work/logs
install -d -o postgres -m 700 "$data" "$sockets" "$logs"

as_postgres() {
	setpriv --reuid=postgres --regid=postgres --init-groups env -i PATH="$pg_bin:/usr/bin:/bin" \
		HOME="$work" LC_ALL=C.UTF-8 "$@"
}

# A small cache and frequent checkpoints, so that pages are written all the time.
start_postgres() {
	as_postgres pg_ctl -D "$data" -l "$logs/server" -w -t 300 -s start -o "-c listen_addresses='' \
		-c unix_socket_directories='$sockets' -c shared_buffers=$(pick 8 32)MB \
		-c full_page_writes=on -c fsync=on \
		-c synchronous_commit=on -c max_wal_size=32MB -c min_wal_size=32MB -c checkpoint_timeout=30s \
		-c wal_init_zero=on -c wal_recycle=on"  && return
	tail -n 20 "$logs/server"
	return 1
}

# The postmaster first, or it would restart what its children were doing.
kill_postgres() {
	local postmaster children
	postmaster=$(head -n 1 "$data/postmaster.pid") || return
	children=$(pgrep -P "$postmaster")
	# shellcheck disable=SC2086 # a list of process ids
	kill -KILL "$postmaster" $children
	wait_until 30 eval "! kill -0 $postmaster 2>/dev/null"
}

sql() { as_postgres psql -h "$sockets" -d bank -AtqX -v ON_ERROR_STOP=1 -c "$1"; }
transactions() { sql 'SELECT count(*) FROM pgbench_history'; }
reached() { [ "$(transactions)" -ge "$1" ]; }

n_clients=4
n_transactions=$(pick 400 20000)

# One round: pgbench until so many transactions have been committed; then COMMAND.
load_until() { # load_until COMMAND...
	local before load rc=0 told found
	before=$(transactions) || return
	as_postgres pgbench -h "$sockets" -n -c $n_clients -T 36000 bank >"$work/load" 2>&1 &
	load=$!
	wait_until 1200 reached $((before + n_transactions)) || rc=1
	"$@" || rc=1
	# pgbench ends with its connections; it counts a transaction once COMMIT was answered.
	wait $load
	echo "$before" >"$work/before"
	return $rc
}

# A client that was cut off may have one transaction committed that it never heard of.
nothing_lost() {
	local before told found
	before=$(cat "$work/before")
	told=$(sed -n 's/^number of transactions actually processed: \([0-9]*\).*/\1/p' "$work/load")
	found=$(transactions) || return
	echo "before: $before, told: $told, found: $found"
	[ "${told:-0}" -gt 0 ] && [ "$found" -ge $((before + told)) ] &&
		[ "$found" -le $((before + told + n_clients)) ]
}

balances_agree() {
	[ "$(sql 'SELECT
		(SELECT sum(abalance) FROM pgbench_accounts) = (SELECT sum(delta) FROM pgbench_history) AND
		(SELECT sum(bbalance) FROM pgbench_branches) = (SELECT sum(delta) FROM pgbench_history) AND
		(SELECT sum(tbalance) FROM pgbench_tellers) = (SELECT sum(delta) FROM pgbench_history)')" = t ]
}

amcheck() {
	as_postgres pg_amcheck -h "$sockets" -d bank --install-missing --heapallindexed --parent-check
}

server_and_mount() {
	local postmaster
	postmaster=$(head -n 1 "$data/postmaster.pid") || return
	kill_mount || return
	# The server's files are gone with the mount; it may have noticed or not.
	# shellcheck disable=SC2046 # a list of process ids
	kill -KILL "$postmaster" $(pgrep -P "$postmaster") 2>/dev/null
	wait_until 30 eval "! kill -0 $postmaster 2>/dev/null"
}

recovers() { # recovers WORDS
	check "$1: recovers" start_postgres || give_up "no server"
	check "$1: no transaction that was committed is lost" nothing_lost
	check "$1: balances agree" balances_agree
	check "$1: pg_amcheck finds nothing" amcheck
}

check "initdb" as_postgres initdb -D "$data" --locale=C.UTF-8 -E UTF8 -A trust --data-checksums
check "started" start_postgres || give_up "no server"
check "pgbench -i" bash -c "$(declare -f as_postgres); pg_bin=$pg_bin work=$work
	as_postgres createdb -h '$sockets' bank &&
	as_postgres pgbench -h '$sockets' -i -q -s $(pick 2 20) bank"
rounds=$(pick 2 10)
for round in $(seq "$rounds"); do
	check "round $round: $n_transactions transactions, then SIGKILL" load_until kill_postgres
	recovers "round $round"
done
check "the mount is killed under it" load_until server_and_mount
recovers "after that"
if [ -n "${EMBASSYFS_PG_REGRESS:-}" ]; then
	check "PostgreSQL's regression suite" as_postgres \
		"$(find "${pg_bin%/bin}" -name pg_regress -type f | head -1)" \
		--host="$sockets" --inputdir="$EMBASSYFS_PG_REGRESS" --dlpath="$EMBASSYFS_PG_REGRESS" \
		--outputdir="$logs" --schedule="$EMBASSYFS_PG_REGRESS/parallel_schedule" \
		--bindir= --max-connections=8
fi
check "the check sees a lost transaction" bash -c "$(declare -f as_postgres sql balances_agree)
	pg_bin=$pg_bin work=$work sockets=$sockets; sql 'DELETE FROM pgbench_history WHERE delta <> 0 AND
	ctid = (SELECT ctid FROM pgbench_history WHERE delta <> 0 LIMIT 1)' && ! balances_agree"
check "stopped" as_postgres pg_ctl -D "$data" -s -m fast stop
check "page checksums" as_postgres pg_checksums --check -D "$data"
conclude
