#!/usr/bin/env bash
# Builds the server of lab $1 and examines it; without a name, lists the labs. `make lab` calls it.
set -euo pipefail
cd "$(dirname "$0")/.."

list() {
    local readme
    for readme in labs/*/README.md; do
        sed -n '1s/^# \([^:]*\): \(.*\)/\1 \2/p' "$readme"
    done | while read -r name title; do
        printf '  %-22s%s\n' "$name" "$title"
    done
}

if [ $# -eq 0 ]; then
    echo "make lab NAME=… builds and examines the server of a lab. Each has one mistake:"
    echo
    list
    echo
    echo "labs/README.md lists them in teaching order; labs/NAME/README.md says what to do."
    exit
fi

name=$1
if [ ! -f "labs/$name/bug.patch" ]; then
    { echo "there is no lab '$name'; the labs are:"; list; } >&2
    exit 2
fi
expected=$(awk -F '`' '/^Fails: `/ { print $2 }' "labs/$name/README.md")
folder=${LABS:-target/labs}/$name

"${MAKE:-make}" -s --no-print-directory "$folder/server"
prise=${PRISE:-${CARGO_TARGET_DIR:-target}/release/prise}
[ -n "${PRISE:-}" ] || { echo "building prise…" >&2; cargo build --quiet --release; }

status=0
# tee shows the report at once, and keeps it; the default backlog of 3 would make a burst of clients slow
"$prise" check -- "$folder/server" --port '{port}' --backlog 1000 | tee "$folder/report" || status=${PIPESTATUS[0]}
[ "$status" -le 1 ] || exit "$status"
failed=$(awk '$1 == "FAILS" { print $2 }' "$folder/report" | xargs)

echo
original=$(mktemp -d)
trap 'rm -rf "$original"' EXIT
"${MAKE:-make}" -s --no-print-directory LABS="$original" "$original/$name/c/server/robust.c"
if diff -r "$original/$name/c" "$folder/c" >/dev/null; then
    if [ "$failed" = "$expected" ]; then
        echo "$name fails $expected and nothing else, as it should."
        echo "Now mend $folder/c/server/robust.c, and run this again."
    elif grep -q "^  unseen  $expected " "$folder/report"; then
        echo "$name is about $expected, which cannot be observed here."
        exit 1
    else
        echo "$name should fail $expected and nothing else, but fails: ${failed:-nothing}"
        exit 1
    fi
elif [ -z "$failed" ]; then
    echo "$name is mended."
else
    echo "$name is changed, but still fails: $failed"
    exit 1
fi
