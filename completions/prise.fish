# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_prise_global_optspecs
    string join \n h/help V/version
end

function __fish_prise_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_prise_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_prise_using_subcommand
    set -l cmd (__fish_prise_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c prise -n "__fish_prise_needs_command" -s h -l help -d 'Print help'
complete -c prise -n "__fish_prise_needs_command" -s V -l version -d 'Print version'
complete -c prise -n "__fish_prise_needs_command" -f -a "client" -d 'The tutorial\'s clients, from an unused socket to a conversation'
complete -c prise -n "__fish_prise_needs_command" -f -a "server" -d 'The tutorial\'s servers, from one client to a process per client'
complete -c prise -n "__fish_prise_needs_command" -f -a "serve" -d 'Run a program for each client: a server to deploy'
complete -c prise -n "__fish_prise_needs_command" -f -a "check" -d 'Examine a server that forks per client, and name its mistakes'
complete -c prise -n "__fish_prise_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c prise -n "__fish_prise_using_subcommand client; and not __fish_seen_subcommand_from socket connect send recv resolve message help" -s h -l help -d 'Print help'
complete -c prise -n "__fish_prise_using_subcommand client; and not __fish_seen_subcommand_from socket connect send recv resolve message help" -f -a "socket" -d 'Create a TCP socket, and exit'
complete -c prise -n "__fish_prise_using_subcommand client; and not __fish_seen_subcommand_from socket connect send recv resolve message help" -f -a "connect" -d 'Connect to a server by its address'
complete -c prise -n "__fish_prise_using_subcommand client; and not __fish_seen_subcommand_from socket connect send recv resolve message help" -f -a "send" -d 'Connect, and send a request'
complete -c prise -n "__fish_prise_using_subcommand client; and not __fish_seen_subcommand_from socket connect send recv resolve message help" -f -a "recv" -d 'Connect, send a request, and print the reply'
complete -c prise -n "__fish_prise_using_subcommand client; and not __fish_seen_subcommand_from socket connect send recv resolve message help" -f -a "resolve" -d 'Find the address of a name'
complete -c prise -n "__fish_prise_using_subcommand client; and not __fish_seen_subcommand_from socket connect send recv resolve message help" -f -a "message" -d 'Ask for a message, and send it to a server by name'
complete -c prise -n "__fish_prise_using_subcommand client; and not __fish_seen_subcommand_from socket connect send recv resolve message help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c prise -n "__fish_prise_using_subcommand client; and __fish_seen_subcommand_from socket" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c prise -n "__fish_prise_using_subcommand client; and __fish_seen_subcommand_from connect" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c prise -n "__fish_prise_using_subcommand client; and __fish_seen_subcommand_from send" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c prise -n "__fish_prise_using_subcommand client; and __fish_seen_subcommand_from recv" -l host -d 'Name this host in the request, and read the whole reply' -r
complete -c prise -n "__fish_prise_using_subcommand client; and __fish_seen_subcommand_from recv" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c prise -n "__fish_prise_using_subcommand client; and __fish_seen_subcommand_from resolve" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c prise -n "__fish_prise_using_subcommand client; and __fish_seen_subcommand_from message" -l reply -d 'Half-close, read to the end of file, and print the reply'
complete -c prise -n "__fish_prise_using_subcommand client; and __fish_seen_subcommand_from message" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c prise -n "__fish_prise_using_subcommand client; and __fish_seen_subcommand_from help" -f -a "socket" -d 'Create a TCP socket, and exit'
complete -c prise -n "__fish_prise_using_subcommand client; and __fish_seen_subcommand_from help" -f -a "connect" -d 'Connect to a server by its address'
complete -c prise -n "__fish_prise_using_subcommand client; and __fish_seen_subcommand_from help" -f -a "send" -d 'Connect, and send a request'
complete -c prise -n "__fish_prise_using_subcommand client; and __fish_seen_subcommand_from help" -f -a "recv" -d 'Connect, send a request, and print the reply'
complete -c prise -n "__fish_prise_using_subcommand client; and __fish_seen_subcommand_from help" -f -a "resolve" -d 'Find the address of a name'
complete -c prise -n "__fish_prise_using_subcommand client; and __fish_seen_subcommand_from help" -f -a "message" -d 'Ask for a message, and send it to a server by name'
complete -c prise -n "__fish_prise_using_subcommand client; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c prise -n "__fish_prise_using_subcommand server; and not __fish_seen_subcommand_from accept reply loop fork robust help" -s h -l help -d 'Print help'
complete -c prise -n "__fish_prise_using_subcommand server; and not __fish_seen_subcommand_from accept reply loop fork robust help" -f -a "accept" -d 'Accept one client, and exit'
complete -c prise -n "__fish_prise_using_subcommand server; and not __fish_seen_subcommand_from accept reply loop fork robust help" -f -a "reply" -d 'Accept one client, print its address, and greet it'
complete -c prise -n "__fish_prise_using_subcommand server; and not __fish_seen_subcommand_from accept reply loop fork robust help" -f -a "loop" -d 'Accept clients one after the other, and greet each'
complete -c prise -n "__fish_prise_using_subcommand server; and not __fish_seen_subcommand_from accept reply loop fork robust help" -f -a "fork" -d 'Fork one process per client'
complete -c prise -n "__fish_prise_using_subcommand server; and not __fish_seen_subcommand_from accept reply loop fork robust help" -f -a "robust" -d 'Fork one process per client, without the tutorial\'s mistakes'
complete -c prise -n "__fish_prise_using_subcommand server; and not __fish_seen_subcommand_from accept reply loop fork robust help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c prise -n "__fish_prise_using_subcommand server; and __fish_seen_subcommand_from accept" -l port -d 'Listen on this port; 0 picks a free one' -r
complete -c prise -n "__fish_prise_using_subcommand server; and __fish_seen_subcommand_from accept" -l backlog -d 'Let N connections wait to be accepted' -r
complete -c prise -n "__fish_prise_using_subcommand server; and __fish_seen_subcommand_from accept" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c prise -n "__fish_prise_using_subcommand server; and __fish_seen_subcommand_from reply" -l port -d 'Listen on this port; 0 picks a free one' -r
complete -c prise -n "__fish_prise_using_subcommand server; and __fish_seen_subcommand_from reply" -l backlog -d 'Let N connections wait to be accepted' -r
complete -c prise -n "__fish_prise_using_subcommand server; and __fish_seen_subcommand_from reply" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c prise -n "__fish_prise_using_subcommand server; and __fish_seen_subcommand_from loop" -l port -d 'Listen on this port; 0 picks a free one' -r
complete -c prise -n "__fish_prise_using_subcommand server; and __fish_seen_subcommand_from loop" -l backlog -d 'Let N connections wait to be accepted' -r
complete -c prise -n "__fish_prise_using_subcommand server; and __fish_seen_subcommand_from loop" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c prise -n "__fish_prise_using_subcommand server; and __fish_seen_subcommand_from fork" -l port -d 'Listen on this port; 0 picks a free one' -r
complete -c prise -n "__fish_prise_using_subcommand server; and __fish_seen_subcommand_from fork" -l backlog -d 'Let N connections wait to be accepted' -r
complete -c prise -n "__fish_prise_using_subcommand server; and __fish_seen_subcommand_from fork" -l no-reap -d 'Do not reap children: the tutorial leaves zombies'
complete -c prise -n "__fish_prise_using_subcommand server; and __fish_seen_subcommand_from fork" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c prise -n "__fish_prise_using_subcommand server; and __fish_seen_subcommand_from robust" -l port -d 'Listen on this port; 0 picks a free one' -r
complete -c prise -n "__fish_prise_using_subcommand server; and __fish_seen_subcommand_from robust" -l backlog -d 'Let N connections wait to be accepted' -r
complete -c prise -n "__fish_prise_using_subcommand server; and __fish_seen_subcommand_from robust" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c prise -n "__fish_prise_using_subcommand server; and __fish_seen_subcommand_from help" -f -a "accept" -d 'Accept one client, and exit'
complete -c prise -n "__fish_prise_using_subcommand server; and __fish_seen_subcommand_from help" -f -a "reply" -d 'Accept one client, print its address, and greet it'
complete -c prise -n "__fish_prise_using_subcommand server; and __fish_seen_subcommand_from help" -f -a "loop" -d 'Accept clients one after the other, and greet each'
complete -c prise -n "__fish_prise_using_subcommand server; and __fish_seen_subcommand_from help" -f -a "fork" -d 'Fork one process per client'
complete -c prise -n "__fish_prise_using_subcommand server; and __fish_seen_subcommand_from help" -f -a "robust" -d 'Fork one process per client, without the tutorial\'s mistakes'
complete -c prise -n "__fish_prise_using_subcommand server; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c prise -n "__fish_prise_using_subcommand serve" -l backlog -d 'Let N clients wait to be accepted' -r
complete -c prise -n "__fish_prise_using_subcommand serve" -l max-children -d 'Run at most N children' -r
complete -c prise -n "__fish_prise_using_subcommand serve" -l per-ip -d 'Serve at most N clients per address at a time' -r
complete -c prise -n "__fish_prise_using_subcommand serve" -l rate -d 'Admit N new clients per address within SECONDS' -r
complete -c prise -n "__fish_prise_using_subcommand serve" -l timeout -d 'Serve a client for at most SECONDS' -r
complete -c prise -n "__fish_prise_using_subcommand serve" -l grace -d 'On stop, wait SECONDS for children' -r
complete -c prise -n "__fish_prise_using_subcommand serve" -l user -d 'Run children as this user' -r
complete -c prise -n "__fish_prise_using_subcommand serve" -l chroot -d 'Make DIR the root directory of the children' -r -F
complete -c prise -n "__fish_prise_using_subcommand serve" -l cpu -d 'Limit each process to SECONDS of CPU time' -r
complete -c prise -n "__fish_prise_using_subcommand serve" -l memory -d 'Limit each process\'s address space to MIB MiB' -r
complete -c prise -n "__fish_prise_using_subcommand serve" -l nofile -d 'Let each process open at most N descriptors' -r
complete -c prise -n "__fish_prise_using_subcommand serve" -l nproc -d 'Let the children\'s user run N processes at most' -r
complete -c prise -n "__fish_prise_using_subcommand serve" -l proxy-protocol -d 'Expect a PROXY header from these networks' -r
complete -c prise -n "__fish_prise_using_subcommand serve" -l reaper -d 'How to find ended children' -r -f -a "hint\t'Wait for the child that SIGCHLD names, for recent children, and from time to time for all: costs the same with ten thousand children as with ten'
sigchld\t'At each SIGCHLD, call waitpid(-1) until no ended child is left: costs more the more children there are'"
complete -c prise -n "__fish_prise_using_subcommand serve" -l hangup -d 'End a child when its client is gone'
complete -c prise -n "__fish_prise_using_subcommand serve" -l no-new-privs -d 'Let exec give children no new privileges'
complete -c prise -n "__fish_prise_using_subcommand serve" -l clear-env -d 'Pass children no environment but PATH'
complete -c prise -n "__fish_prise_using_subcommand serve" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c prise -n "__fish_prise_using_subcommand check" -l send -d 'What a client sends' -r
complete -c prise -n "__fish_prise_using_subcommand check" -l expect -d 'How a right answer begins' -r
complete -c prise -n "__fish_prise_using_subcommand check" -l port -d 'The server\'s port, for a server without {port}' -r
complete -c prise -n "__fish_prise_using_subcommand check" -l timeout -d 'Wait SECONDS for each answer' -r
complete -c prise -n "__fish_prise_using_subcommand check" -l format -d 'How to print the findings' -r -f -a "human\t'For people'
tap\t'Test Anything Protocol, version 13'
json\t'One JSON object'"
complete -c prise -n "__fish_prise_using_subcommand check" -l only -d 'Run only these checks' -r -f -a "answers\t''
concurrent\t''
no-zombies\t''
end-of-file\t''
descriptors\t''
keeps-serving\t''
interrupted-calls\t''
reset-client\t''
vanished-client\t''
pieces\t''
half-close\t''
delivers\t''
own-memory\t''
log-once\t''
fork-fails\t''
out-of-descriptors\t''
stops\t''
idle-clients\t''
restarts\t''
port-taken\t''
parent:accept=EINTR\t''
parent:accept=ECONNABORTED\t''
parent:accept=EPROTO\t''
parent:accept=EPERM\t''
parent:accept=EMFILE\t''
parent:accept=ENFILE\t''
parent:accept=ENOBUFS\t''
parent:accept=ENOMEM\t''
parent:fork=EAGAIN\t''
parent:fork=ENOMEM\t''
parent:close=EINTR\t''
parent:close=EIO\t''
parent:wait=EINTR\t''
parent:wait=ECHILD\t''
parent:poll=EINTR\t''
parent:poll=ENOMEM\t''
parent:read=EINTR\t''
parent:read=EIO\t''
parent:write=EINTR\t''
parent:write=EPIPE\t''
parent:write=ENOSPC\t''
child:read=EINTR\t''
child:read=ECONNRESET\t''
child:read=ETIMEDOUT\t''
child:read=EIO\t''
child:write=EINTR\t''
child:write=EPIPE\t''
child:write=ECONNRESET\t''
child:write=ENOSPC\t''
child:close=EINTR\t''
child:close=EIO\t''
child:poll=EINTR\t''
child:poll=ENOMEM\t''"
complete -c prise -n "__fish_prise_using_subcommand check" -l list -d 'List the checks, and with --faults the faults'
complete -c prise -n "__fish_prise_using_subcommand check" -l faults -d 'Also make calls of the server fail, with strace'
complete -c prise -n "__fish_prise_using_subcommand check" -l verbose -d 'Print what each check does, step by step'
complete -c prise -n "__fish_prise_using_subcommand check" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c prise -n "__fish_prise_using_subcommand help; and not __fish_seen_subcommand_from client server serve check help" -f -a "client" -d 'The tutorial\'s clients, from an unused socket to a conversation'
complete -c prise -n "__fish_prise_using_subcommand help; and not __fish_seen_subcommand_from client server serve check help" -f -a "server" -d 'The tutorial\'s servers, from one client to a process per client'
complete -c prise -n "__fish_prise_using_subcommand help; and not __fish_seen_subcommand_from client server serve check help" -f -a "serve" -d 'Run a program for each client: a server to deploy'
complete -c prise -n "__fish_prise_using_subcommand help; and not __fish_seen_subcommand_from client server serve check help" -f -a "check" -d 'Examine a server that forks per client, and name its mistakes'
complete -c prise -n "__fish_prise_using_subcommand help; and not __fish_seen_subcommand_from client server serve check help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c prise -n "__fish_prise_using_subcommand help; and __fish_seen_subcommand_from client" -f -a "socket" -d 'Create a TCP socket, and exit'
complete -c prise -n "__fish_prise_using_subcommand help; and __fish_seen_subcommand_from client" -f -a "connect" -d 'Connect to a server by its address'
complete -c prise -n "__fish_prise_using_subcommand help; and __fish_seen_subcommand_from client" -f -a "send" -d 'Connect, and send a request'
complete -c prise -n "__fish_prise_using_subcommand help; and __fish_seen_subcommand_from client" -f -a "recv" -d 'Connect, send a request, and print the reply'
complete -c prise -n "__fish_prise_using_subcommand help; and __fish_seen_subcommand_from client" -f -a "resolve" -d 'Find the address of a name'
complete -c prise -n "__fish_prise_using_subcommand help; and __fish_seen_subcommand_from client" -f -a "message" -d 'Ask for a message, and send it to a server by name'
complete -c prise -n "__fish_prise_using_subcommand help; and __fish_seen_subcommand_from server" -f -a "accept" -d 'Accept one client, and exit'
complete -c prise -n "__fish_prise_using_subcommand help; and __fish_seen_subcommand_from server" -f -a "reply" -d 'Accept one client, print its address, and greet it'
complete -c prise -n "__fish_prise_using_subcommand help; and __fish_seen_subcommand_from server" -f -a "loop" -d 'Accept clients one after the other, and greet each'
complete -c prise -n "__fish_prise_using_subcommand help; and __fish_seen_subcommand_from server" -f -a "fork" -d 'Fork one process per client'
complete -c prise -n "__fish_prise_using_subcommand help; and __fish_seen_subcommand_from server" -f -a "robust" -d 'Fork one process per client, without the tutorial\'s mistakes'
