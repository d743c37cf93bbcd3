#!/bin/bash
# The commands as an admin meets them: what they print, their exit codes, and what each error says.
#
# usage: commands.sh [BUILD-DIR]
set -uo pipefail
# shellcheck source=tools/lib.sh
. "$(dirname "$0")/../../tools/lib.sh"

build=$(realpath "${1:-$(dirname "$0")/../../build}")
embassy=$build/tools/embassy
embassyfs=$build/fs/fuse/embassyfs
embassyd=$build/server/embassyd
[ "$(id -u)" = 0 ] || { echo "commands: it mounts; run it as root" >&2; exit 1; }

w=$(mktemp -d "${TMPDIR:-/var/tmp}/embassyfs-commands.XXXXXX")
passed=0 failed=0 server_pid=''

cleanup() {
	local m
	trap - EXIT
	awk -v w="$w/" 'index($5, w) == 1 {print $5}' /proc/self/mountinfo | while read -r m; do
		umount "$m" 2>/dev/null || umount -l "$m"
	done
	[ -z "$server_pid" ] || kill -KILL "$server_pid" 2>/dev/null
	rm -rf --one-file-system "$w"
}
trap cleanup EXIT
trap 'exit 130' INT TERM HUP

# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

unset EMBASSY_PASSPHRASE_FILE
(umask 077 && echo "correct horse battery" >"$w/pass")
(umask 077 && echo "another passphrase" >"$w/pass2")
(umask 077 && head -c 64 /dev/urandom >"$w/keyfile")
(umask 077 && head -c 8 /dev/urandom >"$w/short")
(umask 077 && : >"$w/empty")
with="--passphrase-file $w/pass"
mnt=$w/mnt
mkdir "$mnt"

# Each line that COMMAND prints is one JSON object, to two readers; the lines are shown.
objects() { # objects COMMAND...
	"$@" >"$w/lines" && [ -s "$w/lines" ] || return
	while IFS= read -r line; do
		jq -e 'type == "object"' <<<"$line" >/dev/null &&
			python3 -c 'import json, sys; assert type(json.loads(sys.argv[1])) is dict' "$line" || return
	done <"$w/lines"
	cat "$w/lines"
}

# COMMAND is interrupted once N lines of what it prints match.
watched() { # watched N PATTERN COMMAND...
	local pid
	mkfifo "$w/watched"
	"${@:3}" >"$w/watched" &
	pid=$!
	grep -m "$1" -c -- "$2" <"$w/watched"
	rm "$w/watched"
	kill -TERM $pid
	wait $pid
}

# Words and usage.
expect 0 'usage: embassy COMMAND' "$embassy" help
expect 2 'usage: embassy COMMAND' "$embassy"
expect 0 '^embassy [0-9]+\.' "$embassy" version
expect 0 '^embassy [0-9]+\.' "$embassy" --version
expect 2 'nonsense: no such command' "$embassy" nonsense
for c in init status drain snapshot hold release snapshots heads check keys tls upgrade; do
	expect 0 "example: embassy $c" "$embassy" help $c
	expect 0 "example: embassy $c" "$embassy" $c --help
	expect 2 "embassy: $c: .*--bogus: no such option; see" "$embassy" $c --bogus
	expect 2 "embassy: $c: give .*; see 'embassy $c --help'" "$embassy" $c
done

# The word that is wrong is named, and nothing that was asked for is passed over.
expect 2 '^embassy: status: -x: no such option' "$embassy" status -xy "$mnt"
expect 2 'status: --json=1: it takes no value' "$embassy" status --json=1 "$mnt"
expect 2 'drain: --timeout: it needs a value' "$embassy" drain "$mnt" --timeout
expect 2 '^embassyfs: -r: unknown option' "$embassyfs" "$w/vol" "$mnt" -rw
expect 2 '^embassyfs: -o: needs a value' "$embassyfs" "$w/vol" "$mnt" -o
expect 2 '^embassyfs: --help=x: takes no value' "$embassyfs" --help=x
expect 2 '^embassyfs: --bogus: unknown option' "$embassyfs" --bogus
for o in flush=5 checkpoint=5; do
	expect 2 "option ${o%=*}: has no meaning in a read-only mount" "$embassyfs" "$w/vol" "$mnt" -o "ro,$o"
	expect 2 "option ${o%=*}: has no meaning in a read-only mount" "$embassyfs" "$w/vol" "$mnt" -o "at=latest,$o"
