# Circumplex: `make demo` shows it, `make test` proves it. Every target sets up what it needs.

PYTHON  ?= python3
RUNTIME := .runtime
VENV    := .venv
BIN     := $(VENV)/bin

INSTALLED := $(VENV)/.installed
TRITON    := $(RUNTIME)/triton/.ready
FACES     := $(RUNTIME)/faces/.ready
EXPRESSION := $(RUNTIME)/expression/.ready
REDIS     := $(RUNTIME)/redis-7/.ready
CHROMIUM  := $(RUNTIME)/chromium/.ready
EXPORTED  := $(RUNTIME)/.exported
PRESET    ?= mini
TESTERS   ?= 2
VERSIONS  ?= 3.12 3.13
RELEASED   := proto/circumplex-v1.binpb
MANIFESTS := model_repository/expression@1.json model_repository/mini@1.json
MISSING   := $(filter-out $(wildcard $(MANIFESTS)),$(MANIFESTS))
# The folder too: it is newer when a preset's weights came or went.
WEIGHTS   := $(wildcard weights/. weights/*/*.json weights/*/*/*.safetensors)
SOURCES   := service training deploy bench e2e_eval tests clients/python

.DEFAULT_GOAL := help
.PHONY: help setup demo up test test-versions coverage check lint format docs proto proto-check proto-release bench bench-page bench-check bench-memory bench-live bench-peers fuzz fuzz-api chaos eval export weights lock clean

help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(INSTALLED) $(TRITON) $(FACES) $(EXPRESSION) $(EXPORTED) ## Create the environment; unpack Triton, face and expression models; export the models.

demo: setup ## Run the main job once: a clip through Redis, worker and Triton; results in out/.
	@$(BIN)/python -m deploy.demo

up: setup ## Run the whole stack until Ctrl-C.
	@$(BIN)/circumplex up

test: setup $(REDIS) $(CHROMIUM) ## Pass all tests, two files of them at a time (TESTERS=1: one).
	$(BIN)/python -m pytest -n $(TESTERS) --dist loadfile

test-versions: $(INSTALLED) ## Pass the tests that need no torch on other Pythons (VERSIONS="3.12 3.13").
	$(BIN)/python -m deploy.provision.python_versions $(VERSIONS)

coverage: setup $(REDIS) $(CHROMIUM) ## Pass all tests and report the coverage, line by line in out/coverage.
	$(BIN)/python -m pytest -n $(TESTERS) --dist loadfile --cov --cov-report=term --cov-report=html:out/coverage

check: setup lint ## Format, lint, types, import rules, unit and contract tests.
	$(BIN)/python -m pytest tests/unit tests/contract

lint: $(INSTALLED) proto-check ## Format, lint, types and import rules, the wire contract and its stubs.
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/lint-imports
	$(BIN)/pyright

format: $(INSTALLED) ## Rewrite the sources the way `make lint` wants them.
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix $(SOURCES)

docs: $(INSTALLED) ## Write the reference pages that follow from the code (docs/reference).
	$(BIN)/python -m deploy.reference

proto: $(INSTALLED) ## Make the stubs of the wire contract again, the service's and the client's.
	$(BIN)/buf format --write proto
	$(BIN)/python -m deploy.stubs

proto-check: $(INSTALLED)
	$(BIN)/buf lint proto
	$(BIN)/buf format --diff --exit-code proto
	$(BIN)/buf breaking proto --against $(RELEASED)
	$(BIN)/python -m deploy.stubs --check

# What is released from now on: nothing of it may be broken.
proto-release: $(INSTALLED)
	$(BIN)/buf build proto --as-file-descriptor-set --exclude-source-info --output $(RELEASED)

bench: setup ## Measure what a frame costs, and the ceilings, in six minutes; writes out/bench.json (PARTS="stages service").
	@$(BIN)/python -m bench $(addprefix --part ,$(PARTS))

bench-page: setup ## Write tables and pictures of docs/explanation/performance.md from out/bench.json.
	@$(BIN)/python -m bench.page

bench-check: setup ## Fail if a stage or the service has become dearer: ratios of CPU time in one run, a minute.
	@$(BIN)/python -m bench.check

bench-memory: setup ## Measure worker and decode child over clips of up to ten hours; writes out/memory.json (LENGTHS="10 60").
	@$(BIN)/python -m bench.memory $(addprefix --length ,$(LENGTHS))

bench-live: setup ## Measure how late results of live streams are; writes out/live.json (STREAMS="1 2 4 8" SECONDS=20).
	@$(BIN)/python -m bench.live $(if $(STREAMS),--streams $(STREAMS)) $(if $(SECONDS),--seconds $(SECONDS))

bench-peers: setup ## Measure the service beside what people would use instead; writes out/peers.json (QUICK=1 SYSTEMS="circumplex fastapi" ROUNDS=).
	@$(BIN)/python -m bench.peers $(if $(QUICK),--quick) $(addprefix --system ,$(SYSTEMS)) $(if $(ROUNDS),--rounds $(ROUNDS))
	@$(BIN)/python -m bench.peers.page

fuzz: setup ## Feed N damaged clips to the worker's path and the service; writes out/fuzz.json (N= SEED= FIRST= EVERY=).
	@SVT_LOG=0 $(BIN)/python -m tests.fuzz $(if $(N),--inputs $(N)) $(if $(SEED),--seed $(SEED)) \
	  $(if $(FIRST),--first $(FIRST)) $(if $(EVERY),--every $(EVERY))

fuzz-api: setup ## Fuzz a gateway from its OpenAPI document, open and with keys, every check on (N= examples SEED=).
	@$(BIN)/python -m tests.integration.api_fuzzing $(if $(N),--examples $(N)) $(if $(SEED),--seed $(SEED))

chaos: setup ## Kill the stack's processes at random under short jobs; writes out/chaos.json (JOBS= SEED= KILL_SECONDS= WORKERS= GATEWAYS=).
	@$(BIN)/python -m tests.chaos $(if $(JOBS),--jobs $(JOBS)) $(if $(SEED),--seed $(SEED)) \
	  $(if $(KILL_SECONDS),--kill-seconds $(KILL_SECONDS)) $(if $(WORKERS),--workers $(WORKERS)) \
	  $(if $(GATEWAYS),--gateways $(GATEWAYS))

eval: setup ## Prove it end to end on held-out actors; writes out/eval.json (ACTORS= SECONDS= SEED= URL=).
	@$(BIN)/python -m e2e_eval $(if $(ACTORS),--actors $(ACTORS)) $(if $(SECONDS),--seconds $(SECONDS)) \
	  $(if $(SEED),--seed $(SEED)) $(if $(URL),--url $(URL))

export: $(INSTALLED) $(EXPRESSION) ## Export the shipped models again, or a preset's (PRESET=paper).
	@$(BIN)/python -m training export-expression
	@$(BIN)/python -m training export --preset $(PRESET)

weights: $(INSTALLED) ## Make the shipped weights again, from nothing, in out/weights (hours).
	@$(BIN)/python -m training reproduce --out out/weights

lock: ## Renew requirements/constraints.txt from pyproject.toml (see docs/dependencies.md).
	@deploy/provision/lock.sh "$(PYTHON)"

clean: ## Remove the environment, everything unpacked and every output.
	rm -rf $(VENV) $(RUNTIME) out model_repository/*@* model_repository/versions.json

$(INSTALLED): pyproject.toml clients/python/pyproject.toml requirements/constraints.txt
	@$(PYTHON) -m deploy.provision.environment $(VENV) requirements/constraints.txt
	@pwd > $@

# A checkout that was moved or copied: its environment points to the old folder.
ifneq ($(shell [ -L $(VENV) ] || cat $(INSTALLED) 2>/dev/null),$(shell [ -L $(VENV) ] || [ ! -e $(INSTALLED) ] || pwd))
.PHONY: $(INSTALLED)
endif

$(TRITON): $(INSTALLED) deploy/provision/triton.py $(wildcard deploy/triton/pytorch/*.py)
	@$(BIN)/python -m deploy.provision.triton $(RUNTIME)/triton
	@touch $@

$(FACES): $(INSTALLED) deploy/provision/face_models.py
	@$(BIN)/python -m deploy.provision.face_models $(RUNTIME)/faces
	@touch $@

$(EXPRESSION): $(INSTALLED) deploy/provision/expression_models.py deploy/provision/npm_package.py
	@$(BIN)/python -m deploy.provision.expression_models $(RUNTIME)/expression
	@touch $@

$(CHROMIUM): $(INSTALLED) deploy/provision/browser.py deploy/provision/npm_package.py
	@$(BIN)/python -m deploy.provision.browser $(RUNTIME)/chromium
	@touch $@

$(REDIS): $(INSTALLED) deploy/provision/redis.py
	@$(BIN)/python -m deploy.provision.redis $(RUNTIME)/redis-7
	@touch $@

# The shipped models; models of one's own have other names or versions, and stay.
$(EXPORTED): $(INSTALLED) $(EXPRESSION) $(wildcard training/*.py training/*/*.py training/triton_configs/*) service/domain/model_signatures.py $(WEIGHTS)
	@$(BIN)/python -m training export-expression
	@$(BIN)/python -m training export --preset mini
	@touch $@

# A model that is missing: export, whatever the dates say.
ifneq ($(MISSING),)
.PHONY: $(EXPORTED)
endif
