# bash completion for embassy(1)

_embassy() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} options=''

	COMPREPLY=()
	if [ "$COMP_CWORD" = 1 ]; then
		mapfile -t COMPREPLY < <(compgen -W 'init status drain snapshot hold release snapshots heads check keys tls upgrade help version' -- "$cur")
		return
	fi
	case $prev in
	--cipher)
		mapfile -t COMPREPLY < <(compgen -W 'aes-256-gcm chacha20-poly1305' -- "$cur")
		return
		;;
	--passphrase-file | --key-file | --new-passphrase-file | --new-key-file)
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		return
		;;
	--from | --to)
		if [ "${COMP_WORDS[1]}" = check ]; then # a copy: a folder, or an address
			mapfile -t COMPREPLY < <(compgen -d -- "$cur")
			return
		fi
		mapfile -t COMPREPLY < <(compgen -W '5m 2h 3d yesterday latest head: snapshot:' -- "$cur")
		return
		;;
	--compress | --label | --timeout | --host) return ;;
	esac
	case ${COMP_WORDS[1]} in
	init) options='--passphrase-file --key-file --cipher --compress --label --weak' ;;
	status) options='--json --openmetrics --watch --tls' ;;
	drain) options='--timeout --accept-loss' ;;
	snapshot) options='--hold' ;;
	snapshots) options='--json --tls --passphrase-file --key-file' ;;
	heads) options='--from --to --json --tls --passphrase-file --key-file' ;;
	check) options='--read-data --log-only --repair --from --to --cut --tls --passphrase-file --key-file' ;;
	keys) options='--passphrase-file --key-file --new-passphrase-file --new-key-file --label --weak' ;;
	tls) options='--host' ;;
	help)
		mapfile -t COMPREPLY < <(compgen -W 'init status drain snapshot hold release snapshots heads check keys tls upgrade' -- "$cur")
		return
		;;
	esac
	if [[ $cur == -* ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$options --help" -- "$cur")
	elif [ "${COMP_WORDS[1]}" = keys ] && [ "$COMP_CWORD" = 3 ]; then
		mapfile -t COMPREPLY < <(compgen -W 'list add remove rotate' -- "$cur")
	else
		mapfile -t COMPREPLY < <(compgen -d -- "$cur")
	fi
}

complete -o filenames -F _embassy embassy
