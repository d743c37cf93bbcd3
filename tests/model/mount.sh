#!/bin/bash
# A mounted volume beside a plain folder: mount.sh BUILD-FOLDER [--full].  First the sequences
# in cases/, each of which has shown a mistake once or could; then random ones, with remounts in
# between, and by several threads at once; then several threads in one file, on a mount with little
# memory whose daemon is killed. In full it takes two hours, or as many seconds for each part as
# EMBASSYFS_SOAK_S says.
# shellcheck source=tests/apps/lib.sh
. "$(dirname "$0")/../apps/lib.sh"

lines_max=100 # the smallest sequence is among them
here=$(cd "$(dirname "$0")" && pwd)
model=$build/tests/model/model
[ -x "$model" ] || give_up "$model is not built"
reference=$work/reference
mkdir "$reference"
kind=$(stat -f -c %T "$reference")
[ "$kind" = ext2/ext3 ] || echo "note: the reference folder is on $kind, not on ext4"

# What the model runs to have the mount go and come back.
{
	declare -p embassyfs vol mnt work
	declare -f pids_with servers wait_until mounted not_mounted no_daemon mount_it unmount_it remount_it
	echo remount_it
} >"$work/remount"

compare() { mounted && "$model" "$mnt" "$reference" --script "$work/smallest" "$@"; }

for script in "$here"/cases/*; do
	check "case: $(basename "$script")" compare --replay "$script" --remount "bash $work/remount"
done

seconds=$(pick 30 "${EMBASSYFS_SOAK_S:-1800}")
told() { tail -n 1 "$work/out"; }
check "the same seeds as ever" compare --seed 1 --runs "$(pick 10 200)" && told
# In small the seeds are always the same, so that a red test is about what was changed; in full they are new ones.
# shellcheck disable=SC2046 # words
check "$seconds s with remounts" compare $(pick "--seed 1000" "") --seconds "$seconds" --remount "bash $work/remount" && told
# shellcheck disable=SC2046
check "$seconds s by four threads" compare $(pick "--seed 5000" "") --seconds "$seconds" --threads 4 && told
check "one mistake made on purpose is found here too" \
	bash -c "! '$model' '$mnt' '$reference' --seed 1 --runs 20 --break 3"

# Threads in one file.  The mount has little memory and is new for each round; SIGKILL in some rounds.
onefile=$build/tests/model/onefile_mount
mount_small() { # mount_small OPTIONS
	timeout 60 "$embassyfs" "$vol" "$mnt" -o "allow_other,memory=16M,passphrase-file=$work/pass$1"
}
kill_daemon() { kill -KILL "$(daemon_pid)"; }
kill_small() { # without a supervisor: what nobody synced is gone
	kill_daemon && wait_until 30 no_daemon && umount -l "$mnt" && mount_small ,nosupervise
}
for how in '' ,nosupervise; do
	{
		sed '$d' "$work/remount"
		declare -f mount_small daemon_pid kill_daemon kill_small
	} >"$work/functions"
	{ cat "$work/functions"; echo "unmount_it && mount_small '$how'"; } >"$work/again"
	{ cat "$work/functions"; if [ -n "$how" ]; then echo kill_small; else echo kill_daemon; fi; } >"$work/kill"
	unmount_it && mount_small "$how" || give_up "it can't be mounted with little memory"
	# shellcheck disable=SC2046 # words
	check "threads in one file, killed$([ -n "$how" ] || echo " and taken over")" \
		"$onefile" $(pick "--seed 1 --rounds 3" "--seconds $seconds") --remount "bash $work/again" \
		--kill "bash $work/kill" $([ -n "$how" ] || echo --kept) "$mnt" && told
done
conclude
