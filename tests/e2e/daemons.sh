#!/bin/bash
# What daemons meet in years of service: certificates that expire and are renewed, signals, limits, closed standard streams.
# What is wrong is said in words that name it; what can be mended is mended without a restart.
#
# usage: daemons.sh [BUILD-DIR]
set -uo pipefail
# shellcheck source=tools/lib.sh
. "$(dirname "$0")/../../tools/lib.sh"

build=$(realpath "${1:-$(dirname "$0")/../../build}")
embassy=$build/tools/embassy
embassyfs=$build/fs/fuse/embassyfs
embassyd=$build/server/embassyd
[ "$(id -u)" = 0 ] || { echo "daemons: it mounts; run it as root" >&2; exit 1; }

w=$(mktemp -d "${TMPDIR:-/var/tmp}/embassyfs-daemons.XXXXXX")
passed=0 failed=0 servers=()

cleanup() {
	local m
	trap - EXIT
	awk -v w="$w/" 'index($5, w) == 1 {print $5}' /proc/self/mountinfo | while read -r m; do
		umount "$m" 2>/dev/null || umount -l "$m"
	done
	[ ${#servers[@]} = 0 ] || { kill -KILL "${servers[@]}"; wait "${servers[@]}"; } 2>/dev/null
	rm -rf --one-file-system "$w"
}
trap cleanup EXIT
trap 'exit 130' INT TERM HUP

# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

# within SECONDS COMMAND...: it succeeds some time before that.
within() {
	local end=$((SECONDS + $1))
	shift
	while [ $SECONDS -lt $end ]; do
		"$@" >/dev/null 2>&1 && return
		sleep 0.1
	done
	"$@"
}

# serve NAME ARGUMENT...: an embassyd of its own store; ${address} and ${pid} are its.
serve() {
	local name=$1
	shift
	"$embassyd" --store "$w/store-$name" --listen 127.0.0.1:0 "$@" >"$w/$name.log" 2>&1 &
	pid=$!
	servers+=($pid)
	within 10 grep -q 'listening on' "$w/$name.log" || cat "$w/$name.log"
	address=$(sed -n 's/^embassyd: listening on //p' "$w/$name.log")
}

# authority DIR DAYS: ca.pem and ca.key; negative days: it has expired.
authority() {
	mkdir -p "$1"
	openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=authority -keyout "$1/ca.key" \
		-out "$1/request" 2>/dev/null
	printf 'basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\n' >"$1/extensions"
	openssl x509 -req -in "$1/request" -signkey "$1/ca.key" -days "$2" -extfile "$1/extensions" -out "$1/ca.pem" 2>/dev/null
}

# certificate DIR NAME DAYS SAN [AUTHORITY]: of the authority in ${w}/tls, or that folder; negative days: it has expired.
certificate() {
	local ca=${5:-$w/tls}
	mkdir -p "$1"
	openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=$2" -keyout "$1/key.pem" \
		-out "$1/request" 2>/dev/null
	printf 'basicConstraints=critical,CA:FALSE\nextendedKeyUsage=clientAuth,serverAuth\nsubjectAltName=%s\n' "$4" \
		>"$1/extensions"
	openssl x509 -req -in "$1/request" -CA "$ca/ca.pem" -CAkey "$ca/ca.key" -CAcreateserial -days "$3" \
		-extfile "$1/extensions" -out "$1/cert.pem" 2>/dev/null
	cp "$ca/ca.pem" "$1/"
}

umask 077
echo "correct horse battery" >"$w/pass"
export EMBASSY_PASSPHRASE_FILE=$w/pass
mnt=$w/mnt
mkdir "$mnt"
"$embassy" tls "$w/tls" >/dev/null
"$embassy" tls "$w/other" >/dev/null
"$embassy" init "$w/vol" >/dev/null
id=$(sed -n 's/^id //p' "$w/vol/volume.conf")
home=$w/tls/home

# ---- what keeps a client from a server, in words ----

serve good --tls "$w/tls/server"
good=$address good_pid=$pid
expect 10 'no such volume' "$embassy" status "$good/$id" --tls "$home"
expect 30 'speaks TLS only' "$embassy" status "$good/$id"
expect 30 'not of the authority in .*other/home/ca.pem' "$embassy" status "$good/$id" --tls "$w/other/home"
certificate "$w/expired" home -1 IP:127.0.0.1
expect 30 'our certificate .*expired/cert.pem.*, which has expired' "$embassy" status "$good/$id" --tls "$w/expired"
serve other --tls "$w/other/server"
expect 30 'not of the authority in .*/ca.pem' "$embassy" status "$address/$id" --tls "$home"
serve expired --tls "$w/expired"
expect 30 "the server's certificate has expired" "$embassy" status "$address/$id" --tls "$home"
# An authority expires too, and takes all its certificates with it.
authority "$w/old" -1
certificate "$w/aged" server 30 IP:127.0.0.1 "$w/old"
serve aged --tls "$w/aged"
expect 0 '' within 10 grep -q 'aged/ca.pem expired at .*: make a new authority' "$w/aged.log"
expect 30 'the authority in .*aged/ca.pem has expired' "$embassy" status "$address/$id" --tls "$w/aged"
authority "$w/ending" 5
certificate "$w/late" server 5 IP:127.0.0.1 "$w/ending"
serve late --tls "$w/late"
expect 0 '' within 10 grep -q 'late/ca.pem expires at .*append its ca.pem' "$w/late.log"
cat "$w/tls/ca.pem" >>"$w/late/ca.pem"
serve later --tls "$w/late"
expect 0 '' within 10 grep -q 'late/cert.pem expires at' "$w/later.log"
certificate "$w/elsewhere" server 30 DNS:elsewhere
serve elsewhere --tls "$w/elsewhere"
expect 30 "the server's certificate is not for 127.0.0.1" "$embassy" status "$address/$id" --tls "$home"
serve plain --insecure
plain_pid=$pid
expect 30 'speaks no TLS' "$embassy" status "$address/$id" --tls "$home"
kill -STOP "$plain_pid"
expect 30 'does not answer' "$embassy" status "$address/$id" --tls "$home"
kill -CONT "$plain_pid"
kill "$plain_pid"
wait "$plain_pid"
expect 30 'no server listens there' "$embassy" status "$address/$id"
expect 30 'the host nowhere.invalid is not known' "$embassy" status "nowhere.invalid:1/$id" --tls "$home"
# Files of TLS that are none are no damage to a volume (20).
mkdir "$w/files"
for f in ca cert key; do
	cp "$home"/*.pem "$w/files/"
	: >"$w/files/$f.pem"
	expect 1 "files/$f.pem: not a PEM file" "$embassy" status "$good/$id" --tls "$w/files"
	expect 1 "files/$f.pem: not a PEM file" "$embassyfs" "$w/vol" "$mnt" -o "tls=$w/files,embassy=$good"
done
cp "$home"/*.pem "$w/files/"
openssl ec -in "$home/key.pem" -aes256 -passout pass:secret -out "$w/files/key.pem" 2>/dev/null
expect 1 'no private key without a passphrase' "$embassy" status "$good/$id" --tls "$w/files"
rm "$w/files/key.pem" && mkfifo "$w/files/key.pem"
expect 1 'files/key.pem: Invalid argument' timeout 20 "$embassy" status "$good/$id" --tls "$w/files"
expect 1 "a server's certificate" "$embassy" status "$good/$id" --tls "$w/tls/server"
# The mount at the embassy says the same.
mkdir "$w/view"
expect 30 'not of the authority' "$embassyfs" "$good/$id" "$w/view" -o "tls=$w/other/home,at=latest"

# ---- what keeps a server from listening ----

expect 1 'another program listens there' "$embassyd" --store "$w/store-x" --listen "$good" --tls "$w/tls/server"
expect 1 'not an address of this machine' "$embassyd" --store "$w/store-x" --listen 192.0.2.1:7443 --tls "$w/tls/server"
expect 1 'there is no such folder' "$embassyd" --store "$w/store-x" --listen "unix:$w/none/sock" --insecure
# A Unix socket that another server listens on stays its; what one left behind is taken; what is none is left alone.
"$embassyd" --store "$w/store-socket" --listen "unix:$w/socket" --insecure >"$w/socket.log" 2>&1 &
socket_pid=$!
servers+=($socket_pid)
within 10 grep -q 'listening on' "$w/socket.log"
expect 1 'another program listens there' timeout 10 "$embassyd" --store "$w/store-x" --listen "unix:$w/socket" --insecure
expect 0 'no volumes yet' "$embassy" status "unix:$w/socket"
kill -KILL $socket_pid
wait $socket_pid 2>/dev/null
expect 124 'listening on' timeout -k 5 3 "$embassyd" --store "$w/store-x" --listen "unix:$w/socket" --insecure
echo precious >"$w/file"
expect 1 'is no socket' timeout 10 "$embassyd" --store "$w/store-x" --listen "unix:$w/file" --insecure
expect 0 precious cat "$w/file"
mkdir "$w/mixed"
cp "$w"/tls/server/*.pem "$w/mixed/"
cp "$home/key.pem" "$w/mixed/"
expect 1 'key.pem is not the key of cert.pem' "$embassyd" --store "$w/store-x" --listen 127.0.0.1:0 --tls "$w/mixed"
expect 1 'key.pem is not the key of cert.pem' "$embassy" status "$good/$id" --tls "$w/mixed"

# ---- certificates that are renewed under live programs ----

mkdir "$w/mine"
cp "$w"/expired/*.pem "$w/mine/"
expect 0 'expired at' "$embassyfs" "$w/vol" "$mnt" -o "tls=$w/mine,embassy=$good"
echo one >"$mnt/file"
within 20 grep -q 'which has expired' "$mnt/.embassy/status"
expect 0 '"warning": "[^"]*mine/cert.pem expired at' cat "$mnt/.embassy/status"
expect 0 'warning: .*mine/cert.pem expired' "$embassy" status "$mnt"
cp "$home"/*.pem "$w/mine/"
expect 0 'every embassy has all' "$embassy" drain "$mnt" --timeout 60
within 20 grep -q '"warning": ""' "$mnt/.embassy/status"
expect 0 '"warning": ""' cat "$mnt/.embassy/status"

# The server's: of another authority, after which the old home is a stranger, and back, without a restart.
"$embassy" tls "$w/tls2" >/dev/null
cp "$w"/tls/server/*.pem "$w/mixed/"
cp "$w"/tls2/server/*.pem "$w/tls/server/"
expect 30 'not of the authority' "$embassy" status "$good/$id" --tls "$home"
expect 0 '^volume' "$embassy" status "$good/$id" --tls "$w/tls2/home"
kill -HUP "$good_pid"
within 10 grep -q 'new connections get this certificate' "$w/good.log"
expect 0 'new connections get this certificate, which is good until' cat "$w/good.log"
# Half of a renewal is passed over.
cp "$w/mixed/cert.pem" "$w/tls/server/"
expect 0 '^volume' "$embassy" status "$good/$id" --tls "$w/tls2/home"
expect 0 'not the key of cert.pem.*stays in use' cat "$w/good.log"
cp "$w"/mixed/*.pem "$w/tls/server/"
expect 0 '^volume' "$embassy" status "$good/$id" --tls "$home"
certificate "$w/soon" server 5 IP:127.0.0.1
cp "$w"/soon/*.pem "$w/tls/server/"
kill -HUP "$good_pid"
within 10 grep -q 'expires at' "$w/good.log"
expect 0 'cert.pem expires at .*taken without a restart' cat "$w/good.log"
cp "$w"/mixed/*.pem "$w/tls/server/"
# A key change reaches the embassy while the volume is mounted, and the mount goes on.
echo "another passphrase" >"$w/pass2"
expect 0 'within seconds' "$embassy" keys "$w/vol" add --new-passphrase-file "$w/pass2"
within 30 cmp -s "$w/vol/volume.conf" "$w/store-good/$id/volume.conf"
expect 0 '' cmp "$w/vol/volume.conf" "$w/store-good/$id/volume.conf"
echo two >"$mnt/file"
expect 0 'every embassy has all' "$embassy" drain "$mnt" --timeout 60
expect 0 '' umount "$mnt"

expect 0 "^$id  epoch 1, head [0-9]+ of 20" "$embassy" status "$good" --tls "$home"
expect 0 "^\{\"volume\": \"$id\"" "$embassy" status "$good" --tls "$home" --json
expect 1 "a volume's folder" "$embassyd" --store "$w/vol" --listen 127.0.0.1:0 --insecure
expect 1 "a client's certificate" "$embassyd" --store "$w/store-x" --listen 127.0.0.1:0 --tls "$home"

# ---- signals and limits ----

harmless='USR1 USR2 PIPE XFSZ XCPU ALRM VTALRM PROF IO PWR STKFLT RTMIN RTMAX'
for s in HUP $harmless; do
	kill -s "$s" "$good_pid"
done
expect 0 '^volume' "$embassy" status "$good/$id" --tls "$home"
expect 0 '' kill -0 "$good_pid"

# Nor does any of them end a mount or its supervisor.
expect 0 '' "$embassyfs" "$w/vol" "$mnt"
daemon=$(daemon_of "$mnt")
supervisor=$(supervisors_of "$daemon")
for s in $harmless; do
	kill -s "$s" "$supervisor" "$daemon"
done
echo three >"$mnt/file"
expect 0 "^$daemon $supervisor\$" echo "$(daemon_of "$mnt") $(supervisors_of "$daemon")"
expect 0 '' umount "$mnt"

# A mount outlives its daemon, and ends when it is told to, whatever the program that started it has blocked or ignored.
deaf() {
	python3 -c 'import os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals))
for s in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP, signal.SIGINT): signal.signal(s, signal.SIG_IGN)
os.execv(sys.argv[1], sys.argv[1:])' "$@"
}
unmounted() { ! mountpoint -q "$mnt"; }
for o in supervise nosupervise; do
	expect 0 '' deaf "$embassyfs" "$w/vol" "$mnt" -o $o
	[ $o = nosupervise ] || kill -KILL "$(daemon_of "$mnt")"
	expect 0 three timeout 20 cat "$mnt/file"
	kill -TERM "$(daemon_of "$mnt")"
	expect 0 '' within 10 unmounted
	unmounted || umount -l "$mnt"
done

# Too few descriptors are told before anything is promised.
expect 1 'the limit of open files is 24; a mount needs at least 64' bash -c "ulimit -n 24; exec $embassyfs $w/vol $mnt"
expect 1 'the limit of open files is 8; a server needs at least 32' \
	bash -c "ulimit -n 8; exec $embassyd --store $w/store-x --listen unix:$w/few --insecure"

# A limit on the size of files is an error like a full disk, not the end.
(
	ulimit -f 4000
	exec "$embassyd" --store "$w/store-small" --listen 127.0.0.1:0 --tls "$w/tls/server"
) >"$w/small.log" 2>&1 &
small_pid=$!
servers+=($small_pid)
within 10 grep -q 'listening on' "$w/small.log"
small=$(sed -n 's/^embassyd: listening on //p' "$w/small.log")
expect 0 '' "$embassyfs" "$w/vol" "$mnt" -o "tls=$home,embassy=$small"
head -c 20000000 /dev/urandom >"$mnt/big"
# Each attempt ends with it; the reason is there between two of them.
expect 0 '' within 60 grep -qE 'RLIMIT_FSIZE|File too large' "$mnt/.embassy/status"
expect 0 '' kill -0 "$small_pid"
expect 0 '' umount "$mnt"

# Closed standard streams: nothing is written into a file that took their numbers.
(exec "$embassyd" --store "$w/store-closed" --listen "unix:$w/closed" --insecure <&- >&- 2>&-) &
closed_pid=$!
servers+=($closed_pid)
within 10 test -S "$w/closed"
expect 0 '' test -S "$w/closed"
expect 0 '^/dev/null$' readlink "/proc/$closed_pid/fd/2"
expect 0 '' kill -TERM "$closed_pid"
wait "$closed_pid"
expect 0 '' test $? = 0

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
