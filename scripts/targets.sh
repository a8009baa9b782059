#!/usr/bin/env bash
# Type-checks or links this crate, or compiles its C twins, for the other systems that it supports.
set -euo pipefail

readonly ZIG_VERSION=0.17.1
readonly DEFAULT_CFLAGS='-std=c11 -D_DEFAULT_SOURCE -D_DARWIN_C_SOURCE -Wall -Wextra -Wpedantic -Werror'
readonly ALL_TARGETS=(
    x86_64-unknown-linux-musl
    x86_64-unknown-freebsd
    x86_64-unknown-openbsd
    x86_64-unknown-netbsd
    aarch64-apple-darwin
)

usage() {
    cat <<'USAGE'
usage: scripts/targets.sh check|link|c [TARGET...]

  check   type-check the library and the program; a warning fails
  link    build and link the program
  c       compile and link every c/*/*.c; a warning fails

Without TARGET: all of
USAGE
    printf '  %s\n' "${ALL_TARGETS[@]}"
    cat <<'USAGE'

It needs a recent cargo and a C compiler for the host. With apt-get it fetches
Debian 12's Rust and its sources, which it unpacks and does not install; with pip
it fetches zig, the linker and C compiler for the targets. To `check` a target
whose std your own toolchain has, it needs only that toolchain.

environment:
  PRISE_TARGETS_DIR  the folder of the tools and builds (default: target/targets)
  CFLAGS_TWINS       the flags for `c`; default:
USAGE
    printf '                     %s\n' "$DEFAULT_CFLAGS"
}

die() {
    printf 'targets.sh: %s\n' "$*" >&2
    exit 2
}

say() {
    printf 'targets.sh: %s\n' "$*" >&2
}

need() {
    command -v "$1" >/dev/null || die "$1 not found: $2"
}

zig_triple() {
    case $1 in
        *-apple-darwin) echo "${1%%-*}-macos" ;;
        *) echo "${1/-unknown/}" ;;
    esac
}

# --- tools, fetched once -------------------------------------------------------------------------

# Whether your own toolchain has std for target $1.
has_own_std() {
    local libdir
    libdir=$("${RUSTC:-rustc}" --print target-libdir --target "$1" 2>/dev/null) || return 1
    compgen -G "$libdir/libstd-*.rlib" >/dev/null
}

# Prints the packages that Debian's rustc needs: rustc itself, std for the host (for build scripts and macros), std's
# source, and those of their shared libraries that this machine lacks. It leaves out upgrades of installed libraries
# on purpose: with the system's loader, a second libc would crash.
rust_packages() {
    local std
    std=$(apt-cache show --no-all-versions libstd-rust-web-dev |
        sed -n 's/^Depends:.*\(libstd-rust-web-[0-9][0-9.]*\).*/\1/p')
    {
        printf '%s\n' rustc-web rust-web-src libstd-rust-web-dev "$std"
        apt-get -s --no-install-recommends install "$std" | sed -n 's/^Inst \([^ ]*\) (.*/\1/p'
    } | sort -u
}

