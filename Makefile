# Tapline's front door. `make demo` and `make test` do all their set-up themselves on a fresh Debian machine with Rust.
.PHONY: demo test lint bench build deb fuzz torture help
.DEFAULT_GOAL := help

BIN := $(or $(CARGO_TARGET_DIR),target)/release
PYTHON := /usr/bin/python3

help:
	@echo "make demo [FOR=25s] [ES=http://...] [DATA=DIR]   build, capture real traffic, decode it, show what happened; ES: send it to a search index, too; DATA: keep it there"
	@echo "make test             all tests; the last one is the demo"
	@echo "make lint             fmt, clippy, dependency rules"
	@echo "make bench            measured figures beside tcpdump and dumpcap"
	@echo "make torture          kill, cut, fill and lie: every packet is archived once or counted (SHORT=1: the form that make test runs)"
	@echo "make fuzz [FOR=60]    fuzz every reader of foreign bytes and every decoder, each for so many seconds"
	@echo "make deb              a Debian package in target/debian"

build:
	@packaging/setup-debian build
	cargo build --release --locked -p tapline -p tapline-probe

demo:
	@packaging/setup-debian demo
	cargo build --release --locked -p tapline -p tapline-probe
	$(PYTHON) e2e/demo.py --bin $(BIN) $(if $(FOR),--for $(FOR)) $(if $(ES),--elasticsearch $(ES)) $(if $(DATA),--data $(DATA))

test:
	@packaging/setup-debian test
	cargo test --locked --workspace
	cargo build --release --locked -p tapline -p tapline-probe
	$(PYTHON) -m unittest discover --start-directory e2e --pattern 'test_*.py'
	$(PYTHON) e2e/torture.py --bin $(BIN) --short
	$(PYTHON) e2e/demo.py --bin $(BIN) --for 25s

torture:
	@packaging/setup-debian test
	cargo build --release --locked -p tapline -p tapline-probe
	$(PYTHON) e2e/torture.py --bin $(BIN) $(if $(SHORT),--short)

lint:
	@packaging/setup-debian build
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	packaging/check-dependencies

bench:
	@packaging/setup-debian bench
	cargo build --release --locked -p tapline -p tapline-probe
	$(PYTHON) bench/run.py --bin $(BIN) $(BENCH)

fuzz:
	@packaging/setup-debian fuzz
	fuzz/run $(or $(FOR),60)

deb: build
	packaging/deb/build $(BIN)
