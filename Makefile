# Everything that is done with this repository by hand or by a machine. `make help` lists it.
.DEFAULT_GOAL := help
CARGO ?= cargo
KEEP ?=
# Where archives of the binary are packed to, and where they and the project will be found.
DIST ?= target/dist
ADDRESS ?=
HOMEPAGE ?=
FUZZ_SECONDS ?= 60
# One plan of the fault campaign, or all of a scenario: first-arming/restart, first-arming/.
PLAN ?=
FUZZ_TARGETS = $(notdir $(basename $(wildcard fuzz/fuzz_targets/*.rs)))
MSRV = $(shell sed -n 's/^rust-version = "\(.*\)"$$/\1/p' Cargo.toml)
HOST = $(shell rustc -vV | sed -n 's/^host: //p')

.PHONY: help demo slow test check lint bench faults fuzz image image-test install-yaml archive krew msrv package release add-release \
	update-catalogue needs-rust needs-go needs-fuzz

help: ## Show this list
	@grep -hE '^[a-z-]+:.*?## ' $(MAKEFILE_LIST) | awk 'BEGIN {FS = ":.*?## "} {printf "  make %-16s %s\n", $$1, $$2}'

demo: needs-rust needs-go ## Tell the main job as a story on a real control plane and registry (KEEP=1 keeps it running)
	@tests/controlplane/build.sh >/dev/null
	@$(CARGO) build --locked --bin imageset-controller --example demo
	@KEEP="$(KEEP)" $(CARGO) run --quiet --locked --example demo

# Each process in a control group of its own, which needs root.
slow: needs-rust needs-go ## Run the demo and the main tests with half a core for each process and 300 ms on every API request
	@tests/controlplane/build.sh >/dev/null
	@$(CARGO) build --locked --bin imageset-controller --example demo
	TESTBOX_CPU=0.5 TESTBOX_API_DELAY=300ms $(CARGO) run --quiet --locked --example demo
	TESTBOX_CPU=0.5 TESTBOX_API_DELAY=300ms $(CARGO) test --locked --test apiserver -- whole_way restart retention

test: needs-rust needs-go ## Run every test: lints' cheap part, units, scenarios, and all that needs the box
	@tests/controlplane/build.sh >/dev/null
	@tests/peers/tools.sh >/dev/null
	@tests/prometheus/tools.sh >/dev/null
	@tests/install/tools.sh >/dev/null
	@tests/gitops/tools.sh >/dev/null
	@tests/image/tools.sh >/dev/null || test $$? = 4
	$(CARGO) fmt --check
	$(CARGO) fmt --check --manifest-path fuzz/Cargo.toml
	$(CARGO) test --locked

check: needs-rust ## Format, clippy, units and scenarios: under a minute when warm
	$(CARGO) fmt --check
	$(CARGO) clippy --quiet --all-targets -- -D warnings
	$(CARGO) test --quiet --locked --lib --test scenarios --test catalogue --test docs

lint: needs-rust ## Format, clippy, docs and cargo deny (where it is installed)
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --no-deps --quiet
	@if command -v cargo-deny >/dev/null; then $(CARGO) deny check bans licenses sources; \
	else echo "SKIPPED: cargo deny is not installed (cargo install cargo-deny)" >&2; fi

# The binary as the Dockerfile builds it: glibc linked in, with the processor's own target named.
bench: needs-rust needs-go ## Measure against the limits of the product; fails over a limit
	@tests/controlplane/build.sh >/dev/null
	@tests/peers/tools.sh >/dev/null
	@tests/bench/go_controller/tools.sh >/dev/null
	RUSTFLAGS="-C target-feature=+crt-static" $(CARGO) build --release --locked --bin imageset-controller --target $(HOST)
	@$(CARGO) build --quiet --locked --example limits
	@$(CARGO) run --quiet --locked --example limits -- target/$(HOST)/release/imageset-controller
	@IMAGE_BINARY=target/$(HOST)/release/imageset-controller $(CARGO) test --quiet --locked --test image -- --nocapture

faults: needs-rust needs-go ## Run the fault campaign: every plan, or PLAN=id alone (its time: 15 minutes)
	@tests/controlplane/build.sh >/dev/null
	@PLAN="$(PLAN)" $(CARGO) test --quiet --locked --test faults -- --ignored --nocapture

image: ## Build the image reproducibly, with docker or buildah (IMAGE=, PLATFORM=, PUSH=1: deploy/image/build.sh)
	@deploy/image/build.sh

image-test: needs-rust needs-go ## Test the image with the release binary in it: contents, size, two builds the same, runs
	@tests/controlplane/build.sh >/dev/null
	RUSTFLAGS="-C target-feature=+crt-static" $(CARGO) build --release --locked --bin imageset-controller --target $(HOST)
	IMAGE_BINARY=target/$(HOST)/release/imageset-controller $(CARGO) test --locked --test image -- --nocapture

msrv: needs-rust ## Check that the oldest Rust of Cargo.toml will do (rustup fetches it)
	@rustup toolchain install $(MSRV) --profile minimal --no-self-update >/dev/null 2>&1 || \
	{ echo "error: rustup could not fetch Rust $(MSRV)" >&2; exit 1; }
	RUSTFLAGS= $(CARGO) +$(MSRV) check --locked --bins --target-dir target/msrv

package: needs-rust ## Make the crate's package and build what is in it, without the checkout around it
	$(CARGO) package --locked --allow-dirty --target-dir target/package-build

release: needs-rust ## Set VERSION=x.y.z everywhere, date the changelog, check, commit and tag; nothing is pushed
	@release/cut.sh "$(VERSION)"

add-release: needs-rust ## Add an operator release to the catalogue: VERSION=v1.42.5 and IMAGE=… or PRINTED=FOLDER
	@IMAGE="$(IMAGE)" PRINTED="$(PRINTED)" release/add-operator.sh "$(VERSION)"

update-catalogue: needs-rust ## Add every operator release that the catalogue does not have, from running its image
	@release/update-catalogue.sh

install-yaml: needs-rust ## Write deploy/install.yaml and the chart's copies of other files anew
	@UPDATE=1 $(CARGO) test --quiet --locked --test install copies

archive: needs-rust ## Pack the static release binary of this machine into DIST, as Krew wants it
	RUSTFLAGS="-C target-feature=+crt-static" $(CARGO) build --release --locked --bin imageset-controller --target $(HOST)
	@deploy/krew/archive.sh target/$(HOST)/release/imageset-controller $(shell uname -s | tr A-Z a-z) \
		$(subst aarch64,arm64,$(subst x86_64,amd64,$(shell uname -m))) "$(DIST)"

krew: ## Print Krew's manifest of the archives in DIST (ADDRESS=https://… HOMEPAGE=https://…)
	@deploy/krew/manifest.sh "$(DIST)" "$(ADDRESS)" "$(HOMEPAGE)"

# There is no unsafe code to look for with sanitizers, so that a stable compiler will do. What is found on the way goes to
# target/fuzz-corpus, what breaks to fuzz/artifacts; the committed corpora are only read.
fuzz: needs-rust needs-fuzz ## Run each fuzz target for FUZZ_SECONDS (60) on top of its corpus
	@$(CARGO) fuzz build --sanitizer none --target-dir target/fuzz
	@for target in $(FUZZ_TARGETS); do \
		log=target/fuzz-corpus/$$target.log; \
		mkdir -p target/fuzz-corpus/$$target; \
		$(CARGO) fuzz run --sanitizer none --target-dir target/fuzz $$target target/fuzz-corpus/$$target fuzz/corpus/$$target -- \
			-max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=1024 -print_final_stats=1 >$$log 2>&1 \
			|| { tail -n 80 $$log >&2; echo "error: $$target broke a property; all of it is in $$log" >&2; exit 1; }; \
		echo "$$target: $$(grep -E 'DONE' $$log)"; \
	done

needs-rust:
	@command -v $(CARGO) >/dev/null || { echo "error: cargo is missing; install Rust 1.90 or newer" >&2; exit 1; }

needs-go:
	@test -n "$$KUBEBUILDER_ASSETS" || command -v go >/dev/null || \
	{ echo "error: go is missing; install Go 1.26 or newer (the control plane of the tests is built from Go modules)" >&2; exit 1; }

needs-fuzz:
	@command -v cargo-fuzz >/dev/null || { echo "error: cargo-fuzz is missing; cargo install cargo-fuzz" >&2; exit 1; }
	@command -v c++ >/dev/null || { echo "error: a C++ compiler (c++) is missing; libFuzzer is built with it" >&2; exit 1; }
