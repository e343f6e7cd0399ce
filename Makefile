PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BIOME := $(BIN)/node node_modules/@biomejs/biome/bin/biome

.DEFAULT_GOAL := help
.PHONY: help run test vllm test-vllm coverage lint audit format hooks screenshots bench

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

run: $(VENV)/.installed  ## serve, with embedded PostgreSQL and Redis unless they are set
	@exec $(BIN)/python manage.py run

test: lint .clients/.installed .clients/saelibs/.installed  ## lint, types, all tests
	$(BIN)/python -m pytest

# The build for CPUs. For GPUs: `make vllm VLLM=requirements-vllm.txt`.
VLLM ?= requirements-vllm-cpu.txt
vllm: .venv-vllm/.installed  ## an environment for workers with INFERENCE_ENGINE=vllm (.venv-vllm)

# Behaviour of both engines; `make test` has them on transformers.
ENGINE_TESTS := $(addprefix inference/tests/test_,engine_steering.py steering_in_full.py control_vectors_steer.py \
	penalties.py response_format.py held_calls.py lost_logits.py stopped_engine.py chat.py completions.py \
	selected_steering.py load.py)

test-vllm: .venv-vllm/.installed-test  ## the tests of the engine on vLLM
	INFERENCE_ENGINE=vllm INFERENCE_COMPILE=false .venv-vllm/bin/python -m pytest -n 0 -o filterwarnings=default $(ENGINE_TESTS) inference/vllm

.venv-vllm/.installed: $(VLLM) requirements-web.txt
	$(PYTHON) -m venv .venv-vllm
	.venv-vllm/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	.venv-vllm/bin/python -m pip uninstall --quiet --disable-pip-version-check --yes torchvision torchaudio torchcodec
	@touch $@

.venv-vllm/.installed-test: requirements-test.txt requirements-embedded.txt .venv-vllm/.installed
	.venv-vllm/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-test.txt -r requirements-embedded.txt
	@touch $@

# Web and worker processes that the tests start are measured too.
coverage: .clients/.installed .clients/saelibs/.installed  ## all tests, with the share of the code that they run
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --skip-covered --skip-empty

lint: $(VENV)/.installed-dev node_modules/.installed  ## style, types, deployment files
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo
	$(BIOME) ci --error-on-warnings .
	$(BIN)/djangofmt --check templates
	$(BIN)/djlint --lint --quiet templates
	$(BIN)/hadolint Dockerfile
	$(BIN)/yamllint --strict .
	$(BIN)/shellcheck .ci/run
	$(BIN)/mypy .

# Not a part of lint: it needs https://api.osv.dev, and its result changes without a change of the code.
audit: $(VENV)/.installed .clients/audit/.installed  ## known vulnerabilities of the installed packages
	.clients/audit/bin/pip-audit --progress-spinner off --vulnerability-service osv --path $(VENV)/lib/python*/site-packages || \
		{ echo "make audit: vulnerabilities were found, or api.osv.dev does not answer: see above" >&2; exit 1; }

.clients/audit/.installed: Makefile
	$(PYTHON) -m venv .clients/audit
	.clients/audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit==2.10.1
	@touch $@

format: $(VENV)/.installed-dev node_modules/.installed  ## repair the style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIOME) check --write .
	$(BIN)/djangofmt templates

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and f"miLLM needs Python 3.11 or newer, got {sys.version}: set PYTHON")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: requirements.txt requirements-web.txt requirements-embedded.txt | $(VENV)/bin/python
	@echo "Installing miLLM's packages (a few minutes the first time) …"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -r requirements-embedded.txt
	@touch $@

$(VENV)/.installed-dev: requirements-dev.txt requirements-test.txt $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

# Biome, for JavaScript and CSS, is published only on npm; node and npm come as a wheel of requirements-dev.txt.
node_modules/.installed: package-lock.json $(VENV)/.installed-dev
	$(BIN)/npm ci --silent --no-audit --no-fund
	@touch $@

# Real clients for inference/tests/test_clients.py, each in an environment of its own, since their pins conflict.
CLIENTS := inference/tests/clients
.clients/.installed: $(wildcard $(CLIENTS)/*.txt) $(CLIENTS)/ai-sdk/package-lock.json | $(VENV)/.installed-dev
	for name in $(basename $(notdir $(wildcard $(CLIENTS)/*.txt))); do \
		$(PYTHON) -m venv .clients/$$name && \
		.clients/$$name/bin/python -m pip install --quiet --disable-pip-version-check -r $(CLIENTS)/$$name.txt || exit; \
	done
	mkdir -p .clients/ai-sdk && cp $(CLIENTS)/ai-sdk/* .clients/ai-sdk
	$(BIN)/npm ci --silent --no-audit --no-fund --prefix .clients/ai-sdk
	@touch $@

# The libraries whose SAEs inference/tests/write_saes.py writes; they share the main environment's torch.
.clients/saelibs/.installed: inference/tests/saelibs.txt $(VENV)/.installed-dev
	rm -rf .clients/saelibs
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target .clients/saelibs -r $<
	@touch $@

hooks: $(VENV)/.installed-dev node_modules/.installed  ## check each commit (.pre-commit-config.yaml)
	$(BIN)/pre-commit install

screenshots: $(VENV)/.installed-dev  ## write the pictures of docs/admin.md
	$(BIN)/python -m pytest -n 0 -q millm_site/tests/browser/screenshots.py

# `transformers serve`, with which bench/peers.py compares.
.clients/serve/.installed: bench/peers.txt
	$(PYTHON) -m venv .clients/serve
	.clients/serve/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

bench: $(VENV)/.installed-dev .clients/serve/.installed .venv-vllm/.installed  ## write the figures of docs/performance.md
	$(BIN)/python -m bench.profiles
	$(BIN)/python -m bench.engine
	$(BIN)/python -m bench.http
	$(BIN)/python -m bench.stations
	$(BIN)/python -m bench.peers
	$(BIN)/python -m bench.engines
	$(BIN)/python -m bench.listing
	$(BIN)/python -m bench.attach
	$(BIN)/python -m bench.reading
	$(BIN)/python -m bench.labels
	$(BIN)/python -m bench.features
	$(BIN)/python -m bench.admin
	$(BIN)/python -m bench.load
	$(BIN)/python manage.py fetch_demo
	$(BIN)/python -m bench.demo
	$(BIN)/python -m bench.table
