# Everything a contributor or CI runs. `make demo` and `make test` install what Debian has and is missing.
CARGO ?= cargo
PACKAGES = gcc libc6-dev pkg-config libnftnl-dev libmnl-dev nftables iproute2 procps

.PHONY: demo test soak lint bench image packages build

demo: packages
	$(CARGO) build --quiet --workspace --bins
	$(CARGO) run --quiet -p portolan-integration --bin demo

test: packages lint
	$(CARGO) build --workspace --bins
	$(CARGO) test --workspace --no-fail-fast
	$(CARGO) run --quiet -p portolan-integration --bin demo

# Random clusters for as long as it is worth leaving a machine alone with.
soak: packages
	PROPTEST_CASES=20000 $(CARGO) test --release -p portolan-rules
	PORTOLAN_LOOP_PROBES=200000 $(CARGO) test --release -p portolan-integration --test loop -- --nocapture

lint: packages
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --quiet -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --quiet

bench: packages
	$(CARGO) run --release --quiet -p portolan-integration --bin bench
	$(CARGO) run --release --quiet -p portolan-integration --bin bench_flows

image:
	docker build -f docker/Dockerfile -t portolan .

# Only if something is missing: a machine that has everything needs neither root nor the network for this.
packages:
	@dpkg -s $(PACKAGES) >/dev/null 2>&1 || { apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(PACKAGES); }
