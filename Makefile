# What there is to do with this checkout. The first of these builds takes a while: it compiles RocksDB.
SHELL := /bin/bash
export CARGO_TARGET_DIR ?= $(HOME)/.cache/offs-target
# Read when a command runs, so that `make` itself costs nothing.
ROCKSDB = library=$$(tools/rocksdb.sh) && ROCKSDB_STATIC=1 ROCKSDB_LIB_DIR="$$library"
CARGO = $(ROCKSDB) cargo
OFFS = $(CARGO_TARGET_DIR)/release/offs
FILE ?=

.PHONY: demo test build install lint doc soak bench fuzz interop s3 browser deb sim twin vectors requirements

demo: build
	OFFS="$(OFFS)" tools/demo.sh "$(FILE)"

test: requirements
	$(CARGO) test --release --workspace

build: requirements
	$(CARGO) build --release --bin offs

install: requirements
	$(CARGO) install --locked --path .

lint: requirements
	cargo fmt --all --check
	$(CARGO) clippy --release --workspace --all-targets --features cas/testing -- -D warnings

doc: requirements
	$(ROCKSDB) RUSTDOCFLAGS="-D warnings" cargo doc --release --workspace --no-deps

# Long runs: crashes, damage, full disks, memory. SOAK=short is what CI runs.
soak: build
	OFFS="$(OFFS)" tests/soak/run.sh

# Against the disk, the hash, restic and borg, and at ten million blocks.
bench: build
	OFFS="$(OFFS)" benches/compare.sh
	$(CARGO) bench --bench scale

# A package for Debian, with manual pages, completions and the unit.
deb: build
	OFFS="$(OFFS)" tools/deb.sh

# Other nodes of the DHT as hub, writer and reader against ours; it installs them.
interop: build
	tests/interop/setup.sh
	OFFS="$(OFFS)" python3 tests/interop/matrix.py --with offs

# Clients of S3, and a hostile one, against ours; it installs them. By HTTP and by TLS.
s3: build
	tests/interop/s3_setup.sh
	OFFS="$(OFFS)" python3 tests/interop/s3.py
	OFFS="$(OFFS)" python3 tests/interop/s3.py --tls

# The page for people in Chromium: what a person does there, accessibility, and that nothing leaves the machine.
browser: build
	tests/browser/setup.sh
	OFFS="$(OFFS)" "$${OFFS_CACHE:-$$HOME/.cache}/offs-browser/venv/bin/python" tests/browser/page.py

# Ten thousand nodes, a tenth of the packets lost, a fifth of the nodes replaced every ten minutes. SIM says otherwise.
sim:
	cargo run --release -p sim -- $(or $(SIM),--nodes 10000 --lookups 5000) --at-least 0.999

# Each parser of foreign bytes, FUZZ_SECONDS each.
fuzz:
	tools/fuzz.sh

# The Python twin and the program read each other's files.
twin: build
	OFFS="$(OFFS)" tests/twin.sh

# The golden vectors again, with the Python environment that `make twin` makes.
vectors: twin
	cd fixtures && for of in files urls directories; do \
	    "$${OFFS_CACHE:-$$HOME/.cache}/offs-twin-venv/bin/python" twin/offs_twin.py vectors --of $$of vectors/$$of.json || exit 1; done
	cd fixtures && "$${OFFS_CACHE:-$$HOME/.cache}/offs-twin-venv/bin/python" twin/membership.py membership/vectors.json

requirements:
	@tools/requirements.sh