done
expect 2 'option local: is for a volume held by a block server' "$embassyfs" "$w/vol" "$mnt" -o local=1G
expect 2 'option local: is for a volume held by a block server' "$embassyfs" "$w/vol" "$mnt" -o ro,local=1G
for two in 'localhost:1 LOCALHOST:1' 'localhost:1 localhost.:01' '[::1]:7443 [0:0:0:0:0:0:0:1]:7443' "unix:$w/s unix:$w/s"; do
	expect 2 'is given twice' "$embassyfs" "$w/vol" "$mnt" -o "embassy=${two% *},embassy=${two#* }"
done

# init
# shellcheck disable=SC2086 # options
{
	expect 0 'volume [0-9a-f]{32} made in .*' "$embassy" init "$w/vol" $with --label main
	expect 1 'not empty' "$embassy" init "$w/vol" $with
	expect 1 'does not exist' "$embassy" init "$w/no/where" $with
	expect 2 "'rot13' is neither" "$embassy" init "$w/x" $with --cipher rot13
	expect 2 "'20' is no level" "$embassy" init "$w/x" $with --compress 20
	expect 2 "needs a value" "$embassy" init "$w/x" --cipher
	expect 1 'empty' "$embassy" init "$w/x" --passphrase-file "$w/empty"
	expect 1 'No such file' "$embassy" init "$w/x" --passphrase-file "$w/none"
	expect 1 'short' "$embassy" init "$w/x" --key-file "$w/short"
	expect 1 '' test -e "$w/x"
	expect 0 'made in' "$embassy" init "$w/vol2" --key-file "$w/keyfile" --cipher chacha20-poly1305 --compress 0
	expect 0 'made in' env EMBASSY_PASSPHRASE_FILE="$w/pass" "$embassy" init "$w/vol3"
}
expect 1 'assphrase' setsid "$embassy" init "$w/x"
id=$(sed -n 's/^id //p' "$w/vol/volume.conf")

# A volume at rest: status, heads, snapshots, check, keys.
expect 0 "volume +$id" "$embassy" status "$w/vol"
expect 0 "\"volume\": \"$id\".*\"head\": \{\"number\": 1," objects "$embassy" status --json "$w/vol"
expect 0 '^ok$' bash -c "$embassy status --json $w/vol | jq -e .head.time >/dev/null && echo ok"
expect 10 'neither a mount point' "$embassy" status "$w"
# What is not JSON is refused, wherever a status is read.
mkdir -p "$w/false/.embassy"
for text in '' ' ' '[]' '[abc]' '{"log_end": 1.2.3}' '{"log_end": 01}' '{"a": 1, "a": 2}' '{"a": 1,}' '{"a": 1} x' '{"a": "\ud800"}' \
	"{\"a\": \"$(printf '\377')\"}" '{"a": 99999999999999999999}' "$(printf '%5000s' '' | tr ' ' '[')" '{"volume": "ab'; do
	printf '%s' "$text" >"$w/false/.embassy/status"
	expect 20 'false: its status is no JSON object' "$embassy" status "$w/false"
	expect 20 'false: its status is no JSON object' "$embassy" status --json "$w/false"
done
(printf '{"volume": "x"}' && head -c 1100000 /dev/zero | tr '\0' ' ') >"$w/false/.embassy/status"
expect 1 'false: its status can.t be read: File too large' "$embassy" status "$w/false"
echo '{"volume": 7, "head": [], "embassies": {"a": 1}, "log_end": -1, "log_bytes": "x"}' >"$w/false/.embassy/status"
expect 0 'head +none yet' "$embassy" status "$w/false"
# What others wrote is shown so that it does nothing to a terminal.
cat >"$w/false/.embassy/status" <<-'END'
	{"volume": "x", "writable": false, "reason": "\u001b]0;", "embassies": [{"address": "a\nb", "state": "refused", "reason": "\u001b[2J \u009b2J \u202ex é"}]}
