#!/usr/bin/env bash
# Checks .github/workflows with zizmor, offline: its syntax, and what is unsafe in it.
set -euo pipefail
cd "$(dirname "$0")/.."

tool=$(command -v zizmor || true)
if [ -z "$tool" ]; then
    folder=target/lint
    if [ ! -x $folder/bin/zizmor ]; then
        mkdir -p $folder
        if ! python3 -m pip install --quiet --target $folder zizmor==1.32.0 >$folder.log 2>&1; then
            if [ -n "${CI:-}" ]; then
                cat $folder.log >&2
                exit 1
            fi
            echo "skipped: zizmor, which lints workflows, is not installed (pip install zizmor)"
            exit 0
        fi
    fi
    tool=$folder/bin/zizmor
fi
echo zizmor
"$tool" --offline --quiet .github/workflows >/dev/null || "$tool" --offline .github/workflows
