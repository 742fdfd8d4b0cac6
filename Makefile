# Everything a contributor runs. `make` alone lists it.

.DEFAULT_GOAL := help
.NOTPARALLEL:
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

LOCAL := cargo run --quiet --package rotunda-e2e --bin rotunda-local --

##@ Try it
.PHONY: demo down dev

demo: ## A local Kubernetes with the operator and examples/chat, and a message through it (KUBECONFIG: uses that cluster)
	@$(LOCAL) demo

down: ## Take the local Kubernetes away again: processes, mounts, networks, files
	@$(LOCAL) down

dev: ## The gateway alone, with the manifests of examples/chat and messages in memory, on http://127.0.0.1:8080
	@cargo run --package rotunda-gateway -- dev examples/chat

##@ While you work
.PHONY: check fmt generate

check: setup ## Every check that needs no cluster
	@scripts/steps format lint unit drift docs chart

fmt: ## Format the Rust code
	cargo fmt --all

generate: ## Write what is generated: CRD manifests, their reference, the chart's snapshots
	cargo run --quiet --package rotunda-crds --bin generate-crds
	@scripts/chart-snapshots --update

##@ Before you push
.PHONY: test

test: setup ## Everything CI runs, end to end, with what it needs installed first
	@scripts/steps format lint unit drift docs chart e2e

##@ The steps of `check` and `test`
.PHONY: format lint unit drift docs chart e2e

format: ## Is the code formatted?
	cargo fmt --all --check

lint: ## Clippy and shellcheck, warnings are errors
	cargo clippy --quiet --workspace --all-targets --all-features -- --deny warnings
	shellcheck $$(grep --files-with-matches '^#!.*bash' scripts/* .ci/run)

unit: ## Tests that need no cluster; some start a Redis of their own
	cargo test --workspace

drift: ## Are the generated CRD files up to date?
	cargo run --quiet --package rotunda-crds --bin generate-crds -- --check

docs: ## Do the links, make targets and flags in the documentation exist?
	scripts/check-docs

chart: ## Lint the Helm chart and compare what it renders with its snapshots
	scripts/chart-snapshots

e2e: ## End-to-end tests in the local Kubernetes
	scripts/e2e

##@ More
.PHONY: e2e-full images setup help

e2e-full: ## The end-to-end tests with their long matrices
	scripts/e2e --features full

images: ## Build the container images
	@$(LOCAL) images

setup: ## Install the Debian packages that the tests need
	@scripts/setup

help: ## List the targets
	@awk 'BEGIN { FS = ":.*## " } \
	  /^##@/ { printf "\n%s\n", substr($$0, 5) } \
	  /^[a-z0-9-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
