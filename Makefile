# Slipway. `make demo` runs the main job, `make test` passes the tests; both set themselves up.
.DEFAULT_GOAL := help
.PHONY: help demo clients test test-parts test-serving test-system test-faults bench bench-peers check format protocols lock clean
PYTHON ?= python3.11
BIN := .venv/bin
READY := .venv/.ready
CLIENTS := .venv-clients/.ready

help: ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(READY): requirements.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing the locked environment into .venv (some minutes, once) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(READY) ## Carry three model versions through release, on real input
	@$(BIN)/slipway demo

$(CLIENTS): tests/clients/requirements.txt
	@test -x .venv-clients/bin/python || $(PYTHON) -m venv .venv-clients
	@echo "Installing other people's clients into .venv-clients (a minute, once) …"
	@.venv-clients/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

clients: $(CLIENTS) ## Install the clients that tests/serving/test_clients.py asks with

test: $(READY) ## Run the tests
	@$(MAKE) --no-print-directory -j2 --output-sync=target test-system test-serving test-parts

test-parts: $(READY)
	$(BIN)/python -m pytest tests --ignore tests/serving --ignore tests/system

# Whole processes, which look at the clock: one after the other.
test-serving: $(READY)
	$(BIN)/python -m pytest tests/serving

test-system: $(READY)
	$(BIN)/python -m pytest tests/system

test-faults: $(READY) ## Run the slow proofs, minutes each; SAMPLE=1 runs one of them
	$(BIN)/python -m pytest tests/faults $(if $(SAMPLE),-m sample)

bench: $(READY) ## Measure into one table and build/bench.json; ONLY=group [ROW=row] measures a part
	$(BIN)/python -m tests.bench $(if $(ONLY),--only $(ONLY)) $(if $(ROW),--row $(ROW))

PEERS := $(patsubst tests/bench/%/requirements.txt,build/%/.ready,$(wildcard tests/bench/peers/*/requirements.txt))
bench-peers: $(PEERS) ## Install the servers that the bench compares with, each apart in build/peers

build/peers/%/.ready: tests/bench/peers/%/requirements.txt
	@echo "Installing $* into build/peers/$*/.venv …"
	@$(PYTHON) -m venv --clear build/peers/$*/.venv
	@build/peers/$*/.venv/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

check: $(READY) ## Format, lint, types, architecture, length of modules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/test_architecture.py

format: $(READY) ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

protocols: $(READY) ## Write the gRPC code anew from inference.proto
	$(BIN)/python -m grpc_tools.protoc -I . --python_out=. --pyi_out=. serving/gateway/grpc/inference.proto

lock: ## Pin the environment anew from pyproject.toml
	$(PYTHON) -m venv --clear build/lock
	build/lock/bin/python -m pip install --quiet --editable '.[demo,dev]' "$$(grep ^torch== requirements.lock)"
	head -2 requirements.lock > build/requirements.lock
	build/lock/bin/python -m pip freeze --all --exclude-editable --exclude pip | sed 's/+cpu$$//' >> build/requirements.lock
	mv build/requirements.lock requirements.lock

clean: ## Remove the environment, caches and demo state
	@test ! -x $(BIN)/slipway || SLIPWAY_HOME=.slipway/demo $(BIN)/slipway down
	@test ! -x $(BIN)/slipway || $(BIN)/slipway down
	rm -rf .venv .venv-clients .slipway build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
