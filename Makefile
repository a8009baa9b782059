# prise: the targets to type. `make` alone lists them.

CC       ?= cc
CFLAGS   ?= -O2
# The tutorial ignores the results of write() and fgets(); some systems' headers warn about that.
WARNINGS  = -Wall -Wextra -Wpedantic -Wno-unused-result -Werror
STANDARD  = -std=c11 -D_DEFAULT_SOURCE -D_DARWIN_C_SOURCE
SANITIZE  = -g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer

PREFIX   ?= /usr/local
DESTDIR  ?=

# Without shared libraries a process has half the mappings, so fork, exec and exit are cheaper. Debian has the static C
# library in libc6-dev, Fedora in glibc-static. A static glibc finds users and hosts in files and DNS; it can load the
# modules of nsswitch.conf only if they have its own version. So use STATIC=no if, for example, users are in LDAP.
HOST      = $(shell rustc -vV | sed -n 's/^host: //p')
STATIC   ?= $(if $(findstring linux,$(HOST)),yes,no)
CHEAP     = -C target-feature=+crt-static -C relocation-model=static $(TOGETHER)
RELEASE   = RUSTFLAGS="$(RUSTFLAGS) $(if $(filter yes,$(STATIC)),$(CHEAP))"

# Put the functions that a child runs side by side, if the linker can do that.
ORDER     = -C link-arg=-Wl,-T,packaging/child.ld
TOGETHER  = $(shell mkdir -p target; echo 'fn main() {}' | rustc $(RUSTFLAGS) $(ORDER) -o target/together - 2>/dev/null \
	&& echo '$(ORDER)'; rm -f target/together)

