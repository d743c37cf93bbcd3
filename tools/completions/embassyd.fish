# fish completion for embassyd(8)

complete -c embassyd -l store -xa '(__fish_complete_directories)' -d 'where the copies are'
complete -c embassyd -l listen -x -d 'ADDRESS:PORT or unix:PATH'
complete -c embassyd -l tls -xa '(__fish_complete_directories)' -d 'certificates'
complete -c embassyd -l insecure -d 'plain text, on this host only'
complete -c embassyd -l help -d 'how it is used'
complete -c embassyd -l version -d 'the version'
