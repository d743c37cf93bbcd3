# fish completion for embassy(1)

set -l commands init status drain snapshot hold release snapshots heads check keys tls upgrade help version

complete -c embassy -n "not __fish_seen_subcommand_from $commands" -f
complete -c embassy -n "not __fish_seen_subcommand_from $commands" -a init -d 'make a volume'
complete -c embassy -n "not __fish_seen_subcommand_from $commands" -a status -d 'where a volume and its embassies stand'
complete -c embassy -n "not __fish_seen_subcommand_from $commands" -a drain -d 'wait until every embassy has all'
complete -c embassy -n "not __fish_seen_subcommand_from $commands" -a snapshot -d 'name the state of now'
complete -c embassy -n "not __fish_seen_subcommand_from $commands" -a hold -d 'hold a snapshot'
complete -c embassy -n "not __fish_seen_subcommand_from $commands" -a release -d 'take the hold off a snapshot'
complete -c embassy -n "not __fish_seen_subcommand_from $commands" -a snapshots -d 'list the named states'
complete -c embassy -n "not __fish_seen_subcommand_from $commands" -a heads -d 'list the times that can be mounted'
complete -c embassy -n "not __fish_seen_subcommand_from $commands" -a check -d 'verify a volume that is not mounted'
complete -c embassy -n "not __fish_seen_subcommand_from $commands" -a keys -d 'who can open a volume'
complete -c embassy -n "not __fish_seen_subcommand_from $commands" -a tls -d 'make a CA and certificates'
complete -c embassy -n "not __fish_seen_subcommand_from $commands" -a upgrade -d 'go on in the program installed now'
complete -c embassy -n "not __fish_seen_subcommand_from $commands" -a help -d 'tell about a command'
complete -c embassy -n "not __fish_seen_subcommand_from $commands" -a version -d 'print the version'

complete -c embassy -n "__fish_seen_subcommand_from $commands" -l help -d 'options and an example'
complete -c embassy -n "__fish_seen_subcommand_from init snapshots heads check keys" -l passphrase-file -rF -d 'its first line is the passphrase'
complete -c embassy -n "__fish_seen_subcommand_from init snapshots heads check keys" -l key-file -rF -d 'a key file'
complete -c embassy -n "__fish_seen_subcommand_from init" -l cipher -xa 'aes-256-gcm chacha20-poly1305'
complete -c embassy -n "__fish_seen_subcommand_from init" -l compress -xa '(seq 0 19)'
complete -c embassy -n "__fish_seen_subcommand_from init keys" -l label -x -d 'shown in the list of keys'
complete -c embassy -n "__fish_seen_subcommand_from init keys" -l weak -d 'take a short passphrase'
complete -c embassy -n "__fish_seen_subcommand_from status snapshots heads" -l json
complete -c embassy -n "__fish_seen_subcommand_from status" -l openmetrics -d 'for monitoring'
complete -c embassy -n "__fish_seen_subcommand_from status" -l watch -d 'every second'
complete -c embassy -n "__fish_seen_subcommand_from status snapshots heads check" -l tls -xa '(__fish_complete_directories)'
complete -c embassy -n "__fish_seen_subcommand_from drain" -l timeout -x -d 'seconds'
complete -c embassy -n "__fish_seen_subcommand_from drain" -l accept-loss -x -d 'address of an embassy'
complete -c embassy -n "__fish_seen_subcommand_from snapshot" -l hold -d 'can not be taken away'
complete -c embassy -n "__fish_seen_subcommand_from heads" -l from -xa '5m 2h 3d yesterday'
complete -c embassy -n "__fish_seen_subcommand_from heads" -l to -xa '5m 2h 3d yesterday latest'
complete -c embassy -n "__fish_seen_subcommand_from check" -l read-data -d 'open data blocks, or a percentage of them'
complete -c embassy -n "__fish_seen_subcommand_from check" -l repair -d 'replace what is damaged by what --from has, or at --to'
complete -c embassy -n "__fish_seen_subcommand_from check" -l from -xa '(__fish_complete_directories)' -d 'HOST:PORT[/VOLUME-ID] or a folder'
complete -c embassy -n "__fish_seen_subcommand_from check" -l to -x -d 'HOST:PORT[/VOLUME-ID]'
complete -c embassy -n "__fish_seen_subcommand_from check" -l cut -x -d 'give up what lies behind this position'
complete -c embassy -n "__fish_seen_subcommand_from check" -l log-only -d 'without the key'
complete -c embassy -n "__fish_seen_subcommand_from keys" -a 'list add remove rotate'
complete -c embassy -n "__fish_seen_subcommand_from keys" -l new-passphrase-file -rF
complete -c embassy -n "__fish_seen_subcommand_from keys" -l new-key-file -rF
complete -c embassy -n "__fish_seen_subcommand_from tls" -l host -x -d 'name or address of the server'
