#!/usr/bin/env bash
# Runs `prise check` on the superservers that people deploy, all with the same handler, and prints the findings as
# Markdown. `prise check --list` lists the checks.
set -euo pipefail

readonly PEERS=(tcpserver tcpsvd socat socat-nofork ncat xinetd inetd systemd)
readonly INETD_PID=/run/inetd.pid

usage() {
    cat <<USAGE
usage: scripts/examine-peers.sh [--only CHECK,...] [SERVER...]

Without SERVER: those that are installed of ${PEERS[*]}.

environment:
  PRISE    the examiner (default: release/prise in CARGO_TARGET_DIR)
  HANDLER  the program for each client (default: release/examples/handler there)
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

# Sets PACKAGE, COMMAND and CONFIG for server $1: its Debian package, the command to examine, and its configuration
# file if it has one. A careful administrator would set it up like this for a thousand clients at once: no look-ups,
# no lower limit of the server's own, a long backlog if it can be set, and the loopback address only.
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
            # xinetd removes its pidfile when it ends; the default one is that of the system's xinetd
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

# Prints the version of $PACKAGE. If it is unpacked, not installed, the changelog beside the program has it.
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

# Examines server $1, which describe has set up.
examine() {
    local status=0 command=("${COMMAND[@]}")
    say "$1"
    if [[ $CONFIG ]]; then
        # its port is in a configuration file, the last argument
        printf '%s\n' "$CONFIG" >"$STATE/$1.conf"
        # shellcheck disable=SC2016 # for the shell that is started: it expands this, and becomes the server
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

# Replaces what differs from run to run with `handler`, `PORT` and bare file names.
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

# Prints the table of checks for the servers $@, in that order, and its footnotes.
print_table() {
    local name files=()
    for name; do
        files+=("$STATE/$name.json")
    done
    # shellcheck disable=SC2016 # these are jq's variables
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
    # inetd writes its pid there if it can; it is killed before it removes the file
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
    local built=${CARGO_TARGET_DIR:-target}/release
    PRISE=$(realpath "${PRISE:-$built/prise}")
    HANDLER=$(realpath "${HANDLER:-$built/examples/handler}")
    [[ -x $PRISE && -x $HANDLER ]] || die "$PRISE or $HANDLER is missing: make examine-peers builds them"
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
