# Every chore of the project. `make` alone lists them.
#
# Build output and tools live in the user's cache directory, so that a checkout stays as git made it
# and several checkouts share what they have built.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/millstream
export CARGO_TARGET_DIR ?= $(CACHE)/target
# Prints nothing, or why it failed. The list of targets needs no folder, nor does what builds nothing.
$(if $(filter-out help cluster-% check-shell,$(MAKECMDGOALS)),$(if $(shell scripts/claim-target.sh "$(CARGO_TARGET_DIR)" 2>&1),$(error $(CARGO_TARGET_DIR) cannot be written to)))

TOOLS := $(CACHE)/tools
CARGO_DENY_VERSION := 0.20.2
CARGO_DENY := $(TOOLS)/cargo-deny-$(CARGO_DENY_VERSION)/bin/cargo-deny

# What checks and tests link for the feature `rocksdb`, in all profiles.
ROCKSDB_VERSION := $(shell sed -n '/^name = "librocksdb-sys"$$/{n;s/^version = "\(.*\)+.*"$$/\1/p}' Cargo.lock)
export ROCKSDB_LIB_DIR := $(TOOLS)/rocksdb-$(ROCKSDB_VERSION)
export ROCKSDB_STATIC := 1

# Crates that stand outside the workspace, as a user's would: a folder each. Checked and tested too.
EXTERNAL_EXAMPLES := examples/own-crate

# Each feature of each crate as package/feature: it must build alone, without the others.
# `cargo xtask tidy` compares this list with the crates.
FEATURES := millstream-protocol/grpc millstream-protocol/schema millstream-coordinator/remote \
  millstream-dataflow/kafka millstream-dataflow/rocksdb millstream-dataflow/s3 \
  millstream-worker/kafka millstream-worker/rocksdb millstream-worker/s3

# Peers are never linked into the product: a workspace and a build folder of their own.
PEERS_TARGET := $(CACHE)/peers-target
# What the benchmark is told, as in BENCH_ARGS="--quick --workload sum --cost growth --json FILE".
BENCH_ARGS ?=

# Which stories `make e2e` tells: all, by default; and which `make test` does.
STORIES ?=
MAIN_STORIES := begins worker-lost rescaled upgraded suspended rolled-back operator-lost
# What the images are made of is built first, by the profile of the tests.
define stories
cargo build --workspace --all-features --locked --bin millstream-worker --bin millstream-operator
MILLSTREAM_E2E=1 cargo test --workspace --all-features --locked --test stories -- $(1)
endef

# How many jobs there are where the operator's cost is measured.
JOBS ?= 1000

# How many cases a property test draws in `make soak`. The default of proptest is 256. It builds with the
# profile `soak` of Cargo.toml: as `release`, without optimising over crates, which no test needs.
SOAK_CASES ?= 1000
# There a job from Kafka to Kafka with snapshots in S3 is killed so often, for so many seeds, and an outage lasts so
# many seconds.
SOAK_FAILURES := MILLSTREAM_FAILURES_LIVES=30 MILLSTREAM_FAILURES_SEEDS=3 MILLSTREAM_OUTAGE_SECONDS=60 \
  MILLSTREAM_CHAOS_SECONDS=600 MILLSTREAM_CHAOS_SEEDS=3
# And the coordinator is simulated for so many seeds.
SOAK_SEEDS ?= 100000

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-13s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: demo
demo: ## Run a job on real data on this machine, kill a worker, watch it come back
	scripts/demo.sh

# The demo is a test that prints what it does: it starts its broker and its endpoint itself, and leaves nothing.
.PHONY: demo-kafka
demo-kafka: libraries tools ## The same from Kafka to Kafka with snapshots in S3, on real ones, killed three times
	cargo test --locked --package millstream-example-kafka --test demo

.PHONY: test
test: libraries tools cluster-tools ## Run every test, those of the crates outside the workspace, and the main stories of e2e
	cargo test --workspace --all-features --locked
	for dir in $(EXTERNAL_EXAMPLES); do \
	  cargo test --locked --manifest-path "$$dir/Cargo.toml"; \
	done
	$(call stories,$(MAIN_STORIES))

# What the features `kafka` and `rocksdb` are built with; all else asks for cargo and a C compiler alone.
.PHONY: libraries
libraries:
	. scripts/install.sh; need_toolchain; need_kafka; need_rocksdb
	scripts/rocksdb.sh "$(ROCKSDB_LIB_DIR)"

.PHONY: tools
tools: ## Install what the tests run against, S3 and Kafka, into the cache directory
	scripts/tools.sh

# A Kubernetes of three nodes on this machine, for e2e: see e2e/README.md.
.PHONY: cluster-tools
cluster-tools: ## Install what a cluster on this machine runs: Kubernetes, helm and others, as root
	scripts/cluster-tools.sh
	e2e/cluster/base-images.sh

.PHONY: cluster-up
cluster-up: ## Start a Kubernetes of three nodes in a sandbox on this machine, as root
	e2e/cluster/up.sh

.PHONY: cluster-shell
cluster-shell: ## A shell in that sandbox, with kubectl and helm
	@e2e/cluster/enter.sh bash

