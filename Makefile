# prise: the targets a person types. `make` alone lists them.

CC       ?= cc
CFLAGS   ?= -O2
# the tutorial does not look at what write() and fgets() return, which some systems' headers want
WARNINGS  = -Wall -Wextra -Wpedantic -Wno-unused-result -Werror
STANDARD  = -std=c11 -D_DEFAULT_SOURCE -D_DARWIN_C_SOURCE
SANITIZE  = -g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer

PREFIX   ?= /usr/local
DESTDIR  ?=

# Without shared libraries a process has half the mappings: fork, exec and exit are that much cheaper. (Debian's
# libc6-dev has what it takes, Fedora's glibc-static.) glibc then knows users and hosts by what it has built in, files
# and DNS, and by the modules of nsswitch.conf only where they are of its own version: STATIC=no, if LDAP is to tell.
HOST      = $(shell rustc -vV | sed -n 's/^host: //p')
STATIC   ?= $(if $(findstring linux,$(HOST)),yes,no)
CHEAP     = -C target-feature=+crt-static -C relocation-model=static $(TOGETHER)
RELEASE   = RUSTFLAGS="$(RUSTFLAGS) $(if $(filter yes,$(STATIC)),$(CHEAP))"

# What a child runs stands side by side, where the linker can be told so.
ORDER     = -C link-arg=-Wl,-T,packaging/child.ld
TOGETHER  = $(shell mkdir -p target; echo 'fn main() {}' | rustc $(RUSTFLAGS) $(ORDER) -o target/together - 2>/dev/null \
	&& echo '$(ORDER)'; rm -f target/together)

HEADERS    := $(wildcard c/*.h)
TWINS      := $(patsubst c/%.c,target/c/%,$(wildcard c/*/*.c))
SANITIZED  := $(patsubst c/%.c,target/c-sanitized/%,$(wildcard c/*/*.c))

.PHONY: help
help:
	@echo "make demo       build, and watch a server fork a process per client"
	@echo "make test       every test"
	@echo "make compare    the tutorial's listings [TUTORIAL=FILE], the C twins and the Rust:"
	@echo "                stdout, stderr, exit, wire, calls; [PROGRAM=server/fork] lists its scenarios,"
	@echo "                [SCENARIO=NAME] shows all that is seen of one, side by side"
	@echo "make mirror PROGRAM=server/fork    listing [TUTORIAL=FILE], C and Rust, step by step"
	@echo "make bench      connections per second, CPU, page faults and memory of prise serve,"
	@echo "                its C twin, and tcpserver, tcpsvd, socat, ncat, xinetd"
	@echo "make performance      the same, and thousands of idle clients: docs/performance.md"
	@echo "make soak       prise serve under clients of every kind, stopped and starved meanwhile"
	@echo "                [SOAK_MINUTES=2]"
	@echo "make fuzz       any bytes as a PROXY header, for a minute [FUZZ_SECONDS=60]"
	@echo "make examine-peers    prise check of tcpserver, tcpsvd, socat, ncat, xinetd, …"
	@echo "                [PEERS='socat ncat']    as Markdown; what is not installed it says"
	@echo "make lab        the labs: a server each with one mistake; [NAME=no-reap] builds and examines one"
	@echo "make c          the C twins, in target/c"
	@echo "make lint       formatting, clippy, shell scripts"
	@echo "make check-targets, make link-targets    musl, FreeBSD, OpenBSD, NetBSD, macOS"
	@echo "make docs       the manual pages and the completions, as the command line stands"
	@echo "make install    prise, its manual, the shells' completions, into PREFIX ($(PREFIX));"
	@echo "                without shared libraries on Linux [STATIC=no];"
	@echo "                [DESTDIR=DIR] below that; [BUILT=FILE] this program; make uninstall"
	@echo "make clean"

.PHONY: c c-sanitized
c: $(TWINS)
c-sanitized: $(SANITIZED)

target/c/%: c/%.c $(HEADERS)
	@mkdir -p $(@D)
	$(CC) $(STANDARD) $(WARNINGS) $(CFLAGS) -o $@ $<

target/c-sanitized/%: c/%.c $(HEADERS)
	@mkdir -p $(@D)
	$(CC) $(STANDARD) $(WARNINGS) $(SANITIZE) -o $@ $<

# A lab's copy of the sources, for its reader to mend: it is made anew only when the patch or a source is newer.
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
always: # the reader may have changed a header of the copy
lab:
	@LABS=$(LABS) MAKE="$(MAKE)" scripts/lab.sh $(NAME)

.PHONY: test
test: c c-sanitized
	cargo test --quiet --no-fail-fast

# TUTORIAL=FILE is in the environment of the recipe, as make exports what it is given.
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
	@if command -v shellcheck >/dev/null; then echo shellcheck; shellcheck .ci/run scripts/*.sh; \
	elif [ -n "$$CI" ]; then echo "shellcheck is not installed" >&2; exit 1; \
	else echo "skipped: shellcheck is not installed"; fi

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
	$(if $(BUILT),,$(RELEASE) cargo build --quiet --release --target $(HOST))
	install -d "$(ROOT)/bin" "$(ROOT)/share/man/man1" "$(dir $(BASH))" "$(dir $(ZSH))" "$(dir $(FISH))"
	install -m 755 "$(or $(BUILT),target/$(HOST)/release/prise)" "$(ROOT)/bin/prise"
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

# What is found goes to target/fuzz-corpus; fuzz/corpus is what is kept, and only read.
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
