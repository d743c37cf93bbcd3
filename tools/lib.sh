# What quickstart, test and the tests' scripts share: packages of Debian 12, building, and finding processes.  Sourced by
# bash.
# shellcheck shell=bash disable=SC2034 # used by those who source it

packages_build=(gcc libc6-dev meson ninja-build pkg-config libfuse3-dev fuse3 libsodium-dev librocksdb-dev
	libjansson-dev libzstd-dev libgrpc-dev libprotobuf-c-dev protobuf-c-compiler libssl-dev)
packages_demo=(postgresql postgresql-contrib sqlite3 procps)
packages_test=(clang libclang-rt-14-dev libcriterion-dev openssl attr acl jq gdb python3 git rsync
	python3-cryptography python3-nacl python3-zstandard redis-tools "${packages_demo[@]}")

die() {
	echo "${0##*/}: $*" >&2
	exit 1
}

need_root() {
	[ "$(id -u)" = 0 ] || die "it installs packages and mounts; run it as root: sudo $0"
}

# install_packages LOG PACKAGE...: those that are missing.
install_packages() {
	local log=$1 p missing=()
	shift
	for p in "$@"; do
		dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q '^install ok installed' ||
			missing+=("$p")
	done
	[ ${#missing[@]} = 0 ] && return
	command -v apt-get >/dev/null || die "missing packages, and no apt-get to install them: ${missing[*]}"
	echo "installing ${missing[*]}"
	# Debian's PostgreSQL starts a server of its own when it is installed; nobody here needs one.
	if [[ " ${missing[*]} " == *" postgresql "* ]] && [ ! -e /etc/postgresql-common/createcluster.conf ]; then
		mkdir -p /etc/postgresql-common
		echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
	fi
	export DEBIAN_FRONTEND=noninteractive
	{
		apt-get -q update && apt-get -q -y --no-install-recommends install "${missing[@]}"
	} >"$log" 2>&1 || {
		tail -20 "$log" >&2
		die "apt-get failed; its output is in $log"
	}
}

# build_in DIR LOG [MESON-OPTION]...: configure ${root} where needed, and build all, or ${build_target}.  CC says the
# compiler.
build_in() {
	local dir=$1 log=$2
	shift 2
	if [ ! -f "$dir/build.ninja" ]; then
		meson setup "$dir" "${root:?}" "$@" >"$log" 2>&1 || return
	fi
	ninja -C "$dir" "${build_target:-all}" >>"$log" 2>&1
}

# Processes of program $1 with $2 in an argument.  Without a fork, since there may be many processes.
pids_of() {
	local dir argv
	for dir in /proc/[0-9]*; do
		mapfile -d '' -t argv 2>/dev/null <"$dir/cmdline" || continue
		if [ "${argv[0]:-}" = "$1" ] && [[ " ${argv[*]:1}" == *"$2"* ]]; then
			echo "${dir#/proc/}"
		fi
	done 2>/dev/null
}

# The process that serves a mount; its helper and its supervisor go by other names.
daemon_of() { # daemon_of MOUNT
	local pid
	for pid in $(pgrep -x embassyfs); do
		{ tr '\0' '\n' <"/proc/$pid/cmdline"; } 2>/dev/null | grep -qxF "$1" && echo "$pid" && return
	done
}

# The supervisors of daemons: kill these first, or they start other daemons.
supervisors_of() {
	local pid parent comm
	for pid in "$@"; do
		parent=$(sed -n 's/^PPid:\t//p' "/proc/$pid/status" 2>/dev/null) || continue
		{ read -r comm <"/proc/$parent/comm"; } 2>/dev/null || continue
		[ "$comm" != embassyfs-super ] || echo "$parent"
	done
}

# t NAME COMMAND...: one check of a script that has a folder $w, counted in $passed or $failed; silent if it passes.
# Else the end of what it printed is shown, and what the script's explain() adds.  $about goes before each name.
t() {
	local name=${about:-}$1
	shift
	if "$@" >"${w:?}/out" 2>&1; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "FAILED $name"
		tail -n 10 "$w/out" | cut -c -200
		explain
	fi
}
explain() { :; }

# wait_until SECONDS COMMAND...: until it succeeds.
wait_until() {
	local end=$((SECONDS + $1))
	shift
	until "$@"; do
		[ $SECONDS -lt $end ] || return 1
		sleep 0.05
	done
}

# Start embassyd in the background, and wait until it listens: ${server_pid}, ${address}.  A port that is asked for again may
# for a moment be the near end of somebody's connection: then it is tried again.
start_embassyd() { # start_embassyd LOG COMMAND...
	local log=$1 end=$((SECONDS + 20))
	shift
	while :; do
		# Emptied here, else the address of the server before could be read.
		: >"$log"
		"$@" >>"$log" 2>&1 &
		server_pid=$!
		until grep -q '^embassyd: listening on ' "$log" || ! kill -0 "$server_pid" 2>/dev/null || [ $SECONDS -ge $end ]; do
			sleep 0.05
		done
		address=$(sed -n 's/^embassyd: listening on //p' "$log")
		[ -z "$address" ] || return 0
		kill -KILL "$server_pid" 2>/dev/null
		wait "$server_pid" 2>/dev/null
		[ $SECONDS -lt $end ] || die "embassyd did not start: $(cat "$log")"
		sleep 0.2
	done
}

# Change the byte of a file at an offset: a byte that is written could be the one that is there.
flip_byte() { # flip_byte FILE OFFSET
	local byte
	byte=$(od -An -tu1 -j "$2" -N 1 "$1") && [ -n "$byte" ] || return
	# shellcheck disable=SC2059 # the format is an octal escape
	printf "\\$(printf %03o $((byte ^ 16)))" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}
