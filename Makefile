# The only door to this repository: CI calls these targets too. Needs Go, make and bash; `make help` lists what there is.
# What a machine lacks beyond that (a C compiler for the race detector; python3, npm, Chromium, Envoy and Docker for tests) is
# said and skipped, but in CI (CI=true) a skip is a failure.

SHELL       := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
export GOFLAGS := $(GOFLAGS) -buildvcs=false # the version is set below, and git may distrust the folder's owner

# Tools are pinned by tools/go.mod, apart from what the product is built from.
TOOL          := $(GO) tool -modfile=tools/go.mod
GOLANGCI_LINT := $(TOOL) golangci-lint
GOTESTSUM     := $(TOOL) gotestsum --format pkgname --format-hide-empty-pkg

# Tests of the built product need Envoy and time; everything else is a unit test.
E2E  := ./e2e
# Single-threaded code that is tried at every cut of many bodies: the race detector would find nothing and take ten times as long.
CUTS := ./filter/plugin ./shared/groq
UNIT  = $$($(GO) list ./... | grep -vxE 'keywheel/(e2e|e2e/docker|filter/plugin|shared/groq)')

WASM_ENV   := GOOS=wasip1 GOARCH=wasm
FUZZTIME   ?= 10s
E2ETIMEOUT ?= 30m
ROUNDS     ?=
SOAKTIME   ?= 90m

# Tests with a long form. KEYWHEEL_SEED does again what a seed in their log did.
SOAK ?= ^Test(ControlPlaneKilledAtRandom|EnvoyKilledUnderLoad|ReportsLostAndRepeated|ManyPushes|ConnectionsAreCut|ThousandKeys|Soak)$$

##@ Use

.PHONY: run
run: build ## Build, then run in the foreground; as a demo if there is no GROQ_API_KEY* and no keywheel.yaml with keys
	@set --; \
	if ! awk 'BEGIN { for (name in ENVIRON) if (name ~ /^GROQ_API_KEY/) exit 0; exit 1 }' && \
	   ! grep -Eqs '^[[:space:]]*(export[[:space:]]+)?GROQ_API_KEY' .env && \
	   ! grep -Eqs '^keys:' "$${KEYWHEEL_CONFIG:-keywheel.yaml}"; then set -- --demo; fi; \
	exec build/keywheel run "$$@"

.PHONY: build
build: build/keywheel.wasm build/keywheel ## Build build/keywheel.wasm and build/keywheel

# The SDK with the files of filter/_sdk, which says why.
SDK := github.com/proxy-wasm/proxy-wasm-go-sdk