END
expect 0 'stopped +\\x1b]0;' "$embassy" status "$w/false"
expect 0 'embassy +a\\x0ab: refused: \\x1b\[2J \\xc2\\x9b2J \\xe2\\x80\\xaex é$' "$embassy" status "$w/false"
expect 0 'embassyfs_embassy_reason\{volume="x",embassy="a\\\\x0ab"} 1$' "$embassy" status --openmetrics "$w/false"
expect 0 '^1$' bash -o pipefail -c "$embassy status --openmetrics $w/false | $(dirname "$0")/openmetrics.py 'embassyfs_embassy_reason{volume=\"x\",embassy=\"a\\\\x0ab\"}'"
expect 0 '"\\u001B\[2J \\u009B2J \\u202Ex é"' objects "$embassy" status --json "$w/false"
expect 10 'no such folder' "$embassy" status "$w/none"
expect 30 '127.0.0.1:1' "$embassy" status "127.0.0.1:1/$id"
expect 10 'it is on a block server; give a folder' "$embassy" check "127.0.0.1:1/$id" --log-only
expect 0 '^ +1  20' "$embassy" heads "$w/vol"
expect 0 '"number": 1, "time": "20' objects "$embassy" heads "$w/vol" --json
expect 0 '^ +1  20' "$embassy" heads "$w/vol" --from 3d --to latest
expect 2 'teatime' "$embassy" heads "$w/vol" --from teatime
expect 22 'before the volume began' "$embassy" heads "$w/vol" --to 3d
expect 2 'no head 99' "$embassy" heads "$w/vol" --to head:99
# shellcheck disable=SC2086
{
	expect 0 'no snapshots' "$embassy" snapshots "$w/vol" $with
	expect 0 'is sound' "$embassy" check "$w/vol" $with
	expect 0 'is sound' "$embassy" check "$w/vol" $with --read-data=50
	expect 12 'passphrase' "$embassy" check "$w/vol" --passphrase-file "$w/pass2"
	expect 2 'no percentage' "$embassy" check "$w/vol" $with --read-data=101
	expect 0 '^1 passphrase .*main' "$embassy" keys "$w/vol" list
	expect 0 '^2 passphrase .*deputy' "$embassy" keys "$w/vol" add $with --new-passphrase-file "$w/pass2" --label deputy
	expect 0 '^3 keyfile .*\\xc2\\x9b2J\\xff$' "$embassy" keys "$w/vol" add $with --new-key-file "$w/keyfile" --label $'\xc2\x9b2J\xff'
	expect 0 'is sound' "$embassy" check "$w/vol" --passphrase-file "$w/pass2"
	expect 0 'is sound' "$embassy" check "$w/vol" --key-file "$w/keyfile"
	expect 0 '^2 keyfile' "$embassy" keys "$w/vol" remove 2 $with
	expect 12 'passphrase' "$embassy" check "$w/vol" --passphrase-file "$w/pass2"
	expect 0 '^1 passphrase' "$embassy" keys "$w/vol" rotate 1 $with --new-passphrase-file "$w/pass2"
	expect 12 'passphrase' "$embassy" check "$w/vol" $with
	expect 0 '^1 passphrase' "$embassy" keys "$w/vol" rotate 1 --key-file "$w/keyfile" --new-passphrase-file "$w/pass"
	expect 0 '^1 passphrase' "$embassy" keys "$w/vol" remove 2 $with
	expect 1 'last' "$embassy" keys "$w/vol" remove 1 $with
	expect 1 'no key slot 7' "$embassy" keys "$w/vol" remove 7 $with
	expect 2 'none of list' "$embassy" keys "$w/vol" frob
	expect 10 'volume' "$embassy" keys "$w" list
	# Passphrases that are hardly any, and files that others may read.
	(umask 077 && echo x >"$w/weak")
	expect 1 '1 characters.*--weak' "$embassy" init "$w/vol5" --passphrase-file "$w/weak"
	expect 0 'made in' "$embassy" init "$w/vol5" --passphrase-file "$w/weak" --weak
	expect 1 '1 characters' "$embassy" keys "$w/vol" add $with --new-passphrase-file "$w/weak"
	chmod 640 "$w/weak"
	expect 13 'chmod 600' "$embassy" check "$w/vol5" --passphrase-file "$w/weak"
	expect 13 'chmod 600' "$embassyfs" "$w/vol5" "$mnt" -o "passphrase-file=$w/weak"
	rm -r "$w/vol5"
	expect 2 'has not come yet' "$embassy" heads "$w/vol" --to 2100-01-01T00:00:00Z
	expect 2 'no head since' "$embassy" heads "$w/vol" --from 0s

	# Two changes at once: one waits for the other, and neither is lost.
	"$embassy" init "$w/vol4" $with >/dev/null
	"$embassy" keys "$w/vol4" add $with --new-passphrase-file "$w/pass2" --label a >/dev/null 2>&1 &
	pid=$!
	expect 0 'label|passphrase' "$embassy" keys "$w/vol4" add $with --new-key-file "$w/keyfile" --label b
	wait $pid
	expect 0 '' test $? = 0
	expect 0 '^3 ' "$embassy" keys "$w/vol4" list
	# A volume.conf from a backup: the next change goes beyond all that embassies may hold, and says so.
	cp "$w/vol4/volume.conf" "$w/conf.old"
	expect 0 '^4 ' "$embassy" keys "$w/vol4" add $with --new-passphrase-file "$w/pass2" --label c
	cp "$w/conf.old" "$w/vol4/volume.conf"
	expect 0 'older copy' "$embassy" keys "$w/vol4" rotate 1 $with --new-passphrase-file "$w/pass2"
	expect 0 '^5$' sed -n 's/^serial //p' "$w/vol4/volume.conf"
	rm -r "$w/vol4"
}
expect 0 'is sound' "$embassy" check "$w/vol" --log-only