# Unpacks Debian's rustc. Installed, its packages would conflict with rustup's, and put another rustc in PATH.
get_rust() {
    [[ -x $STATE/rust/rustc ]] && return
    need apt-get "this needs Debian 12, or a toolchain with the target's own std (rustup target add TARGET)"
    need dpkg-deb "install dpkg"
    say "fetching Debian's rustc and the source of std (once)"

    if ((EUID == 0)); then
        apt-get update -qq || say "apt-get update failed; using the package lists as they are"
    fi
    apt-cache show rustc-web rust-web-src libstd-rust-web-dev >/dev/null 2>&1 ||
        die "apt knows no rustc-web: run apt-get update as root, on Debian 12 with its security updates"

    local new=$STATE/rust.new packages deb
    rm -rf "$new" "$STATE/rust"
    mkdir -p "$new/debs" "$new/root"
    packages=$(rust_packages) || die "apt cannot work out what rustc-web needs"
    # shellcheck disable=SC2086 # one package a word
    (cd "$new/debs" && apt-get download -qq -o APT::Sandbox::User=root $packages) ||
        die "apt-get download failed: run apt-get update as root"
    for deb in "$new"/debs/*.deb; do
        dpkg-deb -x "$deb" "$new/root"
    done
    rm -r "$new/debs"

    # The loader does not search the folder of its libraries.
    local driver
    driver=$(compgen -G "$new/root/usr/lib/*/librustc_driver-*.so") || die "Debian's rustc has moved its driver"
    driver=${driver#"$new"/}
    # shellcheck disable=SC2016 # for the script that is written, which expands this
    write_script "$new/rustc" \
        'here=${0%/*}' \
        "LD_LIBRARY_PATH=\$here/${driver%/*} exec \"\$here/root/usr/bin/rustc\" \"\$@\""
    mv "$new" "$STATE/rust"
}

get_zig() {
    [[ -x $ZIG ]] && return
    need python3 "install python3 and python3-pip"
    python3 -m pip --version >/dev/null 2>&1 || die "python3 has no pip: install python3-pip"
    say "fetching zig $ZIG_VERSION (once)"

    local new=$STATE/zig.new
    rm -rf "$new"
    python3 -m pip install -q --no-deps --root-user-action=ignore --target "$new" "ziglang==$ZIG_VERSION" ||
        die "pip could not install ziglang $ZIG_VERSION"
    mv "$new" "$STATE/zig-$ZIG_VERSION"
}

# --- one target ----------------------------------------------------------------------------------

# Writes the shell script $1 from the lines that follow. It keeps a file that already has these lines, since cargo
# rebuilds everything when the file is newer.
write_script() {
    local path=$1 text
    shift
    text=$(printf '%s\n' '#!/bin/sh' "$@")
    [[ -x $path && $(<"$path") == "$text" ]] && return
    printf '%s\n' "$text" >"$path" && chmod +x "$path"
}

# Writes the linker $2 for target $1, which calls zig. zig has the C library of every target, but not the libraries
# named here. The libc crate asks for them, but this crate calls no function of them.
write_linker() {
    # shellcheck disable=SC2016 # for the script that is written, which expands this
    write_script "$2" \
        'unset LD_LIBRARY_PATH' \
        'for arg; do' \
        '    shift' \
        '    case $arg in' \
        '        -lkvm|-lmemstat|-lprocstat|-ldevstat|-lgeom|-liconv) ;;' \
        '        *) set -- "$@" "$arg" ;;' \
        '    esac' \
        'done' \
        "exec '$ZIG' cc -target $(zig_triple "$1") \"\$@\""
}

# Runs `cargo $2...` for target $1, and builds std from source. `check` needs no linker, but names the same one as
# `link`, since cargo rebuilds std when that setting changes.
cargo_with_built_std() {
    local target=$1 linker=$STATE/ld-$1 name
    shift
    write_linker "$target" "$linker" || return
    name=$(tr 'a-z-' 'A-Z_' <<<"$target")
    export "CARGO_TARGET_${name}_LINKER=$linker"
    # For macOS, rustc looks for Apple's SDK and warns if there is none; zig has its own.
    mkdir -p "$STATE/no-sdk" || return
    # RUSTC_BOOTSTRAP: -Zbuild-std is unstable. The musl flag: zig has the crt files, Debian's rustc has not.
    RUSTC=$STATE/rust/rustc RUSTC_BOOTSTRAP=1 SDKROOT=$STATE/no-sdk \
        CARGO_TARGET_X86_64_UNKNOWN_LINUX_MUSL_RUSTFLAGS=-Clink-self-contained=no \
        "$CARGO" "$@" -Zbuild-std=std,panic_unwind,panic_abort --target "$target"
}

# A wrapper passes -Dwarnings for this crate only. In RUSTFLAGS it would apply to std too: cargo takes std for our
# own source, and does not cap its lints.
check() {
    local target=$1
    # shellcheck disable=SC2016 # for the script that is written, which expands this
    write_script "$STATE/deny-warnings" 'exec "$@" -Dwarnings' || return
    export RUSTC_WORKSPACE_WRAPPER=$STATE/deny-warnings
    if has_own_std "$target"; then
        "$CARGO" check -q --target "$target"
    else
        cargo_with_built_std "$target" check -q
    fi
}

link() {
    cargo_with_built_std "$1" build -q
}

twins() {
    local target=$1 triple flags source out failed=0
    triple=$(zig_triple "$target")
    read -ra flags <<<"${CFLAGS_TWINS:-$DEFAULT_CFLAGS}"
    for source in c/*/*.c; do
        out=$STATE/c/$target/${source#c/}
        mkdir -p "${out%/*}" || return
        "$ZIG" cc -target "$triple" "${flags[@]}" -o "${out%.c}" "$source" || failed=1
    done
    return "$failed"
}

# Runs command $1 for target $2. Its caller tests the result, so bash ignores set -e here: each step has `|| return`.
run() {
    case $1 in
        check) check "$2" ;;
        link) link "$2" ;;
        c) twins "$2" ;;
    esac
}

# --- the command line ----------------------------------------------------------------------------

known_target() {
    local target
    for target in "${ALL_TARGETS[@]}"; do
        [[ $target == "$1" ]] && return
    done
    return 1
}

get_tools() {
    local command=$1 target
    shift
    case $command in
        c)
            compgen -G 'c/*/*.c' >/dev/null || die "there are no c/*/*.c here"
            get_zig
            return
            ;;
        link) get_zig ;;
    esac
    need "$CARGO" "install Rust (rustup, or Debian 12's cargo-web)"
    need cc "install gcc, the linker of build scripts"
    for target; do
        if [[ $command == link ]] || ! has_own_std "$target"; then
            get_rust
            return
        fi
    done
}