HEADERS    := $(wildcard c/*.h)
TWINS      := $(patsubst c/%.c,target/c/%,$(wildcard c/*/*.c))
SANITIZED  := $(patsubst c/%.c,target/c-sanitized/%,$(wildcard c/*/*.c))

.PHONY: help
help:
	@echo "make demo           build prise, and show a server that forks per client"
	@echo "make test           run every test"
	@echo "make compare        compare the tutorial's listings, the C twins and the Rust:"
	@echo "                    stdout, stderr, exit status, wire and system calls"
	@echo "                    [TUTORIAL=FILE] has the listings; [PROGRAM=server/fork]"
	@echo "                    lists its scenarios; [SCENARIO=NAME] shows one in full"
	@echo "make mirror PROGRAM=server/fork"
	@echo "                    show the listing [TUTORIAL=FILE], C and Rust side by side"
	@echo "make bench          measure prise serve, its C twin, tcpserver, tcpsvd, socat,"
	@echo "                    ncat and xinetd: connections per second, CPU, memory"
	@echo "make performance    the same, also with thousands of idle clients; this writes"
	@echo "                    docs/performance.md"
	@echo "make soak           run prise serve with clients of every kind, stop it, and"
	@echo "                    let its resources run out [SOAK_MINUTES=2]"
	@echo "make fuzz           parse random bytes as PROXY headers [FUZZ_SECONDS=60]"
	@echo "make examine-peers  run prise check on tcpserver, tcpsvd, socat, ncat, xinetd,"
	@echo "                    …, as far as they are installed [PEERS='socat ncat']"
	@echo "make lab            list the labs: servers with one mistake each"
	@echo "                    [NAME=no-reap] builds one and examines it"
	@echo "make c              build the C twins in target/c"
	@echo "make lint           check formatting, lints, documentation, scripts, workflows"
	@echo "make package        check that the crate builds and installs from its package"
	@echo "make check-targets  check for musl, FreeBSD, OpenBSD, NetBSD and macOS"
	@echo "make link-targets   link for the same"
	@echo "make docs           generate the manual pages and the shell completions"
	@echo "make install        install prise, its manual and completions in PREFIX"
	@echo "                    ($(PREFIX)); on Linux without shared libraries"
	@echo "                    [STATIC=no: with]; [DESTDIR=DIR] goes before PREFIX;"
	@echo "                    [BUILT=FILE] is the program to install"
	@echo "make uninstall      remove what make install has installed"
	@echo "make clean          remove target/"

.PHONY: c c-sanitized
c: $(TWINS)
c-sanitized: $(SANITIZED)

target/c/%: c/%.c $(HEADERS)
	@mkdir -p $(@D)
	$(CC) $(STANDARD) $(WARNINGS) $(CFLAGS) -o $@ $<

target/c-sanitized/%: c/%.c $(HEADERS)
	@mkdir -p $(@D)
	$(CC) $(STANDARD) $(WARNINGS) $(SANITIZE) -o $@ $<

# A lab's copy of the sources, which its reader mends. It is replaced only when the patch or a source is newer.
LABS ?= target/labs
.PRECIOUS: $(LABS)/%/c/server/robust.c
$(LABS)/%/c/server/robust.c: labs/%/bug.patch c/server/robust.c $(HEADERS)
	@rm -rf $(LABS)/$*/c
	@mkdir -p $(@D)
	@cp $(HEADERS) $(LABS)/$*/c
	@cp c/server/robust.c $@
	@patch -s -p1 -d $(LABS)/$* <$<

$(LABS)/%/server: $(LABS)/%/c/server/robust.c always
	@$(CC) $(STANDARD) $(WARNINGS) $(CFLAGS) -o $@ $<

.PHONY: lab always
always: # the reader may have changed a header of the copy, which make does not track
lab:
	@LABS=$(LABS) MAKE="$(MAKE)" scripts/lab.sh $(NAME)

.PHONY: test
test: c c-sanitized
	cargo test --quiet --no-fail-fast

# make exports its command-line variables, so TUTORIAL=FILE reaches the recipe.
.PHONY: compare
compare: c
	@SCENARIO=$(SCENARIO) cargo test --quiet --test parity -- --table $(PROGRAM)

.PHONY: mirror
mirror:
	@cargo run --quiet --example mirror -- $(PROGRAM)

.PHONY: lint
lint:
	cargo fmt --check
	cargo fmt --check --manifest-path fuzz/Cargo.toml
	cargo clippy --quiet --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --quiet --no-deps --document-private-items
	scripts/lint-workflows.sh
	@if command -v shellcheck >/dev/null; then echo shellcheck; shellcheck .ci/run scripts/*.sh; \
	elif [ -n "$$CI" ]; then echo "shellcheck is not installed" >&2; exit 1; \
	else echo "skipped: shellcheck is not installed"; fi

# The crate builds from what it packs, and installs with its manual.
PACKED = target/package/prise-$(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
.PHONY: package
package:
	cargo package --quiet --allow-dirty
	rm -rf $(PACKED) && tar -C target/package -xzf $(PACKED).crate
	$(MAKE) --quiet -C $(PACKED) install BUILT=/dev/null DESTDIR=installed PREFIX=
	test -f $(PACKED)/installed/share/man/man1/prise-serve.1
	rm -rf $(PACKED)

.PHONY: check-targets link-targets
check-targets:
	scripts/targets.sh check $(TARGETS)
link-targets:
	scripts/targets.sh link $(TARGETS)
	scripts/targets.sh c $(TARGETS)

.PHONY: docs
docs:
	cargo run --quiet --example docs

PAGES := $(wildcard man/*.1)
ROOT   = $(DESTDIR)$(PREFIX)
BASH   = $(ROOT)/share/bash-completion/completions/prise
ZSH    = $(ROOT)/share/zsh/site-functions/_prise
FISH   = $(ROOT)/share/fish/vendor_completions.d/prise.fish

.PHONY: install uninstall
install:
	@$(if $(BUILT),,echo building prise…)
	$(if $(BUILT),,$(RELEASE) cargo build --quiet --release --target $(HOST))
	install -d "$(ROOT)/bin" "$(ROOT)/share/man/man1" "$(dir $(BASH))" "$(dir $(ZSH))" "$(dir $(FISH))"
	install -m 755 "$(or $(BUILT),$(or $(CARGO_TARGET_DIR),target)/$(HOST)/release/prise)" "$(ROOT)/bin/prise"
	install -m 644 $(PAGES) "$(ROOT)/share/man/man1"
	install -m 644 completions/prise.bash "$(BASH)"
	install -m 644 completions/_prise "$(ZSH)"
	install -m 644 completions/prise.fish "$(FISH)"
uninstall:
	rm -f "$(ROOT)/bin/prise" "$(BASH)" "$(ZSH)" "$(FISH)"
	rm -f $(PAGES:man/%="$(ROOT)/share/man/man1/%")

.PHONY: clean
clean:
	cargo clean

.PHONY: demo
demo: c
	@echo building prise…
	@cargo build --quiet --release
	@cargo run --quiet --release --example demo

.PHONY: bench performance
bench: c
	$(RELEASE) cargo bench --quiet --bench performance --target $(HOST)
performance: c
	$(RELEASE) cargo bench --quiet --bench performance --target $(HOST) -- --write

SOAK_MINUTES ?= 2
.PHONY: soak
soak:
	SOAK_MINUTES=$(SOAK_MINUTES) cargo test --quiet --release --test soak

# New inputs go to target/fuzz-corpus; the fuzzer only reads fuzz/corpus, which is in git.
FUZZ_SECONDS ?= 60
.PHONY: fuzz
fuzz:
	@cargo +nightly fuzz --version >/dev/null 2>&1 || { \
	echo "make fuzz needs a C++ compiler, rustup toolchain install nightly, cargo install cargo-fuzz" >&2; exit 1; }
	@mkdir -p target/fuzz-corpus
	cargo +nightly fuzz run --target-dir target/fuzz proxy target/fuzz-corpus fuzz/corpus/proxy -- \
	-max_total_time=$(FUZZ_SECONDS) -verbosity=0 -print_final_stats=1

.PHONY: examine-peers
examine-peers:
	@cargo build --quiet --release --bin prise --example handler
	@scripts/examine-peers.sh $(PEERS)
