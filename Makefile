# Everything that contributors and CI run. `make demo` and `make test` install missing Debian packages.
CARGO ?= cargo
PACKAGES = gcc binutils libc6-dev pkg-config libnftnl-dev libmnl-dev nftables iptables iproute2 procps systemd \
	chromium chromium-driver fish zsh
IMAGE_PACKAGES = buildah mmdebstrap nftables
KERNEL_PACKAGES = qemu-system-x86 kmod cpio binutils

# How many random clusters `make soak` simulates, how many connections it makes through the kernel, and the seed.
CASES ?= 20000
PROBES ?= 200000
# For how many seconds `make soak` asks the agent random questions.
FUZZ ?= 600
SEED := $(or $(SEED),$(shell od -An -N4 -tu4 /dev/urandom | tr -d ' '))
# Arguments of `make bench`: also --sizes 1000,10000 --rows cold,changes --full.
BENCH ?= --json integration/figures/bench.json
# Arguments of `make bench-cluster`: also --sizes 1000,10000 --agents 0 --only protobuf.
BENCH_CLUSTER ?= --json integration/figures/cluster.json
# Arguments of `make bench-trace`: also --seed 7 --speed 1,10,100 --services 30000.
BENCH_TRACE ?= --json integration/figures/trace.json
# Which kernels `make test-kernels` boots, such as 5.10,newest; all of them by default.
KERNELS ?=
# The version of cargo-deny that `make lint` uses. It is built once, into target/tools.
DENY_VERSION = 0.20.2
DENY = target/tools/cargo-deny-$(DENY_VERSION)/bin/cargo-deny
# The cargo profile with which `make check-image` builds the binary; dev builds faster.
PROFILE ?= release

.PHONY: help demo test test-kernels lint deny advisories soak bench bench-peers bench-cluster bench-trace bench-docs generate pictures image check-image dist check-dist packages

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 13

demo: packages ## walk through what a Service is, with real packets
	$(CARGO) build --quiet --workspace --bins
	$(CARGO) run --quiet -p portolan-integration --bin demo

test: packages lint ## lint, all tests, the demo, the packages, the image
	$(CARGO) build --workspace --bins
	$(CARGO) test --workspace --no-fail-fast
	$(CARGO) run --quiet -p portolan-integration --bin demo
	docker/check-dist.sh
	$(MAKE) --no-print-directory check-image PROFILE=dev

test-kernels: packages ## the binary and its tests on Debian's kernels, emulated by QEMU: some minutes for each
	$(call install,$(KERNEL_PACKAGES))
	$(CARGO) build --quiet --workspace --bins
	$(or $(CARGO_TARGET_DIR),target)/debug/test_kernels $(if $(KERNELS),--kernels $(KERNELS))

# Without libnftnl and libmnl, any directory serves as their library directory: clippy and rustdoc do not link.
UNLINKED = $(shell pkg-config --exists libnftnl libmnl 2>/dev/null || echo LIBNFTNL_LIB_DIR=$(CURDIR) LIBMNL_LIB_DIR=$(CURDIR))

lint: deny ## formatting, clippy, documentation, licences and sources of dependencies; needs only cargo
	$(CARGO) fmt --all --check
	$(UNLINKED) $(CARGO) clippy --workspace --all-targets --quiet -- -D warnings
	$(UNLINKED) RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --quiet

deny: $(DENY) ## licences, duplicates and sources of dependencies
	$(DENY) --locked --log-level error check licenses bans sources

advisories: $(DENY) ## what RustSec has published about dependencies; needs the network
	$(DENY) --locked check advisories

# Without optimization, which builds faster: cargo-deny runs for only a second.
$(DENY):
	$(CARGO) install --quiet --locked --debug --root target/tools/cargo-deny-$(DENY_VERSION) \
		--target-dir target/tools/build cargo-deny@$(DENY_VERSION)
	rm -r target/tools/build

