# Everything a contributor or CI runs. `make demo` and `make test` install what Debian has and is missing.
CARGO ?= cargo
PACKAGES = gcc libc6-dev pkg-config libnftnl-dev libmnl-dev nftables iproute2 procps

# How much `make soak` does: random clusters for the simulator, and connections through the kernel.
CASES ?= 20000
PROBES ?= 200000
# What `make bench` is told: --sizes 1000,10000 --rows cold,changes --full --json FILE.
BENCH ?=

.PHONY: help demo test lint soak bench image packages

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

demo: packages ## walk through what a Service is, with real packets
	$(CARGO) build --quiet --workspace --bins
	$(CARGO) run --quiet -p portolan-integration --bin demo

test: packages lint ## lint, all tests, the demo
	$(CARGO) build --workspace --bins
	$(CARGO) test --workspace --no-fail-fast
	$(CARGO) run --quiet -p portolan-integration --bin demo

lint: packages ## formatting, clippy, documentation
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --quiet -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --quiet

soak: packages ## random clusters for as long as it is worth leaving a machine alone with
	PROPTEST_CASES=$(CASES) $(CARGO) test --release -p portolan-rules
	PORTOLAN_LOOP_PROBES=$(PROBES) $(CARGO) test --release -p portolan-integration --test loop -- --nocapture

bench: packages ## cold start, changes, churn, restart, memory, stale flows
	$(CARGO) build --release --quiet --workspace --bins
	$(CARGO) run --release --quiet -p portolan-integration --bin bench -- $(BENCH)
	$(CARGO) run --release --quiet -p portolan-integration --bin bench_flows

image: ## the container image
	docker build -f docker/Dockerfile -t portolan .

# Only if something is missing: a machine that has everything needs neither root nor the network for this.
packages:
	@dpkg -s $(PACKAGES) >/dev/null 2>&1 || { apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(PACKAGES); }
