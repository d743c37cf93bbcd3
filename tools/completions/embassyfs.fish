# fish completion for embassyfs(1)

complete -c embassyfs -s o -x -d 'options, with commas between them' -a "(string replace -r '[^,]*\$' '' -- (commandline -ct))(printf '%s\n' \
	passphrase-file= key-file= embassy= tls= at= ro rw partial allow_other history=owner history=users noatime nodiratime \
	strictatime relatime flush= checkpoint= memory= local= dev suid noexec nonempty nosupervise remount)"
complete -c embassyfs -s f -d 'stay in the foreground'
complete -c embassyfs -s h -l help -d 'how it is used'
complete -c embassyfs -s V -l version -d 'the version'