# What can't be printed is not done: a list that a full disk cut short is none.
for c in help version 'status --help' "status $w/vol" "status $w/vol --json" "status $w/vol --openmetrics" "heads $w/vol" \
	"heads $w/vol --json" "keys $w/vol list" "check $w/vol --log-only"; do
	expect 1 "standard output can't be written: No space left" bash -c "$embassy $c >/dev/full"
done
# A limit on the size of files is an error, after which nothing is left; closed streams are no place for messages.
expect 1 'File too large' bash -c "ulimit -f 0; exec $embassy init $w/vol5 $with"
expect 1 '' test -e "$w/vol5"
# shellcheck disable=SC2086
expect 0 '^$' bash -c "exec $embassy init $w/vol5 $with <&- >&- 2>&-"
# shellcheck disable=SC2086
expect 0 'is sound' "$embassy" check "$w/vol5" $with
# A umask that takes everything from everybody leaves the user what he makes.
rm -r "$w/vol5"
expect 0 'made in' bash -c "umask 777; $embassy init $w/vol5 $with"
expect 0 '^700 700 600$' bash -c "stat -c %a $w/vol5 $w/vol5/log $w/vol5/volume.conf | xargs"
# Of several at once one makes the volume, and the others leave it alone.
for i in 1 2 3 4; do
	rm -rf "$w/vol5" && mkdir "$w/vol5"
	pids=()
	for _ in 1 2 3; do
		# shellcheck disable=SC2086
		"$embassy" init "$w/vol5" --key-file "$w/keyfile" >/dev/null 2>&1 &
		pids+=($!)
	done
	made=0
	for pid in "${pids[@]}"; do wait "$pid" && made=$((made + 1)); done
	expect 0 '' test $made = 1
	expect 0 'is sound' "$embassy" check "$w/vol5" --key-file "$w/keyfile"
done
rm -r "$w/vol5"

# Where nothing can be written: a read-only medium, and a user who may only read; also without a catalog.
chmod 711 "$w"
cp -r "$w/vol" "$w/shown"
chmod -R a+rX "$w/shown"
mkdir -m 777 "$w/readers"
cp "$embassy" "$w/readers/embassy"
install -m 600 -o 65534 "$w/pass" "$w/readers/pass"
mkdir "$w/ro" && mount --bind "$w/shown" "$w/ro" && mount -o remount,bind,ro "$w/ro"
reader=(env TMPDIR="$w/readers" setpriv --reuid 65534 --regid 65534 --clear-groups "$w/readers/embassy")
expect 1 'Read-only file system; mount a view of it with -o ro' "$embassyfs" "$w/ro" "$mnt" -o "passphrase-file=$w/pass"
for _ in with without; do
	# shellcheck disable=SC2086
	expect 0 'is sound' "$embassy" check "$w/ro" $with --read-data
	expect 0 'is sound' "${reader[@]}" check "$w/shown" --passphrase-file "$w/readers/pass" --read-data
	rm -rf "$w/shown/catalog"
done
expect 0 'not rebuilt, since this user' "$embassy" check "$w/ro" --log-only
chmod 600 "$w/shown/lock"
expect 0 "lock can't be taken" "${reader[@]}" check "$w/shown" --log-only
rm "$w/shown/lock"
expect 0 'is sound' "$embassy" check "$w/ro" --log-only
expect 1 '' test -e "$w/shown/catalog" -o -e "$w/shown/lock"
umount "$w/ro"
rm -r "$w/shown"
chmod 700 "$w"
expect 0 'is sound' "$embassy" check "$w/vol2" --key-file "$w/keyfile" --read-data

