#!/usr/bin/env bash
# Examines the superservers that people deploy with `prise check`, all with one handler, and prints what it finds
# as Markdown. Which checks there are, `prise check` says.
set -euo pipefail

readonly PEERS=(tcpserver tcpsvd socat socat-nofork ncat xinetd inetd systemd)
readonly INETD_PID=/run/inetd.pid

usage() {
    cat <<USAGE
usage: scripts/examine-peers.sh [--only CHECK,...] [SERVER...]

Without SERVER: all of ${PEERS[*]}, less those that are not installed.

environment:
  PRISE    the examiner (target/release/prise)
  HANDLER  what the servers run for each client (target/release/examples/handler)
USAGE
}

die() {
    printf 'examine-peers.sh: %s\n' "$*" >&2
    exit 2
}

say() {
    printf 'examine-peers.sh: %s\n' "$*" >&2
}

# --- the servers ---------------------------------------------------------------------------------

# Sets, for server $1, its Debian package, the command to examine and its configuration, if it has one. What a
# careful administrator says for a thousand clients at once: no look-ups, no limit of the server's own below that,
# a backlog where it can be chosen, and this machine's address alone.
describe() {
    CONFIG=
    case $1 in
        tcpserver)
            PACKAGE=ucspi-tcp
            COMMAND=(tcpserver -H -R -l 0 -c 2000 -b 1024 127.0.0.1 '{port}' "$HANDLER")
            ;;
        tcpsvd)
            PACKAGE=ipsvd
            COMMAND=(tcpsvd -v -l 0 -c 2000 -b 1024 127.0.0.1 '{port}' "$HANDLER")
            ;;
        socat | socat-nofork)
            PACKAGE=socat
            COMMAND=(socat -t 10 'TCP-LISTEN:{port},bind=127.0.0.1,reuseaddr,fork,backlog=1024' "EXEC:$HANDLER")
            [[ $1 == socat ]] || COMMAND[4]+=,nofork
            ;;
        ncat)
            PACKAGE=ncat
            COMMAND=(ncat -l -k -m 2000 --exec "$HANDLER" 127.0.0.1 '{port}')
            ;;
        xinetd)
            PACKAGE=xinetd
            # it removes the pidfile in the end: by default the system's own
            COMMAND=(xinetd -dontfork -pidfile "$STATE/xinetd.pid" -f)
            CONFIG=$(xinetd_conf)
            ;;
        inetd)
            PACKAGE=openbsd-inetd
            COMMAND=(inetd -i -q 1024)
            CONFIG="127.0.0.1:PORT stream tcp nowait.100000 $(id -un) $HANDLER handler"
            ;;
        systemd)
            PACKAGE=systemd
            COMMAND=(systemd-socket-activate '--listen=127.0.0.1:{port}' --accept --inetd "$HANDLER")
            ;;
        *) return 1 ;;
    esac
}

xinetd_conf() {
    cat <<CONF
service handler
{
    type        = UNLISTED
    socket_type = stream
    protocol    = tcp
    wait        = no
    bind        = 127.0.0.1
    port        = PORT
    user        = $(id -un)
    server      = $HANDLER
    instances   = 2000
    per_source  = 2000
    cps         = 10000 1
}
CONF
}

# What is installed of $PACKAGE; where it is only unpacked, what the changelog beside the program says.
version() {
    local installed path
    installed=$(dpkg-query -W -f='${Version}' "$PACKAGE" 2>/dev/null) || installed=
    if [[ -z $installed ]]; then
        path=$(command -v "${COMMAND[0]}")
        installed=$(zcat "${path%/*}/../share/doc/$PACKAGE/changelog.Debian.gz" 2>/dev/null |
            sed -n '1s/.*(\(.*\)).*/\1/p') || installed=
    fi
    echo "${installed:-(version unknown)}"
}

# --- the examination -----------------------------------------------------------------------------

# Examines server $1, as it is described.
examine() {
    local status=0 command=("${COMMAND[@]}")
    say "$1"
    if [[ $CONFIG ]]; then
        # its port stands in a file, its last argument
        printf '%s\n' "$CONFIG" >"$STATE/$1.conf"
        # shellcheck disable=SC2016 # expanded by the shell that is examined, and becomes the server
        command=(sh -c 'sed "s/PORT/$1/" "$0" >"$0.$1"; conf=$0.$1; shift; exec "$@" "$conf"'
            "$STATE/$1.conf" '{port}' "${COMMAND[@]}")
    fi
    "$PRISE" check "${OPTIONS[@]}" --format json -- "${command[@]}" >"$STATE/$1.json" || status=$?
    case $status in
        0 | 1) EXAMINED+=("$1") ;;
        3) MISSING+=("$1: could not be started") && FAILED=1 ;;
        *) exit "$status" ;;
    esac
}