soak: packages ## many more random cases, with another seed each time
	@echo "SEED=$(SEED)"
	PROPTEST_RNG_SEED=$(SEED) PROPTEST_CASES=$(CASES) $(CARGO) test --release -p portolan-rules
	PORTOLAN_LOOP_SEED=$(SEED) PORTOLAN_LOOP_PROBES=$(PROBES) $(CARGO) test --release -p portolan-integration --test loop -- --nocapture
	$(CARGO) build --release --quiet --bin portolan
	PORTOLAN_FUZZ_SEED=$(SEED) PORTOLAN_FUZZ_SECONDS=$(FUZZ) $(CARGO) test --release -p portolan-integration --test explain_live fuzz -- --nocapture

bench: packages ## cold start, changes, churn, restart, memory, stale flows
	mkdir -p integration/figures
	$(CARGO) build --release --quiet --workspace --bins
	$(CARGO) run --release --quiet -p portolan-integration --bin bench -- $(BENCH)
	$(CARGO) run --release --quiet -p portolan-integration --bin bench_flows

bench-cluster: packages ## the agent against an API server: bytes, CPU, memory, time; many agents at once
	mkdir -p integration/figures
	$(CARGO) build --release --quiet --workspace --bins
	$(CARGO) run --release --quiet -p portolan-integration --bin bench_cluster -- $(BENCH_CLUSTER)

bench-trace: packages ## the agent in a busy cluster of 5,000 nodes, at recorded speed and at ten times that speed
	mkdir -p integration/figures
	$(CARGO) build --release --quiet --workspace --bins
	$(CARGO) run --release --quiet -p portolan-integration --bin bench_trace -- $(BENCH_TRACE)

bench-peers: packages ## the same Services in kube-proxy's rules and in ours: packets, load, changes, and a picture
	mkdir -p integration/figures
	$(CARGO) run --release --quiet -p portolan-integration --bin bench_packets -- --json integration/figures/packets.json
	$(CARGO) run --release --quiet -p portolan-integration --bin bench_packets -- \
		--parts --established 0 --rate 0 --json integration/figures/parts.json
	$(CARGO) run --release --quiet -p portolan-integration --bin bench_peers -- \
		--json integration/figures/scale.json --svg integration/figures/scale.svg

pictures: ## draw the pictures of the documents
	$(CARGO) build --quiet --bin portolan
	PATH=$(abspath $(or $(CARGO_TARGET_DIR),target))/debug:$$PATH docs/draw.sh

bench-docs: ## write the latest figures into the documents
	$(CARGO) build --quiet -p portolan-integration --bins
	$(CARGO) run --quiet -p portolan-integration --bin bench_docs

generate: ## write the documents and chart files that are generated from the options, the values and the metrics
	$(CARGO) build --quiet --bin portolan
	PORTOLAN_UPDATE_DOCS=1 $(CARGO) test --quiet -p portolan-integration --test configuration document
	PORTOLAN_UPDATE_DOCS=1 $(CARGO) test --quiet -p portolan-integration --test packaging generated

image: ## the container image, with docker
	docker build -f docker/Dockerfile -t portolan \
		--build-arg VERSION=$$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml) \
		--build-arg REVISION=$$(git rev-parse HEAD) .

check-image: ## build the image without docker or a registry, and check what is in it
	$(call install,$(IMAGE_PACKAGES))
	PROFILE=$(PROFILE) docker/check-image.sh

dist: packages ## a tarball, a Debian package and the chart's package of this version, in target/dist
	docker/dist.sh target/dist
	DIST=target/dist docker/check-dist.sh

check-dist: packages ## pack the binary as it is built for tests, and check what is in the packages
	$(CARGO) build --quiet --bin portolan
	docker/check-dist.sh

# Installs only what is missing: a machine that has everything needs neither root nor the network.
# promtool is extracted from its package: installing the package would start a Prometheus server.
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