# tls
expect 0 'certificates are in' "$embassy" tls "$w/tls" --host embassy.example.org --host 192.0.2.7
expect 1 'already; nothing is overwritten' "$embassy" tls "$w/tls"
expect 2 'neither a name nor an address' "$embassy" tls "$w/tls2" --host 'a,DNS:b'
expect 0 'OK' openssl verify -CAfile "$w/tls/ca.pem" -purpose sslserver -verify_hostname embassy.example.org "$w/tls/server/cert.pem"
expect 0 'OK' openssl verify -CAfile "$w/tls/ca.pem" -purpose sslserver -verify_ip 192.0.2.7 "$w/tls/server/cert.pem"
expect 0 'OK' openssl verify -CAfile "$w/tls/ca.pem" -purpose sslclient "$w/tls/home/cert.pem"
expect 2 'unsuitable|invalid' openssl verify -CAfile "$w/tls/ca.pem" -purpose sslserver "$w/tls/home/cert.pem"
expect 0 '^600 600$' bash -c "stat -c %a $w/tls/ca.key $w/tls/home/key.pem | xargs"

# A live mount with an embassy.
start_server() {
	start_embassyd "$w/embassyd.log" "$embassyd" --store "$w/store" --listen "${address:-127.0.0.1:0}" --tls "$w/tls/server"
}
address=''
start_server
expect 10 'no EmbassyFS is mounted' "$embassy" drain "$mnt"
expect 10 'no EmbassyFS is mounted' "$embassy" snapshot "$mnt" x
# shellcheck disable=SC2086
expect 0 '' "$embassyfs" "$w/vol" "$mnt" -o "passphrase-file=$w/pass,tls=$w/tls/home,embassy=$address"
cp -r /usr/include/linux "$mnt/"
expect 0 'every embassy has all up to head' "$embassy" drain "$mnt" --timeout 60
expect 0 '^0$' bash -c "$embassy status --json $mnt | jq '.embassies[0].lag_bytes'"
expect 0 "embassy +$address: (idle|streaming)" "$embassy" status "$mnt"
expect 0 'durable' "$embassy" snapshot "$mnt" first
expect 1 'is a snapshot .first. already' "$embassy" snapshot "$mnt" first
for name in a/b '' . .. $'a\nb' $'a\xffb' "$(printf 'n%.0s' {1..256})"; do
	expect 2 'no name for a snapshot, which is UTF-8 of 1 to 255 bytes' "$embassy" snapshot "$mnt" "$name"
done
# A name may turn the direction of its text, but not of what is printed.
turns=$'a\xe2\x80\xaeb'
expect 0 "snapshot 'a.xe2.x80.xaeb' is durable" "$embassy" snapshot "$mnt" "$turns"
expect 0 "snapshot 'a.xe2.x80.xaeb' is held" "$embassy" hold "$mnt" "$turns"
expect 0 '' "$embassy" release "$mnt" "$turns"
expect 0 '' rmdir "$mnt/.embassy/snapshots/$turns"
expect 0 'durable' "$embassy" snapshot "$mnt" kept --hold
expect 0 '^first$' "$embassy" snapshots "$mnt"
expect 0 '^\{"name": "first"\}$' objects "$embassy" snapshots "$mnt" --json
expect 0 '"embassies": \[\{"address"' objects "$embassy" status "$mnt" --json
expect 0 '"embassies": \[\{"address"' objects cat "$mnt/.embassy/status"
# shellcheck disable=SC2086
{
	expect 0 '  first$' "$embassy" snapshots "$mnt" $with
	expect 0 '"name": "kept", .*"hold": true' objects "$embassy" snapshots "$mnt" --json $with
	expect 1 'not permitted' rmdir "$mnt/.embassy/snapshots/kept"
	expect 1 'no snapshot .none.' "$embassy" release "$mnt" none
	expect 2 'give a mount point' "$embassy" release "$mnt"
	expect 0 'held no more' "$embassy" release "$mnt" kept
	expect 1 'no snapshot .none.' "$embassy" hold "$mnt" none
	expect 2 'give a mount point' "$embassy" hold "$mnt"
	expect 0 'kept. is held$' "$embassy" hold "$mnt" kept
	expect 0 'kept. is held$' "$embassy" hold "$mnt" kept
	expect 0 '"name": "kept", .*"hold": true' "$embassy" snapshots "$mnt" --json $with
	expect 1 'not permitted' rmdir "$mnt/.embassy/snapshots/kept"
	expect 0 'held no more' "$embassy" release "$mnt" kept
	expect 0 'held no more' "$embassy" release "$mnt" kept
	expect 0 '' rmdir "$mnt/.embassy/snapshots/kept"
	expect 11 'in use' "$embassy" check "$w/vol" $with
	mount --bind "$w/vol" "$w/ro" && mount -o remount,bind,ro "$w/ro"
	expect 11 'in use' "$embassy" check "$w/ro" $with
	umount "$w/ro"
}
expect 0 'first' "$embassy" heads "$mnt" --passphrase-file "$w/pass" --to snapshot:first
# Another volume, or an older copy, that lies where the mounted one did is not taken for it.
mv "$w/vol" "$w/vol.moved"
expect 10 'is there no more, or another copy is in its place' "$embassy" heads "$mnt"
cp -r "$w/vol2" "$w/vol"
expect 10 'another copy is in its place' "$embassy" heads "$mnt"
expect 10 'another copy is in its place' "$embassy" snapshots "$mnt" --key-file "$w/keyfile"
rm -r "$w/vol"
cp -r "$w/vol.moved" "$w/vol"
echo newer >"$mnt/newer" && "$embassy" drain "$mnt" --timeout 60 >/dev/null
expect 10 'another copy is in its place' "$embassy" heads "$mnt"
rm -r "$w/vol"
mv "$w/vol.moved" "$w/vol"
expect 0 'first' "$embassy" heads "$mnt" --passphrase-file "$w/pass" --to snapshot:first
expect 0 "volume +$id" "$embassy" status "$address/$id" --tls "$w/tls/embassy"
expect 10 '.' "$embassy" status "$address/00000000000000000000000000000000" --tls "$w/tls/embassy"
expect 0 '^ +1  20' "$embassy" heads "$address/$id" --tls "$w/tls/embassy"
"$embassy" drain "$mnt" --timeout 60 >/dev/null
expect 0 '  first$' "$embassy" snapshots "$address/$id" --tls "$w/tls/embassy" --passphrase-file "$w/pass"
expect 2 "partial: is for a volume's folder" "$embassyfs" "$address/$id" "$mnt" -o "partial,passphrase-file=$w/pass,tls=$w/tls/embassy"
expect 0 '  first$' "$embassy" snapshots "$w/store/$id" --passphrase-file "$w/pass"
expect 130 "volume +$id" timeout --preserve-status -s INT 1 "$embassy" status "$mnt" --watch