.PHONY: cluster-down
cluster-down: ## Take all of it away
	e2e/cluster/down.sh

.PHONY: cluster-test
cluster-test: tools ## Show that such a cluster has what e2e relies on, and leaves nothing
	e2e/cluster/selftest.sh

# Some of them: STORIES="begins rescaled".
.PHONY: e2e
e2e: libraries tools cluster-tools ## Tell the stories of e2e/tests on such a cluster, as root (STORIES)
	$(call stories,$(STORIES))

.PHONY: thousand
thousand: libraries cluster-tools ## Measure what the operator costs with a thousand jobs, on such a cluster, as root (JOBS)
	cargo build --workspace --all-features --locked --bin millstream-operator
	MILLSTREAM_E2E=1 MILLSTREAM_JOBS=$(JOBS) cargo test --workspace --all-features --locked --test thousand

.PHONY: check
check: check-fmt check-tidy check-shell check-generated check-clippy check-features check-docs check-deny ## The gate: format, lints, docs, dependencies, house rules

.PHONY: check-fmt
check-fmt:
	cargo fmt --all --check
	for dir in $(EXTERNAL_EXAMPLES); do \
	  cargo fmt --manifest-path "$$dir/Cargo.toml" --check; \
	done

.PHONY: check-tidy
check-tidy:
	cargo xtask tidy

.PHONY: check-shell
check-shell:
	. scripts/install.sh; ensure_command shellcheck shellcheck
	shellcheck --severity=warning $$(git ls-files '*.sh' .ci/run)

.PHONY: check-generated
check-generated:
	cargo xtask generate --check

.PHONY: check-clippy
check-clippy: libraries
	cargo clippy --workspace --all-targets --all-features --locked -- -D warnings
	for dir in $(EXTERNAL_EXAMPLES); do \
	  cargo clippy --all-targets --locked --manifest-path "$$dir/Cargo.toml" -- -D warnings; \
	done

# Each listed feature alone, and each crate that has features with none of them.
.PHONY: check-features
check-features: libraries
	for feature in $(FEATURES); do \
	  cargo check --locked --package "$${feature%/*}" --no-default-features --features "$${feature#*/}"; \
	done
	for package in $(sort $(foreach feature,$(FEATURES),$(firstword $(subst /, ,$(feature))))); do \
	  cargo check --locked --package "$$package" --no-default-features; \
	done

# With private items, so that the map which each module's header draws breaks when it lies; the header of
# a public module may then link to a private one.
.PHONY: check-docs
check-docs: libraries
	RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" cargo doc --workspace --no-deps --document-private-items --all-features --locked

.PHONY: check-deny
check-deny: $(CARGO_DENY)
	$(CARGO_DENY) --all-features check bans licenses sources

# Not in the gate: these need parts of a Kubernetes.
.PHONY: check-kubernetes
check-kubernetes: libraries ## Try the chart, the resources and the lease on helm and a real API server
	scripts/check-chart.sh
	scripts/check-crds.sh
	cargo build --locked --package millstream-operator
	scripts/check-operator.sh "$(CARGO_TARGET_DIR)/debug/millstream-operator"
	scripts/check-deletion.sh "$(CARGO_TARGET_DIR)/debug/millstream-operator"

# Built once per version, with few optimisations: it runs for a second and builds in two minutes.
$(CARGO_DENY):
	CARGO_TARGET_DIR="$(TOOLS)/build" \
	CARGO_PROFILE_RELEASE_OPT_LEVEL=1 \
	CARGO_PROFILE_RELEASE_LTO=off \
	CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
	CARGO_PROFILE_RELEASE_DEBUG=0 \
	  cargo install --locked --quiet --root "$(TOOLS)/cargo-deny-$(CARGO_DENY_VERSION)" \
	    --version $(CARGO_DENY_VERSION) cargo-deny
	rm -rf "$(TOOLS)/build"

.PHONY: bench
bench: libraries tools ## Measure against hand-written loops and peers; prints two tables (BENCH_ARGS)
	CARGO_TARGET_DIR=$(PEERS_TARGET) cargo build --release --locked --manifest-path bench/peers/Cargo.toml
	if command -v mvn >/dev/null; then mvn -q -B -f bench/peers/flink compile; fi
	cargo run --release --locked --package millstream-bench -- \
	  --peers $(PEERS_TARGET)/release run $(BENCH_ARGS)

.PHONY: soak
soak: libraries tools cluster-tools ## The tests again, optimised, with large state and SOAK_CASES cases per property test (1000)
	MILLSTREAM_LARGE_STATE=1 PROPTEST_CASES=$(SOAK_CASES) COORDINATOR_SEEDS=$(SOAK_SEEDS) $(SOAK_FAILURES) \
	  cargo test --profile soak --workspace --all-features --locked
	$(call stories)

.PHONY: fmt
fmt: ## Format the sources
	cargo fmt --all
	for dir in $(EXTERNAL_EXAMPLES); do \
	  cargo fmt --manifest-path "$$dir/Cargo.toml"; \
	done

.PHONY: clean
clean: ## Remove build output, tools and fetched data from the cache directory
	rm -rf "$(CACHE)"
