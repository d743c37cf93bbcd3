# What a workload costs, for compare: counters read before it, and when all that it wrote is on the disk.  Sourced
# by bash.
# shellcheck shell=bash disable=SC2154 # shared with compare

hz=$(getconf CLK_TCK)
served_by=() # /proc/PID of each process

# The block device that $on lies on, as MAJOR:MINOR; nothing where there isn't one.
find_device() {
	local number source
	number=$(findmnt -no MAJ:MIN -T "$on")
	[ ! -e "/sys/dev/block/$number/stat" ] || { echo "$number"; return; }
	source=$(findmnt -nvo SOURCE -T "$on")
	[ ! -b "$source" ] || lsblk -dno MAJ:MIN "$source" | tr -d ' '
}

# cpu_of COUNTER /proc/PID...: the CPU seconds of these processes and of the children that they have waited for.
cpu_of() {
	local counter=$1
	shift
	[ $# = 0 ] || cat "${@/%//stat}" 2>/dev/null | awk -v counter="$counter" -v hz="$hz" '
		{ sub(/.*\) /, ""); n += $12 + $13 + $14 + $15 }
		END { printf "%s %.2f\n", counter, n / hz }'
}

# Lines of "COUNTER VALUE": CPU seconds, bytes written to the disk, bytes of the log that the embassy has.
counters() {
	cpu_of daemon "${served_by[@]}"
	awk -v hz="$hz" '/^cpu / {printf "system %.2f\n", ($2 + $3 + $4 + $7 + $8) / hz}' /proc/stat
	if [ -n "$device" ]; then
		awk '{printf "disk %.0f\n", $7 * 512}' "/sys/dev/block/$device/stat"
	elif [ ${#served_by[@]} -gt 0 ]; then
		cat "${served_by[@]/%//io}" | awk '/^write_bytes/ {n += $2} END {printf "disk %.0f\n", n}'
	fi
	replicates "$name" || return 0
	cpu_of embassyd "/proc/${embassyd_of[$name]}"
	# Not by positions in the log: a mount begins at the next multiple of 64 MiB.
	find "${store_of[$name]}"/*/log -name '*.seg' -printf '%s\n' | awk '{n += $1} END {printf "sent %.0f\n", n}'
}

costs_begin() {
	settle
	mapfile -t served_by < <(daemons_of "$name" | sed 's|^|/proc/|')
	counters >"$work/before"
}

costs_end() { # costs_end WORKLOAD AMOUNT
	settle
	counters >"$work/after"
	awk -v line="$name\t$1" -v amount="$2" '
		NR == FNR { before[$1] = $2; next }
		{ printf "%s\t%s\t%.2f\t%s\n", line, $1, $2 - before[$1], amount }' \
		"$work/before" "$work/after" >>"$work/costs.tsv"
}