# The server goes away and comes back.
kill -KILL "$server_pid"
wait "$server_pid" 2>/dev/null
echo more >"$mnt/more"
expect 30 "$address: connecting" "$embassy" drain "$mnt" --timeout 1
start_server
expect 0 'every embassy has all' "$embassy" drain "$mnt" --timeout 60

# All volumes of a server: one that is damaged there is told, has its exit code, and does not hide the others.
expect 0 "^$id  epoch" "$embassy" status "$address" --tls "$w/tls/embassy"
expect 130 '^2$' watched 2 "^$id  epoch" "$embassy" status "$address" --tls "$w/tls/embassy" --watch
kill -KILL "$server_pid"
wait "$server_pid" 2>/dev/null
damaged=$(printf '%032d' 7)
mkdir "$w/store/$damaged" && echo junk >"$w/store/$damaged/volume.conf" && echo cn:other >"$w/store/$damaged/owner"
start_server
expect 20 "^$id  epoch" "$embassy" status "$address" --tls "$w/tls/embassy"
expect 20 "volume $damaged: $address: " "$embassy" status "$address" --tls "$w/tls/embassy"
expect 20 '1 of 2 volumes' "$embassy" status "$address" --tls "$w/tls/embassy" --json
expect 20 '^# EOF$' "$embassy" status "$address" --tls "$w/tls/embassy" --openmetrics
expect 2 'give one of them' "$embassy" status "$address" --json --openmetrics
rm -r "$w/store/${damaged:?}"

# After unmounting: sound at both ends; and damage is found, told with its path, and has its exit code.
umount "$mnt"
for _ in {1..200}; do
	"$embassy" check "$w/vol" --log-only >/dev/null 2>&1 && break
	sleep 0.05