# --- the report ----------------------------------------------------------------------------------

# `handler`, `PORT` and bare names of files for what differs from run to run.
shown() {
    local text=$*
    text=${text//"$STATE/"/}
    text=${text//"$HANDLER"/handler}
    printf '%s' "${text//"{port}"/PORT}"
}

print_started() {
    local name
    printf '| server | Debian package | started as |\n|---|---|---|\n'
    for name; do
        describe "$name"
        printf "| %s | %s %s | \`%s\` |\n" "$name" "$PACKAGE" "$(version)" \
            "$(shown "${COMMAND[@]}" ${CONFIG:+"$name.conf"})"
    done
    for name; do
        describe "$name"
        [[ -z $CONFIG ]] || printf "\n\`%s.conf\`:\n\n\`\`\`text\n%s\n\`\`\`\n" "$name" "$(shown "$CONFIG")"
    done
}

# One file of findings each for the servers $@, in that order.
print_table() {
    local name files=()
    for name; do
        files+=("$STATE/$name.json")
    done
    # shellcheck disable=SC2016 # jq's variables
    jq -rn --arg names "$*" '
        def row: "| " + join(" | ") + " |";
        def note: "\(.name): " + (.reason // "\(.seen) (expected: \(.expected))");
        def word: {holds: "holds", fails: "FAILS"}[.verdict] // "unseen";
        ($names / " ") as $names
        | [inputs.checks] as $found
        | (reduce ($found | transpose[][] | select(.verdict != "holds") | note) as $note
              ([]; if index([$note]) then . else . + [$note] end)) as $notes
        | (["check"] + $names | row),
          "|" + ("---|" * ($names | length + 1)),
          ($found | transpose[]
              | [.[0].name] + map(word + if word == "holds" then "" else "[^\(note as $n | $notes | index([$n]) + 1)]" end)
              | row),
          "",
          ($notes | to_entries[] | "[^\(.key + 1)]: \(.value)")
        ' "${files[@]}"
}

# shellcheck disable=SC2317 # the trap calls it
clean_up() {
    # inetd writes its number there, if it may, and is killed before it could take it back
    if [[ -e $STATE/system-inetd.pid ]]; then
        cp -p "$STATE/system-inetd.pid" "$INETD_PID"
    elif [[ -e $STATE/inetd.json ]]; then
        rm -f "$INETD_PID"
    fi
    rm -rf "$STATE"
}

main() {
    local name
    OPTIONS=() EXAMINED=() MISSING=() FAILED=0
    while [[ ${1:-} == -* ]]; do
        case $1 in
            --only) OPTIONS=(--only "${2:?a list of checks}") && shift 2 ;;
            -h | --help) usage && exit ;;
            *) usage >&2 && exit 2 ;;
        esac
    done
    (($#)) || set -- "${PEERS[@]}"

    cd "$(dirname "${BASH_SOURCE[0]}")/.."
    PRISE=$(realpath "${PRISE:-target/release/prise}")
    HANDLER=$(realpath "${HANDLER:-target/release/examples/handler}")
    [[ -x $PRISE && -x $HANDLER ]] || die "make examine-peers builds what is missing here"
    command -v jq >/dev/null || die "jq is not installed: apt-get install jq"
    STATE=$(mktemp -d)
    cp -p "$INETD_PID" "$STATE/system-inetd.pid" 2>/dev/null || true
    trap clean_up EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM

    for name; do
        describe "$name" || die "unknown server $name; known: ${PEERS[*]}"
    done
    for name; do
        describe "$name"
        if command -v "${COMMAND[0]}" >/dev/null; then
            examine "$name"
        else
            MISSING+=("$name: not installed: apt-get install $PACKAGE")
        fi
    done
    print_report
    exit "$FAILED"
}

print_report() {
    printf 'Examined on %s by %s, on %s.\n' "$(date -u +%Y-%m-%d)" "$("$PRISE" --version)" "$(uname -srm)"
    if ((${#EXAMINED[@]})); then
        echo
        print_started "${EXAMINED[@]}"
        echo
        print_table "${EXAMINED[@]}"
    fi
    if ((${#MISSING[@]})); then
        printf '\nNot examined:\n\n'
        printf -- '- %s\n' "${MISSING[@]}"
    fi
}

main "$@"
