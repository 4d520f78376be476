# Everything a contributor or CI runs. `make demo` and `make test` install what Debian has and is missing.
CARGO ?= cargo
PACKAGES = libnftnl-dev libmnl-dev pkg-config nftables iproute2 ca-certificates

.PHONY: demo test lint bench image packages build

demo: packages
	$(CARGO) build --quiet --workspace --bins
	$(CARGO) run --quiet -p portolan-integration --bin demo

test: packages lint
	$(CARGO) build --workspace --bins
	$(CARGO) test --workspace --no-fail-fast
	$(CARGO) run --quiet -p portolan-integration --bin demo

lint: packages
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --quiet -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --quiet

bench: packages
	$(CARGO) run --release --quiet -p portolan-integration --bin bench

image:
	docker build -f docker/Dockerfile -t portolan .

# Only what is missing: a machine that has everything needs neither root nor the network for this.
packages:
	@missing=$$(dpkg-query -W -f '$${db:Status-Status} $${Package}\n' $(PACKAGES) 2>/dev/null | \
		awk '$$1 == "installed" {print $$2}' | sort > /tmp/.portolan-have.$$$$; \
		printf '%s\n' $(PACKAGES) | sort | comm -23 - /tmp/.portolan-have.$$$$; rm -f /tmp/.portolan-have.$$$$); \
	if [ -n "$$missing" ]; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing; \
	fi