done
# shellcheck disable=SC2086
{
	expect 0 'is sound' "$embassy" check "$w/vol" $with --read-data
	expect 0 'names: [0-9]+ inodes' "$embassy" check "$w/store/$id" $with --read-data
	# A store's folder, too, means the volume of the same id in it.
	expect 0 "heads of $w/store: 0 blocks healed" "$embassy" check "$w/vol" $with --repair --from "$w/store"
	# Nothing makes a volume of its own out of the embassy's copy.
	copy_sums() { find "$w/store/$id" -type f -exec md5sum {} + | sort; }
	copy_sums >"$w/copy.before"
	expect 13 "embassy's copy" "$embassyfs" "$w/store/$id" "$mnt" -o "rw,passphrase-file=$w/pass"
	expect 13 "embassy's copy" "$embassyfs" "$w/store/$id" "$mnt" -o "passphrase-file=$w/pass,embassy=$address"
	expect 13 'never written to by a mount' "$embassyfs" "$address/$id" "$mnt" -o "rw,passphrase-file=$w/pass"
	expect 13 'never written to by a mount' "$embassyfs" "$address/$id" "$mnt" -o "passphrase-file=$w/pass,embassy=$address"
	expect 0 "embassy's copy.*read-only" "$embassyfs" "$w/store/$id" "$mnt" -o "passphrase-file=$w/pass"
	expect 1 'Read-only file system' touch "$mnt/forked"
	expect 1 '.' "$embassy" snapshot "$mnt" forked
	umount "$mnt"
	# As mount(8) calls it, which adds these for root.
	expect 0 "embassy's copy.*read-only" "$embassyfs" "$w/store/$id" "$mnt" -o "rw,dev,suid,passphrase-file=$w/pass"
	umount "$mnt"
	expect 0 '^1 passphrase' "$embassy" keys "$w/store/$id" list
	expect 13 "embassy's copy" "$embassy" keys "$w/store/$id" add $with --new-key-file "$w/keyfile"
	copy_sums >"$w/copy.after"
	expect 0 '' cmp "$w/copy.before" "$w/copy.after"
	rm -rf "$w/vol/catalog"
	expect 0 'catalog was missing' "$embassy" check "$w/vol" $with
	expect 0 'is sound' "$embassy" check "$w/vol" $with
	expect 12 'key' "$embassy" check "$w/vol" --key-file "$w/keyfile"

	# Healed from the embassy: a changed byte, a lost segment, volume.conf; and what can't be asked for.
	segment=$(find "$w/vol/log" -size +1000c -name '*.seg' | sort | head -1)
	flip_byte "$segment" 700
	expect 20 'heal it with --repair --from' "$embassy" check "$w/vol" $with
	expect 20 'heal it with --repair --from' "$embassy" check "$w/vol" $with --repair
	expect 2 'belong to --repair' "$embassy" check "$w/vol" $with --from "$address"
	expect 0 'blocks healed' "$embassy" check "$w/vol" $with --read-data --repair --from "$address" --tls "$w/tls/home"
	expect 0 'is sound' "$embassy" check "$w/vol" $with --read-data
	cp -r "$w/vol" "$w/vol.saved"
	# What the catalog knows and the log has not is missing, whatever time is asked for; what is left, on request.
	cp -r "$w/vol" "$w/half"
	rm "$(find "$w/half/log" -name '*.seg' | sort | tail -1)"
	expect 20 'is in the catalog, but not in the log.*-o partial' "$embassyfs" "$w/half" "$mnt" -o "passphrase-file=$w/pass"
	expect 20 'not in the log.*-o partial' "$embassyfs" "$w/half" "$mnt" -o "ro,passphrase-file=$w/pass"
	expect 20 'not in the log.*-o partial' "$embassyfs" "$w/half" "$mnt" -o "at=latest,passphrase-file=$w/pass"
	expect 2 'partial' "$embassyfs" "$w/half" "$mnt" -o "rw,partial,passphrase-file=$w/pass"
	expect 0 'not in the log.*mounted without' "$embassyfs" "$w/half" "$mnt" -o "partial,passphrase-file=$w/pass"
	expect 1 'Read-only file system' touch "$mnt/x"
	umount "$mnt"
	# With the catalog gone too, newest-head tells of it; and nobody calls what is left sound.
	rm -r "$w/half/catalog"
	expect 20 'the log ends with head [0-9]+, but head [0-9]+ of.*-o partial' "$embassyfs" "$w/half" "$mnt" -o "passphrase-file=$w/pass"
	expect 20 'the log ends with head' "$embassyfs" "$w/half" "$mnt" -o "ro,passphrase-file=$w/pass"
	expect 20 'the log ends with head' "$embassy" check "$w/half" $with
	expect 20 'the log ends with head' "$embassy" check "$w/half" --log-only
	expect 0 'the log ends with head.*mounted without' "$embassyfs" "$w/half" "$mnt" -o "partial,passphrase-file=$w/pass"
	umount "$mnt"
	# What no copy can heal is given up by who names where it begins, and by nobody else.
	expect 2 'belongs to --repair' "$embassy" check "$w/half" $with --cut=0
	expect 1 'nothing was cut off: its log is whole up to position' "$embassy" check "$w/half" $with --repair --cut=0
	cut=$("$embassy" check "$w/half" $with --repair --cut=0 2>&1 | sed -n 's/.*whole up to position \([0-9]*\);.*/\1/p')
	expect 20 'the log ends with head' "$embassy" check "$w/half" $with
	expect 0 'given up from position' "$embassy" check "$w/half" $with --repair "--cut=$cut"
	expect 1 'is not damaged' "$embassy" check "$w/half" $with --repair "--cut=$cut"
	# A lost volume.conf is no reason to make a new volume.
	rm "$w/half/volume.conf"
	expect 10 'volume.conf is missing.*no new volume here$' "$embassyfs" "$w/half" "$mnt" -o "passphrase-file=$w/pass"
	for c in status check heads; do
		expect 10 'volume.conf is missing.*no new volume here$' "$embassy" $c "$w/half"
	done
	expect 1 'not empty' "$embassy" init "$w/half" $with
	rm -r "$w/half"
	rm "$segment"
	expect 20 'problems' "$embassy" check "$w/vol" $with
	# The head that unmounting made has not reached the embassy: what is lost for good is told.
	expect 20 'was missing; made anew' "$embassy" check "$w/vol" $with --repair --from "$address/$id" --tls "$w/tls/home"
	expect 0 'is sound' "$embassy" check "$w/vol" $with --read-data --repair --from "$w/vol.saved"
	flip_byte "$w/vol/volume.conf" 60
	expect 10 'HOST:PORT/VOLUME-ID' "$embassy" check "$w/vol" $with --repair --from "$address" --tls "$w/tls/home"
	expect 0 'volume.conf: healed' "$embassy" check "$w/vol" $with --repair --from "$address/$id" --tls "$w/tls/home"
	expect 0 ' 0 blocks healed' "$embassy" check "$w/vol" $with --repair --from "$w/store/$id"
	expect 1 'another volume' "$embassy" check "$w/vol2" --key-file "$w/keyfile" --repair --from "$w/store/$id"
	expect 30 '127.0.0.1:1' "$embassy" check "$w/vol" $with --repair --from "127.0.0.1:1"

	# And the embassy from home, which has to own the volume.
	segment=$w/store/$id/log/${segment##*/}
	flip_byte "$segment" 700
	flip_byte "$segment" 9000
	expect 20 'problems' "$embassy" check "$w/store/$id" $with --read-data
	expect 20 'could not be healed' "$embassy" check "$w/vol" $with --repair --to "$address" --tls "$w/tls/embassy"
	expect 0 '2 blocks healed there' "$embassy" check "$w/vol" $with --repair --to "$address" --tls "$w/tls/home"
	expect 0 ' 0 blocks healed there' "$embassy" check "$w/vol" $with --repair --to "$address/$id" --tls "$w/tls/home"
	expect 0 'is sound' "$embassy" check "$w/store/$id" $with --read-data
	expect 1 'an embassy of this volume' "$embassy" check "$w/vol" $with --repair --to "$w/vol.saved"
}

kill -TERM "$server_pid"
wait "$server_pid"
server_pid=''

# A volume of format 1, kept since: whatever this program has become, it opens, its past too.
cp -r "$(dirname "$0")/../golden/volume-1" "$w/old"
install -m 600 "$(dirname "$0")/../golden/volume-1.key" "$w/old.key"
old="--key-file $w/old.key"
# shellcheck disable=SC2086
expect 0 'is sound' "$embassy" check "$w/old" $old --read-data
# is PATH WANTED COMMAND...: what the command prints of the path
is() { expect 0 "^$2\$" "${@:3}" "$mnt/$1"; }
expect 0 '' "$embassyfs" "$w/old" "$mnt" -o "ro,key-file=$w/old.key"
is registers/land/parcels changed cat
is registers/land/parcels '2042-01-01 00:00:00.123456789 .*' env TZ=UTC stat -c %y
is registers/land/parcels kept getfattr --only-values -n user.note --absolute-names
is registers/seal-again '20000 640 1' stat -c '%s %a %h'
is registers/link land/parcels readlink
is sparse 1073741824 stat -c %s
expect 0 tail dd if="$mnt/sparse" bs=1 skip=1000000000 count=4 status=none
is registers/seal-again '8477c2160e4414db00ab6dd792d1b0b4.*' md5sum
umount "$mnt"
expect 0 '' "$embassyfs" "$w/old" "$mnt" -o "at=snapshot:first,key-file=$w/old.key"
expect 0 '^3000 3000 13893$' sh -c "wc <'$mnt/registers/land/parcels' | tr -s ' ' | sed 's/^ //'"
is registers/seal '20000 640 2' stat -c '%s %a %h'
is registers/land 1921 env TZ=UTC date +%Y -r
umount "$mnt"

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
