# bash completion for embassyfs(1) and embassyd(8)

_embassyfs_option() { # the last of a list of mount options
	local list=$1 before='' last options
	options='passphrase-file= key-file= embassy= tls= at= ro rw partial allow_other history=owner history=users noatime
		nodiratime strictatime relatime flush= checkpoint= memory= local= dev suid noexec nonempty nosupervise remount'

	last=${list##*,}
	[ "$last" = "$list" ] || before=${list%,*},
	case $last in
	passphrase-file=* | key-file=*) mapfile -t COMPREPLY < <(compgen -P "$before${last%%=*}=" -f -- "${last#*=}") ;;
	tls=*) mapfile -t COMPREPLY < <(compgen -P "$before${last%%=*}=" -d -- "${last#*=}") ;;
	at=*) mapfile -t COMPREPLY < <(compgen -P "${before}at=" -W '5m 2h 3d yesterday latest head: snapshot:' -- "${last#*=}") ;;
	*) mapfile -t COMPREPLY < <(compgen -P "$before" -W "$options" -- "$last") ;;
	esac
	compopt -o nospace
}

_embassyfs() {
	local cur prev
	COMPREPLY=()
	_get_comp_words_by_ref -n =: cur prev 2>/dev/null || { cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}; }
	if [ "$prev" = -o ]; then
		_embassyfs_option "$cur"
	elif [[ $cur == -* ]]; then
		mapfile -t COMPREPLY < <(compgen -W '-o -f -h --help -V --version' -- "$cur")
	else
		mapfile -t COMPREPLY < <(compgen -d -- "$cur")
	fi
}

_embassyd() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
	COMPREPLY=()
	case $prev in
	--store | --tls) mapfile -t COMPREPLY < <(compgen -d -- "$cur") ;;
	--listen) mapfile -t COMPREPLY < <(compgen -W '0.0.0.0:7443 127.0.0.1:7443 unix:' -- "$cur") ;;
	*) mapfile -t COMPREPLY < <(compgen -W '--store --listen --tls --insecure --help --version' -- "$cur") ;;
	esac
}

complete -o filenames -F _embassyfs embassyfs
complete -o filenames -F _embassyd embassyd
