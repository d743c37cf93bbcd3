#!/bin/bash
# SQLite in the journal modes DELETE, TRUNCATE and WAL: several processes write and read one
# database with a busy timeout, writers are killed midway, in the last round the mount is.  What
# a writer saw committed is there, each reader sees the sums agree in every transaction, and the
# integrity check finds nothing.
# shellcheck source=tests/apps/lib.sh
. "$(dirname "$0")/lib.sh"
needs python3 python3
needs sqlite3 sqlite3

cat >"$work/bank.py" <<'PY'
import os, sys, random, sqlite3

N_ACCOUNTS = 200

def connect(path, mode):
    db = sqlite3.connect(path, timeout=120, isolation_level=None)
    assert db.execute("PRAGMA journal_mode=" + mode).fetchone()[0] == mode
    # With FULL a power cut may undo a commit in DELETE mode: SQLite does not sync the folder after
    # it removed the journal.
    db.execute("PRAGMA synchronous=EXTRA")
    db.execute("PRAGMA cache_size=50")
    db.execute("PRAGMA wal_autocheckpoint=100")
    return db

def create(path, mode):
    db = connect(path, mode)
    db.execute("CREATE TABLE account(id INTEGER PRIMARY KEY, balance INTEGER, note BLOB)")
    db.execute("CREATE TABLE ledger(writer TEXT, number INTEGER, a INTEGER, b INTEGER, "
               "amount INTEGER, UNIQUE(writer, number))")
    db.execute("CREATE INDEX by_balance ON account(balance)")
    db.execute("BEGIN")
    db.executemany("INSERT INTO account VALUES(?, 1000, zeroblob(500))", ((i,) for i in range(N_ACCOUNTS)))
    db.execute("COMMIT")

# The number of each transfer goes to standard output when its commit has returned.
def write(path, mode, who, count):
    db, rnd = connect(path, mode), random.Random(who)
    for n in range(count):
        a, b, amount = rnd.randrange(N_ACCOUNTS), rnd.randrange(N_ACCOUNTS), rnd.randrange(100)
        db.execute("BEGIN IMMEDIATE")
        for account, d in ((a, -amount), (b, amount)):
            db.execute("UPDATE account SET balance = balance + ?, note = randomblob(?) WHERE id = ?",
                       (d, rnd.randrange(2000), account))
        db.execute("INSERT INTO ledger VALUES(?, ?, ?, ?, ?)", (who, n, a, b, amount))
        if n % 10 == 9: db.execute("ROLLBACK"); continue
        db.execute("COMMIT")
        os.write(1, b"%s %d\n" % (who.encode(), n))

def agree(db):
    db.execute("BEGIN")
    n, total = db.execute("SELECT count(*), sum(balance) FROM account").fetchone()
    moved = dict(db.execute("SELECT id, sum(d) FROM (SELECT a id, -amount d FROM ledger UNION ALL "
                            "SELECT b, amount FROM ledger) GROUP BY id"))
    assert (n, total) == (N_ACCOUNTS, N_ACCOUNTS * 1000), (n, total)
    for id, balance in db.execute("SELECT id, balance FROM account"):
        assert balance == 1000 + moved.get(id, 0), "account %d has %d" % (id, balance)
    db.execute("COMMIT")

def read(path, mode, stop):
    db, reads = connect(path, mode), 0
    while reads < 2 or not os.path.exists(stop): agree(db); reads += 1

def verify(path, mode, logs):
    db = connect(path, mode)
    assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    agree(db)
    found = set("%s %d" % row for row in db.execute("SELECT writer, number FROM ledger"))
    told = set(line for log in logs for line in open(log).read().split("\n")[:-1])
    assert told and told <= found, "committed and lost: %s" % sorted(told - found)[:5]
    assert len(found) <= len(told) + len(logs), "%d found, %d committed" % (len(found), len(told))
    print("%d transactions" % len(found))

command, path, mode = sys.argv[1:4]
if command == "create": create(path, mode)
elif command == "write": write(path, mode, sys.argv[4], int(sys.argv[5]))
elif command == "read": read(path, mode, sys.argv[4])
else: verify(path, mode, sys.argv[4:])
PY

n_writers=$(pick 3 6)
n_transfers=$(pick 60 2000)

# run_bank MODE ROUND DB [COMMAND]: writers and readers; when the first writer is halfway it is
# killed, or COMMAND is run with the numbers of all these processes, which are then killed.
run_bank() {
	local mode=$1 round=$2 db=$3 pids=() pid readers=() w rc=0
	shift 3
	rm -f "$work/stop"
	for w in $(seq "$n_writers"); do
		python3 "$work/bank.py" write "$db" "$mode" "$round.$w" "$n_transfers" \
			>"$work/$mode.log.$round.$w" 2>"$work/err.$w" &
		pids+=($!)
	done
	for w in 1 2; do
		python3 "$work/bank.py" read "$db" "$mode" "$work/stop" 2>"$work/err.r$w" &
		readers+=($!)
	done
	wait_lines $((n_transfers / 2)) "$work/$mode.log.$round.1" "${pids[0]}" || rc=1
	if [ $# -gt 0 ]; then
		"$@" "${pids[@]}" "${readers[@]}" || rc=1
		kill -KILL "${pids[@]}" "${readers[@]}" 2>/dev/null
		wait "${pids[@]}" "${readers[@]}" 2>/dev/null
		return $rc
	fi
	kill -KILL "${pids[0]}"
	wait "${pids[0]}" 2>/dev/null
	for pid in "${pids[@]:1}"; do wait "$pid" || rc=1; done
	: >"$work/stop"
	for pid in "${readers[@]}"; do wait "$pid" || rc=1; done
	[ $rc = 0 ] || tail -n 3 "$work"/err.*
	return $rc
}

verify() { python3 "$work/bank.py" verify "$1" "$2" "$work/$2".log.*; }

for mode in delete truncate wal; do
	db=$mnt/$mode.db
	check "$mode: created" python3 "$work/bank.py" create "$db" $mode
	for round in $(seq "$(pick 1 5)"); do
		check "$mode: $n_writers write $n_transfers each, two read, a writer is killed" \
			run_bank $mode "$round" "$db"
		check "$mode: sound, sums agree, nothing committed is lost" verify "$db" $mode
	done
	check "$mode: the mount is killed under them" run_bank $mode last "$db" kill_mount
	check "$mode: sound, sums agree, nothing committed is lost" verify "$db" $mode
done

check "another reader agrees" [ "$(sqlite3 "$mnt/wal.db" 'SELECT sum(balance) FROM account')" = 200000 ]
check "the check sees a lost row" bash -c "sqlite3 '$mnt/delete.db' 'DELETE FROM ledger WHERE rowid = 5' &&
	! python3 '$work/bank.py' verify '$mnt/delete.db' delete '$work'/delete.log.* 2>/dev/null"
conclude
