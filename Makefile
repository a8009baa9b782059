# prise: the targets a person types. `make` alone lists them.

CC       ?= cc
CFLAGS   ?= -O2
WARNINGS  = -Wall -Wextra -Wpedantic -Werror
STANDARD  = -std=c11 -D_DEFAULT_SOURCE -D_DARWIN_C_SOURCE
SANITIZE  = -g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer

PREFIX   ?= /usr/local
DESTDIR  ?=

HEADERS    := $(wildcard c/*.h)
TWINS      := $(patsubst c/%.c,target/c/%,$(wildcard c/*/*.c))
SANITIZED  := $(patsubst c/%.c,target/c-sanitized/%,$(wildcard c/*/*.c))

.PHONY: help
help:
	@echo "make demo       build, and watch a server fork a process per client"
	@echo "make test       every test"
	@echo "make compare    Rust beside its C twin: stdout, stderr, exit, wire, calls"
	@echo "                [PROGRAM=server/fork] shows two call traces side by side"
	@echo "                [TUTORIAL=FILE] beside the original listing too"
	@echo "make bench      connections per second and page faults, Rust against its twin"
	@echo "make c          the C twins, in target/c"
	@echo "make lint       formatting, clippy, shell scripts"
	@echo "make check-targets, make link-targets    musl, FreeBSD, OpenBSD, NetBSD, macOS"
	@echo "make install    prise, into PREFIX/bin ($(PREFIX)/bin); make uninstall"
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

.PHONY: test
test: c c-sanitized
	cargo test --quiet

# TUTORIAL=FILE is in the environment of the recipe, as make exports what it is given.
.PHONY: compare
compare: c
	@cargo test --quiet --test parity -- --table $(PROGRAM)

.PHONY: lint
lint:
	cargo fmt --check
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

.PHONY: install uninstall
install:
	cargo build --quiet --release
	install -d "$(DESTDIR)$(PREFIX)/bin"
	install -m 755 target/release/prise "$(DESTDIR)$(PREFIX)/bin/prise"
uninstall:
	rm -f "$(DESTDIR)$(PREFIX)/bin/prise"

.PHONY: clean
clean:
	cargo clean

.PHONY: demo
demo: c
	@cargo build --quiet --release
	@cargo run --quiet --release --example demo

.PHONY: bench
bench: c
	cargo bench --bench connections