.PHONY: build/filter.mod
build/filter.mod:
	@mkdir -p build/sdk/proxywasm/{internal,types} && $(GO) mod download $(SDK)
	@from=$$($(GO) list -m -f '{{.Dir}}' $(SDK)); cp -f "$$from"/go.mod build/sdk; \
	for folder in proxywasm proxywasm/internal proxywasm/types; do cp -f "$$from/$$folder"/*.go build/sdk/$$folder; done
	@cp -f filter/_sdk/*.go build/sdk/proxywasm/internal && cp -f go.sum build/filter.sum
	@printf '%s\n' "$$(<go.mod)" 'replace $(SDK) => ./build/sdk' >$@

.PHONY: build/keywheel.wasm
build/keywheel.wasm: build/filter.mod
	@$(WASM_ENV) $(GO) build -modfile $< -buildmode=c-shared -trimpath -ldflags="-s -w" -o $@ ./filter

.PHONY: build/keywheel
build/keywheel: build/keywheel.wasm # embedded
	@CGO_ENABLED=0 $(GO) build -tags embedwasm -trimpath -ldflags="-s -w -X main.version=$(VERSION)" -o $@ ./xds

.PHONY: clean
clean: ## Remove what was built
	rm -rf build

##@ Test

.PHONY: test
test: vet build test-unit test-e2e ## Run all tests: vet, unit tests with the race detector, end-to-end tests

.PHONY: vet
vet: build/keywheel.wasm ## Run go vet, on the code with and without the embedded module
	$(GO) vet ./...
	$(GO) vet -tags embedwasm . ./xds

.PHONY: test-unit
test-unit: build/keywheel.wasm ## Run the unit tests
	@race=-race; \
	if ! command -v "$$($(GO) env CC)" >/dev/null; then \
	  race=; $(call lacking,no C compiler: the race detector is off); \
	fi; \
	$(GOTESTSUM) --jsonfile build/unit.json -- $$race -timeout 10m $(UNIT)
	@$(call no-skips,build/unit.json)
	@$(GOTESTSUM) --jsonfile build/cuts.json -- -timeout 10m $(CUTS)
	@$(GO) test -tags faults -run ABug ./filter/plugin
	@$(call no-skips,build/cuts.json)

.PHONY: test-e2e
test-e2e: build python node ## Run the end-to-end tests: the built product with a real Envoy
	@KEYWHEEL_BIN=$(CURDIR)/build/keywheel KEYWHEEL_WASM=$(CURDIR)/build/keywheel.wasm \
	$(GOTESTSUM) --format standard-verbose --jsonfile build/e2e.json -- -timeout $(E2ETIMEOUT) $(E2E)
	@$(call no-skips,build/e2e.json)

# A module of its own, as istiod's code is no business of the product's.
.PHONY: e2e-istio
e2e-istio: build ## Run examples/istio: what istiod generates of it, in a real Envoy (compiles istiod: minutes, once)
	@KEYWHEEL_BIN=$(CURDIR)/build/keywheel KEYWHEEL_WASM=$(CURDIR)/build/keywheel.wasm \
	$(GOTESTSUM) --format standard-verbose --jsonfile build/istio.json --raw-command -- $(GO) -C tools/istio test -json -count 1 -timeout 15m ./...
	@$(call no-skips,build/istio.json)

.PHONY: python
python: ## Make build/venv, which holds the groq client and the testers of the API that the end-to-end tests use
	@if ! command -v python3 >/dev/null; then $(call lacking,no python3: the tests that use it skip); \
	elif ! $(MAKE) -s --no-print-directory build/venv/installed; then $(call lacking,no build/venv: the tests that use it skip); fi

build/venv/installed: e2e/requirements.txt
	@rm -rf build/venv && python3 -m venv build/venv
	@build/venv/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

.PHONY: node
node: ## Make build/node, which holds the accessibility checker that the end-to-end tests use
	@if ! command -v npm >/dev/null; then $(call lacking,no npm: the page is not examined for accessibility); \
	elif ! $(MAKE) -s --no-print-directory build/node/installed; then $(call lacking,no build/node: the page is not examined for accessibility); fi

build/node/installed: e2e/package.json e2e/package-lock.json
	@rm -rf build/node && mkdir -p build/node && cp $^ build/node
	@cd build/node && npm ci --silent --no-audit --no-fund --ignore-scripts
	@touch $@

.PHONY: screenshots
screenshots: build node ## Make docs/screenshots, which the README shows, anew: of the page in Chromium, on the tests' day
	@mkdir -p docs/screenshots
	@KEYWHEEL_BIN=$(CURDIR)/build/keywheel KEYWHEEL_WASM=$(CURDIR)/build/keywheel.wasm KEYWHEEL_PICTURES=$(CURDIR)/docs/screenshots \
	$(GO) test $(E2E) -run '^TestDayOnThePage$$' -count 1

# What strangers write: clients, Groq, whoever reaches the control plane. CI fuzzes these, two at once with a worker each;
# what breaks one is printed, and kept as a file in testdata/fuzz, with which every later run of the tests begins.
WIRE := $(addprefix fuzz/,filter/account/FuzzSharedData filter/plugin/FuzzCall filter/plugin/FuzzConfiguration filter/trail/FuzzParse \
	$(addprefix shared/groq/Fuzz,AppendError ErrorBody JSONUsage RateLimits RequestPeek RetryAfter SSE) \
	$(addprefix shared/protocol/Fuzz,ParseAnswer ParseAssignment ParseBundle ReportOfACaller) xds/admin/FuzzAdminBody \
	xds/collector/FuzzReport)
# Coverage differs a little from run to run, and to make an input smaller could take all of the time.
FUZZ := $(GO) test -run '^$$' -fuzzminimizetime 200x -parallel 1

.PHONY: fuzz
fuzz: ## Run each fuzz test for FUZZTIME (10s)
	@grep -rl --include='*_test.go' '^func Fuzz' . | while read -r file; do \
	  for name in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\).*/\1/p' "$$file"); do \
	    $(FUZZ) -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) "$$(dirname "$$file")"; \
	  done; \
	done

.PHONY: fuzz-wire
fuzz-wire: ## Run the fuzz tests of what strangers write, two at once, each for FUZZTIME (10s)
	@$(MAKE) --no-print-directory --jobs=2 --keep-going --output-sync $(WIRE)

.PHONY: $(WIRE)
$(WIRE): fuzz/%:
	@if ! out=$$($(FUZZ) -fuzz '^$(notdir $*)$$' -fuzztime $(FUZZTIME) ./$(patsubst %/,%,$(dir $*)) 2>&1); then \
	  printf '%s\n' "$$out"; exit 1; \
	fi; \
	echo "fuzz: $*: $$(grep -o 'execs: [0-9]*' <<<"$$out" | tail -n 1)"

