# Everything a contributor or CI runs. `make demo` and `make test` install what Debian has and is missing.
CARGO ?= cargo
PACKAGES = gcc libc6-dev pkg-config libnftnl-dev libmnl-dev nftables iproute2 procps systemd
IMAGE_PACKAGES = buildah mmdebstrap nftables
KERNEL_PACKAGES = qemu-system-x86 kmod cpio binutils

# How much `make soak` does: random clusters for the simulator, and connections through the kernel; and from which seed.
CASES ?= 20000
PROBES ?= 200000
SEED := $(or $(SEED),$(shell od -An -N4 -tu4 /dev/urandom | tr -d ' '))
# What `make bench` is told: also --sizes 1000,10000 --rows cold,changes --full.
BENCH ?= --json integration/figures/bench.json
# Which kernels `make test-kernels` boots, such as 5.10,newest; all of them unless told.
KERNELS ?=
# How `make check-image` builds the binary; dev is faster to build.
PROFILE ?= release

.PHONY: help demo test test-kernels lint soak bench bench-peers image check-image packages

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 13

demo: packages ## walk through what a Service is, with real packets
	$(CARGO) build --quiet --workspace --bins
	$(CARGO) run --quiet -p portolan-integration --bin demo

test: packages lint ## lint, all tests, the demo, the image
	$(CARGO) build --workspace --bins
	$(CARGO) test --workspace --no-fail-fast
	$(CARGO) run --quiet -p portolan-integration --bin demo
	$(MAKE) --no-print-directory check-image PROFILE=dev

test-kernels: packages ## the binary and its tests on Debian's kernels, emulated by QEMU: some minutes for each
	$(call install,$(KERNEL_PACKAGES))
	$(CARGO) build --quiet --workspace --bins
	$(or $(CARGO_TARGET_DIR),target)/debug/test_kernels $(if $(KERNELS),--kernels $(KERNELS))

lint: packages ## formatting, clippy, documentation
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --quiet -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --quiet

soak: packages ## random clusters for as long as it is worth leaving a machine alone with
	@echo "SEED=$(SEED)"
	PROPTEST_RNG_SEED=$(SEED) PROPTEST_CASES=$(CASES) $(CARGO) test --release -p portolan-rules
	PORTOLAN_LOOP_SEED=$(SEED) PORTOLAN_LOOP_PROBES=$(PROBES) $(CARGO) test --release -p portolan-integration --test loop -- --nocapture

bench: packages ## cold start, changes, churn, restart, memory, stale flows, the agent against an API server
	mkdir -p integration/figures
	$(CARGO) build --release --quiet --workspace --bins
	$(CARGO) run --release --quiet -p portolan-integration --bin bench -- $(BENCH)
	$(CARGO) run --release --quiet -p portolan-integration --bin bench_flows
	$(CARGO) run --release --quiet -p portolan-integration --bin bench_cluster

bench-peers: packages ## the same Services as kube-proxy has them: packets, load, changes, and a picture
	mkdir -p integration/figures
	$(CARGO) run --release --quiet -p portolan-integration --bin bench_packets -- --json integration/figures/packets.json
	$(CARGO) run --release --quiet -p portolan-integration --bin bench_peers -- \
		--json integration/figures/scale.json --svg integration/figures/scale.svg

image: ## the container image, with docker
	docker build -f docker/Dockerfile -t portolan \
		--build-arg VERSION=$$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml) \
		--build-arg REVISION=$$(git rev-parse HEAD) .

check-image: ## build the image without docker or a registry, and check what is in it
	$(call install,$(IMAGE_PACKAGES))
	PROFILE=$(PROFILE) docker/check-image.sh

# Only if something is missing: a machine that has everything needs neither root nor the network for this.
# promtool comes alone: the package that has it would start a Prometheus server.
packages:
	$(call install,$(PACKAGES))
	@command -v promtool >/dev/null || { set -e; directory=$$(mktemp -d); chmod 755 $$directory; cd $$directory; \
		apt-get update -qq; apt-get download -qq prometheus; \
		dpkg-deb --fsys-tarfile prometheus_*.deb | tar -x ./usr/bin/promtool; \
		install usr/bin/promtool /usr/local/bin/promtool; rm -r $$directory; }

define install
	@dpkg -s $(1) >/dev/null 2>&1 || { apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(1); }
endef
