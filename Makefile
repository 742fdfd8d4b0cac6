# Everything a contributor runs. `make` alone lists it.

.DEFAULT_GOAL := help
.NOTPARALLEL:
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

BIN := $(or $(CARGO_TARGET_DIR),target)/debug

##@ Try it
.PHONY: demo down dev

demo: ## A local Kubernetes with the operator and examples/chat, and a message through it (KUBECONFIG: uses that cluster)
	cargo build --workspace --bins
	@$(BIN)/rotunda-local demo

down: $(BIN)/rotunda-local ## Take the local Kubernetes away again: processes, mounts, networks, files
	@$< down

dev: ## The gateway alone, with the manifests of examples/chat and messages in memory, on http://127.0.0.1:8080
	@cargo run --bin rotunda-gateway -- dev examples/chat

##@ While you work
.PHONY: check fmt generate

check: setup ## Every check that needs no cluster
	@scripts/steps format lint build unit drift docs chart

fmt: ## Format the Rust code
	cargo fmt --all

generate: build ## Write what is generated: CRD manifests, their reference, the chart's snapshots
	$(BIN)/generate-crds
	@scripts/chart-snapshots --update

##@ Before you push
.PHONY: test

# The consistency test for a minute here: with what comes before and after the faults, a minute and a half.
test: export TORTURE_SECONDS ?= 75
test: setup ## Everything CI runs, end to end, with what it needs installed first
	@scripts/steps format lint build unit torture fuzz drift docs chart e2e

##@ The steps of `check` and `test`
.PHONY: format lint build unit torture fuzz drift docs chart e2e

format: ## Is the code formatted?
	cargo fmt --all --check

lint: ## Clippy and shellcheck, warnings are errors; licences and sources of dependencies
	cargo clippy --workspace --all-targets --all-features -- --deny warnings
	cargo deny --log-level error check licenses bans sources
	shellcheck $$(grep --files-with-matches '^#!.*bash' scripts/* gateway/fuzz/instrument .ci/run)

build: ## Compile everything once: what the later steps run, and what the images hold
	cargo build --workspace --all-targets

fuzz: ## Fuzz whatever parses bytes from outside, FUZZ_SECONDS on each target (FUZZ_TARGET=part of a name, FUZZ_KEEP=1 keeps what is new)
	scripts/fuzz

unit: ## Tests that need no cluster; some start a Redis of their own
	cargo test --workspace

torture: build ## Harm real gateways and a real Redis Cluster, and check that nothing is lost silently (TORTURE_SECONDS, TORTURE_ARGS)
	@$(BIN)/rotunda-torture --seconds $(or $(TORTURE_SECONDS),300) $(TORTURE_ARGS)

drift: build ## Are the generated CRD files up to date?
	$(BIN)/generate-crds --check

docs: build ## Do the links, make targets and flags in the documentation exist?
	scripts/check-docs

chart: $(BIN)/rotunda-local ## Lint the Helm chart and compare what it renders with its snapshots
	scripts/chart-snapshots

e2e: ## End-to-end tests in the local Kubernetes
	scripts/e2e

##@ More
.PHONY: e2e-full images setup help

e2e-full: ## The end-to-end tests with their long matrices
	scripts/e2e --features rotunda-e2e/full

images: build ## Build the container images
	@$(BIN)/rotunda-local images

setup: ## Install what the tests need: Debian packages, cargo-deny
	@scripts/setup

$(BIN)/%:
	cargo build --workspace --all-targets

help: ## List the targets
	@awk 'BEGIN { FS = ":.*## " } \
	  /^##@/ { printf "\n%s\n", substr($$0, 5) } \
	  /^[a-z0-9-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