.PHONY: soak
soak: build ## Run the fault tests in their long form, in at most SOAKTIME (90m): kills, pushes, cuts, endless calls; figures are printed
	@KEYWHEEL_SOAK=1 KEYWHEEL_BIN=$(CURDIR)/build/keywheel KEYWHEEL_WASM=$(CURDIR)/build/keywheel.wasm \
	$(GO) test $(E2E) -count 1 -v -timeout $(SOAKTIME) -run '$(SOAK)'

.PHONY: bench
bench: build ## Measure Keywheel beside raw Envoy and write bench/results.md; ROUNDS=3 for a short run
	@KEYWHEEL_BIN=$(CURDIR)/build/keywheel KEYWHEEL_WASM=$(CURDIR)/build/keywheel.wasm \
	KEYWHEEL_BENCH_ROUNDS=$(ROUNDS) KEYWHEEL_BENCH_RESULTS=$(CURDIR)/bench/results.md \
	$(GO) test ./bench -run '^$$' -bench . -benchtime 1x -timeout 60m

.PHONY: microbench
microbench: ## Run the benchmarks of single packages
	$(GO) test -run '^$$' -bench . -benchmem $$($(GO) list ./... | grep -vx keywheel/bench)

##@ Docker

IMAGE ?= keywheel

.PHONY: images
images: ## Build the image IMAGE (keywheel): the control plane with the filter inside
	docker build --tag $(IMAGE) --build-arg VERSION=$(VERSION) \
	  --build-arg REVISION=$$(git rev-parse --verify --quiet HEAD 2>/dev/null || true) $(DOCKER_BUILD_FLAGS) .

.PHONY: e2e-docker
e2e-docker: build ## Build the image and run examples/docker-compose with it, on a Docker engine (as root it starts one of its own)
	@if ! command -v docker >/dev/null; then $(call lacking,no docker: the containers are not tested); \
	else \
	  case "$$(docker compose version --short 2>/dev/null)" in \
	    2.[3-9][0-9]*|v2.[3-9][0-9]*|[3-9].*|v[3-9].*) ;; \
	    *) $(MAKE) -s --no-print-directory build/docker-compose; export KEYWHEEL_COMPOSE=$(CURDIR)/build/docker-compose;; \
	  esac; \
	  KEYWHEEL_E2E_DOCKER=1 $(GOTESTSUM) --format standard-verbose --jsonfile build/e2e-docker.json -- -timeout $(E2ETIMEOUT) ./e2e/docker; \
	  $(call no-skips,build/e2e-docker.json); \
	fi

build/docker-compose: tools/compose/go.mod tools/compose/go.sum
	@mkdir -p build
	cd tools/compose && $(GO) build -ldflags="-s -w" -o $(CURDIR)/$@ github.com/docker/compose/v2/cmd

##@ Check

.PHONY: check
check: lint tidy-check test fuzz-wire e2e-docker e2e-istio vuln ## Do all that CI does

.PHONY: lint
lint: ## Run the linters
	$(GOLANGCI_LINT) run

.PHONY: format
format: ## Format the code
	$(GOLANGCI_LINT) fmt

.PHONY: tidy-check
tidy-check: ## See that go.mod and go.sum hold what is needed and no more
	$(GO) mod tidy -diff
	$(GO) -C tools/istio mod tidy -diff

.PHONY: vuln
vuln: ## Look the dependencies up in Go's vulnerability database, where that can be reached
	@mkdir -p build
	@status=0; $(TOOL) govulncheck ./... >build/vuln.txt 2>&1 || status=$$?; \
	if [ $$status -ne 0 ] && grep -Eq 'vuln\.go\.dev|fetching vulnerabilities|connection refused|no such host' build/vuln.txt && \
	   ! grep -q '^Vulnerability #' build/vuln.txt; then \
	  echo "vuln: NOT CHECKED: the vulnerability database cannot be reached from here"; \
	else cat build/vuln.txt; exit $$status; fi

.PHONY: help
help: ## Show this list
	@awk 'BEGIN { FS = ":.*## " } /^##@/ { printf "\n%s\n", substr($$0, 5) } \
	  /^[a-zA-Z0-9_\/.-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# lacking says what is missing on this machine; in CI nothing may be.
lacking = echo "SKIP: $(1)"; [ "$${CI:-}" != true ]

# no-skips fails in CI if a test was skipped; elsewhere the list above is the word.
no-skips = if [ "$${CI:-}" = true ] && grep -q '"Action":"skip".*"Test":' $(1); then \
	echo "Under CI=true no test may skip; see the list above."; exit 1; fi
