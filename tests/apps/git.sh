#!/bin/bash
# git on a mount: a repository with a history is cloned, worked in, packed, rebased and checked,
# and its working trees compare equal to those that git makes elsewhere.
# shellcheck source=tests/apps/lib.sh
. "$(dirname "$0")/lib.sh"
needs git git

export HOME=$work GIT_CONFIG_NOSYSTEM=1
export GIT_AUTHOR_DATE='2024-01-01T00:00:00Z' GIT_COMMITTER_DATE='2024-01-01T00:00:00Z'
git config --global user.name Tester
git config --global user.email tester@example.org
git config --global init.defaultBranch main
git config --global safe.directory '*'
git config --global advice.detachedHead false
git config --global core.fsync all

origin=$work/origin
n_files=$(pick 600 8000)
n_commits=$(pick 12 60)

# Files of this machine's own, a part with each commit, and changes, renames, removals, a mode
# and a link in between.
make_origin() {
	local i f
	mkdir "$origin" && cd "$origin" && git init -q || return
	find /usr/include /usr/share/perl /usr/lib/python3 -xdev -type f -size -200k 2>/dev/null | sort |
		awk -v n="$n_files" 'NR <= n' >"$work/files"
	for i in $(seq "$n_commits"); do
		awk -v n="$n_commits" -v i="$i" 'NR % n == i - 1 {sub("^/", ""); print}' "$work/files" |
			tar -C / -cf - -T - | tar -xf - || return
		find . -path ./.git -prune -o -type f -print | sort | awk -v i="$i" 'NR % 41 == i' >"$work/some"
		while read -r f; do
			echo "amended $i" >>"$f"
			case $((i % 4)) in
			0) git mv -k "$f" "$f.moved" ;;
			1) chmod 755 "$f" ;;
			2) ln -sf "$(basename "$f")" "$f.link" ;;
			3) rm "$f" ;;
			esac
		done <"$work/some"
		git add -A && git commit -qm "commit $i" || return
	done
	git branch side HEAD~4 && git checkout -q side || return
	echo side >side-file
	git add -A && git commit -qm 'side 1' || return
	git mv side-file side-renamed && git commit -qm 'side 2' && git checkout -q main
}

same_tree() { # same_tree TREE COMMIT: a working tree and what git, working elsewhere, says it should be
	rm -rf "$work/expected"
	mkdir "$work/expected"
	git -C "$origin" archive "$2" | tar -C "$work/expected" -xf - || return
	diff -r --no-dereference --exclude=.git "$work/expected" "$1" || return
	(cd "$work/expected" && find . -mindepth 1 -printf '%p %y %m %l\n' | sed '/ d /d' | sort) >"$work/a"
	(cd "$1" && find . -name .git -prune -o -mindepth 1 -printf '%p %y %m %l\n' | sed '/ d /d' | sort) >"$work/b"
	# The archive's modes come from git, those of the working tree from our umask: only x is
	# kept.
	diff <(sed -E 's/ (f) ([0-7]).*/ \1 \2/' "$work/a") <(sed -E 's/ (f) ([0-7]).*/ \1 \2/' "$work/b")
}

clean() {
	local out
	out=$(git -C "$1" status --porcelain --ignored) && [ -z "$out" ] || { echo "$out" | head; return 1; }
}

no_loss() { git -C "$1" fsck --full --strict --no-dangling --no-progress; }

walk_history() { # each commit checked out in turn, some compared
	local commit i=0
	for commit in $(git -C "$clone" rev-list --reverse main); do
		git -C "$clone" checkout -q "$commit" || return
		clean "$clone" || return
		i=$((i + 1))
		if [ $((i % 4)) = 0 ]; then same_tree "$clone" "$commit" || return; fi
	done
	git -C "$clone" checkout -q main
}

rebase_side() {
	git -C "$clone" checkout -q -b side origin/side && git -C "$clone" rebase -q main &&
		[ "$(git -C "$clone" log --format=%s -3 | xargs)" = "side 2 side 1 commit $n_commits" ] &&
		[ "$(cat "$clone/side-renamed")" = side ] && clean "$clone"
}

commit_here() { # files changed on the mount go back to the origin by push, and are the same there
	(
		cd "$clone" || exit
		git checkout -q -b work main || exit
		find . -path ./.git -prune -o -type f -print | sort | awk 'NR % 5 == 0' |
			while read -r f; do echo here >>"$f"; done
		[ "$(git status --porcelain | wc -l)" -ge $((n_files / 10)) ] || exit
		git commit -qam 'from the mount' && git push -q origin work
	) && same_tree "$clone" work
}

at_once() { # two worktrees, changed at the same time, and gc beside them
	local w rc=0 pids=()
	for w in one two; do
		git -C "$clone" worktree add -q "$mnt/$w" -b "tree-$w" main || return
	done
	for w in one two; do
		(
			cd "$mnt/$w" || exit
			for i in 1 2 3 4 5; do
				echo "$i" >"new-$i" && git add -A && git commit -qm "$w $i" || exit
			done
		) &
		pids+=($!)
	done
	git -C "$clone" gc -q || rc=1
	for w in "${pids[@]}"; do wait "$w" || rc=1; done
	for w in one two; do
		[ "$(git -C "$clone" rev-list --count "main..tree-$w")" = 5 ] || rc=1
	done
	return $rc
}

clone=$mnt/clone
check "a repository with $n_files files and $n_commits commits" make_origin || give_up "no repository"
check "clone" git clone -q "file://$origin" "$clone"
check "status: clean" clean "$clone"
check "the working tree is what it should be" same_tree "$clone" main
check "every commit checked out, some compared" walk_history
check "rebase" rebase_side
check "commit and push" commit_here
check "two worktrees and gc at once" at_once
check "gc" git -C "$clone" gc -q --aggressive --prune=now
check "fsck" no_loss "$clone"
check "a clone of the clone, by hard links" git clone -q "$clone" "$mnt/second"
check "fsck of it" no_loss "$mnt/second"
check "remounted" remount_it
check "status: still clean" clean "$clone"
check "fsck, read cold" no_loss "$clone"
check "the working tree, read cold" same_tree "$clone" work

sees_a_change() {
	local file
	file=$(git -C "$clone" ls-files | grep -v '[^A-Za-z0-9._/-]' | head -n 1)
	echo x >>"$clone/$file"
	[ "$(git -C "$clone" status --porcelain)" = " M $file" ]
}
check "status sees a change" sees_a_change
conclude
