# `make help` lists every target. On Debian as root, missing tools are installed (and named); elsewhere they are named only.
SHELL   := /bin/bash
BIN     := dist/bin
CACHE   := $(CURDIR)/dist/cache
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
GO      ?= go
FUZZTIME ?= 10s
LDFLAGS := -s -w -X main.version=$(VERSION)
E2E     := LKV_BIN=$(CURDIR)/$(BIN) LKV_CACHE=$(CACHE) $(GO) test -count=1 -tags e2e -v

.PHONY: help demo test unit boot-test demo-test conformance race sweep bench fuzz lint build components docker deps clean generate

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

demo: deps build components ## the whole product once: ISO, lab, push, fleet, roll, data kept
	@LKV_BIN=$(CURDIR)/$(BIN) LKV_CACHE=$(CACHE) $(GO) run -tags e2e ./e2e/demo

test: deps unit build components conformance boot-test demo-test ## everything: fast tests, LinuxKit's builder as oracle, boots in QEMU, the demo

unit: ## fast tests only
	$(GO) vet ./... && $(GO) vet -tags e2e ./e2e/...
	$(GO) test -timeout 20m ./...

boot-test: build components ## real ISOs in QEMU: firmwares, Secure Boot, media, power cut, ISO swap, foreign disk, no disk, little memory
	$(E2E) -timeout 30m ./e2e

demo-test: build components ## the demo's assertions; a fleet of real machines rolled in every way, its data kept
	$(E2E) -timeout 30m -p 1 ./e2e/demo ./e2e/rollout

conformance: build components ## the same root file system as LinuxKit's own builder makes, entry by entry
	cd e2e/conformance && LKV_BIN=$(CURDIR)/$(BIN) LKV_CACHE=$(CACHE) $(GO) test -count=1 ./...

race: ## unit tests under the race detector
	$(GO) test -race ./specs/... ./images/... ./build/... ./push/... ./reconcile/... ./internal/... ./cmd/...

sweep: ## every crash at every call, every failed look, seeded chaos and the search of all states: hours of fleets in minutes
	LKV_SWEEP=1 $(GO) test -count=1 -timeout 20m -run 'Crash|Look|Chaos|Search|KillTable|Guards' ./reconcile
	LKV_SWEEP=1 $(GO) test -count=1 -timeout 40m -parallel 8 -run 'Sweep|Crash|KillTable' ./reconcile/vsphere

bench: build components ## lkv build against LinuxKit's own builder in one run, then the packages' benchmarks
	cd e2e/conformance && LKV_BIN=$(CURDIR)/$(BIN) LKV_CACHE=$(CACHE) $(GO) run ./bench -example $(CURDIR)/specs/examples/docker-host
	$(GO) test -run '^$$' -bench . -benchmem ./build/... ./images/... ./push/... ./reconcile/...

# Shrinking what was found takes longer than finding it where inputs are large: 100 tries are enough to read it. Now and
# then go test fails because the time is up ("context deadline exceeded"): a real failure is in testdata/fuzz afterwards
# and fails the second run at once.
fuzz: ## every fuzz target for ten seconds (FUZZTIME=1m for longer)
	@set -e; for d in . e2e/conformance; do cd $(CURDIR)/$$d; for p in $$($(GO) list ./...); do for f in $$($(GO) test -list '^Fuzz' $$p | grep '^Fuzz' || true); do \
	  echo "$$p $$f"; fuzz() { $(GO) test -run "^$$f$$" -fuzz "^$$f$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 100x $$p; }; fuzz || fuzz; done; done; done

lint: ## golangci-lint with .golangci.yml (compiled on first use)
	$(GO) run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.5.0 run ./...

build: ## the static programs lkv and lkv-guest, in dist/bin
	@mkdir -p $(BIN)
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/lkv ./cmd/lkv
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/lkv-guest ./cmd/lkv-guest

components: build ## the component images of images/base, into dist/cache (kept until they change)
	@key=$$(cat $(BIN)/lkv-guest images/base/*.go $$(git ls-files images/base) | sha256sum | cut -c1-16); \
	if [ "$$(cat $(CACHE)/.components 2>/dev/null)" != "$$key" ]; then \
	  $(BIN)/lkv images build --cache $(CACHE) && echo $$key > $(CACHE)/.components; \
	else echo "component images are up to date in dist/cache"; fi

docker: build ## a container image of lkv on an empty base, non-root (needs a Docker Engine)
	@mkdir -p dist/docker && cp $(BIN)/lkv /etc/ssl/certs/ca-certificates.crt dist/docker/
	docker build -t lkv:$(VERSION) -f Dockerfile dist/docker

generate: ## regenerate the references of the command line and of the refusals
	$(GO) generate ./...

deps: ## tools that the demo and the tests need
	@.ci/deps

clean: ## remove dist/
	rm -rf dist