main() {
    local command=${1:-} target start verdict status=0 report=()
    case $command in
        check | link | c) shift ;;
        -h | --help) usage && exit ;;
        *) usage >&2 && exit 2 ;;
    esac
    (($#)) || set -- "${ALL_TARGETS[@]}"
    for target; do
        known_target "$target" || die "unknown target $target; known: ${ALL_TARGETS[*]}"
    done

    cd "$(dirname "${BASH_SOURCE[0]}")/.."
    [[ -f Cargo.toml ]] || die "no Cargo.toml in $PWD"
    STATE=${PRISE_TARGETS_DIR:-target/targets}
    mkdir -p "$STATE"
    STATE=$(cd "$STATE" && pwd)
    CARGO=${CARGO:-cargo}

    # Runs share the tools and the build folder, so only one may run at a time.
    need flock "install util-linux"
    exec 9>"$STATE/lock"
    flock -n 9 || { say "waiting for another run to end" && flock 9; }

    # Your own flags are for the host. Without them, the result is the same on every machine.
    unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_TARGET
    # Nobody debugs these builds, and the host has no strip for other systems.
    export CARGO_TARGET_DIR=$STATE/build CARGO_PROFILE_DEV_DEBUG=0 CARGO_PROFILE_DEV_STRIP=none
    ZIG=$STATE/zig-$ZIG_VERSION/ziglang/zig
    export ZIG_GLOBAL_CACHE_DIR=$STATE/zig-cache ZIG_LOCAL_CACHE_DIR=$STATE/zig-cache

    get_tools "$command" "$@"

    for target; do
        say "$command $target"
        start=$SECONDS
        verdict=ok
        run "$command" "$target" || { verdict=FAILED && status=1; }
        report+=("$command $target: $verdict ($((SECONDS - start)) s)")
    done
    printf '%s\n' "${report[@]}"
    exit "$status"
}

main "$@"
